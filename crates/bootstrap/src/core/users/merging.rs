//! Users whom another service changed.

use kv::Batch;
use wire::ResourceId;

use super::{MAX_USERS, User, Users};
use crate::core::replica::joined;
use crate::error::Refused;
use crate::state::{self, USERS, UserRecord};

impl Users {
    /// Takes a user's record as another service has it. It was stored there, or will be: nothing is stored here.
    pub(in crate::core) fn merge(&mut self, aor: &str, come: UserRecord, batch: &mut Batch) -> Result<(), Refused> {
        let known = self.by_aor.get(aor).map(UserRecord::from);
        if known.is_none() && self.by_aor.len() >= MAX_USERS {
            return Err(Refused::Full {
                what: "users",
                limit: MAX_USERS,
            });
        }
        let Some(record) = joined(known.as_ref(), come) else {
            return Ok(());
        };
        let user = User::of(record).map_err(|error| Refused::Invalid(error.to_string()))?;
        if let Some(known) = known.filter(|known| known.record.0 != user.record.bytes().as_ref()) {
            let is_tie = self.by_aor.get(aor).map(User::version) == Some(user.version());
            if is_tie && known.writer != user.writer {
                let resource_id = ResourceId::of(aor.as_bytes());
                tracing::warn!(%resource_id, "two services changed a user at once: the later change counts");
            }
        }
        state::put(batch, USERS, aor.as_bytes(), &UserRecord::from(&user));
        self.by_aor.insert(aor.to_owned(), user);
        self.look_again(aor);
        Ok(())
    }
}
