//! The section `[storage]` of the configuration.

use std::path::PathBuf;

use rpc::Address;
use serde::{Deserialize, Serialize};

/// Settings of the component.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the data; it is made if it is missing. It belongs to one Node-ID for ever.
    pub data: PathBuf,
    /// Most memory for pages read from the disk.
    #[serde(with = "runtime::units::size")]
    pub cache: u64,
    /// Most octets of stored values and their certificates. At four fifths of it original Stores are refused, at 95 % copies
    /// too; one signer may fill a tenth of it, and the values of one Kind half.
    #[serde(with = "runtime::units::size")]
    pub capacity: u64,
    /// Most values of one signer; of an edge those of all its phones. A peer keeps the values of three owners.
    pub values_per_signer: u64,
    /// When a write counts as kept.
    pub durability: Durability,
    /// Where it listens for its overlay and the operator, if it runs in a process of its own.
    pub listen: Address,
}

/// When a write counts as kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// When the disk has confirmed it: it survives the loss of power.
    #[default]
    Disk,
    /// When the operating system has handed it to the disk: it survives a crash of the process, and the loss of power
    /// only with luck. For tries.
    System,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("/var/lib/p2psip/storage"),
            cache: 64 << 20,
            capacity: 1 << 30,
            values_per_signer: 20_000,
            durability: Durability::default(),
            listen: Address::Unix("/run/p2psip/storage.sock".into()),
        }
    }
}

impl Config {
    pub(crate) fn options(&self) -> kv::Options {
        let durability = match self.durability {
            Durability::Disk => kv::Durability::Disk,
            Durability::System => kv::Durability::System,
        };
        kv::Options {
            cache_bytes: self.cache,
            durability,
        }
    }
}
