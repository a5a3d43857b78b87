//! Requests of local users: an operator, or an edge that this node serves.

use std::time::Duration;

use bytes::Bytes;

use wire::{Decode, ErrorCode, MessageContents, NodeId, Now, TraceContext};

use crate::api::{Call, CallId, CallResult, Output, Refusal, Traced};
use crate::core::Core;
use crate::ladder;
use crate::link::Carried;
use crate::transaction::{Answered, Outcome, Purpose};

impl Core {
    /// Sends a request; the result comes as [`Output::CallDone`] with the same id.
    pub fn call(&mut self, now: Now, call: Call) -> CallId {
        let id = self.new_call_id();
        if let Err((code, info)) = self.begin_call(now, id, call) {
            let refusal = Refusal {
                code,
                info: Bytes::from_static(info.as_bytes()),
            };
            self.call_done(id, Outcome::Refused(refusal));
        }
        self.settle(now);
        id
    }

    fn begin_call(&mut self, now: Now, id: CallId, call: Call) -> Result<(), (ErrorCode, &'static str)> {
        let is_request = MessageContents::from_bytes(&call.contents).is_ok_and(|contents| contents.code.is_request());
        if !is_request || call.destination.is_empty() {
            return Err((ErrorCode::InvalidMessage, "no request"));
        }
        if self.transactions.is_full() {
            self.counters.shed += 1;
            return Err((ErrorCode::RequestTimeout, "too many requests"));
        }
        // A message that its user signed is answered to that user; what this node signs is answered to this node.
        let caller = call.from_client;
        let client: Option<NodeId> = caller.filter(|_| call.signed.is_some());
        if client.is_some_and(|client| !self.clients.is_attached(client)) {
            return Err((ErrorCode::Forbidden, "client is not attached"));
        }
        let (transaction_id, security) = match call.signed {
            Some(signed) => signed,
            None => {
                let transaction_id = self.random.transaction_id();
                (transaction_id, self.sign(transaction_id, &call.contents, Vec::new()))
            }
        };
        let too_large = (ErrorCode::MessageTooLarge, "message is too large");
        let packet = self.packet(transaction_id, call.destination, &call.contents, &security);
        let mut packet = packet.map_err(|_| too_large)?;
        packet
            .header
            .options
            .extend(call.trace.iter().map(TraceContext::to_option));
        if !self.fits(&packet) {
            return Err(too_large);
        }
        if call.trace.is_some_and(|context| self.records(&context)) {
            self.outputs
                .push_back(Output::Traced(Traced::Called(id, transaction_id)));
        }
        if let Some(caller) = caller {
            ladder::step(self.own(), caller, &packet);
        }
        let deadline = call.deadline.checked_sub(MARGIN).unwrap_or(now.instant);
        self.originate(
            now,
            id,
            Carried {
                packet,
                from: client,
                is_bulk: false,
            },
            deadline,
        );
        Ok(())
    }

    /// Forgets a call: no result will come. What it asked for may still happen.
    pub fn cancel(&mut self, now: Now, call: CallId) {
        if let Some(transaction) = self.transactions.find(Purpose::Call(call)) {
            self.transactions.take(transaction);
        }
        self.settle(now);
    }

    pub(crate) fn call_done(&mut self, call: CallId, outcome: Outcome) {
        let result = match outcome {
            Outcome::Answered(Answered {
                encoded,
                certificates,
                signer,
                hops,
                ..
            }) => CallResult::Answered {
                contents: encoded,
                certificates,
                responder: signer,
                hops,
            },
            Outcome::Refused(refusal) => CallResult::Refused(refusal),
            Outcome::Silent => CallResult::Refused(Refusal {
                code: ErrorCode::RequestTimeout,
                info: Bytes::from_static(b"no answer"),
            }),
        };
        self.outputs.push_back(Output::CallDone(call, result));
    }
}

/// A result is given so much before the caller stops waiting.
const MARGIN: Duration = Duration::from_millis(20);
