//! The cache's process: `cache -p 11211 -m 64 -t 4`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use tenfold::App;
use tenfold_cache::arguments::Arguments;
use tenfold_cache::protocol::Memcache;
use tenfold_cache::store::Store;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(arguments.log_level()).init();
    let (config, settings, limits) = (arguments.store(), arguments.settings(), arguments.limits());
    let address = arguments.address();
    // Made in the worker: a store is memory of one process, and threads share it.
    let app = App::new().state_with(move || Ok(Store::new(&config))).tcp(
        "cache",
        &address,
        tenfold::TcpHandler::limits(Memcache, limits),
    );
    let ready = |serving: &tenfold::Serving| {
        for (_, address) in &serving.services {
            println!("ready {address}");
        }
    };
    tenfold::serve(app, &settings, Vec::new(), ready).unwrap_or_else(|error| {
        eprintln!("cache: {error}");
        ExitCode::from(2)
    })
}
