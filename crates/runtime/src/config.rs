//! Settings of a process: file, then environment, then flags, each over the one before.
//!
//! Each component declares one struct with `deny_unknown_fields` and a `Default` that works; a process puts those it runs
//! together as the sections of one struct and reads them with [`load`].

use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat};
use serde::de::DeserializeOwned;

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that was asked for; it must exist.
    pub file: Option<PathBuf>,
    /// Variables, of which those that begin with `P2PSIP__` count: `P2PSIP__SIP_EDGE__BIND` is `sip_edge.bind`.
    pub environment: Vec<(String, String)>,
    /// Keys set by flags, such as `("sip_edge.bind", "0.0.0.0")`.
    pub flags: Vec<(String, String)>,
}

/// Why settings could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {path} is not valid TOML: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A key is unknown, or its value of the wrong kind; the text names it.
    #[error("configuration: {reason}")]
    Invalid {
        /// Which key and why.
        reason: String,
    },
}

impl Sources {
    /// The file asked for, or else [`DEFAULT_FILE`] if there is one, and the environment of this process.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let default = || Path::new(DEFAULT_FILE).exists().then(|| PathBuf::from(DEFAULT_FILE));
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment = std::env::vars_os().filter_map(text).collect();
        Self {
            file: file.or_else(default),
            environment,
            flags: Vec::new(),
        }
    }
}

/// Reads settings. A key that no section knows is an error that names it.
///
/// # Errors
/// When the file cannot be read or parsed, or a key or value is not understood.
pub fn load<T: DeserializeOwned>(sources: &Sources) -> Result<T, LoadError> {
    let mut builder = Config::builder();
    if let Some(path) = &sources.file {
        let text = std::fs::read_to_string(path).map_err(|source| LoadError::Unreadable {
            path: path.clone(),
            source,
        })?;
        // Parsed here first: the message then has the line, and names the file once.
        text.parse::<toml::Table>().map_err(|error| LoadError::Malformed {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
    }
    let environment = sources.environment.iter().cloned().collect();
    builder = builder.add_source(
        Environment::with_prefix("P2PSIP")
            .prefix_separator("__")
            .separator("__")
            .source(Some(environment)),
    );
    for (key, value) in &sources.flags {
        builder = builder.set_override(key, value.as_str()).map_err(invalid)?;
    }
    builder.build().map_err(invalid)?.try_deserialize().map_err(invalid)
}

/// Read when no other file is named.
pub const DEFAULT_FILE: &str = "/etc/p2psip/p2psip.toml";

fn invalid(error: config::ConfigError) -> LoadError {
    LoadError::Invalid {
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        sip_edge: Edge,
        storage: Storage,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Edge {
        bind: String,
        port: u16,
        #[serde(with = "crate::units::duration")]
        timeout: Duration,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Storage {
        #[serde(with = "crate::units::size")]
        cache: u64,
    }

    impl Default for Edge {
        fn default() -> Self {
            Self {
                bind: "::".into(),
                port: 5060,
                timeout: Duration::from_secs(5),
            }
        }
    }

    impl Default for Storage {
        fn default() -> Self {
            Self { cache: 64 << 20 }
        }
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn sources(
        file: Option<&tempfile::NamedTempFile>,
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Sources {
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let file = file.map(|file| file.path().into());
        Sources {
            file,
            environment: owned(environment),
            flags: owned(flags),
        }
    }

    #[test]
    fn nothing_given_means_defaults() {
        assert_eq!(load::<Settings>(&Sources::default()).unwrap(), Settings::default());
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let file = file("[sip_edge]\nbind = \"10.0.0.1\"\nport = 1\ntimeout = \"3s\"\n[storage]\ncache = \"1GiB\"\n");
        let environment = [
            ("P2PSIP__SIP_EDGE__PORT", "2"),
            ("P2PSIP__SIP_EDGE__BIND", "10.0.0.2"),
            ("P2PSIP_PEER", "x"),
        ];
        let settings = load::<Settings>(&sources(Some(&file), &environment, &[("sip_edge.bind", "10.0.0.3")])).unwrap();
        let edge = Edge {
            bind: "10.0.0.3".into(),
            port: 2,
            timeout: Duration::from_secs(3),
        };
        assert_eq!(
            settings,
            Settings {
                sip_edge: edge,
                storage: Storage { cache: 1 << 30 }
            }
        );
    }

    #[test]
    fn an_unknown_key_is_named() {
        let of_file = file("[sip_edge]\nbnid = \"10.0.0.1\"\n");
        let error = load::<Settings>(&sources(Some(&of_file), &[], &[]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("bnid"), "{error}");

        let error = load::<Settings>(&sources(None, &[("P2PSIP__SIP_EDGE__BNID", "x")], &[]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("bnid"), "{error}");

        let of_file = file("[sipedge]\nbind = \"10.0.0.1\"\n");
        let error = load::<Settings>(&sources(Some(&of_file), &[], &[]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("sipedge"), "{error}");
    }

    #[test]
    fn a_wrong_value_names_its_key() {
        let of_file = file("[sip_edge]\ntimeout = \"3\"\n");
        let error = load::<Settings>(&sources(Some(&of_file), &[], &[]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("timeout") && error.contains("unit"), "{error}");
    }

    #[test]
    fn a_missing_or_malformed_file_is_named() {
        let missing = Sources {
            file: Some("/nowhere/p2psip.toml".into()),
            ..Sources::default()
        };
        let error = load::<Settings>(&missing).unwrap_err().to_string();
        assert!(error.contains("/nowhere/p2psip.toml"), "{error}");

        let malformed = file("[sip_edge\n");
        let error = load::<Settings>(&sources(Some(&malformed), &[], &[])).unwrap_err();
        assert!(matches!(error, LoadError::Malformed { .. }), "{error}");
    }
}
