//! The rules, case by case.

mod cache;
mod certificates;
mod classes;
mod signatures;
mod sorts;
mod world;
