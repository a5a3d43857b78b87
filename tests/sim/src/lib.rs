//! Many nodes in one thread, under one seeded event queue.
//!
//! Two worlds stand on the same queue. [`ring`] has only topology plug-ins that talk to each other directly: thousands
//! of runs a minute, to prove the ring. The whole nodes, overlay and storage with certificates, bytes and disks, are in
//! [`overlay`]. Both check [`invariants`] after each event, and both replay exactly from their seed.

pub mod invariants;
pub mod log;
pub mod overlay;
pub mod queue;
pub mod random;
pub mod ring;
pub mod scope;
pub mod sweep;
