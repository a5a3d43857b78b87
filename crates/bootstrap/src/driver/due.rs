//! What is done when its time has come, without being asked.

use std::time::Duration;

use kv::FlushError;
use tracing::{info, warn};

use super::{Driver, unix_ms};
use crate::core::Phase;

impl Driver {
    /// Signs old records anew; returns when to look again.
    pub(super) async fn refresh(&mut self) -> Result<Duration, FlushError> {
        match self.core.refresh(unix_ms()) {
            Ok((count, batch)) => {
                self.write(batch).await?;
                Ok(if count == 0 { REFRESH_EVERY } else { REFRESH_MORE })
            }
            Err(refused) => {
                warn!(error = %refused, "user records cannot be signed again");
                Ok(REFRESH_EVERY)
            }
        }
    }

    /// Brings a rotation of the record key on; returns when to look again.
    pub(super) async fn rotate(&mut self) -> Result<Duration, FlushError> {
        let (phase, batch) = self.core.advance_rotation(unix_ms());
        let is_moving = !batch.is_empty();
        self.write(batch).await?;
        if phase != self.rotation {
            info!(rotation = phase.as_str_name(), "record key is rotated");
            self.rotation = phase;
        }
        Ok(match phase {
            _ if is_moving => Duration::ZERO,
            Phase::Settled => REFRESH_EVERY,
            _ => ROTATE_EVERY,
        })
    }
}

/// How soon it is seen that a service has left whose records are to be signed anew.
const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// How soon it is seen that the last edge has reported, or that the certificate of one that had not has ended.
const ROTATE_EVERY: Duration = Duration::from_secs(1);
/// More may be due than was signed in one batch.
const REFRESH_MORE: Duration = Duration::from_secs(1);
