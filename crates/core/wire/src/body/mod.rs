//! Bodies of requests, answers and errors, one structure each (RFC 6940 §6.3.3).

mod address;
mod attach;
mod chord;
mod config_update;
mod error;
mod fetch;
mod find;
mod ping;
mod probe;
mod stat;
mod store;
mod topology;

use bytes::Bytes;
use serde::Serialize;

use crate::{
    KindId,
    codec::{Decode, DecodeError, Encode, Reader, Writer},
    hex,
    message_code::MessageCode,
    model::{Models, WellKnown},
};

pub use address::AddressPort;
pub use attach::{
    AppAttachAns, AppAttachReq, AttachAns, AttachReq, CandidateType, IceCandidate, IceExtension, OverlayLink,
};
pub use chord::{ChordLeave, ChordRouteQueryAns, ChordUpdate, ChordUpdateKind};
pub use config_update::{ConfigUpdateAns, ConfigUpdateReq};
pub use error::{ErrorResponse, UnknownKinds};
pub use fetch::{ArrayRange, FetchAns, FetchKindResponse, FetchReq, ModelSpecifier, StoredDataSpecifier};
pub use find::{FindAns, FindKindData, FindReq};
pub use ping::{PingAns, PingReq};
pub use probe::{ProbeAns, ProbeInformation, ProbeReq};
pub use stat::{MetaData, MetaDataValue, StatAns, StatKindResponse, StatReq, StoredMetaData};
pub use store::{StoreAns, StoreKindData, StoreKindResponse, StoreReq};
pub use topology::{JoinAns, JoinReq, LeaveAns, LeaveReq, RouteQueryReq, UpdateAns};

macro_rules! bodies {
    ($($variant:ident($type:ident) = $code:ident;)*) => {
        /// The body of a message.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        pub enum Body {
            $(
                #[doc = concat!("Body of [`MessageCode::", stringify!($code), "`].")]
                $variant($type),
            )*
            /// Body of a code that this implementation does not know.
            Other {
                /// The code.
                code: MessageCode,
                /// The body's octets.
                #[serde(serialize_with = "hex::bytes")]
                body: Bytes,
            },
        }

        impl Body {
            /// Code of the message that has this body.
            #[must_use]
            pub const fn code(&self) -> MessageCode {
                match self {
                    $(Self::$variant(_) => MessageCode::$code,)*
                    Self::Other { code, .. } => *code,
                }
            }

            pub(crate) fn read(code: MessageCode, mut reader: Reader<'_>) -> Result<Self, DecodeError> {
                let body = match code {
                    $(MessageCode::$code => Self::$variant($type::decode(&mut reader)?),)*
                    _ => Self::Other { code, body: reader.take_rest() },
                };
                reader.finish().map_err(|error| error.within("message_body"))?;
                Ok(body)
            }
        }

        impl Encode for Body {
            fn encode(&self, out: &mut Writer) {
                match self {
                    $(Self::$variant(body) => body.encode(out),)*
                    Self::Other { body, .. } => out.octets(body),
                }
            }
        }

        $(
            impl From<$type> for Body {
                fn from(body: $type) -> Self {
                    Self::$variant(body)
                }
            }
        )*
    };
}

impl Body {
    /// The Kinds that a request about stored data names, in its order; none for all others.
    #[must_use]
    pub fn kinds(&self) -> Vec<KindId> {
        let wanted = |specifiers: &[StoredDataSpecifier]| specifiers.iter().map(|wanted| wanted.kind).collect();
        match self {
            Self::StoreReq(store) => store.kind_data.iter().map(|data| data.kind).collect(),
            Self::FetchReq(fetch) => wanted(&fetch.specifiers),
            Self::StatReq(stat) => wanted(&stat.specifiers),
            Self::FindReq(find) => find.kinds.clone(),
            _ => Vec::new(),
        }
    }
}

bodies! {
    ProbeReq(ProbeReq) = PROBE_REQ;
    ProbeAns(ProbeAns) = PROBE_ANS;
    AttachReq(AttachReq) = ATTACH_REQ;
    AttachAns(AttachAns) = ATTACH_ANS;
    StoreReq(StoreReq) = STORE_REQ;
    StoreAns(StoreAns) = STORE_ANS;
    FetchReq(FetchReq) = FETCH_REQ;
    FetchAns(FetchAns) = FETCH_ANS;
    FindReq(FindReq) = FIND_REQ;
    FindAns(FindAns) = FIND_ANS;
    JoinReq(JoinReq) = JOIN_REQ;
    JoinAns(JoinAns) = JOIN_ANS;
    LeaveReq(LeaveReq) = LEAVE_REQ;
    LeaveAns(LeaveAns) = LEAVE_ANS;
    UpdateReq(ChordUpdate) = UPDATE_REQ;
    UpdateAns(UpdateAns) = UPDATE_ANS;
    RouteQueryReq(RouteQueryReq) = ROUTE_QUERY_REQ;
    RouteQueryAns(ChordRouteQueryAns) = ROUTE_QUERY_ANS;
    PingReq(PingReq) = PING_REQ;
    PingAns(PingAns) = PING_ANS;
    StatReq(StatReq) = STAT_REQ;
    StatAns(StatAns) = STAT_ANS;
    AppAttachReq(AppAttachReq) = APP_ATTACH_REQ;
    AppAttachAns(AppAttachAns) = APP_ATTACH_ANS;
    ConfigUpdateReq(ConfigUpdateReq) = CONFIG_UPDATE_REQ;
    ConfigUpdateAns(ConfigUpdateAns) = CONFIG_UPDATE_ANS;
    Error(ErrorResponse) = ERROR;
}

impl Body {
    /// Reads the body of a message; stored data is read with the well-known Kinds.
    ///
    /// # Errors
    /// [`DecodeError`] if the octets are not such a body, or more than it.
    pub fn decode(code: MessageCode, body: &Bytes) -> Result<Self, DecodeError> {
        Self::decode_with(code, body, &WellKnown)
    }

    /// Reads the body of a message; `models` tells the data model of each Kind.
    ///
    /// # Errors
    /// [`DecodeError`] if the octets are not such a body, or more than it.
    pub fn decode_with(code: MessageCode, body: &Bytes, models: &dyn Models) -> Result<Self, DecodeError> {
        Self::read(code, Reader::with_models(body, models))
    }
}
