//! A folder that an earlier version left.

use kv::Store;
use rpc::proto::bootstrap::v1 as proto;

use super::world::OPTIONS;
use crate::core::Core;
use crate::state;

#[tokio::test]
async fn the_service_goes_on_from_the_volume_of_an_earlier_version() {
    let folder = volumes::of("bootstrap");
    let store: Store = state::open(&folder.path().join("bootstrap"), OPTIONS).unwrap();
    state::migrate(&store).await.unwrap();
    let core = Core::load(&store, volumes::WRITTEN_MS).unwrap();
    assert_eq!(core.overlay(), volumes::OVERLAY);

    let all = proto::ListUsersRequest {
        prefix: String::new(),
        with_removed: true,
    };
    let users: Vec<_> = core.list_users(&all, None).0;
    let states: Vec<_> = users
        .iter()
        .map(|user| (user.aor.split('@').next().unwrap(), user.state()))
        .collect();
    let expected = [
        ("alice", proto::UserState::Active),
        ("bob", proto::UserState::Suspended),
        ("carol", proto::UserState::Removed),
    ];
    assert_eq!(states, expected);

    let (tokens, _) = core.list_tokens(None);
    let berlin = tokens.iter().find(|token| token.id == "berlin").unwrap();
    assert_eq!((berlin.uses, berlin.revoked), (3, false));
    assert!(tokens.iter().any(|token| token.id == "gone" && token.revoked));
    let enrolled: usize = tokens.iter().map(|token| token.enrolled.len()).sum();
    assert_eq!(enrolled, 2);

    let keys = core.record_keys(volumes::WRITTEN_MS);
    assert_eq!((keys.versions, keys.edges_behind), (vec![1, 2], 1));
}
