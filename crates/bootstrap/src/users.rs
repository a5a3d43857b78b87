//! Users that the configuration names.

use kv::Store;
use rpc::proto::bootstrap::v1 as proto;

use crate::config::User;
use crate::core::Core;
use crate::driver::unix_ms;
use crate::error::StartError;

/// Puts each user that never existed. What an operator changed or removed since stays so.
pub(crate) async fn put(core: &mut Core, store: &Store, users: &[User]) -> Result<(), StartError> {
    for user in users {
        let aor = match user.name.contains('@') {
            true => user.name.clone(),
            false => format!("{}@{}", user.name, core.overlay()),
        };
        if core.knows_user(&aor) {
            continue;
        }
        let request = proto::PutUserRequest {
            aor,
            password: Some(password(user).await?),
            if_version: Some(0),
            ..Default::default()
        };
        let (_, batch) = core.put_user(unix_ms(), &request).map_err(|refused| StartError::User {
            user: user.name.clone(),
            reason: refused.to_string(),
        })?;
        core.note(&batch);
        store.apply(batch).await?;
    }
    Ok(())
}

async fn password(user: &User) -> Result<String, StartError> {
    let path = user.password_file.clone();
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
    let read = read.map_err(std::io::Error::other).and_then(|text| text);
    let text = read.map_err(|source| StartError::PasswordFile {
        user: user.name.clone(),
        path: user.password_file.clone(),
        source,
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
