//! Requests that belong to a trace: each step at this node is a span with an id of its own, which goes on in place of the one that came
//! (docs/deviations.md D10).
//!
//! A trace that is not recorded is not followed, and neither is any where [`Settings::traces`](crate::Settings) is unset: the context then passes
//! as it came.

use wire::{Body, ErrorResponse};
use wire::{Destination, ForwardingHeader, Message, MessageCode, MessageContents, NodeId, Packet, TraceContext};

use crate::api::{Ending, Output, Step, Target, Traced};
use crate::core::Core;
use crate::seam::CommandId;
use crate::serve::Asked;

impl Core {
    /// A request is passed on for somebody else.
    pub(crate) fn trace_forwarded(&mut self, packet: &mut Packet, code: Option<MessageCode>, next: NodeId) {
        // An answer has the way that its request had.
        if code.is_some_and(MessageCode::is_response) {
            return;
        }
        let Some(step) = self.step(&packet.header, code) else {
            return;
        };
        let options = packet.header.options.iter_mut();
        for option in options.filter(|option| option.kind == TraceContext::OPTION) {
            option.value = step.context.to_option().value;
        }
        self.outputs.push_back(Output::Traced(Traced::Forwarded(step, next)));
    }

    /// A request has come to its end and will be answered.
    pub(crate) fn trace_arrived(&mut self, asked: &mut Asked, message: &Message) {
        if let Some(step) = self.step(&message.header, Some(message.contents.code)) {
            asked.trace = Some(step.context);
            let kinds = message.contents.body().map(|body| body.kinds()).unwrap_or_default();
            self.outputs.push_back(Output::Traced(Traced::Arrived(step, kinds)));
        }
    }

    /// A request that had come to its end is answered.
    pub(crate) fn trace_answered(&mut self, asked: &Asked, contents: &MessageContents) {
        if asked.trace.is_some() {
            let ending = match contents.body() {
                Ok(Body::Error(ErrorResponse { code, .. })) => Ending::Refused(code),
                _ => Ending::Answered,
            };
            self.trace_ended(asked, ending);
        }
    }

    /// A request that had come to its end is dealt with.
    pub(crate) fn trace_ended(&mut self, asked: &Asked, ending: Ending) {
        if let Some(context) = asked.trace {
            self.outputs
                .push_back(Output::Traced(Traced::Ended(context.span_id, ending)));
        }
    }

    /// The span that a command to storage is carried out for.
    #[must_use]
    pub fn trace_of(&self, command: CommandId) -> Option<TraceContext> {
        self.session.asked(command)?.trace
    }

    /// Whether this trace is followed here.
    pub(crate) fn records(&self, context: &TraceContext) -> bool {
        self.settings.traces && context.flags & SAMPLED != 0
    }

    fn step(&mut self, header: &ForwardingHeader, code: Option<MessageCode>) -> Option<Step> {
        let came = header.options.iter().find_map(TraceContext::from_option);
        let came = came.filter(|context| self.records(context))?;
        let target = match header.destination_list.last() {
            Some(Destination::Node(node)) => Some(Target::Node(*node)),
            Some(Destination::Resource(resource)) => Some(Target::Resource(*resource)),
            Some(Destination::Opaque(_) | Destination::Compact(_) | Destination::Other { .. }) | None => None,
        };
        Some(Step {
            context: TraceContext {
                span_id: self.random.span_id(),
                ..came
            },
            parent: came.span_id,
            code,
            transaction_id: header.transaction_id,
            target,
            ttl: header.ttl,
        })
    }
}

/// W3C Trace Context §3.2.2.5.1: whoever began the trace records it.
const SAMPLED: u8 = 1;
