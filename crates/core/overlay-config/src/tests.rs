//! Documents, good and hostile.

mod hostile;
mod round_trip;
mod signatures;
mod world;
