//! The next document: the present one with a change.

use std::collections::BTreeSet;

use overlay_config::{Document, Service};
use wire::{KindId, NodeId};

use super::request::Request;
use super::setting::Setting;

/// The change that is asked for.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Values.
    Set(Vec<Setting>),
    /// The certificates of these nodes do not count any more.
    Ban(BTreeSet<NodeId>),
    /// They count again.
    Unban(BTreeSet<NodeId>),
    /// There is a further bootstrap service.
    AddService(Request),
    /// There is one fewer. A stolen one is revoked: its CA and its writer count no more.
    RemoveService { url: String, is_stolen: bool },
    /// Nothing but the signature.
    Renew,
}

/// Why there is no next document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("nothing changes: the document says so already")]
    Nothing,
    #[error("{what} stands in the document already")]
    Twice { what: String },
    #[error("there is no {what} in the document; `p2psip document show` lists what it has")]
    Unknown { what: String },
    #[error("the last {what} cannot go, for then nobody could join any more; add another one first")]
    Last { what: &'static str },
    #[error("a document has room for {MAX_SERVICES} bootstrap services; remove one first")]
    Services,
    #[error("the document has no Kind of user records, so it is for no bootstrap service of this program")]
    NoUsers,
    #[error("the node {0} signs documents or writes user records; it cannot be banned")]
    Needed(NodeId),
    #[error("no node could obey it: {0}")]
    Disobeyed(#[from] overlay_config::Error),
}

/// Makes the next document.
pub(super) fn change(present: &Document, change: &Change) -> Result<Document, Refusal> {
    let mut next = present.clone();
    match change {
        Change::Set(settings) => set(&mut next, settings)?,
        Change::Ban(nodes) => ban(&mut next, nodes)?,
        Change::Unban(nodes) => unban(&mut next, nodes)?,
        Change::AddService(request) => add_service(&mut next, request)?,
        Change::RemoveService { url, is_stolen: false } => lose_service(&mut next, url)?,
        Change::RemoveService { url, is_stolen: true } => revoke_service(&mut next, url)?,
        Change::Renew => {}
    }
    if next == *present && !matches!(change, Change::Renew) {
        return Err(Refusal::Nothing);
    }
    if next.bootstrap_nodes.is_empty() {
        return Err(Refusal::Last { what: "bootstrap node" });
    }
    if next.enrollment_servers.is_empty() && !present.enrollment_servers.is_empty() {
        return Err(Refusal::Last {
            what: "enrollment server",
        });
    }
    // RFC 6940 §11.1: between 0 and 2^16-2.
    next.sequence = present
        .sequence
        .checked_add(1)
        .filter(|next| *next < u16::MAX)
        .unwrap_or(0);
    // The bounds of each value are the reader's.
    Ok(Document::from_xml(&next.to_xml())?)
}

fn set(next: &mut Document, settings: &[Setting]) -> Result<(), Refusal> {
    for setting in settings {
        setting.apply(next)?;
    }
    // A service that moved is the same one.
    let urls = |keep: fn(&Setting) -> Option<&String>| settings.iter().filter_map(keep).collect::<Vec<_>>();
    if let ([new], [old]) = (&*urls(Setting::server_added), &*urls(Setting::server_removed)) {
        let moved = next.services.iter_mut().filter(|service| service.url == **old);
        moved.for_each(|service| service.url.clone_from(new));
    }
    Ok(())
}

fn ban(next: &mut Document, nodes: &BTreeSet<NodeId>) -> Result<(), Refusal> {
    let needed = nodes.iter().find(|node| {
        let signs = next.configuration_signers.contains(node) || next.kind_signers.contains(node);
        signs || next.user_signers().contains(node)
    });
    if let Some(node) = needed {
        return Err(Refusal::Needed(*node));
    }
    next.bad_nodes.extend(nodes);
    Ok(())
}

fn unban(next: &mut Document, nodes: &BTreeSet<NodeId>) -> Result<(), Refusal> {
    for node in nodes {
        if !next.bad_nodes.remove(node) {
            return Err(unknown("banned node", &node.to_string()));
        }
    }
    Ok(())
}

fn add_service(next: &mut Document, request: &Request) -> Result<(), Refusal> {
    let service = Service {
        url: request.url.clone(),
        authority: request.authority.hash(),
        writer: request.writer,
    };
    // From the second one on it must be told which is which.
    let mut services = next.bootstrap_services();
    let has = |part: fn(&Service, &Service) -> bool| services.iter().any(|known| part(known, &service));
    if has(|known, new| known.url == new.url) {
        return Err(twice("bootstrap service", &service.url));
    }
    if has(|known, new| known.authority == new.authority || known.writer == new.writer) {
        return Err(twice("CA or writer of the bootstrap service", &service.url));
    }
    if services.len() >= MAX_SERVICES {
        return Err(Refusal::Services);
    }
    let kind = next.kinds.iter_mut().find(|kind| kind.id == KindId::P2PSIP_USER);
    let kind = kind.ok_or(Refusal::NoUsers)?;
    // Each writer has a value of its own at the user's resource.
    kind.max_count = kind.max_count.max(MOST_WRITERS);
    kind.writers.push(service.writer);
    next.root_certs.push(request.authority.clone());
    if !next.enrollment_servers.contains(&service.url) {
        next.enrollment_servers.push(service.url.clone());
    }
    services.push(service);
    next.services = services;
    Ok(())
}

/// Its certificates and records count on: nodes renew at another service, which signs its records anew.
fn lose_service(next: &mut Document, url: &str) -> Result<(), Refusal> {
    known_service(next, url)?;
    next.enrollment_servers.retain(|server| server != url);
    Ok(())
}

fn revoke_service(next: &mut Document, url: &str) -> Result<(), Refusal> {
    let service = known_service(next, url)?;
    next.services = next.bootstrap_services();
    next.services.retain(|other| *other != service);
    if next.services.is_empty() {
        return Err(Refusal::Last {
            what: "bootstrap service",
        });
    }
    next.enrollment_servers.retain(|server| server != url);
    next.root_certs.retain(|ca| ca.hash() != service.authority);
    for kind in &mut next.kinds {
        kind.writers.retain(|writer| *writer != service.writer);
    }
    Ok(())
}

fn known_service(document: &Document, url: &str) -> Result<Service, Refusal> {
    let mut services = document.bootstrap_services().into_iter();
    services
        .find(|service| service.url == url)
        .ok_or_else(|| unknown("bootstrap service", url))
}

/// Adds to a list that has each thing once.
pub(super) fn add<T: PartialEq>(list: &mut Vec<T>, new: T, what: &str, name: &str) -> Result<(), Refusal> {
    if list.contains(&new) {
        return Err(twice(what, name));
    }
    list.push(new);
    Ok(())
}

/// Takes out of a list what is in it.
pub(super) fn take_out<T: PartialEq>(list: &mut Vec<T>, old: &T, what: &str, name: &str) -> Result<(), Refusal> {
    let at = list.iter().position(|known| known == old);
    list.remove(at.ok_or_else(|| unknown(what, name))?);
    Ok(())
}

fn twice(what: &str, name: &str) -> Refusal {
    Refusal::Twice {
        what: format!("{what} {name}"),
    }
}

fn unknown(what: &str, name: &str) -> Refusal {
    Refusal::Unknown {
        what: format!("{what} {name}"),
    }
}

/// Bootstrap services of an overlay; nodes refuse a document with more.
const MAX_SERVICES: usize = 8;
/// Values of a user's resource, one for each writer.
const MOST_WRITERS: u32 = 8;

#[cfg(test)]
mod tests {
    use super::super::tests::{document, service};
    use super::*;

    const FIRST: &str = "https://sip1.example.org:6085/enroll";

    fn setting(text: &str) -> Setting {
        text.parse().unwrap()
    }

    fn set(text: &str) -> Change {
        Change::Set(text.split(' ').map(setting).collect())
    }

    fn nodes(number: u8) -> BTreeSet<NodeId> {
        BTreeSet::from([NodeId::from([number; 16])])
    }

    fn remove(number: u8, is_stolen: bool) -> Change {
        Change::RemoveService {
            url: service(number).url,
            is_stolen,
        }
    }

    fn made(changes: &[Change]) -> Document {
        let first = document();
        changes
            .iter()
            .fold(first, |present, next| change(&present, next).unwrap())
    }

    #[test]
    fn each_change_is_in_the_next_document() {
        type Check = fn(&Document) -> bool;
        let checks: [(Change, Check); 9] = [
            (set("node=+sip2.example.org:6084"), |next| {
                next.bootstrap_nodes[1].host == "sip2.example.org" && next.bootstrap_nodes.len() == 2
            }),
            (set("node=+[2001:db8::1]:6084 node=-sip1.example.org:6084"), |next| {
                next.bootstrap_nodes[0].host == "2001:db8::1" && next.bootstrap_nodes.len() == 1
            }),
            (set("expires=2030-12-31"), |next| {
                next.expiration_ms == Some(1_924_991_999_000)
            }),
            (set("turn-density=3 clients-permitted=false"), |next| {
                next.turn_density == 3 && !next.clients_permitted
            }),
            (set("update-interval=20s ping-interval=1m"), |next| {
                next.chord.update_interval.as_secs() == 20 && next.chord.ping_interval.as_secs() == 60
            }),
            (set("max-message-size=128KiB initial-ttl=40"), |next| {
                next.max_message_size == 131_072 && next.initial_ttl == 40
            }),
            (set("reliability-timer=750ms reactive=false"), |next| {
                next.reliability_timer.as_millis() == 750 && !next.chord.is_reactive
            }),
            (Change::Ban(nodes(3)), |next| next.bad_nodes == nodes(3)),
            (Change::Renew, |next| next.bad_nodes.is_empty()),
        ];
        for (asked, check) in checks {
            let next = made(std::slice::from_ref(&asked));
            assert!(check(&next), "{asked:?}: {next:?}");
            assert_eq!(next.sequence, 2, "{asked:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let last = |what| Refusal::Last { what };
        let twice = |what: &str| Refusal::Twice { what: what.to_owned() };
        let unknown = |what: &str| Refusal::Unknown { what: what.to_owned() };
        let signer = NodeId::from([10; 16]);
        for (asked, expected) in [
            (set("node=-sip1.example.org:6084"), last("bootstrap node")),
            (set(&format!("server=-{FIRST}")), last("enrollment server")),
            (
                set("node=+sip1.example.org:6084"),
                twice("bootstrap node sip1.example.org:6084"),
            ),
            (
                set(&format!("server=+{FIRST}")),
                twice(&format!("enrollment server {FIRST}")),
            ),
            (
                set("node=-sip9.example.org:6084"),
                unknown("bootstrap node sip9.example.org:6084"),
            ),
            (set("expires=never"), Refusal::Nothing),
            (Change::Ban(nodes(10)), Refusal::Needed(signer)),
            (
                Change::Unban(nodes(3)),
                unknown("banned node 03030303030303030303030303030303"),
            ),
            (remove(1, false), last("enrollment server")),
            (remove(1, true), last("bootstrap service")),
            (
                remove(5, false),
                unknown("bootstrap service https://sip5.example.org:6085/enroll"),
            ),
            (
                Change::AddService(service(1)),
                twice(&format!("bootstrap service {FIRST}")),
            ),
        ] {
            assert_eq!(change(&document(), &asked).unwrap_err(), expected, "{asked:?}");
        }
    }

    #[test]
    fn what_no_node_could_read_is_refused() {
        for text in [
            "max-message-size=512B",
            "update-interval=2d",
            "server=+https://a b/enroll",
            "node=+a_b$:6084",
        ] {
            let asked = Change::Set(vec![setting(text)]);
            let refusal = change(&document(), &asked).unwrap_err();
            assert!(matches!(refusal, Refusal::Disobeyed(_)), "{text}: {refusal}");
        }
    }

    #[test]
    fn each_service_has_its_url_its_ca_and_its_writer() {
        let next = made(&[Change::AddService(service(2))]);
        let services = next.bootstrap_services();
        assert_eq!(services[0], document().bootstrap_services()[0]);
        assert_eq!(services[1].url, service(2).url);
        assert_eq!(next.enrollment_servers, [FIRST, &service(2).url]);
        assert_eq!(next.user_signers(), [services[0].writer, services[1].writer]);
        assert!(next.root_certs.contains(&service(2).authority));
        assert_eq!(next.kind(KindId::P2PSIP_USER).unwrap().max_count, 8);
    }

    #[test]
    fn there_are_eight_services_at_most() {
        let further: Vec<Change> = (2..=8).map(|number| Change::AddService(service(number))).collect();
        let full = made(&further);
        assert_eq!(full.services.len(), 8);
        let ninth = Change::AddService(service(9));
        assert_eq!(change(&full, &ninth).unwrap_err(), Refusal::Services);
    }

    #[test]
    fn no_ca_and_no_writer_is_of_two_services() {
        let two = made(&[Change::AddService(service(2))]);
        let same_writer = Request {
            writer: service(2).writer,
            ..service(3)
        };
        let same_authority = Request {
            authority: service(2).authority,
            ..service(3)
        };
        for request in [same_writer, same_authority] {
            let refusal = change(&two, &Change::AddService(request)).unwrap_err();
            assert!(matches!(refusal, Refusal::Twice { .. }), "{refusal}");
        }
    }

    #[test]
    fn lost_is_not_stolen() {
        let two = made(&[Change::AddService(service(2))]);
        let lost = change(&two, &remove(2, false)).unwrap();
        assert_eq!(lost.enrollment_servers, [FIRST]);
        assert_eq!((&lost.root_certs, &lost.services), (&two.root_certs, &two.services));
        assert_eq!(lost.user_signers(), two.user_signers());
        for before in [two, lost] {
            let revoked = change(&before, &remove(2, true)).unwrap();
            assert_eq!(revoked.enrollment_servers, [FIRST]);
            assert_eq!(revoked.bootstrap_services(), document().bootstrap_services());
            assert_eq!(revoked.root_certs, document().root_certs);
            assert_eq!(revoked.user_signers(), document().user_signers());
        }
    }

    #[test]
    fn a_service_that_moves_is_the_same_one() {
        let moved = "https://sip7.example.org:6085/enroll";
        let text = format!("server=+{moved} server=-{}", service(2).url);
        let next = made(&[Change::AddService(service(2)), set(&text)]);
        assert_eq!(next.enrollment_servers, [FIRST, moved]);
        assert_eq!(next.services[1].url, moved);
        assert_eq!(next.services[1].writer, service(2).writer);
    }

    #[test]
    fn sequence_numbers_begin_anew() {
        let last = Document {
            sequence: 65534,
            ..document()
        };
        assert_eq!(change(&last, &Change::Renew).unwrap().sequence, 0);
    }
}
