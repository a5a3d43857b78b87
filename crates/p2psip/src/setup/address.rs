//! What `--address` means: this host itself, or a translator in front of it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use clap::builder::TypedValueParser as _;
use runtime::addresses::{self, Advertised};

/// The parser of `--address`: a host without a port.
pub(super) fn parser() -> impl clap::builder::TypedValueParser<Value = String> {
    clap::builder::NonEmptyStringValueParser::new().try_map(host)
}

fn host(text: String) -> Result<String, String> {
    match text.parse::<Advertised>() {
        Ok(Advertised { port: None, .. }) => Ok(text),
        Ok(_) => Err("ports have settings of their own: give a name or an IP address alone".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Says whether others reach this host only by way of a translator: the address is not its own, or the name has addresses and
/// none of them is. A name without any, DNS being down, is taken for its own.
pub(super) async fn is_translated(address: &str) -> bool {
    let leads_to = match address.parse() {
        Ok(ip) => vec![ip],
        Err(_) => addresses::lookup(address).await,
    };
    is_elsewhere(&leads_to, &addresses::own().unwrap_or_default())
}

fn is_elsewhere(leads_to: &[IpAddr], own: &BTreeSet<IpAddr>) -> bool {
    let is_here = |ip: &IpAddr| ip.is_loopback() || own.contains(ip);
    !leads_to.is_empty() && !leads_to.iter().any(is_here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_behind_a_translator_has_none_of_the_addresses() {
        let ips = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let own = ips(&["10.0.0.7", "2001:db8::7"]).into_iter().collect();
        for (leads_to, expected) in [
            (&["10.0.0.7"][..], false),
            (&["203.0.113.5"], true),
            (&["203.0.113.5", "2001:db8::7"], false),
            // Debian gives a host's own name this address.
            (&["127.0.1.1"], false),
            (&[], false),
        ] {
            assert_eq!(is_elsewhere(&ips(leads_to), &own), expected, "{leads_to:?}");
        }
    }

    #[test]
    fn an_address_has_no_port() {
        for (text, is_good) in [
            ("sip1.example.org", true),
            ("192.0.2.7", true),
            ("2001:db8::7", true),
            ("192.0.2.7:5060", false),
            ("sip1:5060", false),
            ("a b", false),
        ] {
            assert_eq!(host(text.to_owned()).is_ok(), is_good, "{text}");
        }
    }
}
