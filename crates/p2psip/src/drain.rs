//! `drain`: lets an edge end what it does and begin nothing new, before it is stopped.

use std::time::Duration;

use clap::Args;
use rpc::Role;
use rpc::proto::sip_edge::v1::DrainRequest;
use rpc::proto::sip_edge::v1::sip_edge_client::SipEdgeClient;
use runtime::ExitCode;
use serde::Serialize;

use crate::cli::Global;
use crate::connect::Peer;
use crate::failure::Failure;
use crate::output::Printer;

/// How long to stay.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Return when the last transaction has ended
    #[arg(short, long)]
    wait: bool,
}

/// Asks the edge to drain and prints how far it is.
pub(crate) async fn run(arguments: &Arguments, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let peer = Peer::of(global, Role::SipEdge)?;
    let mut client = SipEdgeClient::new(peer.channel.clone());
    let spinner = printer.spinner(format!("asking {}", peer.name));
    let report = loop {
        // Each time it is asked, it tells how far it is.
        let drained = peer.within(global.timeout, client.drain(DrainRequest {})).await?;
        let report = Report::new(drained.into_inner().transactions);
        if !arguments.wait || report.transactions == 0 {
            break report;
        }
        spinner.set_message(report.text());
        tokio::time::sleep(POLL).await;
    };
    spinner.finish_and_clear();
    printer.result(&report, |report| report.text() + "\n")?;
    Ok(ExitCode::Ok)
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    transactions: u64,
}

impl Report {
    fn new(transactions: u64) -> Self {
        Self {
            schema: "p2psip.drain/v1",
            transactions,
        }
    }

    fn text(&self) -> String {
        match self.transactions {
            0 => "drained: no transaction is left".to_owned(),
            left => format!("draining, {left} transactions left"),
        }
    }
}

const POLL: Duration = Duration::from_millis(250);
