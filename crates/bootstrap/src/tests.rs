//! The service as an operator, a new node and an overlay see it.

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
pub(crate) mod world;
