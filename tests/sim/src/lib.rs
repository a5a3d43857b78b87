//! Many nodes in one thread under a seeded event queue.
