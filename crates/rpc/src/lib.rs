//! The gRPC seam between components: one channel, one server stack, three wirings.
