//! Data models of Kinds: without them stored data cannot be read (RFC 6940 §7.2).

use serde::Serialize;

use crate::id::KindId;

/// How the values of a Kind are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DataModel {
    /// One value.
    Single,
    /// Values by index.
    Array,
    /// Values by key.
    Dictionary,
}

/// Knows the data model of each Kind. Closures `Fn(KindId) -> Option<DataModel>` are such.
pub trait Models {
    /// Looks one up; stored data of a Kind without a model is kept as octets.
    fn model(&self, kind: KindId) -> Option<DataModel>;
}

impl<F: Fn(KindId) -> Option<DataModel>> Models for F {
    fn model(&self, kind: KindId) -> Option<DataModel> {
        self(kind)
    }
}

/// The Kinds of RFC 6940 §14.6 and RFC 7904 §9.1, and our private ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct WellKnown;

impl Models for WellKnown {
    fn model(&self, kind: KindId) -> Option<DataModel> {
        match kind {
            KindId::SIP_REGISTRATION | KindId::P2PSIP_USER => Some(DataModel::Dictionary),
            KindId::TURN_SERVICE | KindId::P2PSIP_PROBE => Some(DataModel::Single),
            KindId::CERTIFICATE_BY_NODE | KindId::CERTIFICATE_BY_USER => Some(DataModel::Array),
            _ => None,
        }
    }
}
