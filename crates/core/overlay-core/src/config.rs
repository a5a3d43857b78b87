//! New configuration documents (RFC 6940 §6.5.4, §11.1).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use overlay_config::{Basis, Demand, SignedDocument, is_newer};
use wire::{CONFIGURATION_ANY, ConfigUpdateAns, ConfigUpdateReq, ErrorCode, NodeId, Now};

use crate::api::Output;
use crate::core::Core;
use crate::parameters::Parameters;
use crate::seam::Command;
use crate::serve::Asked;
use crate::session::Errand;

/// Until when the document in force is valid.
pub(crate) struct Validity {
    /// Whether its time is over.
    pub(crate) is_over: bool,
    /// When the calendar is looked at again.
    look_at: Option<Instant>,
}

impl Validity {
    pub(crate) fn begin(now: Now) -> Self {
        Self {
            is_over: false,
            look_at: Some(now.instant),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.look_at
    }
}

impl Core {
    /// Looks whether the time of the document is over.
    // RFC 6940 §11.1, and docs/deviations.md D33: the ring goes on, and says that it needs a new document.
    pub(crate) fn validity_due(&mut self, now: Now) {
        if self.validity.look_at.is_none_or(|at| at > now.instant) {
            return;
        }
        let Some(expiration_ms) = self.document().document().expiration_ms else {
            self.validity.look_at = None;
            return;
        };
        let left = Duration::from_millis(expiration_ms.saturating_sub(now.unix_ms));
        let is_over = left.is_zero();
        if is_over && !self.validity.is_over {
            let sequence = self.parameters.sequence;
            warn!(
                sequence,
                "configuration document has expired: sign and publish a new one"
            );
        }
        if is_over != self.validity.is_over {
            self.outputs.push_back(Output::Changed);
        }
        self.validity.is_over = is_over;
        // The calendar may be set in the meantime.
        let next = if is_over { CALENDAR } else { left.min(CALENDAR) };
        self.validity.look_at = Some(now.instant + next);
    }

    /// Another node has sent a document. It is believed for its own signature, not for the sender's.
    pub(crate) fn config_update_asked(&mut self, now: Now, asked: Asked, update: ConfigUpdateReq) {
        let ConfigUpdateReq::Config(xml) = update else {
            return self.refuse(
                now,
                asked,
                ErrorCode::InvalidMessage,
                "Kinds come with the whole document",
            );
        };
        if *self.parameters.document().xml() == xml {
            return self.answer(now, asked, &ConfigUpdateAns::default().into());
        }
        let basis = Basis::Previous(self.parameters.document().document());
        match SignedDocument::parse_and_verify(xml, basis, now.unix_ms) {
            Ok(document) => {
                self.take_document(now, Arc::new(document));
                self.answer(now, asked, &ConfigUpdateAns::default().into());
            }
            Err(overlay_config::Error::CannotObey(demand)) => {
                // Answered first: there is no link to answer over afterwards.
                self.refuse(now, asked, ErrorCode::InvalidMessage, demand.to_string());
                self.leave_over(now, demand);
            }
            Err(error) => self.refuse(now, asked, ErrorCode::InvalidMessage, error.to_string()),
        }
    }

    /// Obeys a document from now on, if it is newer than the one in force.
    // RFC 6940 §6.5.4.2, §11.1: all of it, and at once.
    pub(crate) fn take_document(&mut self, now: Now, document: Arc<SignedDocument>) {
        let next = document.document();
        if !is_newer(next.sequence, self.newest_sequence()) {
            return;
        }
        if next.overlay != self.parameters.overlay {
            // All certificates, messages and signatures carry the name.
            let (sequence, needs) = (next.sequence, format!("instance-name {}", next.overlay));
            return self.leave_over(now, Demand { sequence, needs });
        }
        self.settings.verifier.set_trust(next.trust());
        self.parameters = Parameters::of(document);
        self.validity = Validity::begin(now);
        let settings = self.parameters.chord(self.settings.neighbors);
        self.chord.set_settings(now, settings);
        let longest = self.parameters.longest_message;
        self.links.set_longest(longest);
        self.reassembly.set_longest(longest);
        self.drop_forbidden_clients(now);
        info!(sequence = self.parameters.sequence, "new configuration document");
        let xml = self.parameters.xml();
        self.command(now, Command::Document { xml: xml.clone() }, Errand::Nothing);
        self.outputs.push_back(Output::Document(xml));
        self.outputs.push_back(Output::Changed);
        if self.demand.take().is_some() {
            self.come_back(now);
        }
        self.spread_document(now);
    }

    /// A node has asked or answered over its own link, under the number of the document that it has.
    pub(crate) fn note_document(&mut self, node: NodeId, sequence: u16) {
        let Some(link) = self.links.to_mut(node).filter(|_| sequence != CONFIGURATION_ANY) else {
            return;
        };
        if link.document.replace(sequence) != Some(sequence) {
            self.outputs.push_back(Output::Changed);
        }
    }

    /// Tells whoever has a link to this node of the document that came in force.
    // RFC 6940 §6.5.4: they would be told when they next ask for something; until then requests between the two are refused.
    fn spread_document(&mut self, now: Now) {
        let linked: Vec<_> = self.links.peers().collect();
        for node in linked {
            self.send_document(now, vec![node.into()]);
        }
    }

    /// The configuration document in force.
    #[must_use]
    pub fn document(&self) -> &Arc<SignedDocument> {
        self.parameters.document()
    }
}

/// How often the calendar is looked at, at least.
const CALENDAR: Duration = Duration::from_secs(3600);
