//! Settings of the component.

use std::net::{Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use identity::issue::NODE_LIFE;
use rpc::Address;
use serde::{Deserialize, Serialize};

/// The section `[bootstrap]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of its state: keys, users, tokens and what waits to be stored.
    pub folder: PathBuf,
    /// Addresses for HTTPS: the document and enrollment; none turns both off. Default: port 8443 on all addresses.
    #[serde(with = "runtime::list")]
    pub https_bind: Vec<SocketAddr>,
    /// Names by which other hosts reach this service; its certificate carries them beside the overlay's name. Default: none.
    #[serde(with = "runtime::list")]
    pub names: Vec<String>,
    /// Whether a user's password enrolls clients of that user: 2 at a time, 4 new ones in a day. Default: no, since none of our
    /// programs needs it, and phones' passwords are weak.
    pub password_enrollment: bool,
    /// How long certificates of nodes live, `1m` to `90d`; they are renewed after a third of it. An edge's delegated signer lives for
    /// two thirds of it. Default: 90 days; less is for trying out renewal.
    #[serde(with = "runtime::units::duration")]
    pub certificate_lifetime: Duration,
    /// The public half of the key that backups are sealed to, in hex. Default: the one that the overlay was made with; an overlay
    /// from before there were backups has none.
    pub backup_key: String,
    /// Users that are to exist. One that ever existed stays as an operator made it.
    pub users: Vec<User>,
    /// Enrollment tokens whose secrets are in files, such as hosts that are all started from one template share. One that is not
    /// named any more can be used no more. Default: none.
    pub tokens: Vec<Token>,
    /// Where it listens for the overlay beside it and the operator, if it runs in a process of its own.
    pub listen: Address,
}

/// A user that is given by configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The AOR, or its part before the `@`: the domain is then the overlay's name.
    pub name: String,
    /// File with the password on its first line.
    pub password_file: PathBuf,
}

/// An enrollment token that is given by configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The name by which it is listed and revoked.
    pub id: String,
    /// File with the secret on its only line; at least 32 characters.
    pub secret_file: PathBuf,
    /// The nodes that each use enrolls. Default: a peer.
    #[serde(default)]
    pub class: TokenClass,
    /// How often it can be used. Default: any number of times, 20 in an hour.
    #[serde(default)]
    pub uses: Uses,
    /// How long it can be used, from its first start on. Default: for ever.
    #[serde(default)]
    pub lifetime: Lifetime,
}

/// The nodes that one use of a token enrolls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenClass {
    /// A peer with its edges.
    #[default]
    Peer,
    /// An edge alone.
    Edge,
}

/// How often a token can be used: a number, or `unlimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Uses {
    /// So often.
    Times(NonZeroU32),
    /// Any number of times.
    Any(AnyNumber),
}

/// The word for any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnyNumber {
    /// `unlimited`
    #[serde(rename = "unlimited")]
    Unlimited,
}

/// How long a token can be used: a duration with its unit, or `never`, which is when it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lifetime(pub Option<Duration>);

impl Default for Uses {
    fn default() -> Self {
        Self::Any(AnyNumber::Unlimited)
    }
}

impl std::str::FromStr for Lifetime {
    type Err = runtime::units::UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "never" => Ok(Self(None)),
            text => runtime::units::parse_duration(text).map(Some).map(Self),
        }
    }
}

impl TryFrom<String> for Lifetime {
    type Error = runtime::units::UnitError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Lifetime> for String {
    fn from(Lifetime(lifetime): Lifetime) -> String {
        lifetime.map_or_else(|| "never".to_owned(), runtime::units::format_duration)
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            folder: PathBuf::from("/var/lib/p2psip/bootstrap"),
            https_bind: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, HTTPS_PORT))],
            names: Vec::new(),
            password_enrollment: false,
            certificate_lifetime: NODE_LIFE,
            backup_key: String::new(),
            users: Vec::new(),
            tokens: Vec::new(),
            listen: Address::Unix("/run/p2psip/bootstrap.sock".into()),
        }
    }
}

const HTTPS_PORT: u16 = 8443;
