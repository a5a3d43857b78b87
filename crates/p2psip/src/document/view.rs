//! A document in lines that people compare.

use overlay_config::Document;
use serde::Serialize;

use super::setting::written;
use crate::clock::utc;
use crate::output::two_columns;

/// A name and what the document says about it.
pub(super) type Line = (&'static str, String);

/// A document.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    schema: &'static str,
    overlay: String,
    sequence: u16,
    /// None for never.
    expires: Option<String>,
    enrollment_servers: Vec<String>,
    bootstrap_nodes: Vec<String>,
    services: Vec<Service>,
    /// Node-IDs; likewise the next.
    configuration_signers: Vec<String>,
    bad_nodes: Vec<String>,
    #[serde(skip)]
    lines: Vec<Line>,
}

/// A bootstrap service.
#[derive(Debug, Serialize)]
struct Service {
    url: String,
    /// Whether it was removed and not revoked.
    lost: bool,
    /// SHA-256.
    authority: String,
    /// Node-ID.
    writer: String,
}

impl Shown {
    pub(super) fn new(document: &Document) -> Self {
        let services = document.bootstrap_services();
        Self {
            schema: "p2psip.document/v1",
            overlay: document.overlay.clone(),
            sequence: document.sequence,
            expires: document.expiration_ms.map(utc),
            enrollment_servers: document.enrollment_servers.clone(),
            bootstrap_nodes: document.bootstrap_nodes.iter().map(written).collect(),
            services: services.iter().map(|service| Service::new(service, document)).collect(),
            configuration_signers: document.configuration_signers.iter().map(ToString::to_string).collect(),
            bad_nodes: document.bad_nodes.iter().map(ToString::to_string).collect(),
            lines: lines(document),
        }
    }

    pub(super) fn table(&self) -> String {
        let mut table = two_columns(&self.lines);
        for service in self.services.iter().filter(|service| service.lost) {
            table.push_str(&format!(
                "\n{} was removed as lost. Its CA {} counts until the last certificates that it issued have been renewed elsewhere, \
                 90 days after it was lost; then `p2psip document remove-service DIR {} --revoke` takes it out.\n",
                service.url,
                service.authority.get(..SHORT).unwrap_or_default(),
                service.url
            ));
        }
        table
    }
}

impl Service {
    fn new(service: &overlay_config::Service, document: &Document) -> Self {
        Self {
            url: service.url.clone(),
            lost: !document.enrollment_servers.contains(&service.url),
            authority: wire::hex::encode(&service.authority),
            writer: service.writer.to_string(),
        }
    }
}

/// The difference: lines of the old document that are not in the new one, then the reverse.
pub(super) fn difference(old: &Document, new: &Document) -> Vec<String> {
    let (old, new) = (lines(old), lines(new));
    let written = |sign: char| move |(name, value): &Line| format!("{sign} {name} {value}");
    let gone = old.iter().filter(|line| !new.contains(line)).map(written('-'));
    let come = new.iter().filter(|line| !old.contains(line)).map(written('+'));
    gone.chain(come).collect()
}

fn lines(document: &Document) -> Vec<Line> {
    let expires = document.expiration_ms.map_or_else(|| "never".to_owned(), utc);
    let mut lines = vec![
        ("overlay", document.overlay.clone()),
        ("sequence", document.sequence.to_string()),
        ("expires", expires),
    ];
    for ca in &document.root_certs {
        let sort = match ca.path_length() {
            Some(0) => "configuration root",
            _ => "enrollment CA",
        };
        let hash = wire::hex::encode(&ca.hash());
        let hash = hash.get(..SHORT).unwrap_or_default();
        lines.push(("root-cert", format!("{hash}, {sort} until {}", utc(ca.not_after_ms()))));
    }
    let mut each = |name, values: &mut dyn Iterator<Item = String>| lines.extend(values.map(|value| (name, value)));
    each("server", &mut document.enrollment_servers.iter().cloned());
    each("node", &mut document.bootstrap_nodes.iter().map(written));
    let services = document.services.iter().map(|service| {
        let hash = wire::hex::encode(&service.authority);
        let hash = hash.get(..SHORT).unwrap_or_default();
        format!("{}, CA {hash}, writer {}", service.url, service.writer)
    });
    each("service", &mut services.into_iter());
    each(
        "configuration-signer",
        &mut document.configuration_signers.iter().map(ToString::to_string),
    );
    each(
        "kind-signer",
        &mut document.kind_signers.iter().map(ToString::to_string),
    );
    each("bad-node", &mut document.bad_nodes.iter().map(ToString::to_string));
    let kinds = document.kinds.iter().map(|kind| {
        let writers: String = kind.writers.iter().map(|writer| format!(", writer {writer}")).collect();
        format!(
            "{}: {} values of {} octets{writers}",
            kind.id, kind.max_count, kind.max_size
        )
    });
    each("kind", &mut kinds.into_iter());
    let duration = runtime::units::format_duration;
    lines.extend([
        ("turn-density", document.turn_density.to_string()),
        ("clients-permitted", document.clients_permitted.to_string()),
        ("update-interval", duration(document.chord.update_interval)),
        ("ping-interval", duration(document.chord.ping_interval)),
        ("reactive", document.chord.is_reactive.to_string()),
        (
            "max-message-size",
            runtime::units::format_size(document.max_message_size.into()),
        ),
        ("initial-ttl", document.initial_ttl.to_string()),
        ("reliability-timer", duration(document.reliability_timer)),
    ]);
    lines
}

/// Digits of a hash that tell it from a few others.
const SHORT: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::change::{Change, change};
    use super::super::tests::{document, service};
    use super::*;

    #[test]
    fn a_difference_has_each_line_that_changes() {
        let settings = ["node=+[2001:db8::1]:6084", "expires=2030-12-31"];
        let settings = settings.iter().map(|text| text.parse().unwrap()).collect();
        let next = change(&document(), &Change::Set(settings)).unwrap();
        assert_eq!(
            difference(&document(), &next),
            [
                "- sequence 1",
                "- expires never",
                "+ sequence 2",
                "+ expires 2030-12-31T23:59:59Z",
                "+ node [2001:db8::1]:6084",
            ]
        );
    }

    #[test]
    fn a_lost_service_is_shown_with_how_long_its_ca_is_needed() {
        let url = service(2).url;
        let two = change(&document(), &Change::AddService(service(2))).unwrap();
        assert!(!Shown::new(&two).table().contains("lost"));
        let removal = Change::RemoveService { url, is_stolen: false };
        let lost = Shown::new(&change(&two, &removal).unwrap());
        assert!(
            lost.table()
                .contains("https://sip2.example.org:6085/enroll was removed as lost")
        );
        let json = serde_json::to_value(&lost).unwrap();
        assert_eq!(
            (&json["schema"], &json["services"][1]["lost"]),
            (&"p2psip.document/v1".into(), &true.into())
        );
    }
}
