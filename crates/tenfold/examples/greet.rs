//! An application of one's own, with its command line: `cargo run --example greet -- serve --model thread`.

use tenfold::prelude::*;

fn main() -> tenfold::Result<()> {
    App::new()
        .get("/", || "Hello, world!\n")
        .get("/wait/{n}", wait)
        .lane("reports", Lane::pool(4).queue(64).wait(secs(2)), |r| r.get("/reports/{id}", report))
        .main()
}

/// Parks a fiber or blocks a thread: the model's choice, not this code's.
fn wait(Path(n): Path<u64>) -> tenfold::Result<String> {
    tenfold::try_sleep(ms(n.min(10_000)))?;
    Ok(format!("waited {n} ms\n"))
}

fn report(Path(id): Path<u64>) -> Json<[u64; 1]> {
    Json([id])
}
