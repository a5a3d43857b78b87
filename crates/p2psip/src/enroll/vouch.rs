//! A token for hosts that share nothing but its secret: where the overlay is and what its root is, an enrollment server tells that
//! proves to know the secret too.

use identity::{Root, Voucher, draw_nonce};
use prost::Message as _;
use rpc::proto::bootstrap::v1::{VouchRequest, VouchResponse};

use super::files::CredentialsError;
use super::https::{Client, Server};
use super::{EnrollError, Token, first};

/// Completes a token. The secret is sent to nobody yet.
pub(crate) async fn token(servers: &[String], secret: &str) -> Result<Token, EnrollError> {
    let nonce = draw_nonce().map_err(CredentialsError::from)?;
    let request = VouchRequest {
        nonce: nonce.to_vec().into(),
    };
    let (client, voucher, request) = (&Client::unverified()?, &Voucher::new(secret), &request);
    let vouched = first(servers, move |server: Server| async move {
        let url = server.to_string();
        let answer = client
            .post(&server, "/.well-known/p2psip/vouch", request.encode_to_vec())
            .await?;
        let unreadable = |reason: String| EnrollError::Answer {
            url: url.clone(),
            reason,
        };
        let answer = VouchResponse::decode(answer).map_err(|error| unreadable(error.to_string()))?;
        let hash: [u8; 32] = answer
            .root
            .as_ref()
            .try_into()
            .map_err(|_| unreadable("it names no configuration root".to_owned()))?;
        let root = Root {
            overlay: &answer.overlay,
            hash: &hash,
        };
        match answer.proofs.iter().any(|proof| voucher.is_proven(&nonce, root, proof)) {
            true => Ok((answer.overlay, hash)),
            false => Err(EnrollError::NotVouched { url }),
        }
    });
    let (overlay, root) = vouched.await?;
    Ok(Token {
        overlay,
        root,
        servers: servers.to_vec(),
        secret: secret.to_owned(),
    })
}
