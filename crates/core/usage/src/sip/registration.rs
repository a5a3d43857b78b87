//! The value of SIP-REGISTRATION (RFC 7904 §3.2).
//!
//! ```text
//! type(8) | length(16) | uri:   length(16), octets
//!                      | route: length(16), contact preferences, length(16), Destinations
//! ```

use bytes::Bytes;
use wire::{Decode, DecodeError, Destination, Encode, Reader, Writer};

/// Where an AOR can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SipRegistration {
    /// At another AOR.
    Uri(Bytes),
    /// At a node.
    Route {
        /// What the callee can do (RFC 3840); empty when nothing is said.
        contact_prefs: Bytes,
        /// The way to the node; its last element is the node.
        destination_list: Vec<Destination>,
    },
    /// A type that this implementation does not know.
    Other {
        /// SipRegistrationType.
        kind: u8,
        /// The data behind the length.
        data: Bytes,
    },
}

/// SipRegistrationType values.
const URI: u8 = 1;
const ROUTE: u8 = 2;

/// The shortest Destination List that the presentation allows; a compact id and one octet more.
const SHORTEST_LIST: usize = 3;

impl Encode for SipRegistration {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Uri(_) => URI,
            Self::Route { .. } => ROUTE,
            Self::Other { kind, .. } => *kind,
        }
        .encode(out);
        // RFC 7904 §3.2: the length counts the data only.
        out.vector(2, |out| match self {
            Self::Uri(uri) => out.vector(2, |out| out.octets(uri)),
            Self::Route {
                contact_prefs,
                destination_list,
            } => {
                out.vector(2, |out| out.octets(contact_prefs));
                out.vector(2, |out| destination_list.iter().for_each(|element| element.encode(out)));
            }
            Self::Other { data, .. } => out.octets(data),
        });
    }
}

impl Decode for SipRegistration {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = u8::decode(reader)?;
        let length = u16::decode(reader)?;
        let mut data = reader.part(length.into())?;
        let registration = match kind {
            URI => Self::Uri(opaque(&mut data)?),
            ROUTE => Self::Route {
                contact_prefs: opaque(&mut data)?,
                destination_list: destinations(&mut data)?,
            },
            // RFC 7904 §3.2: the structure can be extended with new types.
            _ => Self::Other {
                kind,
                data: data.take_rest(),
            },
        };
        data.finish()?;
        Ok(registration)
    }
}

fn opaque(reader: &mut Reader<'_>) -> Result<Bytes, DecodeError> {
    let length = u16::decode(reader)?;
    reader.take(length.into())
}

fn destinations(reader: &mut Reader<'_>) -> Result<Vec<Destination>, DecodeError> {
    let length = usize::from(u16::decode(reader)?);
    // A list shorter than allowed is reported as the octets that it lacks.
    let mut part = if length < SHORTEST_LIST {
        let mut rest = reader.part(length)?;
        rest.take(SHORTEST_LIST)?;
        rest
    } else {
        reader.part(length)?
    };
    // Each element takes at least two octets, so the list is never longer than its octets.
    let mut list = Vec::new();
    while part.left() > 0 {
        list.push(Destination::decode(&mut part)?);
    }
    Ok(list)
}
