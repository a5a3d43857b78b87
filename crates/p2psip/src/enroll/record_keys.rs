//! An edge's record keys follow those of the bootstrap service: it asks again and again which there are, by its link certificate.
//!
//! What it reports is on its disk and in use, so that nothing is ever sealed under a key that it would have to ask for first.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use prost::Message as _;
use rpc::proto::bootstrap::v1::{FetchRecordKeysRequest, FetchRecordKeysResponse};
use tokio_util::sync::CancellationToken;
use usage::user::RecordKey;

use super::credentials::{EdgeCredentials, record_key, write_record_keys};
use super::files::Files;
use super::https::Client;
use super::{EnrollError, any, now_ms};

/// Keeps the record keys of a running edge, whose credentials are in `folder`, until the stop signal.
pub(super) async fn keep(folder: &Path, renewer: sip_edge::Renewer, every: Duration, stop: CancellationToken) {
    let mut is_told = false;
    loop {
        match fetch(folder).await {
            Ok(Some(keys)) => {
                let versions: Vec<u32> = keys.iter().map(RecordKey::version).collect();
                renewer.set_record_keys(keys).await;
                tracing::info!(?versions, "record keys of the edge changed");
                // Reported at once: a rotation waits for it.
                continue;
            }
            Ok(None) => is_told = false,
            // An enrollment server that is away costs nothing but this line, as long as no rotation goes on.
            Err(error) if !is_told => {
                tracing::warn!(%error, "record keys not looked after; tried again every {every:?}");
                is_told = true;
            }
            Err(error) => tracing::debug!(%error, "record keys not looked after"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(every)).await.is_none() {
            return;
        }
    }
}

/// Reports the keys in the folder and makes them those that there are; nothing when they are.
pub(super) async fn fetch(folder: &Path) -> Result<Option<Vec<RecordKey>>, EnrollError> {
    let Some(known) = EdgeCredentials::load(folder, now_ms())? else {
        return Ok(None);
    };
    let held = &known.edge.record_keys;
    let request = &FetchRecordKeysRequest {
        held: held.iter().map(RecordKey::version).collect(),
    };
    let document = known.document.document();
    let client = &Client::of(document, Some(&known.edge.link))?;
    let keys = any(document, move |server| async move {
        let answer = client
            .post(&server, "/.well-known/p2psip/record-keys", request.encode_to_vec())
            .await?;
        let unusable = |reason: String| EnrollError::Answer {
            url: server.to_string(),
            reason,
        };
        let answer = FetchRecordKeysResponse::decode(answer).map_err(|error| unusable(error.to_string()))?;
        merged(held, &answer).ok_or_else(|| unusable("it does not hold the record keys that it names".to_owned()))
    })
    .await?;
    if keys.iter().map(RecordKey::version).eq(request.held.iter().copied()) {
        return Ok(None);
    }
    write_record_keys(&Files::of(folder), &keys)?;
    Ok(Some(keys))
}

/// The keys that there are, in the order of their versions: some are known, the others must be in the answer.
fn merged(held: &[RecordKey], answer: &FetchRecordKeysResponse) -> Option<Vec<RecordKey>> {
    let versions: BTreeSet<u32> = answer.versions.iter().copied().collect();
    let of = |version: &u32| {
        let known = held.iter().find(|key| key.version() == *version).cloned();
        known.or_else(|| record_key(answer.lacking.iter().find(|key| key.version == *version)?))
    };
    // There is always one: an edge without any lets nobody in.
    let keys: Option<Vec<RecordKey>> = versions.iter().map(of).collect();
    keys.filter(|keys| !keys.is_empty())
}

/// How often an edge asks. A rotation waits twice for the slowest: for the new key to come, and for the old one to go.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use rpc::proto::bootstrap::v1::RecordKey as Sent;

    use super::*;

    #[test]
    fn keys_are_known_or_in_the_answer() {
        let sent = |version, octets: usize| Sent {
            version,
            key: vec![2; octets].into(),
        };
        let held = [RecordKey::new(1, [1; 32]), RecordKey::new(2, [1; 32])];
        for (versions, lacking, expected) in [
            (vec![1, 2], vec![], Some(vec![(1, 1), (2, 1)])),
            (vec![2], vec![], Some(vec![(2, 1)])),
            (vec![3, 2], vec![sent(3, 32)], Some(vec![(2, 1), (3, 2)])),
            (vec![2, 3], vec![], None),
            (vec![3], vec![sent(3, 31)], None),
            (vec![], vec![], None),
        ] {
            let answer = FetchRecordKeysResponse { versions, lacking };
            let keys = merged(&held, &answer);
            let told = keys.map(|keys| {
                keys.iter()
                    .map(|key| (key.version(), key.octets()[0]))
                    .collect::<Vec<_>>()
            });
            assert_eq!(told, expected, "{:?}", answer.versions);
        }
    }
}
