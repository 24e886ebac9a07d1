//! The shared table: what one process sees, what many do, and what is left when they are killed in the middle of a write.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tenfold_scoreboard::{Table, TableConfig, TableError};

/// Names the table of a process that the last test starts.
const WRITES_TO: &str = "TENFOLD_TABLE_TEST";

fn small() -> TableConfig {
    TableConfig { rows: 100, key_bytes: 16, value_bytes: 32, evict: false }
}

#[test]
fn what_is_set_is_there_until_it_is_removed() {
    let table = Table::new(small()).unwrap();
    assert_eq!(table.get("a"), None);
    for value in ["one", "", "12345678", "a value of exactly 32 bytes, yes"] {
        table.set("a", value).unwrap();
        assert_eq!(table.get("a").as_deref(), Some(value.as_bytes()));
    }
    table.set("", "of an empty key").unwrap();
    table.set("sixteen bytes ok", "x").unwrap();
    let mut seen = HashMap::new();
    table.for_each(|key, value| drop(seen.insert(key.to_vec(), value.to_vec())));
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[&b""[..]], b"of an empty key");
    assert!(table.remove("a").unwrap() && !table.remove("a").unwrap());
    assert_eq!((table.get("a"), table.len()), (None, 2));
}

#[test]
fn what_is_too_long_is_refused_and_never_cut() {
    let table = Table::new(small()).unwrap();
    let long = "seventeen bytes !";
    assert!(matches!(table.set(long, "x"), Err(TableError::Key { bytes: 17, bytes_max: 16 })));
    assert_eq!(table.get(long), None);
    table.set("key", "before").unwrap();
    assert!(matches!(table.set("key", [b'x'; 33]), Err(TableError::Value { bytes: 33, bytes_max: 32 })));
    assert_eq!(table.get("key").as_deref(), Some(&b"before"[..]));
    assert!(matches!(Table::new(TableConfig { rows: 0, ..small() }), Err(TableError::Size { .. })));
    assert!(matches!(Table::new(TableConfig { rows: usize::MAX, ..small() }), Err(TableError::Size { .. })));
}

#[test]
fn it_holds_the_rows_that_were_asked_for_and_refuses_some_beyond_its_memory() {
    for rows in [1, 100, 1000, 50_000] {
        let table = Table::new(TableConfig { rows, ..small() }).unwrap();
        for number in 0..rows {
            table
                .set(number.to_string(), number.to_le_bytes())
                .unwrap_or_else(|error| panic!("{number} of {rows}: {error}"));
        }
        assert_eq!(table.len(), rows);
        let refused = (rows..2 * table.rows())
            .find(|number| matches!(table.set(number.to_string(), "x"), Err(TableError::Full)));
        let refused = refused.unwrap_or_else(|| panic!("{rows} rows took twice their memory"));
        assert_eq!(table.get(refused.to_string()), None);
        for number in 0..rows {
            assert_eq!(table.get(number.to_string()).as_deref(), Some(&number.to_le_bytes()[..]));
        }
        assert!(table.remove("0").unwrap());
        // Its place is one of those that this key may have.
        table.set("0", "again").unwrap();
    }
}

#[test]
fn a_table_that_evicts_keeps_what_is_used() {
    let table = Table::new(TableConfig { rows: 50, evict: true, ..small() }).unwrap();
    for number in 0..500 {
        table.set(number.to_string(), "x").unwrap();
        if number % 10 == 0 {
            // Uses are told apart by hundredths of a second.
            let from = Instant::now();
            while from.elapsed() < Duration::from_millis(11) {
                std::hint::spin_loop();
            }
        }
        assert_eq!(table.get("0").as_deref(), Some(&b"x"[..]), "after {number}");
    }
    assert!(table.len() <= table.rows());
}

#[test]
fn a_time_to_live_ends_and_its_row_is_used_again() {
    let table = Table::new(small()).unwrap();
    table.set_for("soon over", "x", Some(Duration::from_nanos(1))).unwrap();
    table.set_for("later", "x", Some(Duration::from_secs(3600))).unwrap();
    assert_eq!((table.get("soon over"), table.len()), (None, 1));
    assert!(table.insert("soon over", "new", None).unwrap());
    assert!(!table.insert("later", "new", None).unwrap());
    for number in 0..100_000 {
        table.set_for(format!("k{number}"), "x", Some(Duration::from_nanos(1))).unwrap();
    }
    assert_eq!(table.len(), 2);
}

#[test]
fn counters_and_comparisons_change_what_they_have_seen() {
    let table = Table::new(small()).unwrap();
    assert_eq!((table.add("n", 5).unwrap(), table.add("n", -7).unwrap()), (5, -2));
    assert_eq!(table.number("n"), Some(-2));
    table.set("text", "no number").unwrap();
    assert!(matches!(table.add("text", 1), Err(TableError::NotANumber)));
    assert_eq!(table.number("text"), None);

    assert!(table.compare_and_set("state", None, "a").unwrap());
    assert!(!table.compare_and_set("state", None, "b").unwrap());
    assert!(!table.compare_and_set("state", Some(b"b"), "c").unwrap());
    assert!(table.compare_and_set("state", Some(b"a"), "c").unwrap());
    assert!(!table.remove_if("state", "a").unwrap() && table.remove_if("state", "c").unwrap());
    assert_eq!(table.get("state"), None);
}

