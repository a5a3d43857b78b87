//! What the service decides: no socket, no clock; every operation returns what is to be written.
//!
//! The caller writes the batch before it answers. Memory is changed first: a batch that cannot be
//! written ends the process, and the next one starts from the disk.

mod configured;
mod document;
mod enroll;
mod feeds;
mod form;
mod keys;
mod limiter;
mod nodes;
mod notices;
mod outbox;
mod pace;
mod renew;
mod replica;
mod rotation;
mod service;
mod tokens;
mod users;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use identity::{Certificate, Key, Verifier};
use kv::{Batch, Store};
use rpc::proto::bootstrap::v1 as proto;

use crate::backup::BackupPublicKey;
use crate::error::{Refused, StartError};
use crate::genesis::random_octets;
use configured::Vouchers;
use keys::RecordKeys;
use limiter::Failures;
use nodes::Nodes;
use notices::Notices;
use outbox::Outbox;
use pace::Pace;
use replica::{Log, Others};
use rotation::EdgeKeys;
use service::Service;
use tokens::Tokens;
use users::Users;

pub(crate) use configured::Configured;
pub(crate) use enroll::Arrival;
pub(crate) use feeds::{Attached, Change, Feeds, Verdict, WINDOW};
pub(crate) use form::Form;
pub(crate) use notices::{ASKS, Answer, Ask, FIRST_ID as FIRST_ASK, PATIENCE};
pub(crate) use outbox::Waiting;
pub(crate) use replica::CatchUp;
pub(crate) use rotation::Phase;
pub(crate) use tokens::{Cursor as TokenCursor, TokenPage};
pub(crate) use users::UserPage;

/// An answer and what must be on the disk before it is given.
pub(crate) type Outcome<T> = Result<(T, Batch), Refused>;

/// The state of the service.
pub(crate) struct Core {
    service: Service,
    tokens: Tokens,
    vouchers: Vouchers,
    nodes: Nodes,
    users: Users,
    edge_keys: EdgeKeys,
    outbox: Outbox,
    notices: Notices,
    log: Log,
    others: Others,
    /// Wrong passwords, by the user that they were tried for.
    wrong_names: Failures<String>,
    /// Wrong tokens and passwords, by the address that they came from.
    wrong_addresses: Failures<IpAddr>,
    /// New clients of accounts.
    accounts: Pace<String>,
    has_password_enrollment: bool,
}

impl Core {
    /// Reads the state from the disk.
    pub(crate) fn load(store: &Store, now_ms: u64) -> Result<Core, StartError> {
        let service = Service::load(store, now_ms)?;
        let mut users = Users::load(store)?;
        if let RecordKeys::Resealing { new, .. } = service.record_keys() {
            users.reseal_under(new.version());
        }
        let outbox = Outbox::load(store)?;
        let mut notices = Notices::default();
        // What is on its way may be a change that no edge was told of before the service ended.
        outbox.aors().for_each(|aor| notices.want(aor));
        Ok(Core {
            tokens: Tokens::load(store)?,
            vouchers: Vouchers::default(),
            users,
            nodes: Nodes::load(store)?,
            edge_keys: EdgeKeys::load(store)?,
            outbox,
            notices,
            others: Others::default(),
            log: Log::load(store, random_octets().map_err(StartError::service)?)?,
            wrong_names: Failures::default(),
            wrong_addresses: Failures::default(),
            accounts: Pace::new(A_DAY),
            has_password_enrollment: false,
            service,
        })
    }

    /// Lets certificates of nodes that are issued from now on live for so long.
    pub(crate) fn let_certificates_live(&mut self, life: Duration) {
        self.service.let_certificates_live(life);
    }

    /// Seals backups to this key from now on.
    pub(crate) fn put_backup_key(&mut self, key: &BackupPublicKey) -> Batch {
        let mut batch = Batch::new();
        self.service.put_backup_key(key, &mut batch);
        batch
    }

    /// Notes for other services what is to be written.
    pub(crate) fn note(&mut self, batch: &Batch) {
        self.log.note(batch);
    }

    /// Lets passwords enroll users' clients, or not.
    pub(crate) fn let_passwords_enroll(&mut self, is_allowed: bool) {
        self.has_password_enrollment = is_allowed;
    }

    /// The document, and its sequence number.
    pub(crate) fn document(&self) -> (u16, bytes::Bytes) {
        (
            self.service.document.document().sequence,
            self.service.document.xml().clone(),
        )
    }

    pub(crate) fn overlay(&self) -> &str {
        self.service.overlay()
    }

    /// Judges the certificates of nodes by the document.
    pub(crate) fn verifier(&self) -> Arc<Verifier> {
        Arc::clone(self.service.verifier())
    }

    /// Makes the certificate of the enrollment server: for the overlay's name (RFC 6940 §11.3) and these hosts.
    pub(crate) fn server(&self, now_ms: u64, hosts: &[String]) -> Result<(Key, Certificate), Refused> {
        let others = hosts.iter().map(String::as_str).filter(|host| *host != self.overlay());
        let hosts: Vec<&str> = std::iter::once(self.overlay()).chain(others).collect();
        self.service.server(&hosts, now_ms)
    }

