//! A calendar that is wrong, at a start and while running: nothing is lost, and what has ended still ends.

#![allow(clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

mod rig;

use bytes::Bytes;
use p2psip_storage_core::{Answer, Command, Tree};
use wire::{
    DataValue, Encode, ErrorCode, FetchAns, FetchReq, KindId, MessageCode, ModelSpecifier, NodeId, ResourceId, StatAns,
    StoredDataSpecifier, StoredDataValue,
};

use rig::{
    Rig, World, apply, decode, refusal, signed, store_body,
    world::{EPOCH, bucket, node_id, user_name},
};

const HOUR: u64 = 3600;
const YEARS_MS: u64 = 10 * 365 * 24 * HOUR * 1000;
const KIND: KindId = KindId::SIP_REGISTRATION;

/// Two places of one user.
const FIRST: &str = "edge0";
const SECOND: &str = "edge1";

#[test]
fn a_start_ten_years_ahead_loses_nothing() {
    let (mut world, mut rig) = agreed();
    store(&mut world, &mut rig, 0, FIRST, (EPOCH, 600));
    rig.now.unix_ms += YEARS_MS;
    rig.lose_power();
    assert_eq!(shown(&world, &mut rig), 0, "by this calendar it has ended");
    assert_eq!(on_disk(&rig), 1, "and it is kept");
    rig.wait(60);
    hear(&mut rig, EPOCH + 60_000, 3);
    assert_eq!(shown(&world, &mut rig), 1);
    rig.wait(539);
    assert_eq!(shown(&world, &mut rig), 1);
    rig.wait(1);
    assert_eq!(shown(&world, &mut rig), 0, "its lifetime is over");
    rig.wait(10);
    flush(&mut rig);
    assert_eq!(on_disk(&rig), 0);
}

#[test]
fn a_calendar_that_steps_ten_years_while_running_loses_nothing() {
    let (mut world, mut rig) = agreed();
    store(&mut world, &mut rig, 0, FIRST, (EPOCH, 600));
    rig.now.unix_ms += YEARS_MS;
    rig.wait(60);
    hear(&mut rig, EPOCH + 60_000, 3);
    assert_eq!(shown(&world, &mut rig), 1);
    // Were it told the wrong time by all others, it would still go by its own.
    hear(&mut rig, EPOCH + YEARS_MS, 3);
    assert_eq!(shown(&world, &mut rig), 1);
}

#[test]
fn what_has_ended_is_deleted_once_three_clocks_agree() {
    let (mut world, mut rig) = agreed();
    store(&mut world, &mut rig, 0, FIRST, (EPOCH, 600));
    rig.now = rig.now.plus(std::time::Duration::from_secs(HOUR));
    rig.lose_power();
    let now = rig.now.unix_ms;
    hear(&mut rig, now, 2);
    assert_eq!(
        (shown(&world, &mut rig), on_disk(&rig)),
        (0, 1),
        "two clocks are not enough"
    );
    hear(&mut rig, now, 3);
    assert_eq!((shown(&world, &mut rig), on_disk(&rig)), (0, 0));
}

#[test]
fn what_has_ended_is_deleted_after_a_day_without_a_word() {
    let (mut world, mut rig) = agreed();
    store(&mut world, &mut rig, 0, FIRST, (EPOCH, 600));
    rig.now = rig.now.plus(std::time::Duration::from_secs(HOUR));
    rig.lose_power();
    rig.wait(23 * HOUR);
    flush(&mut rig);
    assert_eq!(on_disk(&rig), 1);
    rig.wait(HOUR);
    flush(&mut rig);
    assert_eq!(on_disk(&rig), 0);
}

#[test]
fn a_second_start_with_the_wrong_calendar_loses_nothing_either() {
    let (mut world, mut rig) = agreed();
    store(&mut world, &mut rig, 0, FIRST, (EPOCH, 600));
    rig.now.unix_ms += YEARS_MS;
    rig.lose_power();
    rig.wait(10);
    flush(&mut rig);
    rig.lose_power();
    hear(&mut rig, EPOCH + 20_000, 3);
    assert_eq!(shown(&world, &mut rig), 1);
}

#[test]
fn a_calendar_that_is_set_right_needs_no_other_clock() {
    let (mut world, mut rig) = agreed();
    store(&mut world, &mut rig, 0, FIRST, (EPOCH, 600));
    rig.now.unix_ms += YEARS_MS;
    rig.lose_power();
    rig.now.unix_ms -= YEARS_MS;
    rig.wait(10);
    assert_eq!(shown(&world, &mut rig), 1);
}

