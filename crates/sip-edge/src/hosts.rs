//! The addresses of host names in Route headers: a pure table of questions to DNS and their answers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Names in the table; beyond it those that are known make room, the oldest first.
const NAMES: usize = 64;
/// Requests that wait for one name.
const WAITING: usize = 256;
/// An answer counts for so long.
const KEPT: Duration = Duration::from_secs(60);
/// No answer at all counts shorter: DNS may be back by then.
const FAILED: Duration = Duration::from_secs(5);

/// The table; `W` waits for an answer.
#[derive(Debug)]
pub(crate) struct Hosts<W>(BTreeMap<String, Host<W>>);

#[derive(Debug)]
enum Host<W> {
    Asked(Vec<W>),
    Known { addresses: Vec<IpAddr>, until: Instant },
}

/// What the table says to a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer<W> {
    /// These addresses.
    Known(W, Vec<IpAddr>),
    /// It waits; DNS has been asked already.
    Waits,
    /// It waits; ask DNS now.
    Ask,
    /// Too much waits.
    Refused(W),
}

impl<W> Default for Hosts<W> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<W> Hosts<W> {
    /// Asks for the addresses of `host`.
    pub(crate) fn ask(&mut self, now: Instant, host: &str, waiter: W) -> Answer<W> {
        match self.0.get_mut(host) {
            Some(Host::Known { addresses, until }) if *until > now => return Answer::Known(waiter, addresses.clone()),
            Some(Host::Asked(waiting)) if waiting.len() < WAITING => {
                waiting.push(waiter);
                return Answer::Waits;
            }
            Some(Host::Asked(_)) => return Answer::Refused(waiter),
            Some(Host::Known { .. }) | None => {}
        }
        if self.0.len() >= NAMES && !self.0.contains_key(host) && !self.make_room() {
            return Answer::Refused(waiter);
        }
        self.0.insert(host.to_owned(), Host::Asked(vec![waiter]));
        Answer::Ask
    }

    /// Takes what DNS says, and returns what waited for it.
    pub(crate) fn found(&mut self, now: Instant, host: &str, addresses: Vec<IpAddr>) -> Vec<W> {
        let until = now + if addresses.is_empty() { FAILED } else { KEPT };
        match self.0.insert(host.to_owned(), Host::Known { addresses, until }) {
            Some(Host::Asked(waiting)) => waiting,
            Some(Host::Known { .. }) | None => Vec::new(),
        }
    }

    fn make_room(&mut self) -> bool {
        let known = self.0.iter().filter_map(|(name, host)| match host {
            Host::Known { until, .. } => Some((*until, name.clone())),
            Host::Asked(_) => None,
        });
        let oldest = known.min();
        oldest.is_some_and(|(_, name)| self.0.remove(&name).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Vec<IpAddr> {
        vec!["192.0.2.1".parse().unwrap()]
    }

    #[test]
    fn one_question_serves_all_that_wait_and_is_remembered() {
        let (mut hosts, now) = (Hosts::default(), Instant::now());
        assert_eq!(hosts.ask(now, "proxy", 1), Answer::Ask);
        assert_eq!(hosts.ask(now, "proxy", 2), Answer::Waits);
        assert_eq!(hosts.found(now, "proxy", address()), [1, 2]);
        assert_eq!(hosts.ask(now, "proxy", 3), Answer::Known(3, address()));
        assert_eq!(hosts.ask(now + KEPT, "proxy", 4), Answer::Ask);
    }

    #[test]
    fn a_failure_is_asked_again_soon() {
        let (mut hosts, now) = (Hosts::default(), Instant::now());
        hosts.ask(now, "proxy", 1);
        hosts.found(now, "proxy", Vec::new());
        assert_eq!(hosts.ask(now, "proxy", 2), Answer::Known(2, Vec::new()));
        assert_eq!(hosts.ask(now + FAILED, "proxy", 3), Answer::Ask);
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut hosts, now) = (Hosts::default(), Instant::now());
        for name in 0..NAMES {
            assert_eq!(hosts.ask(now, &name.to_string(), name), Answer::Ask);
        }
        assert_eq!(hosts.ask(now, "further", 0), Answer::Refused(0));
        hosts.found(now, "7", address());
        assert_eq!(hosts.ask(now, "further", 0), Answer::Ask);
        assert_eq!(hosts.0.len(), NAMES);
        for waiter in 1..WAITING {
            assert_eq!(hosts.ask(now, "further", waiter), Answer::Waits);
        }
        assert_eq!(hosts.ask(now, "further", WAITING), Answer::Refused(WAITING));
    }
}
