//! The request of a new bootstrap service to be named in the overlay's document: a file from its machine to the off-line keys. It holds
//! no secret.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::{Certificate, CertificateError};
use serde::{Deserialize, Serialize};
use wire::NodeId;

/// The facts that the document is to name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    /// Where the service will be: `https://HOST:PORT/enroll`.
    pub(crate) url: String,
    /// The certificate of its enrollment CA.
    pub(crate) authority: Certificate,
    /// The writer of the user records that it will sign.
    pub(crate) writer: NodeId,
}

/// Why a file is no request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is no request of `p2psip bootstrap new`: {source}", path.display())]
    Malformed { path: PathBuf, source: toml::de::Error },
    #[error("{} is no request of `p2psip bootstrap new`: {what}", path.display())]
    Value { path: PathBuf, what: &'static str },
    #[error("{}: authority: {source}", path.display())]
    Authority { path: PathBuf, source: CertificateError },
    #[error("the request cannot be written: {0}")]
    Unwritable(toml::ser::Error),
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: String,
    /// DER in base64.
    authority: String,
    writer: String,
}

impl Request {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, RequestError> {
        let failed = |source| RequestError::Io {
            path: path.to_owned(),
            source,
        };
        let wrong = |what| RequestError::Value {
            path: path.to_owned(),
            what,
        };
        let mut text = String::new();
        let file = File::open(path).map_err(failed)?;
        file.take(LARGEST).read_to_string(&mut text).map_err(failed)?;
        let written: Written = toml::from_str(&text).map_err(|source| RequestError::Malformed {
            path: path.to_owned(),
            source,
        })?;
        if !written.url.starts_with("https://") {
            return Err(wrong("url does not begin with https://"));
        }
        let der = STANDARD.decode(written.authority.trim());
        let der = der.map_err(|_| wrong("authority is not base64"))?;
        let authority = Certificate::from_der(&der).map_err(|source| RequestError::Authority {
            path: path.to_owned(),
            source,
        })?;
        if authority.path_length() != Some(ENROLLMENT_CA) {
            return Err(wrong("authority is not the certificate of an enrollment CA"));
        }
        let writer = written.writer.trim().parse();
        Ok(Self {
            url: written.url,
            authority,
            writer: writer.map_err(|_| wrong("writer is not a Node-ID in hex"))?,
        })
    }

    /// Writes a file.
    pub(crate) fn write(&self, path: &Path) -> Result<(), RequestError> {
        let written = Written {
            url: self.url.clone(),
            authority: STANDARD.encode(self.authority.der()),
            writer: self.writer.to_string(),
        };
        let text = toml::to_string(&written).map_err(RequestError::Unwritable)?;
        runtime::private::write(path, text.as_bytes()).map_err(|source| RequestError::Io {
            path: path.to_owned(),
            source,
        })
    }
}

/// In octets; a certificate of ours has 500.
const LARGEST: u64 = 16 * 1024;
/// Its path length, which tells it from a configuration root.
const ENROLLMENT_CA: u32 = 1;

#[cfg(test)]
mod tests {
    use identity::Key;
    use identity::issue::{Serial, configuration_root, enrollment_ca};

    use super::*;

    fn request(authority: Certificate) -> Request {
        Request {
            url: "https://sip2.example.org:6085/enroll".to_owned(),
            authority,
            writer: NodeId::from([7; 16]),
        }
    }

    fn enrollment() -> Certificate {
        let key = Key::ed25519_from_seed([1; 32]);
        let authority = enrollment_ca(&key, 0, Serial::new([1; 9])).unwrap();
        authority.certificate().clone()
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sip2.request");
        let request = request(enrollment());
        request.write(&path).unwrap();
        assert_eq!(Request::read(&path).unwrap(), request);
    }

    #[test]
    fn other_files_are_refused_with_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sip2.request");
        let key = Key::ed25519_from_seed([1; 32]);
        let root = configuration_root(&key, 0, Serial::new([1; 9])).unwrap();
        request(root.certificate().clone()).write(&path).unwrap();
        let of_root = std::fs::read_to_string(&path).unwrap();
        request(enrollment()).write(&path).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        for (text, expected) in [
            (String::new(), "missing field `url`"),
            (format!("{good}key = 1\n"), "unknown field `key`"),
            (good.replace("https:", "http:"), "https://"),
            (good.replace("authority = \"", "authority = \"*"), "not base64"),
            (good.replace("authority = \"MII", "authority = \"AII"), "authority: "),
            (good.replace("0707", "xx07"), "not a Node-ID"),
            (of_root, "not the certificate of an enrollment CA"),
        ] {
            std::fs::write(&path, &text).unwrap();
            let refusal = Request::read(&path).unwrap_err().to_string();
            assert!(refusal.contains(expected), "{refusal}");
            assert!(refusal.contains("sip2.request"), "{refusal}");
        }
    }
}
