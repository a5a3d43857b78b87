//! Names and addresses of people in log lines and spans.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};

/// How much of a person the telemetry shows (`telemetry.identity`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Privacy {
    /// Everything, as it is.
    Full,
    /// A hash under a key of this process: one person's lines can be told to belong together, and nothing else.
    #[default]
    Hash,
    /// Nothing.
    Off,
}

/// Wraps a user name, URI or address of a person wherever it is printed.
#[derive(Clone, Copy)]
pub struct Pii<T>(pub T);

/// Wraps the address of a sender that has gone too far, for a line that a firewall's filter reads: as it is, unless nothing of people is to be shown.
#[derive(Clone, Copy)]
pub struct Suspect<T>(pub T);

/// Sets the privacy of the whole process.
pub fn set_privacy(privacy: Privacy) {
    PRIVACY.store(privacy as u8, Ordering::Relaxed);
}

static PRIVACY: AtomicU8 = AtomicU8::new(Privacy::Hash as u8);

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl<T: fmt::Display> fmt::Display for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(&self.0, privacy(), f)
    }
}

impl<T: fmt::Display> fmt::Debug for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(&self.0, privacy(), f)
    }
}

impl<T: fmt::Display> fmt::Display for Suspect<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_suspect(&self.0, privacy(), f)
    }
}

fn show_suspect(value: &dyn fmt::Display, privacy: Privacy, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match privacy {
        Privacy::Full | Privacy::Hash => value.fmt(f),
        Privacy::Off => f.write_str("-"),
    }
}

fn privacy() -> Privacy {
    match PRIVACY.load(Ordering::Relaxed) {
        value if value == Privacy::Full as u8 => Privacy::Full,
        value if value == Privacy::Off as u8 => Privacy::Off,
        _ => Privacy::Hash,
    }
}

fn show(value: &dyn fmt::Display, privacy: Privacy, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match privacy {
        Privacy::Full => value.fmt(f),
        Privacy::Hash => write!(f, "#{:08x}", KEY.hash_one(value.to_string()) >> 32),
        Privacy::Off => f.write_str("-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shown(&'static str, Privacy);

    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            show(&self.0, self.1, f)
        }
    }

    #[test]
    fn a_hash_hides_but_tells_apart() {
        let alice = Shown("sip:alice@example.org", Privacy::Hash).to_string();
        assert_eq!(alice, Shown("sip:alice@example.org", Privacy::Hash).to_string());
        assert_ne!(alice, Shown("sip:bob@example.org", Privacy::Hash).to_string());
        assert!(alice.len() == 9 && !alice.contains("alice"), "{alice}");
    }

    #[test]
    fn full_shows_and_off_hides() {
        assert_eq!(Shown("alice", Privacy::Full).to_string(), "alice");
        assert_eq!(Shown("alice", Privacy::Off).to_string(), "-");
    }

    #[test]
    fn nothing_is_shown_unless_asked_for() {
        assert!(!format!("{} {:?}", Pii("alice"), Pii("alice")).contains("alice"));
    }
}
