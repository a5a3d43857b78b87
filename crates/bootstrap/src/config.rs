//! Settings of the component.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The section `[bootstrap]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of its state: keys, users, tokens and what waits to be stored.
    pub folder: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            folder: PathBuf::from("/var/lib/p2psip/bootstrap"),
        }
    }
}
