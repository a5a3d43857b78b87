//! In which order the services of an overlay are asked: in any, so that none has to answer for all.

use sha2::{Digest as _, Sha256};
use wire::NodeId;

/// The same URLs in an order that a random number decides.
pub(super) fn shuffled(servers: &[String], drawn: NodeId) -> Vec<String> {
    let mut servers = servers.to_vec();
    servers.sort_by_cached_key(|url| {
        Sha256::new()
            .chain_update(drawn.as_bytes())
            .chain_update(url)
            .finalize()
    });
    servers
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_is_asked_and_each_may_be_the_first() {
        let servers = ["a", "b", "c"].map(|host| format!("https://{host}.test:8443"));
        let orders: Vec<_> = (1..=50)
            .map(|octet| shuffled(&servers, NodeId::from([octet; 16])))
            .collect();
        for order in &orders {
            assert_eq!(order.iter().collect::<BTreeSet<_>>(), servers.iter().collect());
        }
        let first: BTreeSet<_> = orders.iter().filter_map(|order| order.first()).collect();
        assert_eq!(first.len(), 3);
    }
}
