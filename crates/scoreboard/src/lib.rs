//! Shared-memory slots per worker and the counters in them.
