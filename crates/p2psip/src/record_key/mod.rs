//! `record-key`: the key that seals users' records, replaced while phones go on registering.

mod report;

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Subcommand;
use rpc::proto::bootstrap::v1::bootstrap_client::BootstrapClient;
use rpc::proto::bootstrap::v1::{
    ListTokensRequest, RecordKeysRequest, RecordKeysResponse, RotateRecordKeyRequest, Rotation,
};
use rpc::{Channel, Role, unbounded};
use runtime::ExitCode;
use wire::NodeId;

use self::report::Report;
use crate::cli::Global;
use crate::connect::Peer;
use crate::failure::Failure;
use crate::names;
use crate::output::Printer;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Begin to replace the key; it goes on by itself
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate {
        /// Leave out an edge that never comes: it gets no record key any more, and must enroll anew to serve phones
        #[arg(long, value_name = "NODE-ID")]
        without: Vec<String>,
        /// Wait for the end so long at most, with its unit: 10m, 1h
        #[arg(long, value_name = "TIME", value_parser = runtime::units::parse_duration)]
        wait: Option<Duration>,
    },
    /// Show the versions of the key, which edges hold them, and how far a rotation is; never a key
    #[command(after_help = STATUS_EXAMPLES)]
    Status {
        /// Wait for the end of a rotation so long at most, with its unit: 10m, 1h
        #[arg(long, value_name = "TIME", value_parser = runtime::units::parse_duration)]
        wait: Option<Duration>,
    },
}

/// Carries out one of the commands.
pub(crate) async fn run(command: &Command, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let peer = Peer::of(global, Role::Bootstrap)?;
    let keys = Keys {
        peer: &peer,
        timeout: global.timeout,
        printer,
    };
    let wait = match command {
        Command::Rotate { without, wait } => {
            keys.rotate(without).await?;
            wait
        }
        Command::Status { wait } => wait,
    };
    let told = match wait {
        Some(limit) => keys.settled(*limit).await?,
        None => keys.told().await?,
    };
    printer.result(&Report::new(&told), Report::table)?;
    if told.rotation() != Rotation::Settled {
        printer.guide("\n`p2psip record-key status --wait 10m` waits for the end.\n")?;
    }
    Ok(ExitCode::Ok)
}

/// A way to the record keys.
struct Keys<'a> {
    peer: &'a Peer,
    timeout: Duration,
    printer: &'a Printer,
}

impl Keys<'_> {
    async fn rotate(&self, without: &[String]) -> Result<(), Failure> {
        let told = self.told().await?;
        let newest = told.versions.last().copied().unwrap_or_default();
        let is_settled = told.rotation() == Rotation::Settled;
        if !is_settled && without.is_empty() {
            return Err(Failure::negative(format!(
                "a rotation to version {newest} goes on; `p2psip record-key status` tells how far it is, and which edges it waits for"
            )));
        }
        let known = match without {
            [] => BTreeSet::new(),
            _ => self.enrolled().await?,
        };
        let without: Result<Vec<_>, Failure> = without.iter().map(|text| node(text, &known)).collect();
        let request = RotateRecordKeyRequest {
            // Who leaves an edge out of a rotation that goes on begins no other.
            target: if is_settled { newest.saturating_add(1) } else { newest },
            without: without?.iter().map(|id| id.as_bytes().to_vec().into()).collect(),
        };
        let begun = self.client().rotate_record_key(request).await;
        begun.map(drop).map_err(|status| self.peer.failed(&status))
    }

    async fn told(&self) -> Result<RecordKeysResponse, Failure> {
        let mut client = self.client();
        let answer = self.peer.within(self.timeout, client.record_keys(RecordKeysRequest {}));
        Ok(answer.await?.into_inner())
    }

    /// All nodes that were ever enrolled with a token.
    async fn enrolled(&self) -> Result<BTreeSet<NodeId>, Failure> {
        let mut client = self.client();
        let tokens = self
            .peer
            .all(self.timeout, client.list_tokens(unbounded(ListTokensRequest {})))
            .await?;
        let nodes = tokens.iter().flat_map(|token| &token.enrolled);
        Ok(nodes
            .filter_map(|node| NodeId::try_from(node.node_id.as_ref()).ok())
            .collect())
    }

    fn client(&self) -> BootstrapClient<Channel> {
        BootstrapClient::new(self.peer.channel.clone())
    }

    /// Waits until no rotation goes on.
    async fn settled(&self, limit: Duration) -> Result<RecordKeysResponse, Failure> {
        let spinner = self.printer.spinner("asking");
        let waiting = async {
            loop {
                let told = self.told().await?;
                if told.rotation() == Rotation::Settled {
                    return Ok(told);
                }
                spinner.set_message(report::progress(&told));
                tokio::time::sleep(POLL).await;
            }
        };
        let outcome = tokio::time::timeout(limit, waiting).await;
        spinner.finish_and_clear();
        outcome.unwrap_or_else(|_| {
            let limit = runtime::units::format_duration(limit);
            let error =
                anyhow::anyhow!("the rotation still goes on after {limit}; `p2psip record-key status` tells why");
            Err(Failure::new(ExitCode::Timeout, error))
        })
    }
}

/// The node that is meant; the first digits are enough.
fn node(text: &str, enrolled: &BTreeSet<NodeId>) -> Result<NodeId, Failure> {
    let node = names::node(text, enrolled)?;
    node.ok_or_else(|| Failure::negative(format!("{text} begins no Node-ID in `p2psip token list`")))
}

/// The contract tells no change by itself; a rotation takes minutes.
const POLL: Duration = Duration::from_millis(500);

const ROTATE_EXAMPLES: &str = "\
Examples:
  p2psip record-key rotate
  p2psip record-key rotate --wait 10m
  p2psip record-key rotate --without 3f0c              an edge that is gone, or in the wrong hands

Edges ask once a minute. The old key is forgotten when every edge holds the new one and the overlay holds no record under the
old one. Whoever had the old key may know the passwords' digests: give new passwords too.";

const STATUS_EXAMPLES: &str = "\
Examples:
  p2psip record-key status
  p2psip record-key status --wait 10m
  p2psip -o json record-key status | jq -r '.behind[]'

The exit code is 6 when the rotation still goes on after the time to wait.";
