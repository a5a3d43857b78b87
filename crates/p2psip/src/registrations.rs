//! `registrations`: the phones that a peer's edge serves.

use clap::Args;
use rpc::proto::sip_edge::v1::sip_edge_client::SipEdgeClient;
use rpc::proto::sip_edge::v1::{Event, RegistrationsRequest, RegistrationsResponse};
use rpc::{Role, unbounded};
use runtime::ExitCode;
use serde::Serialize;

use crate::cli::Global;
use crate::clock::{distance, now_ms, utc};
use crate::connect::Peer;
use crate::failure::Failure;
use crate::follow::follow;
use crate::names;
use crate::output::{Printer, table};

/// Whose phones.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only those of this user; a bare name gets the overlay's domain
    #[arg(value_name = "AOR")]
    user: Option<String>,
    /// Go on with each phone that comes, goes, or loses its connection
    #[arg(short, long)]
    follow: bool,
}

/// Prints the bindings of the edge; the code says whether a user that was asked for has one.
pub(crate) async fn run(arguments: &Arguments, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let peer = Peer::of(global, Role::SipEdge)?;
    let aor = match &arguments.user {
        Some(user) => names::aor_or_bare(user)?,
        None => String::new(),
    };
    let request = unbounded(RegistrationsRequest {
        aor,
        follow: arguments.follow,
    });
    let mut client = SipEdgeClient::new(peer.channel.clone());
    let opening = client.registrations(request);
    if arguments.follow {
        let is_end = |told: &RegistrationsResponse| told.event() == Event::Listed;
        let (bindings, mut changes) = follow(&peer, global.timeout, opening, is_end).await?;
        printer.result(&Report::new(&bindings, now_ms()), Report::table)?;
        loop {
            let change = Change::new(&changes.next().await?, now_ms());
            printer.result(&change, Change::line)?;
        }
    }
    let spinner = printer.spinner(format!("asking {}", peer.name));
    let bindings = peer.all(global.timeout, opening).await;
    spinner.finish_and_clear();
    let report = Report::new(&bindings?, now_ms());
    printer.result(&report, Report::table)?;
    let is_missing = arguments.user.is_some() && report.registrations.is_empty();
    Ok(if is_missing { ExitCode::Negative } else { ExitCode::Ok })
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    registrations: Vec<Binding>,
}

/// What is printed of a change.
#[derive(Debug, Serialize)]
struct Change {
    schema: &'static str,
    at: String,
    event: &'static str,
    #[serde(flatten)]
    binding: Binding,
}

#[derive(Debug, Serialize)]
struct Binding {
    aor: String,
    contact: String,
    transport: String,
    remote: String,
    reachable: bool,
    expires: String,
    #[serde(skip)]
    expires_in: String,
    stored: bool,
}

impl Report {
    fn new(bindings: &[RegistrationsResponse], now_ms: u64) -> Self {
        Self {
            schema: "p2psip.registrations/v1",
            registrations: bindings.iter().map(|binding| Binding::new(binding, now_ms)).collect(),
        }
    }

    fn table(&self) -> String {
        let rows = self.registrations.iter().map(|binding| {
            [
                binding.aor.clone(),
                binding.contact.clone(),
                binding.flow(),
                yes_or_no(binding.reachable),
                yes_or_no(binding.stored),
                binding.expires_in.clone(),
            ]
        });
        table(["AOR", "CONTACT", "FLOW", "REACHABLE", "STORED", "EXPIRES"], rows)
    }
}

impl Change {
    fn new(told: &RegistrationsResponse, now_ms: u64) -> Self {
        Self {
            schema: "p2psip.registration/v1",
            at: utc(now_ms),
            event: match told.event() {
                Event::Gone => "gone",
                _ => "held",
            },
            binding: Binding::new(told, now_ms),
        }
    }

    fn line(&self) -> String {
        let Self { at, event, binding, .. } = self;
        let lacks = [(binding.reachable, "not reachable"), (binding.stored, "not stored")];
        let lacks = lacks.iter().filter(|(is_so, _)| !is_so && *event == "held");
        let lacks: String = lacks.map(|(_, what)| format!(", {what}")).collect();
        format!(
            "{at}  {event}  {}  {}  {}{lacks}\n",
            binding.aor,
            binding.contact,
            binding.flow()
        )
    }
}

impl Binding {
    fn new(binding: &RegistrationsResponse, now_ms: u64) -> Self {
        Self {
            aor: binding.aor.clone(),
            contact: binding.contact.clone(),
            transport: binding.transport.clone(),
            remote: binding.remote.clone(),
            reachable: binding.reachable,
            expires: utc(binding.expires_unix_ms),
            expires_in: distance(binding.expires_unix_ms, now_ms),
            stored: binding.stored,
        }
    }

    fn flow(&self) -> String {
        format!("{} {}", self.transport, self.remote)
    }
}

fn yes_or_no(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_809_668_000;

    fn binding() -> RegistrationsResponse {
        RegistrationsResponse {
            aor: "alice@a.test".to_owned(),
            contact: "sip:alice@10.0.0.9:5080".to_owned(),
            transport: "tcp".to_owned(),
            remote: "10.0.0.9:41000".to_owned(),
            reachable: true,
            expires_unix_ms: 1_795_813_268_000,
            stored: false,
            event: Event::Held.into(),
        }
    }

    #[test]
    fn a_binding_is_a_row() {
        let report = Report::new(&[binding()], NOW);
        let expected = "\
AOR           CONTACT                  FLOW                REACHABLE  STORED  EXPIRES
alice@a.test  sip:alice@10.0.0.9:5080  tcp 10.0.0.9:41000  yes        no      in 1 h
";
        assert_eq!(report.table(), expected);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["schema"], "p2psip.registrations/v1");
        assert_eq!(json["registrations"][0]["expires"], "2026-11-27T21:01:08Z");
    }

    #[test]
    fn a_change_is_a_line() {
        let held = Change::new(&binding(), NOW);
        let expected =
            "2026-11-27T20:01:08Z  held  alice@a.test  sip:alice@10.0.0.9:5080  tcp 10.0.0.9:41000, not stored\n";
        assert_eq!(held.line(), expected);
        let gone = RegistrationsResponse {
            event: Event::Gone.into(),
            ..binding()
        };
        let gone = Change::new(&gone, NOW);
        assert!(
            gone.line()
                .ends_with("  gone  alice@a.test  sip:alice@10.0.0.9:5080  tcp 10.0.0.9:41000\n")
        );
        let json = serde_json::to_value(&gone).unwrap();
        assert_eq!((&json["event"], &json["aor"]), (&"gone".into(), &"alice@a.test".into()));
    }
}
