//! RELOAD structures and their bytes (RFC 6940 §6.3, §6.6.2, §7, §10).
//!
//! Every structure that crosses a RELOAD link is a plain type here, with [`Encode`] and [`Decode`]. Decoding takes
//! only bytes that are present: no length field makes it allocate, no input makes it panic, and bytes left over are an
//! error that names the octet. A hop handles a [`Packet`] (header and opaque payload); the destination opens it into a
//! [`Message`] and reads the typed [`Body`] from the contents.

#[macro_use]
mod codec;

mod body;
mod contents;
mod destination;
mod error_code;
pub mod framing;
mod header;
pub mod hex;
mod id;
pub mod inspect;
mod message_code;
mod model;
mod now;
mod option;
mod packet;
mod security;
mod stored;
mod trace;

pub use body::{
    AddressPort, AppAttachAns, AppAttachReq, ArrayRange, AttachAns, AttachReq, Body, CandidateType, ChordLeave,
    ChordRouteQueryAns, ChordUpdate, ChordUpdateKind, ConfigUpdateAns, ConfigUpdateReq, ErrorResponse, FetchAns,
    FetchKindResponse, FetchReq, FindAns, FindKindData, FindReq, IceCandidate, IceExtension, JoinAns, JoinReq,
    LeaveAns, LeaveReq, MetaData, MetaDataValue, ModelSpecifier, OverlayLink, PingAns, PingReq, ProbeAns,
    ProbeInformation, ProbeReq, RouteQueryReq, StatAns, StatKindResponse, StatReq, StoreAns, StoreKindData,
    StoreKindResponse, StoreReq, StoredDataSpecifier, StoredMetaData, UnknownKinds, UpdateAns,
};
pub use codec::{Decode, DecodeError, Encode, Fault, Reader, TooLong, Writer};
pub use contents::{Changed, MessageContents, MessageExtension};
pub use destination::Destination;
pub use error_code::ErrorCode;
pub use framing::FramedMessage;
pub use header::{CONFIGURATION_ANY, ForwardingHeader, Fragment, RELO_TOKEN, VERSION};
pub use id::{KindId, NodeId, ResourceId, TransactionId, overlay_hash};
pub use message_code::MessageCode;
pub use model::{DataModel, Models, WellKnown};
pub use now::Now;
pub use option::ForwardingOption;
pub use packet::{Message, Packet};
pub use security::{GenericCertificate, SecurityBlock, Signature, SignatureAndHash, SignerIdentity};
pub use stored::{DataValue, StoredData, StoredDataValue};
pub use trace::TraceContext;
