//! The service as an operator, a new node and an overlay see it.

mod backup;
mod configured;
mod enrollment;
mod feed;
mod https;
mod killed;
mod migration;
mod passwords;
mod renewal;
mod rotation;
mod several;
mod tokens;
mod users;
mod volume;
pub(crate) mod world;
