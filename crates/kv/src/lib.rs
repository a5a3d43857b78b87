//! Durable key-value storage: batches, one flush for many writers.
