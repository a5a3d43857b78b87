//! `token`: what further peers, edges and clients need to enroll.

mod arguments;
mod report;

use std::time::Duration;

use rpc::proto::bootstrap::v1::bootstrap_client::BootstrapClient;
use rpc::proto::bootstrap::v1::{CreateTokenRequest, ListTokensRequest, ListTokensResponse, RevokeTokenRequest};
use rpc::{Channel, Role, unbounded};
use runtime::ExitCode;
use usage::user::not_a_node;

pub(crate) use self::arguments::Command;
use self::arguments::{Class, Create, Uses};
use self::report::{Created, List, Revoked};
use crate::cli::Global;
use crate::clock::now_ms;
use crate::connect::Peer;
use crate::enroll::Token;
use crate::failure::Failure;
use crate::names;
use crate::output::Printer;

/// Carries out one of the commands.
pub(crate) async fn run(command: &Command, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let peer = Peer::of(global, Role::Bootstrap)?;
    let tokens = Tokens {
        peer: &peer,
        timeout: global.timeout,
    };
    match command {
        Command::Create(create) => {
            let created = tokens.create(create).await?;
            printer.result_or_core(&created, Created::table, Created::token)?;
        }
        Command::List => {
            let list = List::new(&tokens.list().await?, now_ms());
            printer.result(&list, List::table)?;
        }
        Command::Revoke { id, ban: false } => {
            let revoked = tokens.revoke(id).await?;
            printer.result(&revoked, Revoked::text)?;
        }
        Command::Revoke { id, ban: true } => {
            let mut revoked = tokens.revoke(id).await?;
            // Listed afterwards: nothing more is enrolled by then.
            revoked.ban(&tokens.list().await?);
            printer.result_or_core(&revoked, Revoked::text, Revoked::lines)?;
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
    async fn create(&self, create: &Create) -> Result<Created, Failure> {
        let request = self.request(create).await?;
        let answer = self.client().create_token(request.clone()).await;
        let made = answer.map_err(|status| self.failed(&status))?.into_inner();
        if made.secret.is_empty() {
            return Err(Failure::negative(format!(
                "token {} exists already, and its secret was shown once: revoke it, or choose another --id",
                request.id
            )));
        }
        let expires_ms = made.expires_unix_ms;
        let token = Token::of(made, create.servers.clone())
            .ok_or_else(|| Failure::internal(anyhow::anyhow!("the answer names no configuration root")))?;
        Ok(Created::new(&request, &token, expires_ms, now_ms()))
    }

    async fn request(&self, create: &Create) -> Result<CreateTokenRequest, Failure> {
        let is_peer = create.class == Class::Peer;
        if create.edges.is_some() && !is_peer {
            return Err(Failure::usage(
                "--edges belongs to --class peer; of edges alone --uses says how many",
            ));
        }
        let user = match (&create.user, create.class) {
            (Some(user), Class::Client) => {
                let aor = names::aor_at(self.peer, self.timeout, user).await?.as_str().to_owned();
                not_a_node(&aor).map_err(|error| Failure::usage(format!("user {aor}: {error}")))?;
                aor
            }
            (Some(_), _) => return Err(Failure::usage("--user belongs to --class client")),
            (None, _) => String::new(),
        };
        let id = match &create.id {
            Some(id) => id.clone(),
            None => identity::issue::random_node_id().map_err(Failure::internal)?.short(),
        };
        let (uses, unlimited) = match create.uses {
            Uses::Times(times) => (times, false),
            Uses::Unlimited => (0, true),
        };
        Ok(CreateTokenRequest {
            id,
            // Less than a second rounds to none, which the service refuses.
            lifetime_seconds: create.lifetime.0.map_or(0, |lifetime| lifetime.as_secs()),
            unending: create.lifetime.0.is_none(),
            peer: is_peer,
            edges: match create.class {
                Class::Peer => create.edges.unwrap_or(1),
                Class::Edge => 1,
                Class::Client => 0,
            },
            uses,
            unlimited,
            user,
        })
    }

    async fn list(&self) -> Result<Vec<ListTokensResponse>, Failure> {
        let mut client = self.client();
        let parts = self
            .peer
            .all(self.timeout, client.list_tokens(unbounded(ListTokensRequest {})))
            .await?;
        Ok(whole(parts))
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

/// Tokens that came in parts, put together.
fn whole(parts: Vec<ListTokensResponse>) -> Vec<ListTokensResponse> {
    let mut tokens: Vec<ListTokensResponse> = Vec::new();
    for part in parts {
        match tokens.last_mut().filter(|token| token.id == part.id) {
            Some(token) => token.enrolled.extend(part.enrolled),
            None => tokens.push(part),
        }
    }
    tokens
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

#[cfg(test)]
mod tests {
    use rpc::proto::bootstrap::v1::TokenUse;

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

    #[test]
    fn parts_of_a_token_are_one() {
        let part = |id: &str, nodes: usize| ListTokensResponse {
            id: id.to_owned(),
            enrolled: vec![TokenUse::default(); nodes],
            ..ListTokensResponse::default()
        };
        let tokens = whole(vec![part("a", 1), part("b", 256), part("b", 3), part("c", 0)]);
        let counts: Vec<usize> = tokens.iter().map(|token| token.enrolled.len()).collect();
        assert_eq!(counts, [1, 259, 0]);
    }
}
