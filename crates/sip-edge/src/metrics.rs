//! What an edge counts.

use std::time::Duration;

use runtime::Component;
use runtime::metrics::{Count, Family, Gauge, Histogram, Histograms, Labels, durations};
use sip_core::message::Method;

use crate::guess::Limit;
use crate::users::UNKNOWN_USER;

/// The counters and gauges of the component.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) registrations: Gauge,
    pub(crate) dialogs: Gauge,
    pub(crate) flows: Family<Labels<1>, Gauge>,
    requests: Family<Labels<1>, Count>,
    ended: Family<Labels<1>, Count>,
    met: Family<Labels<1>, Gauge>,
    responses: Family<Labels<2>, Count>,
    auth_failures: Family<Labels<1>, Count>,
    registration_delay: Histogram,
    session_delay: Histograms<1>,
}

impl Metrics {
    pub(crate) fn new(component: &Component) -> Self {
        let metrics = component.metrics();
        let edge = Self {
            registrations: metrics.register("sip_registrations", "Bindings of phones at this edge", Gauge::default()),
            dialogs: metrics.register(
                "sip_dialogs",
                "Calls answered through this edge of which no BYE was seen, for 12 hours at most",
                Gauge::default(),
            ),
            flows: metrics.register(
                "sip_flows",
                "Connections, by what is at the other end",
                Family::default(),
            ),
            requests: metrics.register(
                "sip_requests_total",
                "Requests received, repetitions left out",
                Family::default(),
            ),
            ended: metrics.register(
                "sip_connections_ended_total",
                "Connections that ended, by the reason",
                Family::default(),
            ),
            met: metrics.register(
                "sip_edges_met",
                "Whether other edges reach this one (in) and this one reaches others (out); missing while that is not known",
                Family::default(),
            ),
            responses: metrics.register(
                "sip_responses_total",
                "Final responses sent, by the class of their status codes",
                Family::default(),
            ),
            auth_failures: metrics.register(
                "sip_auth_failures_total",
                "Credentials that were not accepted, stale ones left out; limited ones were not looked at",
                Family::default(),
            ),
            registration_delay: metrics.register(
                "sip_registration_request_delay_seconds",
                "From a REGISTER to its 200 (RFC 6076 section 4.1), as this edge sees it",
                durations(),
            ),
            session_delay: metrics.register(
                "sip_session_request_delay_seconds",
                "From an INVITE to ringing, answer or refusal (RFC 6076 section 4.3), as this edge sees it",
                Histograms::new_with_constructor(durations as fn() -> Histogram),
            ),
        };
        // Shown from the start, so that the first failure is a rise.
        for why in AUTH_FAILURES {
            drop(edge.auth_failures.get_or_create(&[("reason", why)]));
        }
        edge
    }

    pub(crate) fn received(&self, method: &Method) {
        self.requests.get_or_create(&[("method", method.label())]).inc();
    }

    /// A connection has ended.
    pub(crate) fn ended(&self, reason: &'static str) {
        self.ended.get_or_create(&[("reason", reason)]).inc();
    }

    /// Whether this edge and others can meet, as far as that is known.
    pub(crate) fn met(&self, incoming: Option<bool>, outgoing: Option<bool>) {
        for (direction, is_met) in [("in", incoming), ("out", outgoing)] {
            if let Some(is_met) = is_met {
                self.met.get_or_create(&[("direction", direction)]).set(is_met.into());
            }
        }
    }

    pub(crate) fn refused_credentials(&self, why: &'static str) {
        self.auth_failures.get_or_create(&[("reason", why)]).inc();
    }

    /// An INVITE rings.
    pub(crate) fn rings(&self, took: Duration) {
        self.session_delay
            .get_or_create(&[("result", "success")])
            .observe(took.as_secs_f64());
    }

    /// A request has its final answer.
    pub(crate) fn answered(&self, method: &Method, status: u16, took: Duration, has_rung: bool) {
        let labels = [("method", method.label()), ("class", class(status))];
        self.responses.get_or_create(&labels).inc();
        match (method, status) {
            // RFC 6076 §4.1: only registrations that succeed have a delay.
            (Method::Register, 200..300) => self.registration_delay.observe(took.as_secs_f64()),
            (Method::Invite, 200..300) if !has_rung => self.rings(took),
            // RFC 6076 §4.3: a challenge and a redirection are no end of the attempt.
            (Method::Invite, 400..) if !has_rung && !matches!(status, 401 | 407) => self
                .session_delay
                .get_or_create(&[("result", "failure")])
                .observe(took.as_secs_f64()),
            _ => {}
        }
    }
}

/// Why credentials are not accepted.
const AUTH_FAILURES: [&str; 9] = [
    "wrong_credentials",
    Limit::UserAndSite.reason(),
    Limit::Site.reason(),
    Limit::User.reason(),
    UNKNOWN_USER,
    "suspended",
    "edge_not_allowed",
    "unreadable_record",
    "no_record_key",
];

/// RFC 3261 §7.2.
fn class(status: u16) -> &'static str {
    match status {
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500..600 => "5xx",
        600..700 => "6xx",
        _ => "other",
    }
}
