//! `token`: what a further peer needs to join.

mod report;

use std::time::Duration;

use clap::Subcommand;
use rpc::proto::bootstrap::v1::bootstrap_client::BootstrapClient;
use rpc::proto::bootstrap::v1::{CreateTokenRequest, ListTokensRequest, ListTokensResponse, RevokeTokenRequest};
use rpc::{Channel, Role, unbounded};
use runtime::ExitCode;

use self::report::{Created, List, Revoked};
use crate::cli::Global;
use crate::clock::now_ms;
use crate::connect::Peer;
use crate::enroll::Token;
use crate::failure::Failure;
use crate::output::Printer;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a token that enrolls one peer and its edges
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        /// How many edges the peer will have
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=16))]
        edges: u32,
        /// How long it can be used, with its unit: 30m, 1h, 7d
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = runtime::units::parse_duration)]
        lifetime: Duration,
        /// A name to list and revoke it by [default: a random one]
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        /// Where the new host enrolls, such as <https://a.example.org:8443> [default: those of the overlay's document]
        #[arg(long = "server", value_name = "URL")]
        servers: Vec<String>,
    },
    /// List the tokens and the nodes that were enrolled with them; never a secret
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Revoke a token; nodes already enrolled with it stay
    #[command(after_help = REVOKE_EXAMPLES)]
    Revoke {
        /// Which one; the first characters are enough
        id: String,
    },
}

/// Carries out one of the commands.
pub(crate) async fn run(command: &Command, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let peer = Peer::of(global, Role::Bootstrap)?;
    let tokens = Tokens {
        peer: &peer,
        timeout: global.timeout,
    };
    match command {
        Command::Create {
            edges,
            lifetime,
            id,
            servers,
        } => {
            let created = tokens.create(id.as_deref(), *edges, *lifetime, servers).await?;
            printer.result_or_core(&created, Created::table, Created::token)?;
        }
        Command::List => {
            let list = List::new(&tokens.list().await?, now_ms());
            printer.result(&list, List::table)?;
        }
        Command::Revoke { id } => {
            let revoked = tokens.revoke(id).await?;
            printer.result(&revoked, Revoked::text)?;
        }
    }
    Ok(ExitCode::Ok)
}

/// A way to the tokens.
struct Tokens<'a> {
    peer: &'a Peer,
    timeout: Duration,
}

impl Tokens<'_> {
    async fn create(
        &self,
        id: Option<&str>,
        edges: u32,
        lifetime: Duration,
        servers: &[String],
    ) -> Result<Created, Failure> {
        let id = match id {
            Some(id) => id.to_owned(),
            None => identity::issue::random_node_id().map_err(Failure::internal)?.short(),
        };
        let request = CreateTokenRequest {
            id: id.clone(),
            // Less than a second rounds to none, which the service refuses.
            lifetime_seconds: lifetime.as_secs(),
            peer: true,
            edges,
            ..CreateTokenRequest::default()
        };
        let answer = self.client().create_token(request).await;
        let made = answer.map_err(|status| self.failed(&status))?.into_inner();
        if made.secret.is_empty() {
            return Err(Failure::negative(format!(
                "token {id} exists already, and its secret was shown once: revoke it, or choose another --id"
            )));
        }
        let expires_ms = made.expires_unix_ms;
        let token = Token::of(made, servers.to_vec())
            .ok_or_else(|| Failure::internal(anyhow::anyhow!("the answer names no configuration root")))?;
        Ok(Created::new(id, edges, &token, expires_ms, now_ms()))
    }

    async fn list(&self) -> Result<Vec<ListTokensResponse>, Failure> {
        let mut client = self.client();
        self.peer
            .all(self.timeout, client.list_tokens(unbounded(ListTokensRequest {})))
            .await
    }

    async fn revoke(&self, prefix: &str) -> Result<Revoked, Failure> {
        let ids = self.list().await?.into_iter().map(|token| token.id);
        let id = chosen(prefix, ids.collect())?;
        let answer = self.client().revoke_token(RevokeTokenRequest { id: id.clone() }).await;
        answer.map_err(|status| self.failed(&status))?;
        Ok(Revoked::new(id))
    }

    fn failed(&self, status: &tonic::Status) -> Failure {
        self.peer.failed(status)
    }

    fn client(&self) -> BootstrapClient<Channel> {
        BootstrapClient::new(self.peer.channel.clone())
    }
}

/// The id that is meant: the very one, or the only one that begins so.
fn chosen(prefix: &str, ids: Vec<String>) -> Result<String, Failure> {
    let mut begun: Vec<String> = ids.into_iter().filter(|id| id.starts_with(prefix)).collect();
    if let Some(exact) = begun.iter().position(|id| id == prefix) {
        return Ok(begun.swap_remove(exact));
    }
    match begun.as_slice() {
        [_] => Ok(begun.remove(0)),
        [] => Err(Failure::negative(format!("there is no token {prefix}"))),
        several => Err(Failure::usage(format!(
            "{prefix} begins several tokens: {}",
            several.join(", ")
        ))),
    }
}

const CREATE_EXAMPLES: &str = "\
Examples:
  p2psip token create                                  a peer with one edge, within the next hour
  p2psip token create --edges 2 --lifetime 7d --id berlin
  p2psip -q token create > berlin.token                the token alone
  p2psip -q token create | ssh berlin p2psip join --token-file -
  p2psip -o json token create | jq -r .token           the same for programs

The token is a secret: whoever has it can enroll a peer. It is shown only now.";

const LIST_EXAMPLES: &str = "\
Examples:
  p2psip token list
  p2psip -o json token list | jq '.tokens[] | select(.state == \"open\")'";

const REVOKE_EXAMPLES: &str = "\
Examples:
  p2psip token revoke berlin
  p2psip token revoke 3f                               the only token that begins so";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_characters_choose_a_token() {
        let ids = || ["berlin", "berlin-2", "hamburg"].map(str::to_owned).to_vec();
        assert_eq!(chosen("h", ids()).unwrap(), "hamburg");
        // A whole id is meant even where it begins another.
        assert_eq!(chosen("berlin", ids()).unwrap(), "berlin");
        assert_eq!(chosen("ber", ids()).unwrap_err().code(), ExitCode::Usage);
        assert_eq!(chosen("x", ids()).unwrap_err().code(), ExitCode::Negative);
    }
}
