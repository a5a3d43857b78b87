//! Tokens whose secrets an operator keeps in files, and what the service vouches for by them.
//!
//! Hosts that are started from one template share such a secret and know nothing else of the overlay: the configuration root, on
//! which they believe the first document, they are told by whoever proves to know the secret.

use bytes::Bytes;
use identity::{Root, Voucher};
use kv::Batch;
use rpc::proto::bootstrap::v1 as proto;

use super::Core;
use crate::error::Refused;

/// A token of the configuration.
pub(crate) struct Configured {
    pub(crate) secret: String,
    pub(crate) wanted: proto::CreateTokenRequest,
}

/// Tokens and their secrets, by which the service vouches.
#[derive(Default)]
pub(super) struct Vouchers(Vec<(String, Voucher)>);

impl Core {
    /// Puts tokens with given secrets, and revokes those of earlier configurations. What an operator revoked stays so until its
    /// secret is another.
    pub(crate) fn configure_tokens(
        &mut self,
        now_ms: u64,
        tokens: Vec<Configured>,
    ) -> Result<((), Batch), (String, Refused)> {
        let mut batch = Batch::new();
        self.vouchers = Vouchers::default();
        for token in &tokens {
            let id = &token.wanted.id;
            let put = self.tokens.configure(&self.service, now_ms, token, &mut batch);
            put.map_err(|refusal| (id.clone(), refusal))?;
            self.vouchers.0.push((id.clone(), Voucher::new(&token.secret)));
        }
        let is_named = |id: &str| tokens.iter().any(|token| token.wanted.id == id);
        self.tokens.revoke_configured(is_named, &mut batch);
        Ok(((), batch))
    }

    /// Proves to a host which configuration root is the one of those who know its secret.
    pub(crate) fn vouch(&self, now_ms: u64, request: &proto::VouchRequest) -> Result<proto::VouchResponse, Refused> {
        let nonce: &[u8; 32] = request
            .nonce
            .as_ref()
            .try_into()
            .map_err(|_| Refused::Invalid(format!("a nonce has 32 octets, this one {}", request.nonce.len())))?;
        let root = Root {
            overlay: self.overlay(),
            hash: self.service.root(),
        };
        let usable = self
            .vouchers
            .0
            .iter()
            .filter(|(id, _)| self.tokens.is_usable(now_ms, id));
        Ok(proto::VouchResponse {
            overlay: self.overlay().to_owned(),
            root: Bytes::copy_from_slice(self.service.root()),
            proofs: usable
                .map(|(_, voucher)| Bytes::copy_from_slice(&voucher.prove(nonce, root)))
                .collect(),
        })
    }
}
