//! Tests of what a collector sees: one call across two peers, whose callee's record lies at a third, is one trace.
//!
//! The overlay runs in a process of its own, this test once more, so that the export is set up by the environment and flushed at the end as in
//! the program; it tells on its output who plays which part.

mod scene;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use traces::{Collector, call_of, tree};

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
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let collector = Collector::start(listener).unwrap();
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
    let (call, expected) = call_of(&spans, &roles).unwrap();
    assert_eq!(call, expected);
    assert_eq!(tree(&spans, &roles, [ASKED, "reload forward"]).unwrap(), ROUTED);
    let named = |name: &'static str, kind: &'static str| {
        let is_named = move |span: &&traces::Span| span.name == name && span.kind == kind;
        spans.iter().filter(is_named)
    };
    for kind in ["client", "server"] {
        // One that was given up at the end has no status.
        let is_ok = |span: &traces::Span| {
            span.attributes.contains("rpc.response.status_code") && span.attributes.contains("\"OK\"")
        };
        assert!(named(ASKED, kind).any(is_ok), "{kind}");
        assert_ne!(named("reload fetch", kind).count(), 0, "{kind}");
        for fetch in named("reload fetch", kind) {
            for attribute in ["reload.kind_id", "reload.resource_id", "reload.transaction_id"] {
                assert!(fetch.attributes.contains(attribute), "{attribute} of {fetch:?}");
            }
        }
    }
    let secrets = spans
        .iter()
        .filter(|span| span.attributes.contains("alice") || span.attributes.contains("bob"));
    assert_eq!(secrets.count(), 0, "names of users are personal data");
}
