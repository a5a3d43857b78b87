//! How certificates are printed.

use identity::{Certificate, Sort};
use serde::Serialize;

use super::files::Found;
use crate::clock::{distance, utc};
use crate::output::two_columns;

/// What is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    certificates: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    file: String,
    what: &'static str,
    overlay: Option<String>,
    node_ids: Vec<String>,
    user: Option<String>,
    hosts: Vec<String>,
    key_id: Option<String>,
    issuer_key_id: Option<String>,
    not_before: String,
    not_after: String,
    /// When it is replaced; none where a person does that.
    renewal: Option<String>,
    days_left: u64,
    valid: bool,
    #[serde(skip)]
    validity: String,
}

impl Report {
    pub(super) fn new(found: &[Found], now_ms: u64) -> Self {
        let issuer = |of: &Certificate| {
            let mut all = found.iter().map(|found| &found.certificate);
            all.find(|certificate| certificate.is_ca() && certificate.is_named_issuer_of(of))
        };
        let entry = |found: &Found| Entry::new(found, issuer(&found.certificate), now_ms);
        Self {
            schema: "p2psip.certificates/v1",
            certificates: found.iter().map(entry).collect(),
        }
    }

    pub(super) fn are_all_valid(&self) -> bool {
        self.certificates.iter().all(|entry| entry.valid)
    }

    /// A paragraph each.
    pub(super) fn text(&self) -> String {
        let paragraphs: Vec<String> = self.certificates.iter().map(Entry::text).collect();
        paragraphs.join("\n")
    }
}

impl Entry {
    fn new(found: &Found, issuer: Option<&Certificate>, now_ms: u64) -> Self {
        let certificate = &found.certificate;
        let (from_ms, until_ms) = (certificate.not_before_ms(), certificate.not_after_ms());
        let sort = Sort::of(certificate, issuer);
        let renewal = sort.and_then(|sort| sort.renewal_ms(certificate)).map(utc);
        Self {
            file: found.path.display().to_string(),
            what: sort.map_or_else(|| foreign(certificate), name),
            overlay: certificate.uris().first().map(|uri| uri.overlay.clone()),
            node_ids: certificate.node_ids().iter().map(ToString::to_string).collect(),
            user: certificate.user().map(str::to_owned),
            hosts: certificate.hosts().to_vec(),
            key_id: certificate.key_id().map(wire::hex::encode),
            issuer_key_id: certificate.issuer_key_id().map(wire::hex::encode),
            not_before: utc(from_ms),
            not_after: utc(until_ms),
            renewal,
            days_left: until_ms.saturating_sub(now_ms) / DAY_MS,
            valid: (from_ms..=until_ms).contains(&now_ms),
            validity: validity(from_ms, until_ms, now_ms),
        }
    }

    fn text(&self) -> String {
        let rows = [
            ("File", Some(self.file.clone())),
            ("What", Some(self.what.to_owned())),
            ("Node-ID", none_if_empty(self.node_ids.join(", "))),
            ("User name", self.user.clone()),
            ("Host", none_if_empty(self.hosts.join(", "))),
            ("Key id", self.key_id.clone()),
            ("Issuer", self.issuer_key_id.clone()),
            (
                "Valid",
                Some(format!("{} to {}, {}", self.not_before, self.not_after, self.validity)),
            ),
            ("Renewed", self.renewal.clone()),
        ];
        let rows: Vec<_> = rows
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        two_columns(&rows)
    }
}

fn validity(from_ms: u64, until_ms: u64, now_ms: u64) -> String {
    if now_ms < from_ms {
        format!("NOT VALID YET: begins {}", distance(from_ms, now_ms))
    } else if now_ms > until_ms {
        format!("EXPIRED {}", distance(until_ms, now_ms))
    } else {
        format!("ends {}", distance(until_ms, now_ms))
    }
}

