//! The topology plug-in CHORD-RELOAD (RFC 6940 §10), as a value without sockets, clock or random source.
//!
//! [`Chord`] decides who the neighbours and fingers are, where a message goes next, what range of the ring this peer
//! owns, and whom to attach to. It owns no link, no transaction and no data: `overlay-core` tells it about links and
//! Updates, and does what [`Chord::poll_output`] asks.
//!
//! RFC 6940's ring inherits faults of the original Chord; the rules here follow the corrected protocol of Zave
//! ("Reasoning about identifier spaces: how to make Chord correct", 2017). Three of them shape everything:
//!
//! * **Only the living are adopted.** A neighbour enters a table when its link is up *and* an Update of its own was
//!   heard over it. What others say about third parties only leads to an Attach.
//! * **Nobody is skipped.** Two entries stand next to each other in a table only if some peer's own table says that
//!   nobody stands between them (or they did so before). So a lost neighbour's place is never filled with a finger.
//! * **A join is checked again when it takes effect**, at the admitting peer ([`Chord::admit`]) and at the joining one.
//!
//! # A node's life, seen from `overlay-core`
//!
//! 1. Founder: [`Chord::form`]. Everyone else: [`Chord::begin_join`], then an Attach with `send_update` to Resource-ID
//!    own + 1 through a bootstrap node; the answer's signer goes to [`Chord::choose_admitting_peer`].
//! 2. `chord` attaches to the neighbours that the admitting peer's Update names ([`Output::Attach`]), then emits
//!    [`Output::ReadyToJoin`]: send it the JoinReq. Values arrive as Stores. Its Update naming this node as predecessor
//!    is the hand-over point: [`Output::Joined`], [`Output::RangeChanged`] and Updates to all links follow.
//!    [`Output::JoinFailed`] at any time means: begin again.
//! 3. Admitting: on JoinReq check [`Chord::admits`], answer, hand the values over, then [`Chord::admit`], which checks
//!    again, changes the range and queues the naming Update in the same step.
//! 4. Every link that comes or goes, every suspicion, Update and Leave is reported by `handle_*`. After each input drain
//!    [`Chord::poll_output`] until [`Output::Timeout`].

mod attach;
mod chord;
mod contact;
mod finger;
mod output;
mod query;
mod random;
mod range;
mod ring;
mod route;
mod settings;
mod shape;
mod update;
mod walk;

pub use chord::{Chord, Misplaced, Standing};
pub use contact::Role;
pub use output::{AttachId, Output, Purpose, Target};
pub use range::Range;
pub use route::{Place, Route};
pub use settings::{Rules, Settings};
