//! What the configuration document decides, ready for use.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use overlay_config::{SignedDocument, is_newer};
use wire::{
    ArrayRange, DataModel, FetchReq, KindId, ModelSpecifier, Models, ResourceId, StatReq, StoredDataSpecifier,
    overlay_hash,
};

/// The overlay's parameters under one document.
pub(crate) struct Parameters {
    document: Arc<SignedDocument>,
    pub(crate) overlay: String,
    pub(crate) overlay_hash: u32,
    pub(crate) sequence: u16,
    pub(crate) initial_ttl: u8,
    pub(crate) longest_message: usize,
    pub(crate) reliability_timer: Duration,
    /// Whether users' own nodes may be connected.
    pub(crate) clients_permitted: bool,
}

impl Parameters {
    pub(crate) fn of(signed: Arc<SignedDocument>) -> Self {
        let document = signed.document();
        Self {
            overlay: document.overlay.clone(),
            overlay_hash: overlay_hash(&document.overlay),
            sequence: document.sequence,
            initial_ttl: document.initial_ttl,
            longest_message: usize::try_from(document.max_message_size).unwrap_or(usize::MAX),
            reliability_timer: document.reliability_timer,
            clients_permitted: document.clients_permitted,
            document: signed,
        }
    }

    /// The topology's part of the document.
    pub(crate) fn chord(&self, list_length: usize) -> chord::Settings {
        let decided = &self.document.document().chord;
        chord::Settings {
            list_length,
            update_interval: decided.update_interval,
            ping_interval: decided.ping_interval,
            is_reactive: decided.is_reactive,
            ..chord::Settings::default()
        }
    }

    pub(crate) fn document(&self) -> &Arc<SignedDocument> {
        &self.document
    }

    pub(crate) fn xml(&self) -> Bytes {
        self.document.xml().clone()
    }

    /// Whether a document with this sequence number is older than the one in use.
    pub(crate) fn is_older(&self, sequence: u16) -> bool {
        is_newer(self.sequence, sequence)
    }

    /// The data models of the Kinds, without which stored data cannot be read.
    pub(crate) fn models(&self) -> impl Models + use<> {
        let document = Arc::clone(&self.document);
        move |kind: KindId| document.document().kind(kind).map(|definition| definition.data_model)
    }

    /// A request for everything that a holder has of a resource.
    // RFC 6940 §7.4.2.1: an empty list of keys means all of them; generation 0 is never up to date.
    pub(crate) fn fetch_all(&self, resource: ResourceId) -> FetchReq {
        let specifiers = self.document.document().kinds.iter().map(|kind| StoredDataSpecifier {
            kind: kind.id,
            generation: 0,
            model: match kind.data_model {
                DataModel::Single => ModelSpecifier::Single,
                DataModel::Array => ModelSpecifier::Array(vec![ArrayRange {
                    first: 0,
                    last: u32::MAX,
                }]),
                DataModel::Dictionary => ModelSpecifier::Dictionary(Vec::new()),
            },
        });
        FetchReq {
            resource,
            specifiers: specifiers.collect(),
        }
    }

    /// A request for what a holder has of a resource, without the values.
    pub(crate) fn stat_all(&self, resource: ResourceId) -> StatReq {
        let FetchReq { resource, specifiers } = self.fetch_all(resource);
        StatReq { resource, specifiers }
    }
}
