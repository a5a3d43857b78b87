//! What the component and its operator ask of an edge, and what it tells them.

use std::sync::Arc;

use runtime::State;
use sip_core::aor::Aor;
use sip_core::location::Table;
use wire::Now;

use super::{Command, Driver};
use crate::config::Credentials;
use crate::entries::Entries;
use crate::listed::Registration;
use crate::uptime::Moment;

impl Driver {
    /// Carries out what the component or the operator wants.
    pub(super) fn handle_command(&mut self, now: Now, command: Command) {
        match command {
            // Who asked may have gone; likewise below.
            Command::UnderWay(answer) => drop(answer.send(self.proxy.under_way())),
            Command::Idle(idle) => self.idle = Some(idle),
            Command::Own(own) => self.handle_own(own),
            Command::Renewed(credentials) => {
                let Credentials {
                    link,
                    delegated,
                    values,
                    // They have a way of their own, on which newer ones may have come.
                    record_keys: _,
                } = *credentials;
                self.component.certificate("edge_link", link.until_ms());
                let signer = delegated.certificate().not_after_ms();
                self.component.certificate("delegated_signer", signer);
                self.attacher.link = Arc::new(link);
                self.minter.renew(delegated, values);
            }
            Command::RecordKeys(keys, done) => {
                self.users.set_keys(keys);
                // What is kept under a key that is gone has been sealed again in the overlay.
                self.directory.doubt_records(|record| self.users.can_open(record));
                let _ = done.send(());
            }
            Command::Document(answer) => {
                let _ = answer.send(self.document.clone());
            }
            Command::Registrations { follow, answer } => {
                let moment = self.clock.at(now);
                let each = self.locations.iter().filter_map(|(aor, _)| {
                    let registrations = registrations(&self.locations, &self.entries, moment, aor)?;
                    Some((aor.clone(), registrations))
                });
                drop(answer.send(self.followers.list(each.collect(), follow)));
            }
            Command::Calls { follow, answer } => drop(answer.send(self.requests.list(follow))),
        }
    }

    /// Carries out a command before the edge serves anything.
    pub(crate) fn handle_first_command(&mut self, command: Command) {
        self.handle_command(super::now(), command);
        self.finish_drain();
    }

    /// Tells those who follow the bindings or the calls what is new.
    pub(super) fn tell_followers(&mut self, now: Now) {
        let moment = self.clock.at(now);
        self.followers
            .tell(|aor| registrations(&self.locations, &self.entries, moment, aor));
        self.requests.tell_followers();
    }

    /// Answers whoever waits for the end of the last transaction.
    pub(super) fn finish_drain(&mut self) {
        if self.idle.is_some()
            && self.proxy.under_way() == 0
            && let Some(idle) = self.idle.take()
        {
            let _ = idle.send(());
        }
    }

    /// Tells the process how this edge is.
    pub(super) fn tell_health(&self) {
        let drain = self.proxy.is_draining().then(|| {
            let left = self.proxy.under_way();
            format!("draining, {left} transactions left")
        });
        let lacks = [
            (!self.home.is_attached, "not attached to the overlay"),
            (!self.is_serving(), "the overlay does not serve"),
            (
                self.reach.is_alone(self.edges.is_any_connected()),
                "other edges agree to connect with this one and do not: is port 5062 open both ways (key sip_edge.edge_advertise)?",
            ),
        ]
        .into_iter()
        .filter(|(is_so, _)| *is_so)
        .map(|(_, reason)| reason.to_owned());
        let full = self.full().map(|full| full.to_string());
        let reasons: Vec<String> = drain.into_iter().chain(lacks).chain(full).collect();
        self.component.tell(State {
            // Calls between its own phones go on whatever the overlay does.
            is_serving: !self.proxy.is_draining(),
            is_ready: reasons.is_empty(),
            reasons,
            ring: None,
        });
    }
}

/// The bindings of an AOR, if it has any.
fn registrations(locations: &Table, entries: &Entries, now: Moment, aor: &Aor) -> Option<Vec<Registration>> {
    let is_stored = !entries.is_new(aor.as_str());
    let bindings = locations.bindings(now.own_ms, aor);
    let registrations = bindings.map(|binding| Registration {
        aor: aor.to_string(),
        binding: binding.clone(),
        expires_unix_ms: now.in_calendar(binding.expires_ms),
        is_stored,
    });
    Some(registrations.collect()).filter(|all: &Vec<_>| !all.is_empty())
}
