//! Limits on guessing passwords, and the lines that tell of them.

use runtime::telemetry::{Pii, Suspect};
use sip_core::aor::Aor;
use sip_core::flow::{Flow, Site};
use sip_core::location::Binding;
use tracing::field;
use wire::Now;

use super::{Driver, Purpose};
use crate::guess::{Limit, Standing, Told, Try};
use crate::users::Asked;

impl Driver {
    /// Answers credentials that are not looked at, because too many were wrong before.
    pub(super) fn refuse_unjudged(&mut self, now: Now, purpose: Purpose, asked: &Asked, limit: Limit) {
        self.requests.metrics.refused_credentials(limit.reason());
        let answer = self.users.wrong(now.instant, asked);
        self.refuse(now, purpose, answer);
    }

    /// Notes a wrong response.
    pub(super) fn guessed_wrong(&mut self, now: Now, aor: &Aor, flow: &Flow) {
        let attempt = self.attempt(now, aor, flow);
        self.guesses.wrong(now.instant, &attempt).iter().for_each(tell_begin);
    }

    /// Notes a right one.
    pub(super) fn guessed_right(&mut self, now: Now, aor: &Aor, flow: &Flow) {
        let attempt = self.attempt(now, aor, flow);
        self.guesses.right(&attempt).iter().for_each(tell_end);
    }

    /// Tells of limits that have ended.
    pub(super) fn expire_guesses(&mut self, now: Now) {
        self.guesses.expire(now.instant).iter().for_each(tell_end);
    }

    /// Finds how well the sender of credentials is known.
    pub(super) fn attempt<'a>(&self, now: Now, aor: &'a Aor, flow: &Flow) -> Try<'a> {
        let source = flow.remote.ip();
        let is_at_home = |binding: &Binding| Site::of(binding.source.ip()) == Site::of(source);
        let standing = if self.locations.on_flow(self.clock.at(now).own_ms, aor, flow).is_some() {
            Standing::Registered
        } else if self.locations.bindings(self.clock.at(now).own_ms, aor).any(is_at_home) {
            Standing::AtHome
        } else {
            Standing::Stranger
        };
        Try {
            user: aor.as_str(),
            source,
            standing,
        }
    }
}

/// The line that a firewall's filter reads: docs/fail2ban.md has its pattern. It stands outside of all spans, whose fields are texts that a phone
/// chooses.
fn tell_begin(told: &Told) {
    let (source, user) = (told.source.map(Suspect), told.user.as_deref().map(Pii));
    let (source, user) = (source.as_ref().map(field::display), user.as_ref().map(field::display));
    let limit = told.limit.name();
    tracing::warn!(target: TARGET, parent: None, limit, source, user, "password guessing is limited");
}

fn tell_end(told: &Told) {
    let (source, user) = (told.source.map(Suspect), told.user.as_deref().map(Pii));
    let (source, user) = (source.as_ref().map(field::display), user.as_ref().map(field::display));
    let limit = told.limit.name();
    tracing::warn!(target: TARGET, parent: None, limit, source, user, "password guessing is no longer limited");
}

const TARGET: &str = "p2psip_sip_edge::guess";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_lines_are_those_that_are_written() {
        let page = include_str!("../../../../docs/fail2ban.md");
        for limit in [Limit::UserAndSite, Limit::Site, Limit::User] {
            assert!(page.contains(&format!("| `{}` |", limit.name())), "{limit:?}");
            assert!(page.contains(&format!("`{}`", limit.reason())), "{limit:?}");
        }
        for message in ["password guessing is limited", "password guessing is no longer limited"] {
            let line = format!(
                "WARN {TARGET}: {message} limit=\"{}\" source=",
                Limit::UserAndSite.name()
            );
            assert!(page.contains(&line), "{line}");
        }
    }
}
