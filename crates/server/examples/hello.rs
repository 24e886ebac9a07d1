//! The smallest server: `cargo run --release --example hello -- fiber 127.0.0.1:8080`.

use std::process::ExitCode;
use std::time::Duration;

use tenfold_server::{App, Path, Settings, serve};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| "fiber".into());
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let backend = arguments.next();
    let app = App::new().get("/hello", || "Hello, world!").get("/sleep/{ms}", |Path(ms): Path<u64>| {
        tenfold_runtime::sleep(Duration::from_millis(ms));
        "slept"
    });
    let settings = Settings { model, listen: vec![listen], workers: Some(1), backend, ..Settings::default() };
    serve(app, &settings, Vec::new(), |serving| {
        println!("http://{} ({})", serving.addresses[0], serving.model)
    })
    .unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}
