//! Phones that cannot bear what RFC 8760 allows.

use crate::message::{Message, Name};

/// How the User-Agent of such phones begins.
///
/// baresip before version 2 gives up at any challenge whose algorithm is not MD5, even beside one that is.
const ONLY_MD5: [&str; 2] = ["baresip v0.", "baresip v1."];

/// Says whether the phone that sent a request fails when it is offered anything but MD5. What it is then offered is no weaker than what it would
/// choose; who forges the header gets the same challenge that an old phone gets.
pub(super) fn knows_only_md5(request: &Message) -> bool {
    let agent = request.header(Name::UserAgent).unwrap_or_default();
    ONLY_MD5.iter().any(|phone| agent.starts_with(phone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(agent: &str) -> Message {
        let text = format!(
            "REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nUser-Agent: {agent}\r\n\r\n"
        );
        Message::parse_datagram(text.into_bytes().into()).unwrap()
    }

    #[test]
    fn old_phones_are_known_by_name() {
        assert!(knows_only_md5(&request("baresip v1.0.0 (x86_64/linux)")));
        assert!(!knows_only_md5(&request("baresip v3.10.1 (x86_64/Linux)")));
        assert!(!knows_only_md5(&request("")));
    }
}
