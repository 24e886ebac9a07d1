//! Submits operations, delivers completions, keeps timers. Knows no protocol and no fibers.
