//! Stacks and switching. No scheduling, no I/O.
