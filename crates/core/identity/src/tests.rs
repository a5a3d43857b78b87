//! The rules, case by case.

mod cache;
mod certificates;
mod signatures;
mod sorts;
mod world;
