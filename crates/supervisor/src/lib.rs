//! The master: binds, forks, restarts and stops workers. Knows no HTTP.
