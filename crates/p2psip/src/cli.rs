//! What can be asked on the command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Styles;
use clap::{Args, Parser, Subcommand, ValueEnum};
use rpc::Address;

use crate::setup::{Init, Join};
use crate::{bootstrap, calls, cert, config, document, drain, health, ping, record_key, registrations, token, users};

/// Peer-to-peer telephony for ordinary SIP phones.
#[derive(Debug, Parser)]
#[command(name = "p2psip", version, styles = Styles::plain(), after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Print results as a table for people, or as JSON for programs
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    /// Ask this peer: unix:PATH of its socket, or tcp:HOST:PORT of one component [default: the `dev` or the peer of this host]
    #[arg(long, global = true, value_name = "ADDR", env = "P2PSIP_PEER")]
    pub(crate) peer: Option<Address>,
    /// Read the operator's certificate for TCP from this folder, as PEER/operator
    #[arg(long, global = true, value_name = "DIR", env = "P2PSIP_IDENTITY")]
    pub(crate) identity: Option<PathBuf>,
    /// Wait this long for an answer; with a unit: 500ms, 5s, 1m
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub(crate) timeout: Duration,
    /// Print the result and errors only; `token create` prints the token alone
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Log more; twice for even more. RUST_LOG chooses in detail
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// How results look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs; the field "schema" names what it is.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Try it: a whole overlay on this machine, a demo call, then your own phones
    #[command(after_help = DEV_EXAMPLES)]
    Dev(Dev),
    /// Make a new overlay on this host: keys, bootstrap service and first peer
    #[command(after_help = INIT_EXAMPLES)]
    Init(Init),
    /// Make a further peer on this host, with a token from `token create`
    #[command(after_help = JOIN_EXAMPLES)]
    Join(Join),
    /// Run the peer that `init` or `join` made, all components in one process
    #[command(after_help = RUN_EXAMPLES)]
    Peer(Run),
    /// Run only the overlay component: it routes RELOAD messages
    #[command(after_help = RUN_EXAMPLES)]
    Overlay(Run),
    /// Run only the storage component: it keeps the peer's part of the data
    #[command(after_help = RUN_EXAMPLES)]
    Storage(Run),
    /// Run only the sip-edge component: registrar and proxy for phones
    #[command(after_help = RUN_EXAMPLES)]
    SipEdge(Run),
    /// Run only the bootstrap service: enrollment and users; or make one more
    #[command(after_help = RUN_EXAMPLES)]
    Bootstrap(bootstrap::Arguments),
    /// Make the certificates of one peer's components, as an init container does
    #[command(after_help = PLACE_EXAMPLES)]
    Place(Run),
    /// Show whether a peer is ready, its Neighbors, its fingers and its storage
    #[command(after_help = STATUS_EXAMPLES)]
    Status,
    /// Find users: Resource-ID, Responsible Peer, and the edges where they are registered
    #[command(after_help = LOOKUP_EXAMPLES)]
    Lookup {
        /// A user, as alice@dev.p2psip.test; a bare name gets the overlay's domain
        #[arg(value_name = "AOR", required = true)]
        aors: Vec<String>,
    },
    /// Send RELOAD Pings to a node, or to the peer responsible for a user
    #[command(after_help = PING_EXAMPLES)]
    Ping(ping::Arguments),
    /// List the phones that are registered at a peer's edge
    #[command(after_help = REGISTRATIONS_EXAMPLES)]
    Registrations(registrations::Arguments),
    /// List the calls at a peer's edge: being set up, ringing, standing
    #[command(after_help = CALLS_EXAMPLES)]
    Calls(calls::Arguments),
    /// Let an edge take no new calls and finish those under way, before it is stopped
    #[command(after_help = DRAIN_EXAMPLES)]
    Drain(drain::Arguments),
    /// Add, list, change and remove users
    #[command(subcommand)]
    Users(users::Command),
    /// Create, list and revoke the tokens with which further peers join
    #[command(subcommand)]
    Token(token::Command),
    /// Replace the key that seals users' records, when an edge is lost
    #[command(subcommand)]
    RecordKey(record_key::Command),
    /// Change the overlay's document where its off-line keys are, and bring it to all
    #[command(subcommand)]
    Document(document::Command),
    /// Show when certificates end, and renew them
    #[command(subcommand)]
    Cert(cert::Command),
    /// Check and print the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Tell whether a process is ready, for container runtimes and scripts
    #[command(after_help = HEALTH_EXAMPLES)]
    Health(health::Arguments),
    /// Decode RELOAD messages
    #[command(subcommand)]
    Wire(WireCommand),
    /// Print the completion script of a shell
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completion {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum WireCommand {
    /// Decode RELOAD messages in hex, a line each, from standard input
    ///
    /// Each line holds one message, bare or framed, and perhaps a name before it. Each becomes one JSON line with the field
    /// "reencoded" (the octets made again from what was understood) or "error". The exit code is 1 if any is bad.
    #[command(after_help = DECODE_EXAMPLES)]
    Decode,
}

/// Where a peer or a component finds its settings.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The configuration file [default: /etc/p2psip/p2psip.toml, if it is there]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// The overlay that `dev` runs.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// How many peers [default: 5, or as many as the data folder holds]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) peers: Option<u8>,
    /// End after the demonstration call; the exit code is 1 if it failed
    #[arg(long, conflicts_with = "no_call")]
    pub(crate) once: bool,
    /// The address for phones and other peers; one of your LAN's opens the overlay to it
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = concrete_address)]
    pub(crate) bind: IpAddr,
    /// A further name by which phones call the edges, as their domain or proxy; the host's own names and addresses are known
    #[arg(long, value_name = "HOST")]
    pub(crate) name: Vec<String>,
    /// Keep everything in this folder for the next start [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Make no demonstration call
    #[arg(long)]
    pub(crate) no_call: bool,
}

