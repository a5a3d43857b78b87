//! Judges one message by what tshark saw in it.

use crate::{
    capture::{Captured, MOST},
    pdml::Field,
};

/// What is wrong with a message; nothing if it is clean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Faults of the message.
    pub faults: Vec<String>,
    /// Complaints that are faults of the dissector.
    pub excused: Vec<String>,
}

impl Verdict {
    /// Tells whether there are no faults.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, text: impl Into<String>) {
        self.faults.push(text.into());
    }
}

/// FramedMessageType of data and of acknowledgements (RFC 6940 §6.6.2).
const DATA: u8 = 0x80;
const ACK: u8 = 0x81;

/// Octets of a data frame before the message.
const FRAME: usize = 8;

pub(crate) fn judge(message: &Captured, packet: &Field) -> Verdict {
    let mut verdict = Verdict::default();
    let first = message.octets.first().copied();
    if message.octets.len() > MOST {
        verdict.fault(format!(
            "{} octets are more than the dissector counts",
            message.octets.len()
        ));
    }
    if matches!(first, Some(DATA | ACK)) && protocol(packet, "reload-framing").is_none() {
        verdict.fault("not seen as a frame (an acknowledgement needs its data frame before it)");
    }
    complaints(packet, &mut Vec::new(), &mut verdict);
    if first == Some(ACK) {
        return verdict;
    }
    match protocol(packet, "reload") {
        Some(reload) => lengths(&message.octets, reload, &mut verdict),
        None => verdict.fault("not seen as RELOAD"),
    }
    verdict
}

fn protocol<'a>(packet: &'a Field, name: &str) -> Option<&'a Field> {
    packet.fields.iter().find(|field| field.name == name)
}

/// Collects what the dissector complains of, here and below.
fn complaints<'a>(field: &'a Field, above: &mut Vec<&'a Field>, verdict: &mut Verdict) {
    match field.name.as_str() {
        "_ws.malformed" => verdict.fault(format!("malformed: {}", field.showname)),
        "_ws.expert" => {
            if let Some(complaint) = complaint(field) {
                match excuse(&complaint, above) {
                    Some(excuse) => verdict.excused.push(format!("{complaint} ({excuse})")),
                    None => verdict.fault(complaint),
                }
            }
        }
        _ => {}
    }
    above.push(field);
    for inner in &field.fields {
        complaints(inner, above, verdict);
    }
    above.pop();
}

/// The text of a complaint, if it is a warning or an error.
fn complaint(expert: &Field) -> Option<String> {
    let part = |name: &str| expert.fields.iter().find(|field| field.name == name);
    let severity = &part("_ws.expert.severity")?.showname;
    let grave = severity.contains("Error") || severity.contains("Warning");
    grave.then(|| {
        part("_ws.expert.message")
            .map(|message| message.show.clone())
            .unwrap_or_default()
    })
}

/// Why a complaint is the dissector's own fault, if it is.
fn excuse(complaint: &str, above: &[&Field]) -> Option<&'static str> {
    let shows = |field: &Field, name: &str, values: &[&str]| {
        field
            .all()
            .into_iter()
            .any(|inner| inner.name == name && values.contains(&inner.show.as_str()))
    };
    let identity = above.iter().find(|field| field.name == "reload.signature.identity");
    if complaint == "Unknown identity type"
        && identity.is_some_and(|identity| shows(identity, "reload.signature.identity.type", &["3"]))
    {
        return Some("RFC 6940 §6.3.4 knows the identity type none");
    }
    let packet = above.first()?;
    // Fetch and Stat requests.
    if complaint.contains("Computed length") && shows(packet, "reload.message.code", &["9", "25"]) {
        return Some("the dissector reads the keys of a dictionary two octets too early");
    }
    None
}

/// The dissector does not mind octets left over, nor wrong lengths in the header: header, contents and security block
/// must follow each other and fill the message.
fn lengths(octets: &[u8], reload: &Field, verdict: &mut Verdict) {
    let message = if octets.first() == Some(&DATA) {
        let framed = number(octets, 5..8);
        if framed != octets.len().checked_sub(FRAME) {
            verdict.fault(format!("frame has {} octets, its length says {framed:?}", octets.len()));
        }
        octets.get(FRAME..).unwrap_or_default()
    } else {
        octets
    };
    let length = number(message, 16..20);
    if length != Some(message.len()) {
        verdict.fault(format!(
            "message has {} octets, its header says {length:?}",
            message.len()
        ));
    }
    // RFC 6940 §6.3.2: the only fragment has offset 0 and is the last.
    if number(message, 12..16).is_some_and(|fragment| fragment & 0x40ff_ffff != 0x4000_0000) {
        return;
    }
    let start = reload.place.0;
    let mut next = start;
    for part in ["reload.forwarding", "reload.message.contents", "reload.security_block"] {
        let Some(field) = reload.find(part) else {
            verdict.fault(format!("{part} not found"));
            return;
        };
        let (place, size) = field.place;
        if place != next {
            verdict.fault(format!("{part} starts at octet {place}, not {next}"));
        }
        next = place + size;
    }
    if next.checked_sub(start) != Some(message.len()) {
        verdict.fault(format!(
            "only {} of {} octets dissected",
            next.saturating_sub(start),
            message.len()
        ));
    }
}

/// A number of the message's octets in that range.
fn number(octets: &[u8], range: std::ops::Range<usize>) -> Option<usize> {
    Some(
        octets
            .get(range)?
            .iter()
            .fold(0, |sum, octet| sum << 8 | usize::from(*octet)),
    )
}
