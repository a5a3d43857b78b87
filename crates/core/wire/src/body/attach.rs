//! Attach and AppAttach: candidates for a direct connection (RFC 6940 §6.5.1, §6.5.2).

use bytes::Bytes;
use serde::Serialize;

use super::AddressPort;
use crate::{
    codec::{Decode, DecodeError, Encode, Fault, Reader, Writer},
    hex,
};

macro_rules! attach {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        structure! {
            $(#[$doc])*
            pub struct $name {
                /// ICE username fragment; empty without ICE.
                #[serde(serialize_with = "hex::bytes")]
                pub ufrag: Bytes = opaque8,
                /// ICE password; empty without ICE.
                #[serde(serialize_with = "hex::bytes")]
                pub password: Bytes = opaque8,
                /// `passive` in a request, `active` in an answer.
                #[serde(serialize_with = "hex::bytes")]
                pub role: Bytes = opaque8,
                /// Where the sender can be reached.
                pub candidates: Vec<IceCandidate> = list16,
                /// Whether the sender wants an Update once connected.
                pub send_update: bool,
            }
        }
    )*};
}

attach! {
    /// Asks for a link of the overlay.
    AttachReq;
    /// Agrees to a link of the overlay.
    AttachAns;
}

macro_rules! app_attach {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        structure! {
            $(#[$doc])*
            pub struct $name {
                /// ICE username fragment; empty without ICE.
                #[serde(serialize_with = "hex::bytes")]
                pub ufrag: Bytes = opaque8,
                /// ICE password; empty without ICE.
                #[serde(serialize_with = "hex::bytes")]
                pub password: Bytes = opaque8,
                /// Application-ID (RFC 6940 §14.5): 5060 is SIP, 5061 SIPS.
                pub application: u16,
                /// `passive` in a request, `active` in an answer.
                #[serde(serialize_with = "hex::bytes")]
                pub role: Bytes = opaque8,
                /// Where the sender can be reached.
                pub candidates: Vec<IceCandidate> = list16,
            }
        }
    )*};
}

app_attach! {
    /// Asks for a connection that an application uses.
    AppAttachReq;
    /// Agrees to a connection that an application uses.
    AppAttachAns;
}

/// How a candidate is talked to (RFC 6940 §14.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct OverlayLink(pub u8);

impl OverlayLink {
    /// DTLS over UDP with simple reliability and ICE.
    pub const DTLS_UDP_SR: Self = Self(1);
    /// DTLS over UDP with simple reliability, without ICE.
    pub const DTLS_UDP_SR_NO_ICE: Self = Self(3);
    /// TLS over TCP with the framing header, without ICE.
    pub const TLS_TCP_FH_NO_ICE: Self = Self(4);
}

impl Encode for OverlayLink {
    fn encode(&self, out: &mut Writer) {
        self.0.encode(out);
    }
}

impl Decode for OverlayLink {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u8::decode(reader).map(Self)
    }
}

/// Where a candidate's address comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CandidateType {
    /// An interface of the host.
    Host,
    /// The host as a server saw it.
    ServerReflexive {
        /// The base.
        related: AddressPort,
    },
    /// A relay.
    Relay {
        /// The host as the relay sees it.
        related: AddressPort,
    },
}

/// CandType values; 3 is reserved.
const HOST: u8 = 1;
const SERVER_REFLEXIVE: u8 = 2;
const RELAY: u8 = 4;

impl Encode for CandidateType {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Host => HOST.encode(out),
            Self::ServerReflexive { related } => {
                SERVER_REFLEXIVE.encode(out);
                related.encode(out);
            }
            Self::Relay { related } => {
                RELAY.encode(out);
                related.encode(out);
            }
        }
    }
}

impl Decode for CandidateType {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.at();
        match u8::decode(reader)? {
            HOST => Ok(Self::Host),
            SERVER_REFLEXIVE => Ok(Self::ServerReflexive {
                related: AddressPort::decode(reader)?,
            }),
            RELAY => Ok(Self::Relay {
                related: AddressPort::decode(reader)?,
            }),
            other => Err(DecodeError::new(at, Fault::Value(u64::from(other)))),
        }
    }
}

structure! {
    /// One way to reach a node.
    #[derive(Hash)]
    pub struct IceCandidate {
        /// The address.
        pub address: AddressPort,
        /// The protocol.
        pub overlay_link: OverlayLink,
        /// ICE foundation.
        #[serde(serialize_with = "hex::bytes")]
        pub foundation: Bytes = opaque8,
        /// ICE priority.
        pub priority: u32,
        /// ICE type, with the related address where it has one.
        pub candidate_type: CandidateType,
        /// ICE extensions.
        pub extensions: Vec<IceExtension> = list16,
    }
}

structure! {
    /// Something added to a candidate.
    #[derive(Hash)]
    pub struct IceExtension {
        /// Its name.
        #[serde(serialize_with = "hex::bytes")]
        pub name: Bytes = opaque16,
        /// Its value.
        #[serde(serialize_with = "hex::bytes")]
        pub value: Bytes = opaque16,
    }
}