/// The shells that completion scripts exist for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

impl Shell {
    pub(crate) fn generator(self) -> clap_complete::Shell {
        match self {
            Self::Bash => clap_complete::Shell::Bash,
            Self::Zsh => clap_complete::Shell::Zsh,
            Self::Fish => clap_complete::Shell::Fish,
        }
    }
}

fn time(text: &str) -> Result<Duration, runtime::units::UnitError> {
    runtime::units::parse_duration(text)
}

/// Peers tell each other the address, so it must be one that others can connect to.
fn concrete_address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| "it is not an IP address".to_owned())?;
    if address.is_unspecified() || address.is_multicast() {
        return Err("other peers and phones connect to it: give one address of this machine".to_owned());
    }
    Ok(address)
}

const EXAMPLES: &str = "\
Examples:
  p2psip dev                                  a whole overlay, a demonstration call, then your own phones
  p2psip status                               what peer 1 of it sees, from a second terminal
  p2psip lookup alice@dev.p2psip.test         where alice is registered
  p2psip users add carol                      one more user
  p2psip -o json status                       the same for programs
  p2psip help users                           a command explained, with examples

Exit codes: 0 done, 1 not found or failed, 2 wrong usage or configuration, 3 degraded, 4 credentials,
5 peer unreachable, 6 timeout, 7 cannot start here, 70 internal fault.";

const DEV_EXAMPLES: &str = "\
Examples:
  p2psip dev                                  five peers on 127.0.0.1, ports 5060, 5070, 5080, 5090, 5100
  p2psip dev --peers 3 --once                 one call, its ladder, and the end
  p2psip dev --data ~/p2psip-dev              keep Node-IDs, users and registrations for the next start
  p2psip dev --bind 192.168.1.10              for phones of your LAN
  p2psip dev --bind 192.168.1.10 --name sip.lan
  SSLKEYLOGFILE=keys.log p2psip dev           let Wireshark decrypt the RELOAD links
  RUST_LOG=p2psip=debug p2psip dev            tell every decision";

const INIT_EXAMPLES: &str = "\
Examples:
  p2psip init example.org --address sip1.example.org
  p2psip init example.org --address sip1.example.org --node sip2.example.org:6084 --run
  p2psip init example.org --address sip1.example.org --data ~/p2psip

An IP address does too, as long as it stays: tokens and the document name this host by it for ever.
Next to the data it writes p2psip.toml, for `p2psip peer`, and off-line/, which belongs off this host.";

const JOIN_EXAMPLES: &str = "\
Examples:
  p2psip join --run --token-file berlin.token
  ssh sip1.example.org p2psip -q token create | p2psip join --token-file -
  p2psip join p2psip1.uqxr… --address sip2.example.org --data ~/p2psip

A join that was interrupted continues when it is repeated with the same token and folder. A host that was off until its certificates
ended joins again with a new token and its old folder: it keeps its Node-ID, its data and its settings.";

const RUN_EXAMPLES: &str = "\
Examples:
  p2psip peer -c /var/lib/p2psip/p2psip.toml
  P2PSIP__STORAGE__LISTEN=tcp:0.0.0.0:7401 p2psip storage
  P2PSIP__SIP_EDGE__OVERLAY=tcp:peer1-overlay:7400 p2psip sip-edge

Settings come from the file, then from variables P2PSIP__SECTION__KEY. `config print --default` explains each.
SIGTERM ends it in order: not ready, no new calls, transactions end, data is handed over, the ring is left. A second one at once.";

const STATUS_EXAMPLES: &str = "\
Examples:
  p2psip status
  p2psip --peer unix:/tmp/dev/dev.sock status
  p2psip -o json status | jq .reasons

