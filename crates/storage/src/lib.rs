//! Component: distributed storage.
