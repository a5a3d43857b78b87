//! Test of a rotation of the record key as it is lived through: phones register at two edges all the time, and at the end nobody
//! holds the old key.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rpc::proto::bootstrap::v1::bootstrap_client::BootstrapClient;
use rpc::proto::bootstrap::v1::{RecordKeysRequest, RecordKeysResponse, RotateRecordKeyRequest};

use super::call::{Call, Edges};
use super::folder::Folder;
use super::overlay::{Overlay, Shape};
use super::peer::edge_folder;
use crate::supervisor::Supervisor;

/// A loopback address of its own, so that no other test has its ports.
const BIND: Ipv4Addr = Ipv4Addr::new(127, 78, 0, 1);
/// Far beyond what it takes on a busy machine.
const LONGEST: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phones_register_through_a_whole_rotation() {
    let folder = Folder::open(None).unwrap();
    let mut supervisor = Supervisor::default();
    let overlay = Overlay::start(&folder, Shape::of(IpAddr::V4(BIND), Some(2)), &mut supervisor, |_| {})
        .await
        .unwrap();
    overlay.attached().await.unwrap();
    overlay.feed_users().await.unwrap();
    let mut call = Call::prepare(Edges {
        of_alice: overlay.peers[0].ports.sip,
        of_bob: overlay.peers[1].ports.sip,
    })
    .await
    .unwrap();
    call.register().await.unwrap();

    let mut operator = BootstrapClient::new(overlay.bootstrap.clone());
    let request = RotateRecordKeyRequest {
        target: 2,
        without: Vec::new(),
    };
    operator.rotate_record_key(request).await.unwrap();
    let rotated = async {
        loop {
            let told = operator.record_keys(RecordKeysRequest {}).await.unwrap().into_inner();
            if is_over(&told) {
                return;
            }
            call.register().await.unwrap();
        }
    };
    tokio::time::timeout(LONGEST, rotated).await.expect("the rotation ends");
    for number in 1..=2 {
        let keys = std::fs::read_to_string(edge_folder(&folder.peer(number)).join("record-keys")).unwrap();
        assert!(
            keys.starts_with("2 ") && keys.lines().count() == 1,
            "edge of peer {number}"
        );
    }
    // Records are fetched anew, since those that the edges keep are under a key that is gone.
    call.register().await.unwrap();
    call.make().await.unwrap();
    call.unregister().await.unwrap();
    supervisor.stop().await.unwrap();
}

/// The new key is the only one, here and at both edges.
fn is_over(told: &RecordKeysResponse) -> bool {
    told.versions == [2] && told.edges_in_step == 2 && told.edges_behind == 0
}
