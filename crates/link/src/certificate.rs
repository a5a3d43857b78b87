//! The certificate that an endpoint shows, which is renewed while links are open.

use std::sync::Arc;

use bytes::Bytes;
use identity::Key;
use parking_lot::RwLock;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::error::SetupError;

/// A chain and its key; each handshake takes the ones of its moment.
#[derive(Debug)]
pub(crate) struct Certificate(RwLock<Arc<CertifiedKey>>);

impl Certificate {
    pub(crate) fn new(chain: &[Bytes], key: &Key, provider: &CryptoProvider) -> Result<Self, SetupError> {
        Ok(Self(RwLock::new(certified(chain, key, provider)?)))
    }

    /// Shows another from the next handshake on.
    pub(crate) fn renew(&self, chain: &[Bytes], key: &Key, provider: &CryptoProvider) -> Result<(), SetupError> {
        let renewed = certified(chain, key, provider)?;
        *self.0.write() = renewed;
        Ok(())
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for Certificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified(chain: &[Bytes], key: &Key, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, SetupError> {
    if chain.is_empty() {
        return Err(SetupError::NoCertificate);
    }
    let chain = chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()));
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(SetupError::Key)?;
    Ok(Arc::new(certified))
}
