//! `KEY=VALUE`: the values of a document that nodes take over while they run.

use std::str::FromStr;
use std::time::Duration;

use overlay_config::{BootstrapNode, Document, instant};
use runtime::units;

use super::change::{Refusal, add, take_out};

/// One value of a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Setting {
    AddNode(BootstrapNode),
    RemoveNode(BootstrapNode),
    AddServer(String),
    RemoveServer(String),
    Expires(Option<u64>),
    TurnDensity(u8),
    ClientsPermitted(bool),
    UpdateInterval(Duration),
    PingInterval(Duration),
    Reactive(bool),
    MaxMessageSize(u32),
    InitialTtl(u8),
    ReliabilityTimer(Duration),
}

impl Setting {
    /// Puts it into a document.
    pub(super) fn apply(&self, document: &mut Document) -> Result<(), Refusal> {
        match self.clone() {
            Self::AddNode(node) => {
                let name = written(&node);
                add(&mut document.bootstrap_nodes, node, NODE, &name)?;
            }
            Self::RemoveNode(node) => take_out(&mut document.bootstrap_nodes, &node, NODE, &written(&node))?,
            Self::AddServer(url) => add(&mut document.enrollment_servers, url.clone(), SERVER, &url)?,
            Self::RemoveServer(url) => take_out(&mut document.enrollment_servers, &url, SERVER, &url)?,
            Self::Expires(at) => document.expiration_ms = at,
            Self::TurnDensity(density) => document.turn_density = density,
            Self::ClientsPermitted(permitted) => document.clients_permitted = permitted,
            Self::UpdateInterval(interval) => document.chord.update_interval = interval,
            Self::PingInterval(interval) => document.chord.ping_interval = interval,
            Self::Reactive(is_reactive) => document.chord.is_reactive = is_reactive,
            Self::MaxMessageSize(size) => document.max_message_size = size,
            Self::InitialTtl(ttl) => document.initial_ttl = ttl,
            Self::ReliabilityTimer(timer) => document.reliability_timer = timer,
        }
        Ok(())
    }

    pub(super) fn server_added(&self) -> Option<&String> {
        match self {
            Self::AddServer(url) => Some(url),
            _ => None,
        }
    }

    pub(super) fn server_removed(&self) -> Option<&String> {
        match self {
            Self::RemoveServer(url) => Some(url),
            _ => None,
        }
    }
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("{text} is not KEY=VALUE"))?;
        let wrong = |expected: &str| format!("{key}={value}: expected {expected}");
        let of_unit = |error: units::UnitError| format!("{key}={value}: {error}");
        let seconds = || match units::parse_duration(value).map_err(of_unit)? {
            time if time.subsec_nanos() == 0 => Ok(time),
            _ => Err(wrong("whole seconds")),
        };
        let octet = || value.parse().map_err(|_| wrong("a number up to 255"));
        let boolean = || value.parse().map_err(|_| wrong("true or false"));
        match key {
            "node" => match value.split_at_checked(1) {
                Some(("+", node)) => Ok(Self::AddNode(address(node).ok_or_else(|| wrong(NODES))?)),
                Some(("-", node)) => Ok(Self::RemoveNode(address(node).ok_or_else(|| wrong(NODES))?)),
                _ => Err(wrong(NODES)),
            },
            "server" => match value.split_at_checked(1) {
                Some(("+", url)) => Ok(Self::AddServer(url.to_owned())),
                Some(("-", url)) => Ok(Self::RemoveServer(url.to_owned())),
                _ => Err(wrong("+URL or -URL")),
            },
            "expires" => expires(value).ok_or_else(|| wrong("never, or a date like 2030-12-31")),
            "turn-density" => octet().map(Self::TurnDensity),
            "clients-permitted" => boolean().map(Self::ClientsPermitted),
            "update-interval" => seconds().map(Self::UpdateInterval),
            "ping-interval" => seconds().map(Self::PingInterval),
            "reactive" => boolean().map(Self::Reactive),
            "max-message-size" => {
                let size = units::parse_size(value).map_err(of_unit)?;
                let size = size.try_into().map_err(|_| wrong("at most 16MiB"))?;
                Ok(Self::MaxMessageSize(size))
            }
            "initial-ttl" => octet().map(Self::InitialTtl),
            "reliability-timer" => {
                let timer = units::parse_duration(value).map_err(of_unit)?;
                Ok(Self::ReliabilityTimer(timer))
            }
            _ => Err(format!("there is no {key}; the keys are {KEYS}")),
        }
    }
}

/// A day ends with its last second.
fn expires(text: &str) -> Option<Setting> {
    if text == "never" {
        return Some(Setting::Expires(None));
    }
    let at = instant::parse(text).or_else(|| instant::parse(&format!("{text}T23:59:59Z")));
    at.map(|at| Setting::Expires(Some(at)))
}

fn address(text: &str) -> Option<BootstrapNode> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    Some(BootstrapNode {
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}

/// A bootstrap node as it is named on the command line.
pub(super) fn written(node: &BootstrapNode) -> String {
    match node.host.contains(':') {
        true => format!("[{}]:{}", node.host, node.port),
        false => format!("{}:{}", node.host, node.port),
    }
}

const NODE: &str = "bootstrap node";
const SERVER: &str = "enrollment server";
const NODES: &str = "+HOST:PORT or -HOST:PORT";
const KEYS: &str = "node, server, expires, turn-density, clients-permitted, update-interval, ping-interval, reactive, \
                    max-message-size, initial-ttl and reliability-timer";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_setting_is_refused_with_what_is_expected() {
        for (text, expected) in [
            ("node", "is not KEY=VALUE"),
            ("colour=red", "there is no colour; the keys are node, server"),
            ("node=sip1.example.org:6084", "expected +HOST:PORT or -HOST:PORT"),
            ("node=+sip1.example.org", "expected +HOST:PORT or -HOST:PORT"),
            ("node=", "expected +HOST:PORT or -HOST:PORT"),
            ("server=https://sip1.example.org/enroll", "expected +URL or -URL"),
            ("expires=tomorrow", "expected never, or a date"),
            ("turn-density=256", "a number up to 255"),
            ("clients-permitted=maybe", "true or false"),
            ("update-interval=10", "update-interval=10: "),
            ("ping-interval=1500ms", "whole seconds"),
            ("max-message-size=8GiB", "at most 16MiB"),
        ] {
            let refusal = text.parse::<Setting>().unwrap_err();
            assert!(refusal.contains(expected), "{text}: {refusal}");
        }
    }

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in ["sip1.example.org:6084", "192.0.2.1:6094", "[2001:db8::1]:6084"] {
            assert_eq!(written(&address(text).unwrap()), text);
        }
    }
}
