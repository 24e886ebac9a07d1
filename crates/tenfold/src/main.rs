//! The `tenfold` binary: the command line over the demo site. It uses the library as any application does.

#![forbid(unsafe_code)]

mod demo;

use std::process::ExitCode;

fn main() -> ExitCode {
    tenfold::cli::run(demo::programs())
}
