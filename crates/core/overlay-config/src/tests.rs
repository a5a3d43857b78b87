//! Documents, good and hostile.

mod demands;
mod hostile;
mod round_trip;
mod signatures;
mod world;
