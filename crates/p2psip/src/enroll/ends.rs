//! Warnings before something ends without which a node does not start: once a month before, and once a week before.
//!
//! Certificates that renew themselves are warned of only when they were not renewed for long.

use std::collections::BTreeMap;

use identity::Certificate;
use identity::issue::renewal_due_ms;
use overlay_config::SignedDocument;

/// Something that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) what: &'static str,
    pub(super) at_ms: u64,
    /// How long before its end somebody can be expected to have replaced it.
    notice_ms: u64,
    /// The command to carry out.
    pub(super) advice: &'static str,
}

/// The warnings given so far.
#[derive(Debug, Default)]
pub(super) struct Warned(BTreeMap<&'static str, (u64, Stage)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Month,
    Week,
}

impl End {
    /// That of a certificate which the bootstrap services renew.
    pub(super) fn of_certificate(what: &'static str, certificate: &Certificate) -> Self {
        let at_ms = certificate.not_after_ms();
        Self {
            what,
            at_ms,
            notice_ms: at_ms.saturating_sub(renewal_due_ms(certificate)) / 2,
            advice: "no bootstrap service has renewed it: see to it that this host reaches one, or ask for a token",
        }
    }

    /// Those of a document.
    pub(super) fn of_document(document: &SignedDocument) -> impl Iterator<Item = Self> {
        let end = |what, advice| {
            move |at_ms| Self {
                what,
                at_ms,
                notice_ms: u64::MAX,
                advice,
            }
        };
        let sign = "sign the next document with the off-line keys, or no node starts any more";
        let authorities = document.document().root_certs.iter();
        let authorities = authorities
            .filter(|ca| ca.path_length() == Some(1))
            .map(Certificate::not_after_ms);
        let ends = [
            document.document().expiration_ms.map(end("document", sign)),
            document.signature_ends_ms().map(end("configuration_signer", sign)),
            authorities.max().map(end(
                "enrollment_ca",
                "add a bootstrap service to the document: with its CA all certificates of nodes end",
            )),
        ];
        ends.into_iter().flatten()
    }

    fn stage(&self, now_ms: u64) -> Option<Stage> {
        let left = self.at_ms.saturating_sub(now_ms);
        [
            (Stage::Week, WEEK_MS.min(self.notice_ms / 4)),
            (Stage::Month, MONTH_MS.min(self.notice_ms)),
        ]
        .into_iter()
        .find_map(|(stage, before)| (left <= before).then_some(stage))
    }
}

impl Warned {
    /// Those of the ends that are to be warned of now, each once at each stage.
    pub(super) fn news(&mut self, now_ms: u64, ends: &[End]) -> Vec<End> {
        let is_news = |end: &&End| {
            let Some(stage) = end.stage(now_ms) else { return false };
            let told = self.0.insert(end.what, (end.at_ms, stage));
            told.is_none_or(|(at_ms, told)| at_ms != end.at_ms || told < stage)
        };
        ends.iter().filter(is_news).copied().collect()
    }
}

const DAY_MS: u64 = 24 * 3600 * 1000;
const WEEK_MS: u64 = 7 * DAY_MS;
const MONTH_MS: u64 = 30 * DAY_MS;

#[cfg(test)]
mod tests {
    use identity::Key;
    use identity::issue::{Profile, Serial, Subject, enrollment_ca};

    use super::*;

    fn end(at_ms: u64, notice_ms: u64) -> End {
        End {
            what: "document",
            at_ms,
            notice_ms,
            advice: "",
        }
    }

    #[test]
    fn an_end_is_told_a_month_and_a_week_before_and_not_again() {
        let (mut warned, end) = (Warned::default(), end(NOW + 90 * DAY_MS, u64::MAX));
        let days: Vec<u64> = (0..=91)
            .filter(|day| !warned.news(NOW + day * DAY_MS, &[end]).is_empty())
            .collect();
        assert_eq!(days, [60, 83]);
        // Another one, which ends later.
        let next = End {
            at_ms: end.at_ms + DAY_MS,
            ..end
        };
        assert_eq!(warned.news(NOW + 91 * DAY_MS, &[next]), [next]);
    }

    #[test]
    fn certificates_that_renew_themselves_are_told_of_only_when_they_did_not() {
        let authority = enrollment_ca(&Key::generate().unwrap(), NOW, Serial::generate().unwrap()).unwrap();
        let key = Key::generate().unwrap().public();
        let subject = Subject {
            key: &key,
            node_id: wire::NodeId::new([7; 16]),
            overlay: "a.test",
            user: None,
        };
        let issue = |authority: &identity::issue::Authority, profile| {
            let issued = authority.issue(profile, &subject, NOW, Serial::generate().unwrap());
            End::of_certificate("node", &issued.unwrap())
        };
        let first = |end: End, unit_ms: u64| {
            let is_told = |time: &u64| end.stage(NOW + time * unit_ms).is_some();
            (0..200).find(is_told).unwrap()
        };
        assert_eq!(first(issue(&authority, Profile::Node), DAY_MS), 60);
        assert_eq!(first(issue(&authority, Profile::DelegatedSigner), DAY_MS), 35);
        let mut short = authority;
        short.set_node_life(std::time::Duration::from_secs(90));
        assert_eq!(first(issue(&short, Profile::Node), 1000), 60, "seconds");
    }

    const NOW: u64 = 1_800_000_000_000;
}
