//! What an edge is told at its start.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use identity::issue::Authority;
use identity::{Key, Signer};
use rpc::Address;
use runtime::addresses::Advertised;
use serde::{Deserialize, Serialize};
use usage::user::RecordKey;

/// The section `[sip_edge]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Addresses for phones, UDP and TCP each. Default: port 5060 on all addresses of both families.
    #[serde(with = "runtime::list")]
    pub bind: Vec<SocketAddr>,
    /// Addresses for other edges (mutual TLS). Default: port 5062 on all addresses of both families.
    #[serde(with = "runtime::list")]
    pub edge_bind: Vec<SocketAddr>,
    /// Where phones reach this edge, if not at the socket's own address: an address or a name, with a port if that differs too, as
    /// behind a published port (`203.0.113.5` or `203.0.113.5:5070`); of each family the first counts. Default: none.
    #[serde(with = "runtime::list")]
    pub advertise: Vec<Advertised>,
    /// Addresses or names at which other edges reach `edge_bind`, with a port or with that of `edge_bind`. Default: those of
    /// `edge_bind`, and of this machine's interfaces where that is a wildcard.
    #[serde(with = "runtime::list")]
    pub edge_advertise: Vec<Advertised>,
    /// Names and addresses by which phones may call this edge instead of the domain, besides those of the machine. Default: none.
    #[serde(with = "runtime::list")]
    pub names: Vec<String>,
    /// Digest algorithms offered, in this order: `SHA-256`, `MD5`. Some old phones read only the first. Default: both.
    #[serde(with = "runtime::list")]
    pub algorithms: Vec<Algorithm>,
    /// Whether credentials of old phones without `qop` are accepted, each for one request only. Default: true.
    pub digest_without_qop: bool,
    /// Whether the secrets of TLS connections go to the file that SSLKEYLOGFILE names; no setting of a file, `dev` asks for it.
    #[serde(skip)]
    pub key_log: bool,
    /// Folder for bindings and keys. Default: /var/lib/p2psip/sip-edge.
    pub data: PathBuf,
    /// Where it listens for the operator, if it runs in a process of its own.
    pub listen: Address,
    /// Where its overlay is, if that runs in a process of its own; or several of one site, in the order of preference: it attaches
    /// to one, and to the next when that is gone.
    #[serde(with = "runtime::list")]
    pub overlay: Vec<Address>,
}

/// A digest algorithm (RFC 8760).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// MD5.
    Md5,
}

/// A text that names no digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the algorithms are SHA-256 and MD5")]
pub struct UnknownAlgorithm;

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
        })
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        match text {
            "SHA-256" => Ok(Self::Sha256),
            "MD5" => Ok(Self::Md5),
            _ => Err(UnknownAlgorithm),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: vec![
                SocketAddr::from(([0, 0, 0, 0], 5060)),
                SocketAddr::from(([0_u16; 8], 5060)),
            ],
            edge_bind: vec![SocketAddr::from(([0_u16; 8], 5062))],
            advertise: Vec::new(),
            edge_advertise: Vec::new(),
            names: Vec::new(),
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            digest_without_qop: true,
            key_log: false,
            data: PathBuf::from("/var/lib/p2psip/sip-edge"),
            listen: Address::Unix("/run/p2psip/sip-edge.sock".into()),
            overlay: vec![Address::Unix("/run/p2psip/overlay.sock".into())],
        }
    }
}

/// What an edge got at its enrollment: three keys with their certificates, and the keys of the user records.
#[derive(Debug)]
pub struct Credentials {
    /// Link key and certificate: TLS and AppAttach.
    pub link: Signer,
    /// The delegated signer: issues the certificates under which registrations are stored.
    pub delegated: Authority,
    /// Signs registrations; random and the edge's own, it needs no certificate of its own.
    pub values: Key,
    /// Open user records.
    pub record_keys: Vec<RecordKey>,
}

impl From<Algorithm> for sip_core::digest::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256,
            Algorithm::Md5 => Self::Md5,
        }
    }
}
