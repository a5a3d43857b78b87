//! A bootstrap service that was just made, asked for the token of the peer beside it.

use std::path::PathBuf;

use rpc::{Channel, Role};
use runtime::Monitor;

use crate::enroll::Token;
use crate::failure::Failure;
use crate::node;

/// Makes a token at the service whose state is in a folder, and which others reach at this URL.
pub(super) async fn token(folder: PathBuf, server: String) -> Result<Token, Failure> {
    let config = bootstrap::Config {
        folder,
        https_bind: Vec::new(),
        ..bootstrap::Config::default()
    };
    let mut service = bootstrap::Server::bind(&config, Default::default(), Monitor::new().component("bootstrap", ""))
        .await
        .map_err(Failure::cannot_start)?;
    let operator = Channel::direct(service.served(), Role::Operator);
    // This host's own way to its service first: others' may lead round a router that does not turn back.
    let servers = vec![LOOPBACK.to_owned(), server];
    let token = node::token(operator, servers).await;
    service.shutdown(GRACE).await.map_err(Failure::internal)?;
    token
}

const LOOPBACK: &str = "https://127.0.0.1:8443";
const GRACE: std::time::Duration = std::time::Duration::from_secs(1);