#[test]
fn what_comes_before_the_word_has_not_been_down() {
    let (mut world, mut rig) = agreed();
    store(&mut world, &mut rig, 0, FIRST, (EPOCH, 600));
    rig.wait(20);
    flush(&mut rig);
    // The calendar stood still for 300 hours.
    rig.lose_power();
    rig.wait(10);
    assert_eq!(store(&mut world, &mut rig, 1, SECOND, (EPOCH + 10, 600)), None);
    assert_eq!(shown(&world, &mut rig), 2);
    hear(&mut rig, EPOCH + 300 * HOUR * 1000, 3);
    assert_eq!(
        (shown(&world, &mut rig), on_disk(&rig)),
        (1, 1),
        "the old one has ended"
    );
    rig.wait(595);
    assert_eq!(shown(&world, &mut rig), 1);
    rig.wait(10);
    assert_eq!(shown(&world, &mut rig), 0);
}

#[test]
fn what_was_kept_too_long_lives_no_longer_than_what_comes_now() {
    let (mut world, mut rig) = agreed();
    rig.now.unix_ms += 10 * HOUR * 1000;
    rig.lose_power();
    assert_eq!(store(&mut world, &mut rig, 0, FIRST, (EPOCH + 10, 600)), None);
    hear(&mut rig, EPOCH, 3);
    rig.wait(590);
    assert_eq!(shown(&world, &mut rig), 1);
    rig.wait(20);
    assert_eq!(shown(&world, &mut rig), 0);
}

#[test]
fn a_hidden_value_is_shown_again_when_another_holder_has_it() {
    let (mut world, mut rig) = agreed();
    store(&mut world, &mut rig, 0, FIRST, (EPOCH, 600));
    store(&mut world, &mut rig, 0, SECOND, (EPOCH, 600));
    rig.now = rig.now.plus(std::time::Duration::from_secs(HOUR));
    rig.lose_power();
    assert_eq!(shown(&world, &mut rig), 0);
    assert_eq!(store(&mut world, &mut rig, 1, FIRST, (EPOCH, 300)), None);
    assert_eq!(shown(&world, &mut rig), 1);
    assert_eq!(scanned(&mut rig), 1, "the other one is not handed on");
    let now = rig.now.unix_ms;
    hear(&mut rig, now, 3);
    assert_eq!(shown(&world, &mut rig), 1);
}

#[test]
fn what_is_older_than_a_hidden_value_is_refused() {
    let (mut world, mut rig) = agreed();
    store(&mut world, &mut rig, 0, FIRST, (EPOCH + 5, 600));
    rig.now.unix_ms += YEARS_MS;
    rig.lose_power();
    rig.now.unix_ms -= YEARS_MS;
    assert_eq!(
        store(&mut world, &mut rig, 1, FIRST, (EPOCH, 600)),
        Some(ErrorCode::DataTooOld)
    );
    assert_eq!(
        store(&mut world, &mut rig, 0, FIRST, (EPOCH + 5, 600)),
        None,
        "nothing was changed"
    );
    assert_eq!(store(&mut world, &mut rig, 0, FIRST, (EPOCH + 6, 600)), None);
}

#[test]
fn a_hidden_value_goes_on_nobodys_word() {
    let (mut world, mut rig) = agreed();
    store(&mut world, &mut rig, 0, FIRST, (EPOCH, 600));
    rig.now.unix_ms += YEARS_MS;
    rig.lose_power();
    let stat = StatAns {
        kind_responses: Vec::new(),
    };
    let (behind, own) = (ResourceId::ZERO, node_id("elsewhere"));
    assert_ne!(behind, resource());
    rig.run(Command::Keep {
        own: (NodeId::from_u128(own.to_u128() - 1), own),
        replica: (NodeId::from_u128(own.to_u128() - 1), own),
    });
    let forgotten = rig.run(Command::Forget {
        resource: resource(),
        stat: stat.to_bytes(),
        compare_only: false,
    });
    assert_eq!(refusal(&forgotten), Some(ErrorCode::DataTooOld));
    assert_eq!(on_disk(&rig), 1);
}

