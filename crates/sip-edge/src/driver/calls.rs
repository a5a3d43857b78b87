//! What the proxy reports of calls, for the log.

use sip_core::proxy::Event;

/// Logs an event of the proxy. Names and addresses stay out: they are personal data.
pub(super) fn note(event: &Event) {
    match event {
        Event::Received {
            trace, method, call_id, ..
        } => tracing::debug!(
            ?trace,
            sip.request.method = method.as_str(),
            sip.call_id = call_id.as_str(),
            "request"
        ),
        Event::Branched { trace, .. } => tracing::debug!(?trace, "branch"),
        Event::Answered { trace, status } => tracing::debug!(?trace, sip.response.status_code = status, "answered"),
        Event::Dropped { why, .. } => tracing::debug!(why, "message dropped"),
    }
}
