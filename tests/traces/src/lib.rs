//! What a collector sees of a call across two peers whose callee's record lies at a third: one tree.

mod collector;

use std::collections::BTreeMap;

pub use self::collector::{Collector, Span};

/// Draws the trace of a call that was challenged, answered and ended, and what it has to look like. `roles` says which node, by its short
/// Node-ID, is of the caller's peer, of the callee's, and of the one that holds the callee's record.
///
/// # Errors
/// As [`tree`].
pub fn call_of(spans: &[Span], roles: &BTreeMap<String, String>) -> Result<(String, String), String> {
    let call = tree(spans, roles, ["INVITE request", "INVITE branch"])?;
    let fetch = if call.contains(FORWARDED) { FORWARDED } else { DIRECT };
    Ok((call, CALL.replace("{FETCH}", fetch)))
}

/// Draws the trace that begins with a span of the one name and has one of the other: one line a span, in the order of their
/// beginnings.
///
/// # Errors
/// When a span above another one never came, or begins after it.
pub fn tree(spans: &[Span], roles: &BTreeMap<String, String>, [root, below]: [&str; 2]) -> Result<String, String> {
    let has = |trace: &[u8], name: &str| spans.iter().any(|span| span.trace_id == trace && span.name == name);
    let roots = spans
        .iter()
        .filter(|span| span.parent_id.is_empty() && span.name == root);
    let trace = roots.map(|span| &span.trace_id).find(|trace| has(trace, below));
    let mut spans: Vec<&Span> = spans.iter().filter(|span| Some(&span.trace_id) == trace).collect();
    spans.sort_by_key(|span| span.start);
    let mut text = String::new();
    let roots = spans
        .iter()
        .filter(|span| !spans.iter().any(|other| other.span_id == span.parent_id));
    for root in roots {
        if !root.parent_id.is_empty() {
            return Err(format!("the span above {root:?} was never sent"));
        }
        draw(root, (&spans, roles), 0, &mut text)?;
    }
    Ok(text)
}

fn draw(
    span: &Span,
    (spans, roles): (&[&Span], &BTreeMap<String, String>),
    depth: usize,
    text: &mut String,
) -> Result<(), String> {
    let indent = "  ".repeat(depth);
    let role = roles
        .get(&span.instance)
        .map(|role| format!(" of the {role}"))
        .unwrap_or_default();
    *text += &format!("{indent}{} ({}) {}{role}\n", span.name, span.kind, span.service);
    for below in spans.iter().filter(|below| below.parent_id == span.span_id) {
        if below.start < span.start {
            return Err(format!("{below:?} begins before {span:?}"));
        }
        draw(below, (spans, roles), depth + 1, text)?;
    }
    Ok(())
}

/// A whole call: challenged, looked up at the Responsible Peer, connected through the callee's peer, rung, ended.
const CALL: &str = "\
INVITE request (server) p2psip-sip-edge of the caller
INVITE request (server) p2psip-sip-edge of the caller
  p2psip.overlay.v1.Overlay/Call (client) p2psip-sip-edge of the caller
    p2psip.overlay.v1.Overlay/Call (server) p2psip-overlay of the caller
      reload fetch (client) p2psip-overlay of the caller
{FETCH}  INVITE branch (client) p2psip-sip-edge of the caller
    p2psip.overlay.v1.Overlay/Call (client) p2psip-sip-edge of the caller
      p2psip.overlay.v1.Overlay/Call (server) p2psip-overlay of the caller
        reload app_attach (client) p2psip-overlay of the caller
          reload app_attach (server) p2psip-overlay of the callee
    INVITE request (server) p2psip-sip-edge of the callee
      INVITE branch (client) p2psip-sip-edge of the callee
BYE request (server) p2psip-sip-edge of the caller
  BYE branch (client) p2psip-sip-edge of the caller
    BYE request (server) p2psip-sip-edge of the callee
      BYE branch (client) p2psip-sip-edge of the callee
";

/// The look-up of that call, where the Responsible Peer is the caller's next,
const DIRECT: &str = "        reload fetch (server) p2psip-overlay of the record
          storage apply (internal) p2psip-storage of the record
";

/// and where the callee's peer stands between: the order of the ring is random.
const FORWARDED: &str = "        reload forward (internal) p2psip-overlay of the callee
          reload fetch (server) p2psip-overlay of the record
            storage apply (internal) p2psip-storage of the record
";
