//! Kinds of stored data and their rules.

use identity::Domains;
use wire::{DataModel, KindId, NodeId};

/// Who may write values of a Kind (RFC 6940 §7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessPolicy {
    /// USER-MATCH: the signer's user name hashes to the Resource-ID.
    UserMatch,
    /// NODE-MATCH: the signer's Node-ID hashes to the Resource-ID.
    NodeMatch,
    /// USER-NODE-MATCH: as USER-MATCH, and the dictionary key is the signer's Node-ID.
    UserNodeMatch,
    /// NODE-MULTIPLE: the signer's Node-ID and a counter hash to the Resource-ID.
    NodeMultiple,
}

/// What a document says about one Kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindDefinition {
    /// Its number.
    pub id: KindId,
    /// Its name: IANA's, or empty for a private Kind.
    pub name: String,
    /// How its values are arranged.
    pub data_model: DataModel,
    /// Who may write them.
    pub access: AccessPolicy,
    /// How many values a resource may have.
    pub max_count: u32,
    /// How many bytes a value may have.
    pub max_size: u32,
    /// The greatest counter of NODE-MULTIPLE.
    pub max_node_multiple: Option<u32>,
    /// The longest lifetime of a value in seconds (extension).
    pub longest_lifetime: Option<u32>,
    /// The only signers that are allowed, each under a dictionary key of its own, in order of precedence; empty for any
    /// (extension).
    pub writers: Vec<NodeId>,
    /// The domains that user names may have, if restricted (RFC 7904 §3.4).
    pub domain_restriction: Option<Domains>,
}

/// A Kind that IANA registered: a document may not change its model and policy.
pub(crate) struct Registered {
    pub(crate) name: &'static str,
    pub(crate) id: KindId,
    pub(crate) data_model: DataModel,
    pub(crate) access: AccessPolicy,
}

/// RFC 6940 §14.6 and RFC 7904 §9.1.
pub(crate) const REGISTERED: &[Registered] = &[
    Registered {
        name: "SIP-REGISTRATION",
        id: KindId::SIP_REGISTRATION,
        data_model: DataModel::Dictionary,
        access: AccessPolicy::UserNodeMatch,
    },
    Registered {
        name: "TURN-SERVICE",
        id: KindId::TURN_SERVICE,
        data_model: DataModel::Single,
        access: AccessPolicy::NodeMultiple,
    },
    Registered {
        name: "CERTIFICATE_BY_NODE",
        id: KindId::CERTIFICATE_BY_NODE,
        data_model: DataModel::Array,
        access: AccessPolicy::NodeMatch,
    },
    Registered {
        name: "CERTIFICATE_BY_USER",
        id: KindId::CERTIFICATE_BY_USER,
        data_model: DataModel::Array,
        access: AccessPolicy::UserMatch,
    },
];

impl AccessPolicy {
    /// Returns its name in a document.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            AccessPolicy::UserMatch => "USER-MATCH",
            AccessPolicy::NodeMatch => "NODE-MATCH",
            AccessPolicy::UserNodeMatch => "USER-NODE-MATCH",
            AccessPolicy::NodeMultiple => "NODE-MULTIPLE",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<AccessPolicy> {
        [
            Self::UserMatch,
            Self::NodeMatch,
            Self::UserNodeMatch,
            Self::NodeMultiple,
        ]
        .into_iter()
        .find(|policy| policy.name() == name)
    }
}

pub(crate) fn model_name(model: DataModel) -> &'static str {
    match model {
        DataModel::Single => "SINGLE",
        DataModel::Array => "ARRAY",
        DataModel::Dictionary => "DICTIONARY",
    }
}

pub(crate) fn model_from_name(name: &str) -> Option<DataModel> {
    [DataModel::Single, DataModel::Array, DataModel::Dictionary]
        .into_iter()
        .find(|model| model_name(*model) == name)
}
