//! What reading and writing a shared table costs on one core: `cargo run --release -p tenfold-scoreboard --example table_cost`.

use std::hint::black_box;
use std::time::Instant;

use tenfold_scoreboard::{Table, TableConfig, TableError};

const CALLS: u32 = 2_000_000;

fn main() -> Result<(), TableError> {
    for (keys, value_bytes) in [(100, 16), (100, 192), (50_000, 16), (50_000, 192)] {
        let table = Table::new(TableConfig { rows: keys, value_bytes, ..TableConfig::default() })?;
        let names: Vec<String> = (0..keys).map(|number| format!("user:{number}")).collect();
        let value = vec![b'x'; value_bytes];
        for name in &names {
            table.set(name, &value)?;
        }
        // Far apart, so that the processor does not see the next one coming.
        let name = |turn: u32| &names[(turn as usize).wrapping_mul(7919) % keys];
        let mut into = Vec::with_capacity(value_bytes);
        let read = time(|turn| {
            into.clear();
            assert!(table.get_into(name(turn), &mut into));
            black_box(&into);
        });
        let write = time(|turn| table.set(name(turn), &value).expect("it was there before"));
        let counter = time(|_| assert!(table.add("counter", 1).is_ok()));
        println!(
            "{keys:6} keys, values of {value_bytes:3} bytes: read {read:4.0} ns ({:.1} M/s), write {write:4.0} ns, add {counter:4.0} ns",
            1e3 / read
        );
    }
    Ok(())
}

fn time(mut call: impl FnMut(u32)) -> f64 {
    let started = Instant::now();
    (0..CALLS).for_each(&mut call);
    started.elapsed().as_nanos() as f64 / f64::from(CALLS)
}