#[test]
fn what_ended_while_the_process_was_paused_is_not_served_once_three_clocks_say_so() {
    let (mut world, mut rig) = agreed();
    store(&mut world, &mut rig, 0, FIRST, (EPOCH, 600));
    rig.wait(20);
    // Neither of the other clocks has noticed.
    let paused = HOUR * 1000;
    let before = rig.now.instant;
    rig.now.unix_ms += paused;
    rig.wait(5);
    assert_eq!(store(&mut world, &mut rig, 1, SECOND, (EPOCH + paused, 600)), None);
    rig.wait(5);
    rig.core.handle_gap(rig.now, before);
    let now = rig.now.unix_ms;
    hear(&mut rig, now, 3);
    assert_eq!(
        (shown(&world, &mut rig), on_disk(&rig)),
        (1, 1),
        "what came afterwards is there"
    );
    rig.wait(590);
    assert_eq!(shown(&world, &mut rig), 1);
    rig.wait(10);
    assert_eq!(shown(&world, &mut rig), 0);
}

#[test]
fn a_calendar_that_was_set_is_harmless() {
    let (mut world, mut rig) = agreed();
    store(&mut world, &mut rig, 0, FIRST, (EPOCH, 3600));
    let before = rig.now.instant;
    rig.now.unix_ms += 72 * HOUR * 1000;
    rig.core.handle_gap(rig.now, before);
    assert_eq!(shown(&world, &mut rig), 1);
    hear(&mut rig, EPOCH, 3);
    assert_eq!(shown(&world, &mut rig), 1);
    // Nor does it do harm if there is nobody to ask.
    rig.core.handle_gap(rig.now, before);
    rig.wait(24 * HOUR - 600);
    let now = rig.now.unix_ms;
    assert_eq!(store(&mut world, &mut rig, 0, SECOND, (now, 3600)), None);
    rig.wait(1200);
    flush(&mut rig);
    assert_eq!((shown(&world, &mut rig), on_disk(&rig)), (1, 1));
}

/// A store whose own time three clocks have agreed on.
fn agreed() -> (World, Rig) {
    let world = World::new();
    let mut rig = Rig::new(&world);
    hear(&mut rig, EPOCH, 3);
    (world, rig)
}

fn hear(rig: &mut Rig, unix_ms: u64, voices: u32) {
    assert_eq!(rig.run(Command::Clock { unix_ms, voices }), Answer::Done);
}

fn flush(rig: &mut Rig) {
    while !rig.unflushed.is_empty() {
        rig.flush_one();
    }
}

/// Stores a value for a place, as an original (0) or a replica.
fn store(world: &mut World, rig: &mut Rig, replica: u8, edge: &str, times: (u64, u32)) -> Option<ErrorCode> {
    let signer = world.signer(&format!("minted:user/{edge}"));
    let value = StoredDataValue::Dictionary {
        key: Bytes::copy_from_slice(node_id(edge).as_bytes()),
        value: DataValue::of(Bytes::from_static(b"x")),
    };
    let data = signed(&signer, resource(), KIND, times, value);
    let body = store_body(resource(), replica, KIND, u64::from(replica), vec![data]);
    refusal(&rig.run(apply(MessageCode::STORE_REQ, body, bucket(&[&signer]), Some(&signer))))
}

/// Counts the values that a reader is shown.
fn shown(world: &World, rig: &mut Rig) -> usize {
    let specifier = StoredDataSpecifier {
        kind: KIND,
        generation: 0,
        model: ModelSpecifier::Dictionary(Vec::new()),
    };
    let body = FetchReq {
        resource: resource(),
        specifiers: vec![specifier],
    }
    .to_bytes();
    let Answer::Applied { body, .. } = rig.run(apply(MessageCode::FETCH_REQ, body, Vec::new(), None)) else {
        panic!("fetched")
    };
    let answer: FetchAns = decode(&body, world);
    answer.kind_responses[0].values.len()
}

/// Counts the values that other holders are sent.
fn scanned(rig: &mut Rig) -> usize {
    let range = (NodeId::ZERO, NodeId::ZERO);
    let Answer::Scanned { stores, .. } = rig.run(Command::Scan { after: None, range }) else {
        panic!("scanned")
    };
    stores.len()
}

fn on_disk(rig: &Rig) -> usize {
    rig.disk.keys().filter(|(tree, _)| *tree == Tree::Records).count()
}

fn resource() -> ResourceId {
    ResourceId::of(user_name("user").as_bytes())
}
