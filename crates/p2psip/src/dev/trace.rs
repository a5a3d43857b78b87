//! Tests of what a collector sees: one call across two peers, whose callee's record lies at a third, is one trace.
//!
//! The overlay runs in a process of its own, this test once more, so that the export is set up by the environment and flushed at the end as in
//! the program; it tells on its output who plays which part.

mod collector;
mod scene;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use self::collector::{Collector, Span};

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

/// A look-up that was told its way: through the callee's peer, which passes it on.
const ROUTED: &str = "\
p2psip.overlay.v1.Overlay/Call (client) p2psip-process
  p2psip.overlay.v1.Overlay/Call (server) p2psip-overlay of the caller
    reload fetch (client) p2psip-overlay of the caller
      reload forward (internal) p2psip-overlay of the callee
        reload fetch (server) p2psip-overlay of the record
          storage apply (internal) p2psip-storage of the record
";

/// How the look-up that was told its way begins.
const ASKED: &str = "p2psip.overlay.v1.Overlay/Call";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_call_is_one_trace() {
    let collector = Collector::start().await;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", scene::NAME, "--ignored", "--nocapture"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
        .env_remove("OTEL_TRACES_SAMPLER")
        .stdin(Stdio::null());
    // The scene itself is bounded.
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let roles: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| {
            let (node, role) = line.strip_prefix(scene::ROLE)?.split_once(' ')?;
            Some((node.to_owned(), role.to_owned()))
        })
        .collect();
    let spans = collector.spans();
    let call = tree(&spans, &roles, ["INVITE request", "INVITE branch"]);
    let fetch = if call.contains(FORWARDED) { FORWARDED } else { DIRECT };
    assert_eq!(call, CALL.replace("{FETCH}", fetch));
    assert_eq!(tree(&spans, &roles, [ASKED, "reload forward"]), ROUTED);
    let secrets = spans
        .iter()
        .filter(|span| span.attributes.contains("alice") || span.attributes.contains("bob"));
    assert_eq!(secrets.count(), 0, "names of users are personal data");
}

/// Draws the trace that begins with a span of the one name and has one of the other: one line a span, in the order of their
/// beginnings.
fn tree(spans: &[Span], roles: &BTreeMap<String, String>, [root, below]: [&str; 2]) -> String {
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
        assert!(root.parent_id.is_empty(), "the span above {root:?} was never sent");
        draw(root, (&spans, roles), 0, &mut text);
    }
    text
}

fn draw(span: &Span, (spans, roles): (&[&Span], &BTreeMap<String, String>), depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    let role = roles
        .get(&span.instance)
        .map(|role| format!(" of the {role}"))
        .unwrap_or_default();
    *text += &format!("{indent}{} ({}) {}{role}\n", span.name, span.kind, span.service);
    for below in spans.iter().filter(|below| below.parent_id == span.span_id) {
        assert!(below.start >= span.start, "{below:?} begins before {span:?}");
        draw(below, (spans, roles), depth + 1, text);
    }
}
