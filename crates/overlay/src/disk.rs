//! What this peer keeps on its disk: what it knew of the ring, and the newest configuration document.
//!
//! Only the latest state counts, so the driver puts it into one place and never waits; a task of its own writes what is
//! there whenever it has changed. What a kill takes away is the last change, and the ring teaches that again.

use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use kv::{Batch, Store, Tree};
use overlay_config::{Basis, Demand, SignedDocument, is_newer};
use overlay_core::{KnownPeer, Membership};
use wire::NodeId;

use crate::server::Error;

/// The state that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// None if this peer never was a member of the ring.
    pub(crate) membership: Option<Membership>,
    /// The newest configuration document, as it was signed; none while it is the given one.
    pub(crate) document: Option<Bytes>,
}

/// Opens the folder of a node, which no other one may use.
pub(crate) async fn open(folder: &Path, node_id: NodeId) -> Result<(Store, Kept), Error> {
    let folder = folder.to_path_buf();
    let options = kv::Options {
        cache_bytes: CACHE,
        ..kv::Options::default()
    };
    let opening = tokio::task::spawn_blocking(move || Store::open_or_replace(folder, options, WITHOUT_DATA));
    let store = opening.await.map_err(|_| Error::Panicked)??;
    store.claim(*node_id.as_bytes()).await?;
    let kept = Kept {
        membership: store
            .get(STATE, MEMBERSHIP)?
            .and_then(read_membership)
            .or_else(|| store.moved_aside().is_some().then(forgotten)),
        document: store.get(STATE, DOCUMENT)?.and_then(|record| versioned(&record)),
    };
    Ok((store, kept))
}

/// Writes the state whenever it differs from what is `written` already, until the stop signal and then once more. While the disk
/// is full it waits: the latest state counts. A disk that fails ends it.
pub(crate) async fn keep(
    (store, mut written): (Store, Kept),
    mut state: watch::Receiver<Kept>,
    stop: CancellationToken,
) {
    let mut room = store.room().watch();
    loop {
        let is_last = tokio::select! {
            biased;
            changed = state.changed() => changed.is_err(),
            () = stop.cancelled() => true,
        };
        // The last words are few, and there is room for them.
        stop.run_until_cancelled(room.wait_for(Option::is_none)).await;
        let latest = state.borrow_and_update().clone();
        if let Err(error) = store.apply(changes(&written, &latest)).await {
            error!(%error, "what this peer knows of the ring cannot be kept");
            return;
        }
        written = latest;
        if is_last {
            return stop.cancelled().await;
        }
    }
}

/// What a peer knows that was a member and has lost what it knew. A founder without any membership would form a ring of its own
/// at once; this one looks for the others first.
fn forgotten() -> Membership {
    Membership {
        peers: Vec::new(),
        ring_size: 1,
    }
}

fn changes(written: &Kept, latest: &Kept) -> Batch {
    let mut batch = Batch::new();
    if let Some(membership) = latest
        .membership
        .as_ref()
        .filter(|_| latest.membership != written.membership)
    {
        batch.put(STATE, MEMBERSHIP, write_membership(membership));
    }
    if let Some(xml) = latest.document.as_ref().filter(|_| latest.document != written.document) {
        let mut record = BytesMut::with_capacity(1 + xml.len());
        record.put_u8(FORMAT);
        record.put_slice(xml);
        batch.put(STATE, DOCUMENT, record.freeze());
    }
    batch
}

/// The newer one of the document that was given at the start and the one that was kept.
///
/// # Errors
/// When a later version of this program has kept one that this version cannot obey.
pub(crate) fn newest(
    given: Arc<SignedDocument>,
    kept: Option<Bytes>,
    unix_ms: u64,
) -> Result<Arc<SignedDocument>, Demand> {
    let Some(xml) = kept.filter(|xml| xml != given.xml()) else {
        return Ok(given);
    };
    Ok(
        match SignedDocument::parse_and_verify(xml, Basis::Previous(given.document()), unix_ms) {
            Ok(kept) if is_newer(kept.document().sequence, given.document().sequence) => {
                info!(
                    sequence = kept.document().sequence,
                    "starts with the document that was kept"
                );
                Arc::new(kept)
            }
            // The given one is as new: somebody put it there since.
            Ok(_) | Err(overlay_config::Error::NotNewer { .. }) => given,
            // RFC 6940 §11.1: the overlay obeys it, and whoever cannot has no part in it.
            Err(overlay_config::Error::CannotObey(demand)) => return Err(demand),
            Err(error) => {
                warn!(%error, "the document that was kept does not follow from the given one, which is used");
                given
            }
        },
    )
}

