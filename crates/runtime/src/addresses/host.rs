//! What this machine is called: its host name, and the longer names that lead to it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::lookup;

/// The host name, as the system has it.
#[must_use]
pub fn host_name() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    Some(name).filter(|name| !name.is_empty())
}

/// All names of this machine: the host name, its other names in `/etc/hosts`, and its name in the domains that the resolver
/// searches, where DNS has one of the addresses in `own` for it.
pub async fn host_names(own: &BTreeSet<IpAddr>) -> BTreeSet<String> {
    let Some(host) = host_name() else {
        return BTreeSet::new();
    };
    let read = tokio::task::spawn_blocking(|| {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        (read("/etc/hosts"), read("/etc/resolv.conf"))
    });
    let (hosts, resolver) = read.await.unwrap_or_default();
    let mut names = aliases(&hosts, &host);
    for domain in search(&resolver) {
        let name = format!("{host}.{domain}");
        if lookup(&name).await.iter().any(|address| own.contains(address)) {
            names.insert(name);
        }
    }
    names.insert(host);
    names
}

/// The names that stand beside `host` in a line of `/etc/hosts`.
fn aliases(hosts: &str, host: &str) -> BTreeSet<String> {
    let names = |line: &str| -> Vec<String> {
        let line = line.split('#').next().unwrap_or_default();
        line.split_whitespace().skip(1).map(str::to_owned).collect()
    };
    let is_meant = |names: &Vec<String>| names.iter().any(|name| name.eq_ignore_ascii_case(host));
    hosts.lines().map(names).filter(is_meant).flatten().collect()
}

/// The domains that the resolver appends to a bare name: those of the last `search` or `domain` (resolv.conf(5)).
fn search(resolver: &str) -> Vec<String> {
    let mut domains = Vec::new();
    for line in resolver.lines() {
        let mut words = line.split_whitespace();
        if matches!(words.next(), Some("search" | "domain")) {
            domains = words
                .take(MOST_DOMAINS)
                .map(|domain| domain.trim_end_matches('.').to_owned())
                .collect();
        }
    }
    domains
}

/// Domains that are tried.
const MOST_DOMAINS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beside_the_host_name_are_its_own() {
        let hosts =
            "127.0.0.1 localhost\n# 10.0.0.1 box\n127.0.1.1  box.example.org BOX # comment other\n::1 ip6-localhost\n";
        let found = aliases(hosts, "box");
        assert_eq!(found, ["BOX", "box.example.org"].map(str::to_owned).into());
        assert!(aliases(hosts, "other").is_empty());
    }

    #[test]
    fn the_last_search_line_counts() {
        let resolver = "domain old.example\nnameserver 192.0.2.1\nsearch example.org. lab.example.org\n";
        assert_eq!(search(resolver), ["example.org", "lab.example.org"]);
    }

    #[tokio::test]
    async fn the_host_name_is_one_of_the_names() {
        let names = host_names(&BTreeSet::new()).await;
        assert!(host_name().is_none_or(|name| names.contains(&name)));
    }
}