    pub(crate) fn revoke_token(&mut self, id: &str) -> Outcome<proto::RevokeTokenResponse> {
        self.tokens.revoke(id)
    }

    pub(crate) fn put_user(&mut self, now_ms: u64, request: &proto::PutUserRequest) -> Outcome<proto::PutUserResponse> {
        let aor = self.users.put(&self.service, now_ms, request)?;
        let mut batch = Batch::new();
        let version = self.publish(now_ms, &aor, &mut batch)?;
        self.notices.want(&aor);
        Ok((proto::PutUserResponse { version }, batch))
    }

    /// Tells whether there is, or ever was, such a user.
    pub(crate) fn knows_user(&self, aor: &str) -> bool {
        users::address(&self.service, aor).is_ok_and(|(aor, _)| self.users.version(&aor) > 0)
    }

    pub(crate) fn delete_user(
        &mut self,
        now_ms: u64,
        request: &proto::DeleteUserRequest,
    ) -> Outcome<proto::DeleteUserResponse> {
        let (aor, is_changed) = self.users.delete(&self.service, now_ms, request)?;
        let mut batch = Batch::new();
        let version = if is_changed {
            self.notices.want(&aor);
            self.publish(now_ms, &aor, &mut batch)?
        } else {
            self.users.version(&aor)
        };
        Ok((proto::DeleteUserResponse { version }, batch))
    }

    pub(crate) fn list_users(&self, request: &proto::ListUsersRequest, after: Option<&str>) -> UserPage {
        let (mut page, last) = self.users.page(&self.service, request, after);
        for user in &mut page {
            user.notice = self.notices.of(&user.aor, user.version);
        }
        (page, last)
    }

    /// Signs again what was signed long ago, so that it never expires in the overlay.
    pub(crate) fn refresh(&mut self, now_ms: u64) -> Outcome<usize> {
        let due = self.users.due(now_ms, &self.writers(), &self.outbox);
        let mut batch = Batch::new();
        for aor in &due {
            self.publish(now_ms, aor, &mut batch)?;
        }
        Ok((due.len(), batch))
    }

    /// What waits to be stored, in order, after the given id.
    pub(crate) fn waiting(&self, after: u64) -> Option<(u64, &Waiting)> {
        self.outbox.after(after)
    }

    /// The overlay stored a message.
    pub(crate) fn acknowledged(&mut self, id: u64) -> Batch {
        let mut batch = Batch::new();
        if let Some(waiting) = self.outbox.remove(id, &mut batch) {
            self.users.published(&waiting.aor, waiting.version, &mut batch);
            self.notices.published(&waiting.aor, waiting.version);
        }
        batch
    }

    /// The next request that the overlay is to send, to tell edges of changes.
    pub(crate) fn next_ask(&mut self, now: Instant) -> Option<(u64, Ask)> {
        self.notices.next(now)
    }

    /// The overlay has an answer to a request, or none.
    pub(crate) fn asked(&mut self, now_ms: u64, id: u64, answer: Option<&Answer>) {
        let judge = self.service.judge(now_ms);
        self.notices
            .answered(id, answer, |aor, answer| answer.serving(aor, &judge));
    }

    /// Gives up requests that were not answered in time.
    pub(crate) fn expire_asks(&mut self, now: Instant) {
        self.notices.expire(now);
    }

    /// Another overlay is asked from now on, also what the one before it has not answered.
    pub(crate) fn overlay_changed(&mut self) {
        self.notices.ask_again();
    }

    /// No overlay is there, and with the last one went the answers to requests.
    pub(crate) fn overlay_lost(&mut self) {
        self.notices.cut_off();
    }

    /// When [`Self::expire_asks`] is due.
    pub(crate) fn asks_due(&self) -> Option<Instant> {
        self.notices.next_timeout()
    }

    /// The overlay holds something newer: the message is signed anew with a later time.
    pub(crate) fn outdated(&mut self, now_ms: u64, id: u64) -> Outcome<()> {
        let mut batch = Batch::new();
        if let Some(aor) = self.outbox.aor(id) {
            self.publish(now_ms, &aor, &mut batch)?;
        }
        Ok(((), batch))
    }

    /// Signs a user's record as a complete Store and puts it into the outbox.
    fn publish(&mut self, now_ms: u64, aor: &str, batch: &mut Batch) -> Result<u64, Refused> {
        let (record, storage_time) = self.users.next_signature(now_ms, aor)?;
        let waiting = self.service.sign(now_ms, aor, &record, storage_time)?;
        let version = waiting.version;
        self.users.signed(now_ms, aor, storage_time, batch);
        self.outbox.put(waiting, batch);
        Ok(version)
    }
}

const A_DAY: Duration = Duration::from_secs(24 * 3600);