/// A record without its format version, if that is known.
fn versioned(record: &Bytes) -> Option<Bytes> {
    (record.first() == Some(&FORMAT)).then(|| record.slice(1..))
}

// format(8) | ring size(32) | per peer: Node-ID(128) | length(8) | address, as text
fn write_membership(membership: &Membership) -> Bytes {
    let mut record = BytesMut::new();
    record.put_u8(FORMAT);
    record.put_u32(u32::try_from(membership.ring_size).unwrap_or(u32::MAX));
    for peer in &membership.peers {
        let address = peer.address.to_string();
        // The longest text of an address, with zone and port, is far shorter.
        let Ok(length) = u8::try_from(address.len()) else {
            continue;
        };
        record.put_slice(peer.node_id.as_bytes());
        record.put_u8(length);
        record.put_slice(address.as_bytes());
    }
    record.freeze()
}

fn read_membership(record: Bytes) -> Option<Membership> {
    let mut rest = versioned(&record)?;
    let ring_size = usize::try_from(rest.try_get_u32().ok()?).ok()?;
    let mut peers = Vec::new();
    while rest.has_remaining() {
        let node_id = NodeId::from_u128(rest.try_get_u128().ok()?);
        let length = usize::from(rest.try_get_u8().ok()?);
        let text = (rest.len() >= length).then(|| rest.split_to(length))?;
        let address = std::str::from_utf8(&text).ok()?.parse().ok()?;
        peers.push(KnownPeer { node_id, address });
    }
    Some(Membership { peers, ring_size })
}

const STATE: Tree = Tree::new("overlay");
const MEMBERSHIP: &[u8] = b"membership";
const DOCUMENT: &[u8] = b"document";

/// Version of both records.
const FORMAT: u8 = 1;

const WITHOUT_DATA: &str =
    "this peer finds the ring through the bootstrap nodes of its document, and learns the rest from it";

/// Two small records need no more.
const CACHE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        let peer = |number: u128, address: &str| KnownPeer {
            node_id: NodeId::from_u128(number),
            address: address.parse().unwrap(),
        };
        Membership {
            peers: vec![peer(1, "192.0.2.7:6084"), peer(2, "[2001:db8::7]:6084")],
            ring_size: 3,
        }
    }

    #[test]
    fn a_membership_is_read_as_it_was_written() {
        let record = write_membership(&membership());
        assert_eq!(read_membership(record.clone()), Some(membership()));
        assert_eq!(read_membership(record.slice(..record.len() - 1)), None, "cut short");
        assert_eq!(
            read_membership(Bytes::from_static(&[9, 0, 0, 0, 1])),
            None,
            "a later format"
        );
    }

    #[tokio::test]
    async fn a_member_whose_disk_cannot_be_read_is_no_new_founder() {
        let folder = tempfile::tempdir().unwrap();
        let own = NodeId::from_u128(7);
        drop(open(folder.path(), own).await.unwrap());
        // Opened twice, it has a snapshot, and all of it is needed.
        drop(open(folder.path(), own).await.unwrap());
        let log = std::fs::File::options().write(true).open(folder.path().join("db"));
        log.unwrap().set_len(30).unwrap();
        let (store, kept) = open(folder.path(), own).await.unwrap();
        assert!(store.moved_aside().is_some());
        let membership = kept.membership.expect("it was a member");
        assert_eq!((membership.peers.len(), membership.ring_size), (0, 1));
    }

    #[tokio::test]
    async fn the_latest_state_is_there_after_the_end_and_for_no_other_node() {
        let folder = tempfile::tempdir().unwrap();
        let own = NodeId::from_u128(7);
        let (store, found) = open(folder.path(), own).await.unwrap();
        assert_eq!(found, Kept::default());
        let (state, kept) = watch::channel(found.clone());
        let stop = CancellationToken::new();
        let keeping = tokio::spawn(keep((store, found), kept, stop.clone()));
        let latest = Kept {
            membership: Some(membership()),
            document: Some(Bytes::from_static(b"<configuration/>")),
        };
        state.send_replace(latest.clone());
        stop.cancel();
        keeping.await.unwrap();
        let other = open(folder.path(), NodeId::from_u128(8)).await;
        assert!(matches!(other, Err(Error::Owner(_))));
        drop(other);
        assert_eq!(open(folder.path(), own).await.unwrap().1, latest);
    }

    #[tokio::test]
    async fn a_peer_goes_on_from_the_volume_of_an_earlier_version() {
        let folder = volumes::of("overlay");
        let own: NodeId = volumes::PEER.parse().unwrap();
        let (store, kept) = open(&folder.path().join("overlay"), own).await.unwrap();
        assert!(store.moved_aside().is_none());
        assert_eq!(kept.membership.expect("it was a member").ring_size, 1);
    }
}