The exit code is 3 when the peer is not ready.";

const LOOKUP_EXAMPLES: &str = "\
Examples:
  p2psip lookup alice@dev.p2psip.test
  p2psip lookup alice
  p2psip -o json lookup alice bob | jq '.edges[].edge'

The exit code is 1 when there is no such user. JSON has a line for each user.";

const PING_EXAMPLES: &str = "\
Examples:
  p2psip ping 3f0c                                     a Neighbor, finger or edge that the peer knows
  p2psip ping alice                                    the peer responsible for alice
  p2psip ping -c 100 -i 100ms alice bob
  p2psip -o json ping -c 1 alice | jq .roundtrip_ms.avg

The exit code is 1 when one of them did not answer at all. JSON has a line for each.";

const REGISTRATIONS_EXAMPLES: &str = "\
Examples:
  p2psip registrations
  p2psip registrations alice
  p2psip registrations --follow                        the list, then each change
  p2psip -o json registrations | jq -r '.registrations[] | select(.reachable | not) | .contact'

The exit code is 1 when the user that was asked for has no phone here; `p2psip lookup` finds him elsewhere. With --follow
JSON has a line for the list and a line for each change; it ends with 5 when the edge drains or stops.";

const CALLS_EXAMPLES: &str = "\
Examples:
  p2psip calls
  p2psip calls --follow                                the list, then each change
  p2psip -o json calls | jq '.calls | length'

A call is shown from its INVITE to its end, at each edge that it passes. An edge learns of the end from a BYE: a call whose phones
died without one is shown for 12 hours. SOURCE is the caller's phone or edge, TARGETS the callee's.";

const DRAIN_EXAMPLES: &str = "\
Examples:
  p2psip drain                                         begin, and tell how many transactions are left
  p2psip drain --wait                                  return when none is

New registrations and calls get 503, what is under way goes on, calls that stand are not touched. The edge drains until it is
started anew; meanwhile `p2psip health` and the page /readyz say so.";

const PLACE_EXAMPLES: &str = "\
Examples:
  P2PSIP__PEER__FOLDER=/place P2PSIP__PEER__SITE_FILE=/secrets/site p2psip place

Each component gets a folder of its own, so that a container sees its own certificate and no other. Without a site (key
peer.site_file) the certificates are under an authority of this peer alone. A folder that is there already stays as it is.

Components that run in one process, or that reach each other by Unix sockets, need none of this.";

const HEALTH_EXAMPLES: &str = "\
Examples:
  p2psip health                                        whatever runs on this host or in this container
  p2psip health sip-edge                               the edge of a pod, in which other components run too
  p2psip health --address http://127.0.0.1:9100
  p2psip health --address unix:/run/p2psip/storage.sock --service p2psip.storage.v1.Storage
  p2psip health --address unix:/run/p2psip/peer.sock --service p2psip.sip_edge.v1.SipEdge
  HEALTHCHECK CMD [\"/p2psip\", \"health\"]              in a Dockerfile

The exit code is 0 when the process is ready, 3 when it is not, 5 when it cannot be reached.";

const DECODE_EXAMPLES: &str = "\
Examples:
  p2psip wire decode < messages.hex
  echo d2454c4f... | p2psip wire decode | jq .body";

const COMPLETION_EXAMPLES: &str = "\
Examples:
  p2psip completion bash > ~/.local/share/bash-completion/completions/p2psip
  p2psip completion zsh > ~/.zfunc/_p2psip
  p2psip completion fish > ~/.config/fish/completions/p2psip.fish";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn dev_has_defaults_for_everything() {
        let cli = Cli::try_parse_from(["p2psip", "dev"]).unwrap();
        let Command::Dev(dev) = cli.command else {
            panic!("dev was asked for")
        };
        assert_eq!(
            (dev.peers, dev.bind.to_string().as_str(), dev.once),
            (None, "127.0.0.1", false)
        );
    }

    #[test]
    fn global_flags_stand_anywhere() {
        let cli = Cli::try_parse_from(["p2psip", "status", "-o", "json", "--timeout", "500ms"]).unwrap();
        assert_eq!(
            (cli.global.output, cli.global.timeout),
            (Format::Json, Duration::from_millis(500))
        );
    }

    #[test]
    fn senseless_values_are_usage_errors() {
        for arguments in [
            ["p2psip", "dev", "--peers", "0"],
            ["p2psip", "dev", "--peers", "65"],
            ["p2psip", "dev", "--bind", "0.0.0.0"],
            ["p2psip", "status", "--timeout", "5"],
        ] {
            assert_eq!(
                Cli::try_parse_from(arguments).unwrap_err().exit_code(),
                2,
                "{arguments:?}"
            );
        }
    }
}
