//! Locks, channels and the like, for fibers and threads at once.