fn name(sort: Sort) -> &'static str {
    match sort {
        Sort::ConfigurationRoot => "configuration root",
        Sort::ConfigurationSigner => "configuration signer",
        Sort::EnrollmentCa => "enrollment CA",
        Sort::EnrollmentServer => "enrollment server",
        Sort::Peer => "peer",
        Sort::Client => "user's own client",
        Sort::EdgeLink => "edge link",
        Sort::DelegatedSigner => "delegated signer",
        Sort::Minted => "user at an edge",
        Sort::UserRecord => "user record",
    }
}

/// What is no certificate of an overlay: those between the components of one peer, and whatever else lies about.
fn foreign(certificate: &Certificate) -> &'static str {
    match (certificate.is_ca(), certificate.hosts()) {
        (_, [host, ..]) if host.ends_with(COMPONENT) => "component",
        (true, _) => "CA outside the overlay",
        (false, _) => "unknown",
    }
}

fn none_if_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// The names that components of a peer have for each other.
const COMPONENT: &str = ".p2psip.internal";
const DAY_MS: u64 = 24 * 3600 * 1000;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use identity::Key;
    use identity::issue::{Profile, Serial, Subject, enrollment_ca};

    use super::super::files;
    use super::*;

    const NOW: u64 = 1_795_809_668_000;

    /// A folder with a CA, an edge's certificate below it, and a key.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let [ca, edge] = [1, 2].map(|seed| Key::ed25519_from_seed([seed; 32]));
        let serial = Serial::generate().unwrap();
        let authority = enrollment_ca(&ca, NOW, serial).unwrap();
        let subject = Subject {
            key: &edge.public(),
            node_id: "ab".repeat(16).parse().unwrap(),
            overlay: "a.test",
            user: None,
        };
        let certificate = authority.issue(Profile::Edge, &subject, NOW, serial).unwrap();
        let write = |name: &str, octets: &[u8]| std::fs::write(folder.path().join(name), octets).unwrap();
        std::fs::create_dir(folder.path().join("peer1")).unwrap();
        write("ca.der", authority.certificate().der());
        write("peer1/edge-link.der", certificate.der());
        write("peer1/edge-link.key", edge.to_pem().unwrap().as_bytes());
        folder
    }

    fn report(path: &Path, now_ms: u64) -> Report {
        Report::new(&files::certificates(path).unwrap(), now_ms)
    }

    #[test]
    fn a_folder_is_searched_for_certificates() {
        let folder = folder();
        let report = report(folder.path(), NOW);
        let whats: Vec<_> = report.certificates.iter().map(|entry| entry.what).collect();
        assert_eq!(whats, ["enrollment CA", "edge link"]);
        let text = report.text();
        let expected = "\
Valid      2026-11-25T19:01:08Z to 2027-02-25T20:01:08Z, ends in 90 d
Renewed    2026-12-27T20:01:08Z
";
        assert!(text.ends_with(expected), "{text}");
        assert!(text.contains(&format!("Node-ID    {}\n", "ab".repeat(16))), "{text}");
        let [ca, edge] = report.certificates.as_slice() else {
            panic!("{report:?}")
        };
        assert_eq!(edge.issuer_key_id, ca.key_id);
    }

    #[test]
    fn one_that_is_not_valid_now_shows_and_counts() {
        let folder = folder();
        let later = report(folder.path(), NOW + 100 * DAY_MS);
        assert!(!later.are_all_valid());
        assert!(later.text().contains("EXPIRED 10 d ago"), "{}", later.text());
        let earlier = report(folder.path(), NOW - 3 * DAY_MS);
        assert!(
            earlier.text().contains("NOT VALID YET: begins in 23 h"),
            "{}",
            earlier.text()
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = folder();
        let broken = folder.path().join("broken.pem");
        std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
        let error = files::certificates(folder.path()).unwrap_err();
        assert!(error.to_string().contains("broken.pem"), "{error}");
        let missing = files::certificates(&folder.path().join("none")).unwrap_err();
        assert_eq!(missing.code(), runtime::ExitCode::Usage);
        // Only a key: nothing to show, and nothing wrong.
        let key = files::certificates(&folder.path().join("peer1/edge-link.key")).unwrap();
        assert!(key.is_empty());
    }
}
