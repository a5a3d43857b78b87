//! Tokens that the configuration names.

use kv::Store;
use rpc::proto::bootstrap::v1 as proto;
use runtime::secret;

use crate::config::{Token, TokenClass, Uses};
use crate::core::{Configured, Core};
use crate::driver::unix_ms;
use crate::error::StartError;

/// Puts the tokens of the configuration, and ends those that it does not name any more.
pub(crate) async fn put(core: &mut Core, store: &Store, tokens: &[Token]) -> Result<(), StartError> {
    let mut configured = Vec::new();
    for token in tokens {
        let path = token.secret_file.clone();
        let read = tokio::task::spawn_blocking(move || secret::line_of(&path)).await;
        let secret = match read {
            Ok(Ok(secret)) if secret.chars().count() < identity::SHORTEST_SECRET => Err(format!(
                "{} holds fewer than {} characters: `openssl rand -base64 32` makes a good one",
                token.secret_file.display(),
                identity::SHORTEST_SECRET
            )),
            Ok(Ok(secret)) => Ok(secret),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let secret = secret.map_err(|reason| refused(token, reason))?;
        configured.push(Configured {
            secret,
            wanted: wanted(token),
        });
    }
    let put = core.configure_tokens(unix_ms(), configured);
    let ((), batch) = put.map_err(|(id, refusal)| StartError::Token {
        id,
        reason: refusal.to_string(),
    })?;
    core.note(&batch);
    store.apply(batch).await?;
    Ok(())
}

fn wanted(token: &Token) -> proto::CreateTokenRequest {
    let (peer, edges) = match token.class {
        TokenClass::Peer => (true, EDGES),
        TokenClass::Edge => (false, 1),
    };
    let (uses, unlimited) = match token.uses {
        Uses::Times(times) => (times.get(), false),
        Uses::Any(_) => (0, true),
    };
    proto::CreateTokenRequest {
        id: token.id.clone(),
        lifetime_seconds: token.lifetime.0.map_or(0, |lifetime| lifetime.as_secs()),
        unending: token.lifetime.0.is_none(),
        peer,
        edges,
        uses,
        unlimited,
        user: String::new(),
    }
}

fn refused(token: &Token, reason: String) -> StartError {
    StartError::Token {
        id: token.id.clone(),
        reason,
    }
}

/// Several edges may stand on one peer.
const EDGES: u32 = 4;
