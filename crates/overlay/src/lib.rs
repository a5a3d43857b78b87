//! Component: overlay routing.
