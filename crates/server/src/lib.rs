//! App, routing, extractors, lanes, limits, and one file per concurrency model.

#![forbid(unsafe_code)]
