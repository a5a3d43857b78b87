//! Phones around one or two edges, under a virtual clock.

mod calls;
mod chaos;
mod edges;
mod forks;
mod growing;
mod rules;
mod scene;