#[test]
fn additions_of_many_threads_are_all_counted() {
    let table = Table::new(small()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for turn in 0..5000 {
                    table.add(["a", "b"][turn % 2], 1).unwrap();
                }
            });
        }
    });
    assert_eq!((table.number("a"), table.number("b")), (Some(10_000), Some(10_000)));
}

#[test]
fn a_file_is_the_same_table_for_everybody_and_no_other_one() {
    let file = ShmFile::new("same");
    let table = Table::open(&file.0, small()).unwrap();
    table.set("a", "1").unwrap();
    let other = Table::open(&file.0, small()).unwrap();
    assert_eq!(other.get("a").as_deref(), Some(&b"1"[..]));
    other.add("n", 1).unwrap();
    assert_eq!(table.number("n"), Some(1));
    // Of another length, and of another shape with the same length.
    for config in
        [TableConfig { rows: 1000, ..small() }, TableConfig { key_bytes: 32, value_bytes: 16, ..small() }]
    {
        assert!(matches!(Table::open(&file.0, config), Err(TableError::Foreign(_))), "{config:?}");
    }
}

/// The keys that the writers below fight for.
const KEYS: usize = 24;

fn fought_for() -> TableConfig {
    TableConfig { rows: 64, key_bytes: 16, value_bytes: 184, evict: false }
}

/// Not a test by itself: what the processes of the next one do until they are killed.
#[test]
fn writer() {
    let Some(path) = std::env::var_os(WRITES_TO) else { return };
    let table = Table::open(path, fought_for()).unwrap();
    println!("ready");
    let mut number = u64::from(std::process::id());
    loop {
        // Marsaglia, "Xorshift RNGs", 2003.
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        let key = format!("key {}", (number >> 8) as usize % KEYS);
        let words = 1 + (number >> 32) as usize % 23;
        let done = match number >> 60 {
            0 => table.remove(&key).map(drop),
            1 => table.add("counter", 1).map(|_| ()),
            _ => table.set(&key, number.to_le_bytes().repeat(words)),
        };
        if let Err(error) = done {
            println!("{error}");
            std::process::exit(1);
        }
    }
}

#[test]
fn a_writer_that_is_killed_leaves_no_torn_value_and_no_stuck_lock() {
    let kills = if std::env::var_os("TENFOLD_LONG").is_some() { 10_000 } else { 300 };
    let file = ShmFile::new("killed");
    let table = Table::open(&file.0, fought_for()).unwrap();
    let mut writers: Vec<Child> = (0..8).map(|_| start(&file.0)).collect();
    let (mut reads, mut found, mut counter) = (0_u64, 0_u64, 0);
    let mut value = Vec::new();
    for kill in 0..kills {
        for key in (0..20 * KEYS).map(|turn| turn % KEYS) {
            reads += 1;
            value.clear();
            if table.get_into(format!("key {key}"), &mut value) {
                found += 1;
                let (words, rest) = value.as_chunks::<8>();
                assert!(rest.is_empty() && words.iter().all(|word| *word == words[0]), "torn: {value:?}");
            }
        }
        let now = table.number("counter").unwrap_or_default();
        assert!(now >= counter, "the counter went back from {counter} to {now}");
        counter = now;
        let victim = &mut writers[kill % 8];
        assert_eq!(victim.try_wait().unwrap(), None, "a writer has met an error");
        end(victim);
        *victim = start(&file.0);
    }
    writers.iter_mut().for_each(end);
    assert!(found > reads / 10 && counter > 0, "{found} of {reads} reads found something, counter {counter}");
    println!("{kills} kills, {reads} reads, {found} of them found something, {counter} additions");
    for key in 0..KEYS {
        table.set(format!("key {key}"), "free").unwrap();
    }
    let counter = table.number("counter").unwrap();
    assert_eq!(table.add("counter", 1).unwrap(), counter + 1);
}

/// A process that is known to write.
fn start(path: &Path) -> Child {
    let own = std::env::current_exe().unwrap();
    let mut child = Command::new(own)
        .args(["writer", "--exact", "--nocapture", "-q"])
        .env(WRITES_TO, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let is_ready = output.lines().map_while(Result::ok).any(|line| line.contains("ready"));
    assert!(is_ready, "a writer has ended");
    child
}

fn end(writer: &mut Child) {
    writer.kill().unwrap();
    writer.wait().unwrap();
}

/// A path in shared memory, removed at the end.
struct ShmFile(PathBuf);

impl ShmFile {
    fn new(name: &str) -> ShmFile {
        let directory = Path::new("/dev/shm");
        let directory = if directory.is_dir() { directory.to_owned() } else { std::env::temp_dir() };
        ShmFile(directory.join(format!("tenfold-table-{}-{name}", std::process::id())))
    }
}

impl Drop for ShmFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
