//! What a Kind allows (RFC 6940 §7.4.5, §11.1).

use std::{collections::BTreeMap, time::Duration};

use identity::{Domains, Identity, Use, user_and_domain};
use wire::{DataModel, KindId, Models, NodeId, ResourceId, StoredDataValue};

/// The rules of one Kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) model: DataModel,
    pub(crate) access: Access,
    /// Most values of one Resource.
    pub(crate) max_count: usize,
    /// Most octets of a value.
    pub(crate) max_size: usize,
    /// Longest life of a value, if the document says one.
    pub(crate) longest: Option<Duration>,
    /// The only signers allowed, each under a dictionary key of its own, if the document names any.
    pub(crate) writers: Vec<NodeId>,
    /// The domains of its users, if the document restricts them.
    pub(crate) domains: Option<UserDomains>,
}

/// Which users may write (RFC 7904 §3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserDomains {
    pub(crate) allowed: Domains,
    /// The overlay's name, which is a domain too.
    pub(crate) overlay: String,
}

impl UserDomains {
    fn allow(&self, user: &str) -> bool {
        user_and_domain(user).is_some_and(|(_, domain)| self.allowed.allow(domain, &self.overlay))
    }
}

/// Who may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    UserMatch,
    NodeMatch,
    UserNodeMatch,
    NodeMultiple {
        /// Greatest `i` (RFC 6940 §7.3.4).
        most: u8,
    },
}

/// All Kinds of the document in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kinds(pub(crate) BTreeMap<KindId, Kind>);

impl Kinds {
    pub(crate) fn get(&self, kind: KindId) -> Option<&Kind> {
        self.0.get(&kind)
    }
}

impl Models for Kinds {
    fn model(&self, kind: KindId) -> Option<DataModel> {
        self.get(kind).map(|kind| kind.model)
    }
}

impl Kind {
    /// What the signer's certificate must be good for. A certificate under a delegated signer satisfies USER-NODE-MATCH
    /// alone: else any edge could overwrite what belongs to a user.
    pub(crate) fn use_(&self) -> Use {
        match self.access {
            Access::UserNodeMatch => Use::UserNodeStore,
            Access::UserMatch | Access::NodeMatch | Access::NodeMultiple { .. } => Use::Node,
        }
    }

    /// Tells whether the signer may write this value at this Resource; signer of the value and, for an original Store,
    /// signer of the request alike (RFC 6940 §7.3).
    pub(crate) fn permits(&self, signer: &Identity, resource: ResourceId, value: &StoredDataValue) -> bool {
        let is_users = || {
            signer
                .user
                .as_ref()
                .is_some_and(|user| ResourceId::of(user.as_bytes()) == resource)
        };
        let key = || match value {
            StoredDataValue::Dictionary { key, .. } => NodeId::try_from(&**key).ok(),
            _ => None,
        };
        let by_policy = match self.access {
            // RFC 6940 §7.3.1
            Access::UserMatch => is_users(),
            // RFC 6940 §7.3.2
            Access::NodeMatch => signer
                .node_ids
                .iter()
                .any(|node| ResourceId::of(node.as_bytes()) == resource),
            // RFC 6940 §7.3.3
            Access::UserNodeMatch => is_users() && key().is_some_and(|key| signer.is_node(&key)),
            // RFC 6940 §7.3.4, with i as one octet from 1 (deviation D6)
            Access::NodeMultiple { most } => signer.node_ids.iter().any(|node| {
                (1..=most).any(|i| ResourceId::of(&[node.as_bytes().as_slice(), &[i]].concat()) == resource)
            }),
        };
        let is_written_by = |writer: &NodeId| signer.is_node(writer) && key() == Some(*writer);
        let by_writer = self.writers.is_empty() || self.writers.iter().any(is_written_by);
        // RFC 7904 §3.3: whoever issued the certificate, an AOR of another domain is not stored.
        let by_domain = self
            .domains
            .as_ref()
            .is_none_or(|domains| signer.user.as_ref().is_some_and(|user| domains.allow(user)));
        by_policy && by_writer && by_domain
    }

    /// How long a value of this Kind lives at most.
    pub(crate) fn longest_life(&self, exists: bool) -> Option<Duration> {
        let longest = self.longest?;
        Some(if exists { longest } else { longest + TOMBSTONE_EXTRA })
    }
}

/// A tombstone outlives every value that its deletion could have missed: values are taken up to 49 h from their storage
/// time, by clocks that are up to a day off at either end.
pub(crate) const TOMBSTONE_EXTRA: Duration = Duration::from_secs(5 * 24 * 3600);
