//! The streams of the overlays: what [`Feeds`](crate::core::Feeds) decides is carried out here.

use kv::FlushError;
use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::feed_response::Item;
use runtime::clock;
use tonic::Status;
use tracing::{info, warn};
use wire::{Encode as _, ErrorCode, NodeId};

use super::{Down, Driver, unix_ms};
use crate::core::{Answer, Attached, Change, FIRST_ASK, PATIENCE, Phase, Verdict};

impl Driver {
    pub(super) fn attach(&mut self, open: &proto::FeedOpen, down: Down) -> Result<u64, Status> {
        let node_id = NodeId::try_from(open.node_id.as_ref());
        let node_id = node_id.map_err(|_| Status::invalid_argument("a Node-ID has 16 octets"))?;
        let attached = self.feeds.attach(clock::now(), node_id);
        let Some(Attached {
            number,
            replaced,
            change,
        }) = attached
        else {
            return Err(Status::resource_exhausted("there are as many feeds as there may be"));
        };
        if let Some(old) = replaced.and_then(|replaced| self.downs.remove(&replaced)) {
            // When its queue is full, it ends by its receiver being gone.
            let _ = old.try_send(Err(Status::aborted("a newer stream was opened")));
        }
        let (sequence, xml) = self.core.document();
        let known = u16::try_from(open.document_sequence).ok();
        if known.is_none_or(|known| overlay_config::is_newer(sequence, known)) {
            let _ = down.try_send(Ok(proto::FeedResponse {
                id: DOCUMENT,
                item: Some(Item::Document(xml)),
            }));
        }
        self.downs.insert(number, down);
        info!(feed = number, overlay = %node_id, "overlay is attached");
        self.changed(change);
        Ok(number)
    }

    pub(super) fn detach(&mut self, number: u64) {
        self.downs.remove(&number);
        let change = self.feeds.detach(clock::now(), number);
        self.changed(change);
    }

    pub(super) async fn acknowledge(&mut self, number: u64, acknowledge: proto::Acknowledge) -> Result<(), FlushError> {
        let proto::Acknowledge {
            id,
            refusal,
            contents,
            certificates,
        } = acknowledge;
        if id >= FIRST_ASK {
            let answer = refusal.is_none().then_some(Answer { contents, certificates });
            self.core.asked(unix_ms(), id, answer.as_ref());
            return Ok(());
        }
        let verdict = refusal.as_ref().map_or(Verdict::Stored, verdict);
        if !self.feeds.acknowledged(clock::now(), number, (id, verdict)) {
            return Ok(());
        }
        if let Some(refusal) = refusal {
            warn!(item = id, code = refusal.code, "overlay refused to store a user record");
            return Ok(());
        }
        let batch = self.core.acknowledged(id);
        if self.rotation == Phase::Resealing {
            // There is room for the next record, or it was the last.
            self.rotate_at = clock::now();
        }
        self.write(batch).await
    }

    /// Changes over if that is due, and sends what waits, as far as the window allows.
    pub(super) fn pump(&mut self) {
        let change = self.feeds.judge(clock::now());
        self.changed(change);
        while let Some(after) = self.feeds.sent_up_to() {
            let Some((id, waiting)) = self.core.waiting(after) else {
                return;
            };
            let store = proto::SignedStore {
                transaction_id: waiting.transaction_id.0,
                contents: waiting.contents.clone(),
                security_block: waiting.security_block.clone(),
            };
            if self.feeds.send(clock::now(), id) {
                self.send(id, Item::Store(store));
            }
        }
    }

    /// Sends the requests that tell edges of changes.
    pub(super) fn pump_asks(&mut self) {
        while self.feeds.active().is_some() {
            let Some((id, ask)) = self.core.next_ask(clock::now()) else {
                return;
            };
            let ask = proto::Ask {
                destinations: ask.destinations.iter().map(|entry| entry.to_bytes()).collect(),
                contents: ask.contents,
                timeout_ms: u32::try_from(PATIENCE.as_millis()).unwrap_or(u32::MAX),
            };
            self.send(id, Item::Ask(ask));
        }
    }

    /// Tries again what was refused some time ago.
    pub(super) async fn retry(&mut self) -> Result<(), FlushError> {
        for id in self.feeds.due(clock::now()) {
            match self.core.outdated(unix_ms(), id) {
                Ok(((), batch)) => self.write(batch).await?,
                Err(refused) => warn!(error = %refused, "user record cannot be signed again"),
            }
        }
        Ok(())
    }

    /// Sends an item through the active stream. One that has ended, or whose overlay does not read, is given up: what was not
    /// acknowledged goes through the next.
    fn send(&mut self, id: u64, item: Item) {
        let Some(number) = self.feeds.active() else { return };
        let item = proto::FeedResponse { id, item: Some(item) };
        let is_sent = self
            .downs
            .get(&number)
            .is_some_and(|down| down.try_send(Ok(item)).is_ok());
        if !is_sent {
            self.detach(number);
        }
    }

    fn changed(&mut self, change: Change) {
        match change {
            Change::None => {}
            Change::Over => {
                info!(feed = self.feeds.active(), "overlay is fed");
                self.core.overlay_changed();
            }
            Change::Lost => self.core.overlay_lost(),
        }
    }
}

fn verdict(refusal: &proto::Refusal) -> Verdict {
    match refusal.code == u32::from(ErrorCode::DataTooOld.number()) {
        true => Verdict::Outdated,
        false => Verdict::Refused,
    }
}

/// The id of the document's item; those of the outbox start at 1.
const DOCUMENT: u64 = 0;
