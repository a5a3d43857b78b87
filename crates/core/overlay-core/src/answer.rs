//! Answers that come back: do they fit the request, and may their signer have given them?

use tracing::debug;

use identity::{Class, Identity, Use, bucket, verify_message};
use wire::{Body, Destination, ErrorCode, ErrorResponse, Message, MessageCode, NodeId, Now};

use crate::api::Refusal;
use crate::core::Core;
use crate::transaction::{Answered, Outcome, Purpose, Transaction};

impl Core {
    /// An answer has come to this node or to one of its clients.
    pub(crate) fn answer_received(&mut self, now: Now, message: Message, to: NodeId) {
        let id = message.header.transaction_id;
        let Some(transaction) = self.transactions.get(id) else {
            return;
        };
        if transaction.client.unwrap_or(self.own()) != to {
            return;
        }
        let code = message.contents.code;
        let expected = crate::forwarding::message_code(&transaction.packet).and_then(MessageCode::answer);
        if code != MessageCode::ERROR && Some(code) != expected {
            self.counters.malformed += 1;
            return;
        }
        let (overlay, contents) = (&self.parameters.overlay, &message.signed_contents);
        let verifier = &self.settings.verifier;
        let identity = match verify_message(
            verifier,
            overlay,
            id,
            contents,
            &message.security,
            now.unix_ms,
            Use::Node,
        ) {
            Ok(identity) => identity,
            Err(error) => {
                debug!(transaction_id = %id, %error, "answer is not signed as it must be");
                self.counters.unverified += 1;
                if let (Purpose::Ping(node), identity::Error::NotValidNow { .. }) = (transaction.purpose, error) {
                    self.doubt_calendar(now, node);
                }
                return;
            }
        };
        let (signer, sequence) = (identity.node_id(), message.header.configuration_sequence);
        // RFC 6940 §6.3.3: who does not know a critical extension cannot use the message.
        if message.contents.extensions.iter().any(|extension| extension.critical) {
            self.counters.malformed += 1;
            return;
        }
        let outcome = match message.contents.body_with(&self.parameters.models()) {
            Ok(Body::Error(ErrorResponse { code, info })) => {
                if !self.may_refuse(transaction, &identity, code) {
                    self.counters.unverified += 1;
                    return;
                }
                // RFC 6940 §6.3.2.1: a ConfigUpdate, one way or the other, lets the next transmission through.
                if transaction.may_be_sent_again() && code == ErrorCode::ConfigTooOld {
                    return;
                }
                let is_behind = code == ErrorCode::ConfigTooNew;
                let may_be_sent_again = transaction.may_be_sent_again();
                // RFC 6940 §6.5.4: also who does not know a Kind is behind.
                if is_behind || code == ErrorCode::UnknownKind {
                    self.send_document(now, vec![identity.node_id().into()]);
                }
                if is_behind && may_be_sent_again {
                    return;
                }
                Outcome::Refused(Refusal { code, info })
            }
            Ok(_) if self.may_answer(transaction, &identity) => Outcome::Answered(Answered {
                encoded: message.signed_contents.clone(),
                certificates: bucket(&message.security),
                signer: identity.node_id(),
                hops: self.parameters.initial_ttl.saturating_sub(message.header.ttl),
                contents: message.contents,
            }),
            Ok(_) => {
                debug!(transaction_id = %id, node_id = %identity.node_id().short(), "answer from the wrong node");
                self.counters.unverified += 1;
                return;
            }
            Err(error) => {
                debug!(transaction_id = %id, %error, "answer is malformed");
                self.counters.malformed += 1;
                return;
            }
        };
        if let Some(transaction) = self.transactions.take(id) {
            // The answer of a node with a link comes back over that link.
            if transaction.target() == Some(&signer.into()) {
                self.note_document(signer, sequence);
            }
            self.finished(now, transaction.purpose, outcome);
        }
    }

    // RFC 6940 §6.3.4: an answer from a node is signed by it; one for a resource by a peer at least as close to it as
    // any that this one knows to be alive.
    fn may_answer(&self, transaction: &Transaction, identity: &Identity) -> bool {
        let is_peer = identity.class == Class::Peer;
        // What is asked is just whether somebody of another ring answers for the own place (RFC 6940 §10.7.4.4).
        if matches!(transaction.purpose, Purpose::ProbeRing(_)) {
            return is_peer;
        }
        match transaction.target() {
            Some(Destination::Node(node)) if *node == NodeId::WILDCARD => true,
            Some(Destination::Node(node)) => identity.is_node(node),
            Some(Destination::Resource(resource)) => {
                is_peer && self.chord.is_plausible_responder(identity.node_id(), *resource)
            }
            Some(Destination::Opaque(_) | Destination::Compact(_) | Destination::Other { .. }) | None => false,
        }
    }

    // An error may come from any node that the list names, and errors of the way from any at all
    // (docs/deviations.md D18).
    fn may_refuse(&self, transaction: &Transaction, identity: &Identity, code: ErrorCode) -> bool {
        let is_of_the_way = matches!(
            code,
            ErrorCode::TtlExceeded
                | ErrorCode::MessageTooLarge
                | ErrorCode::UnsupportedForwardingOption
                | ErrorCode::IncompatibleWithOverlay
        );
        let is_named =
            |destination: &Destination| matches!(destination, Destination::Node(node) if identity.is_node(node));
        is_of_the_way
            || self.may_answer(transaction, identity)
            || transaction.packet.header.destination_list.iter().any(is_named)
    }
}
