//! What `dev` tells its user: what to type into a phone, and what to try next.

use std::net::SocketAddr;
use std::path::Path;

use super::users::{DOMAIN, PASSWORD, USERS};
use crate::socket;

/// The text under the ladder. Its last line tells how it ends.
pub(crate) fn guide(edges: &[SocketAddr], path: &Path, kept: Option<&Path>) -> String {
    let users = USERS.join(" or ");
    let proxies: Vec<String> = edges
        .iter()
        .enumerate()
        .map(|(index, edge)| format!("{edge} (peer {})", index + 1))
        .collect();
    let indent = format!("\n{:18}", "");
    let proxies = proxies
        .chunks(4)
        .map(|row| row.join(", "))
        .collect::<Vec<_>>()
        .join(&format!(",{indent}"));
    let is_local = edges.iter().all(|edge| edge.ip().is_loopback());
    let reach = if is_local {
        "\n  Only phones on this machine reach it; --bind ADDRESS opens it to your LAN.\n"
    } else {
        ""
    };
    // The commands find this user's socket by themselves.
    let is_found = socket::folders().iter().any(|folder| folder.join(socket::DEV) == path);
    let peer = match is_found {
        true => String::new(),
        false => format!(" --peer unix:{}", path.display()),
    };
    // As it was typed, so that a line can be copied.
    let program = std::env::args().next().unwrap_or_else(|| "p2psip".to_owned());
    let data = match kept {
        Some(folder) => format!("kept in {}", folder.display()),
        None => "in a temporary folder; --data DIR keeps it".to_owned(),
    };
    format!(
        "\
The overlay is up. Type this into two SIP phones, each at any peer:

  User            {users}
  Password        {PASSWORD}
  Domain          {DOMAIN}
  Outbound proxy  {proxies}
  Transport       UDP or TCP
  Codec           any that both phones know, PCMU or PCMA say: audio goes from phone to phone, never through a peer
{reach}
Then call sip:{other}@{DOMAIN} from {first}'s phone. From a second terminal:

  {program}{peer} status
  {program}{peer} lookup {first}@{DOMAIN}

Operator socket   {socket}
Data              {data}
Ctrl-C ends it.
",
        first = USERS[0],
        other = USERS[1],
        socket = path.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_everything_a_phone_asks_for_and_how_to_end() {
        let edges: Vec<SocketAddr> = (0..5)
            .map(|n| SocketAddr::from(([127, 0, 0, 1], 5060 + 10 * n)))
            .collect();
        let text = guide(&edges, Path::new("/data/dev.sock"), Some(Path::new("/data")));
        for part in [
            "alice or bob",
            "127.0.0.1:5060 (peer 1)",
            "127.0.0.1:5100 (peer 5)",
            "--peer unix:/data/dev.sock status",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.lines().last().unwrap().contains("Ctrl-C"));
    }
}
