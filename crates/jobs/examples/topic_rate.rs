//! How many records a second a topic takes, and how many come out in a file at its other end.
//!
//! `topic_rate [RECORDS [BYTES]]`; files go to the working directory. One thread appends, another collects: run it with
//! `taskset -c 0` to have both on one core.

use std::time::{Duration, Instant};

use tenfold_jobs::topic::{Collect, Lines, Topic};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| words.get(index).map(|word| word.parse::<u64>().expect("a number"));
    let (count, bytes) = (number(0).unwrap_or(3_000_000), number(1).unwrap_or(200));
    let directory = std::env::current_dir().expect("a working directory").join("topic-rate");
    std::fs::create_dir_all(&directory).expect("a directory");
    let topic = Topic::new("rate").directory(directory.join("topic")).bytes_max(8 << 30);
    let mut lines = Lines::to(directory.join("lines"));
    let begun = Instant::now();
    let collected = std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut reader = topic.reader().expect("a directory");
            let mut left = count;
            while left > 0 {
                match reader.next().expect("a disk") {
                    Some(batch) => {
                        lines.collect(batch).expect("a disk");
                        left -= batch.records().count() as u64;
                        reader.commit().expect("a disk");
                    }
                    None => std::thread::sleep(Duration::from_millis(5)),
                }
            }
            begun.elapsed()
        });
        let writer = topic.writer();
        let record = vec![b'x'; bytes as usize];
        for _ in 0..count {
            writer.append(&record).expect("a disk");
        }
        writer.flush().expect("a disk");
        collector.join().expect("it collects")
    });
    let rate = |time: Duration| count as f64 / time.as_secs_f64();
    println!(
        "{count} records of {bytes} bytes, appended and collected to a file: {:.0} records/s",
        rate(collected)
    );
    let begun = Instant::now();
    let writer = topic.writer();
    let record = vec![b'x'; bytes as usize];
    for _ in 0..count {
        writer.append(&record).expect("a disk");
    }
    writer.flush().expect("a disk");
    println!("only appended: {:.0} records/s", rate(begun.elapsed()));
    drop(writer);
    std::fs::remove_dir_all(directory).expect("it is ours");
}
