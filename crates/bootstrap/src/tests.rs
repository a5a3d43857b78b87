//! The service as an operator, a new node and an overlay see it.

mod enrollment;
mod feed;
mod killed;
mod tokens;
mod users;
mod world;
