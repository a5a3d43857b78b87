//! `registrations`: the phones that a peer's edge serves.

use clap::Args;
use rpc::proto::sip_edge::v1::sip_edge_client::SipEdgeClient;
use rpc::proto::sip_edge::v1::{RegistrationsRequest, RegistrationsResponse};
use rpc::{Role, unbounded};
use runtime::ExitCode;
use serde::Serialize;

use crate::cli::Global;
use crate::clock::{distance, now_ms, utc};
use crate::connect::Peer;
use crate::failure::Failure;
use crate::names;
use crate::output::{Printer, table};

/// Whose phones.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only those of this user; a bare name gets the overlay's domain
    #[arg(value_name = "AOR")]
    user: Option<String>,
}

/// Prints the bindings of the edge; the code says whether a user that was asked for has one.
pub(crate) async fn run(arguments: &Arguments, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let peer = Peer::of(global, Role::SipEdge)?;
    let aor = match &arguments.user {
        Some(user) => names::aor_at(&peer, global.timeout, user).await?.as_str().to_owned(),
        None => String::new(),
    };
    let request = unbounded(RegistrationsRequest { aor });
    let mut client = SipEdgeClient::new(peer.channel.clone());
    let spinner = printer.spinner(format!("asking {}", peer.name));
    let bindings = peer.all(global.timeout, client.registrations(request)).await;
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
        let bindings = bindings.iter().map(|binding| Binding {
            aor: binding.aor.clone(),
            contact: binding.contact.clone(),
            transport: binding.transport.clone(),
            remote: binding.remote.clone(),
            reachable: binding.reachable,
            expires: utc(binding.expires_unix_ms),
            expires_in: distance(binding.expires_unix_ms, now_ms),
            stored: binding.stored,
        });
        Self {
            schema: "p2psip.registrations/v1",
            registrations: bindings.collect(),
        }
    }

    fn table(&self) -> String {
        let rows = self.registrations.iter().map(|binding| {
            [
                binding.aor.clone(),
                binding.contact.clone(),
                format!("{} {}", binding.transport, binding.remote),
                yes_or_no(binding.reachable),
                yes_or_no(binding.stored),
                binding.expires_in.clone(),
            ]
        });
        table(["AOR", "CONTACT", "FLOW", "REACHABLE", "STORED", "EXPIRES"], rows)
    }
}

fn yes_or_no(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_a_row() {
        let binding = RegistrationsResponse {
            aor: "alice@a.test".to_owned(),
            contact: "sip:alice@10.0.0.9:5080".to_owned(),
            transport: "tcp".to_owned(),
            remote: "10.0.0.9:41000".to_owned(),
            reachable: true,
            expires_unix_ms: 1_795_813_268_000,
            stored: false,
        };
        let report = Report::new(&[binding], 1_795_809_668_000);
        let expected = "\
AOR           CONTACT                  FLOW                REACHABLE  STORED  EXPIRES
alice@a.test  sip:alice@10.0.0.9:5080  tcp 10.0.0.9:41000  yes        no      in 1 h
";
        assert_eq!(report.table(), expected);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["schema"], "p2psip.registrations/v1");
        assert_eq!(json["registrations"][0]["expires"], "2026-11-27T21:01:08Z");
    }
}
