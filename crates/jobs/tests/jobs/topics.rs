//! Topics: what many processes append comes out in batches, once and in each one's order; what a kill may take is what was not
//! written, and what it may repeat is one batch.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tenfold_jobs::Error;
use tenfold_jobs::topic::{Collect, Lines, Reader, Topic};
use tenfold_testkit::{Case, Exit, Signal, wait_until};

use crate::fixture::{Note, late, now_us};
use crate::on::{On, in_each_model};
use crate::producers::Random;
use crate::site::Site;

/// What a process does with a topic: `write NUMBER DIRECTORY` or `read DIRECTORY`.
pub(crate) const ROLE: &str = "TENFOLD_TOPIC_ROLE";

const WRITERS: u32 = 4;
/// Records between two flushes of a writer.
const FLUSH_EVERY: u64 = 500;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("a_killed_writer_loses_only_what_it_did_not_flush", writers_die),
        Case::new("a_killed_reader_loses_nothing_and_repeats_at_most_its_last_batch", readers_die),
        Case::new("a_topic_has_one_reader_at_a_time", one_reader),
        Case::new("a_topic_that_is_full_drops_its_oldest_segment_and_never_passes_its_bound", drops),
        Case::new("a_topic_that_refuses_says_so_and_loses_nothing_that_it_took", refuses),
        Case::new("what_a_kill_has_cut_is_passed_over", cut),
    ];
    for model in ["serial", "pool", "event", "fiber", "steal"] {
        let name = format!("a_topic_is_collected_to_a_file_that_can_be_moved_away_{model}");
        cases.push(Case::new(name, move || collected(model)));
    }
    cases.extend(in_each_model("a_stop_writes_what_was_appended_last", |model| last(model, 0)));
    cases.push(Case::new("a_stop_writes_what_was_appended_last_by_job_workers", || last("fiber", 1)));
    cases
}

pub(crate) fn main(role: &str) -> ExitCode {
    let words: Vec<&str> = role.splitn(3, ' ').collect();
    match words[..] {
        ["write", number, directory] => write_always(number, &topic(Path::new(directory))),
        ["read", _, directory] => read_always(Path::new(directory)),
        _ => ExitCode::from(2),
    }
}

fn topic(directory: &Path) -> Topic {
    Topic::new("t").directory(directory.join("topic"))
}

/// Says how many records it has flushed, each time.
fn write_always(number: &str, topic: &Topic) -> ExitCode {
    let writer = topic.writer();
    for count in 1.. {
        writer.append(format!("{number} {:010}", count - 1).as_bytes()).expect("it is appended");
        if count % FLUSH_EVERY == 0 {
            writer.flush().expect("it is written");
            println!("{count}");
        }
    }
    ExitCode::SUCCESS
}

/// Appends what it reads to `out`.
fn read_always(directory: &Path) -> ExitCode {
    let mut reader = topic(directory).reader().expect("nobody else reads");
    let mut out = Lines::to(directory.join("out"));
    println!("reads");
    loop {
        if !copy(&mut reader, &mut out) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// One batch. Whether there was one.
fn copy(reader: &mut Reader, out: &mut Lines) -> bool {
    let Some(batch) = reader.next().expect("it can be read") else { return false };
    out.collect(batch).expect("a disk");
    reader.commit().expect("a disk");
    true
}

/// A directory of this test.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("tft-{}-{name}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        Place(directory)
    }

    fn start(&self, role: &str) -> (Child, BufReader<ChildStdout>) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(ROLE, format!("{role} {}", self.0.display())).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        (child, lines)
    }

    /// Reads what is there, beside what a reader that was killed has written. The numbers of each writer, as they came.
    fn drain(&self) -> BTreeMap<u32, Vec<u64>> {
        let path = self.0.join("out");
        let (mut out, mut reader) = (Lines::to(&path), topic(&self.0).reader().unwrap());
        while copy(&mut reader, &mut out) {}
        let mut numbers: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        // A kill cuts a line, which comes again.
        for line in
            fs::read_to_string(path).unwrap().lines().filter(|line| line.len() == "0 0123456789".len())
        {
            let (writer, number) = line.split_once(' ').unwrap();
            numbers.entry(writer.parse().unwrap()).or_default().push(number.parse().unwrap());
        }
        numbers
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Kills a process at some moment, and reads what it has said to the end.
fn kill_and_hear((mut child, lines): (Child, BufReader<ChildStdout>)) -> u64 {
    child.kill().unwrap();
    child.wait().unwrap();
    lines.lines().map_while(Result::ok).filter_map(|line| line.parse().ok()).last().unwrap_or(0)
}

fn writers_die() {
    let place = Place::new("writers");
    let mut random = Random(now_us() | 1);
    let mut writers: Vec<_> = (0..WRITERS).map(|number| place.start(&format!("write {number}"))).collect();
    // Each has written something.
    for (_, lines) in &mut writers {
        lines.read_line(&mut String::new()).unwrap();
    }
    let mut flushed = Vec::new();
    for writer in writers {
        std::thread::sleep(Duration::from_micros(random.below(50_000)));
        flushed.push(kill_and_hear(writer).max(FLUSH_EVERY));
    }
    let numbers = place.drain();
    for (writer, flushed) in (0..WRITERS).zip(flushed) {
        let got = &numbers[&writer];
        assert!(got.len() as u64 >= flushed, "writer {writer} flushed {flushed}, and {} came", got.len());
        assert!(got.iter().copied().eq(0..got.len() as u64), "writer {writer}: all in their order, once");
    }
    assert!(topic(&place.0).reader().unwrap().next().unwrap().is_none());
    let left = fs::read_dir(place.0.join("topic")).unwrap().flatten();
    let segments = left.filter(|entry| entry.path().extension().is_some_and(|end| end == "log")).count();
    assert_eq!(segments, 0, "what is read is deleted");
}

fn readers_die() {
    const KILLS: usize = 10;
    let place = Place::new("readers");
    let mut random = Random(now_us() | 1);
    let mut writers: Vec<_> = (0..WRITERS).map(|number| place.start(&format!("write {number}"))).collect();
    for (_, lines) in &mut writers {
        lines.read_line(&mut String::new()).unwrap();
    }
    for _ in 0..KILLS {
        let (child, mut lines) = place.start("read 0");
        lines.read_line(&mut String::new()).unwrap();
        std::thread::sleep(Duration::from_micros(random.below(40_000)));
        kill_and_hear((child, lines));
    }
    let flushed: Vec<u64> = writers.into_iter().map(kill_and_hear).collect();
    let numbers = place.drain();
    let mut repeats = 0;
    for (writer, flushed) in (0..WRITERS).zip(flushed) {
        let got = &numbers[&writer];
        let mut next = 0;
        for number in got {
            assert!(*number <= next, "writer {writer}: {next} is missing");
            repeats += usize::from(*number < next);
            // A batch that comes again is the last one: it goes on where that began.
            next = number + 1;
        }
        assert!(next >= flushed, "writer {writer} flushed {flushed}, and {next} came");
    }
    assert!(repeats <= KILLS, "{repeats} batches came again, after {KILLS} kills");
}

fn one_reader() {
    let place = Place::new("one");
    let first = topic(&place.0).reader().unwrap();
    let second = topic(&place.0).reader();
    assert!(
        matches!(second, Err(Error::Topic { source, .. }) if source.kind() == std::io::ErrorKind::WouldBlock)
    );
    drop(first);
    topic(&place.0).reader().unwrap();
}

const BOUND: u64 = 16 << 20;

fn bounded(place: &Place) -> Topic {
    topic(&place.0).segment_bytes(4 << 20).bytes_max(BOUND)
}

fn bytes_on_disk(place: &Place) -> u64 {
    let files = fs::read_dir(place.0.join("topic")).unwrap().flatten();
    let segments = files.filter(|entry| entry.path().extension().is_some_and(|end| end == "log"));
    segments.map(|entry| entry.metadata().map_or(0, |metadata| metadata.len())).sum()
}

/// A record of 1,000 bytes that begins with its number.
fn record(number: u64) -> Vec<u8> {
    format!("{number:01000}").into_bytes()
}

fn number(record: &[u8]) -> u64 {
    std::str::from_utf8(record).unwrap().parse().unwrap()
}

fn drops() {
    let place = Place::new("drops");
    let topic = bounded(&place);
    let writer = topic.writer();
    let count = 50_000;
    for next in 0..count {
        writer.append(&record(next)).unwrap();
        if next % 1_000 == 0 {
            writer.flush().unwrap();
            assert!(bytes_on_disk(&place) <= BOUND);
        }
    }
    drop(writer);
    let mut reader = topic.reader().unwrap();
    assert!(reader.dropped_segments().unwrap() > 5);
    let mut next = None;
    while let Some(batch) = reader.next().unwrap() {
        for record in batch.records() {
            assert_eq!(number(record), next.unwrap_or(number(record)), "what is left has no hole");
            next = Some(number(record) + 1);
        }
        reader.commit().unwrap();
    }
    assert_eq!(next, Some(count), "the latest are there");
}

fn refuses() {
    let place = Place::new("refuses");
    let topic = bounded(&place).refuse();
    let writer = topic.writer();
    let mut taken = 0;
    let refusal = loop {
        match writer.append(&record(taken)) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refusal, Error::TopicFull { .. }), "{refusal}");
    let on_disk = bytes_on_disk(&place);
    assert!(on_disk <= BOUND && on_disk > BOUND / 2, "{on_disk}");
    let mut reader = topic.reader().unwrap();
    let mut next = 0;
    let mut read = |reader: &mut Reader| {
        while let Some(batch) = reader.next().unwrap() {
            for record in batch.records() {
                assert_eq!(number(record), next);
                next += 1;
            }
            reader.commit().unwrap();
        }
        next
    };
    read(&mut reader);
    writer.append(&record(taken)).expect("there is room again");
    writer.flush().unwrap();
    // A process that another test forks has the lock of a segment that is over until it executes, and the reader waits for it.
    wait_until("all are read", || (read(&mut reader) == taken + 1).then_some(()));
}

fn cut() {
    let place = Place::new("cut");
    let topic = topic(&place.0);
    for (number, garbage) in
        [b"TFL1".as_slice(), &[0; 5_000], b"TFL1\x05\0\0\0abcd12"].into_iter().enumerate()
    {
        let writer = topic.writer();
        writer.append(format!("before {number}").as_bytes()).unwrap();
        drop(writer);
        let path = fs::read_dir(place.0.join("topic")).unwrap().flatten().map(|entry| entry.path());
        let segment = path.filter(|path| path.extension().is_some_and(|end| end == "log")).max().unwrap();
        OpenOptions::new().append(true).open(segment).unwrap().write_all(garbage).unwrap();
        let mut reader = topic.reader().unwrap();
        let batch = reader.next().unwrap().unwrap();
        assert_eq!(batch.records().count(), 1);
        reader.commit().unwrap();
        assert!(reader.next().unwrap().is_none());
        assert_eq!(reader.lost_bytes(), garbage.len() as u64);
    }
}

/// By a request, and by a job that ends after the order to stop.
fn last(model: &str, job_workers: usize) {
    let mut site = On::File.start(&format!("model = '{model}'\nworkers = 1\njob_workers = {job_workers}"));
    let request = "POST /late/request HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n";
    site.client().send(request).read_response().expect(200);
    site.enqueue("late", &Note { text: "job".into(), wait_ms: 300, ..Note::default() });
    site.wait_for("begin job");
    site.server().signal(Signal::TERM);
    assert_eq!(site.server().wait(Duration::from_secs(20)), Exit::Code(0));
    let mut reader = late(&site.directory).reader().unwrap();
    let mut records = BTreeSet::new();
    while let Some(batch) = reader.next().unwrap() {
        records.extend(batch.records().map(<[u8]>::to_vec));
        reader.commit().unwrap();
    }
    assert_eq!(records, BTreeSet::from([b"job".to_vec(), b"request".to_vec()]));
}

fn visit(site: &Site, number: u32) {
    let request = format!("POST /visit/{number} HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
    site.client().send(request).read_response().expect(200);
}

fn collected(model: &str) {
    let mut site = On::File.start(&format!("model = '{model}'\nworkers = 2"));
    let log = site.directory.join("visits.log");
    let moved = site.directory.join("visits.old");
    let lines = |path: &Path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| line.parse::<u32>().unwrap()).collect::<Vec<_>>()
    };
    (0..20).for_each(|number| visit(&site, number));
    wait_until("they are in the file", || (lines(&log).len() == 20).then_some(()));
    fs::rename(&log, &moved).unwrap();
    site.server().signal(Signal::USR1);
    wait_until("there is a new file", || log.exists().then_some(()));
    (20..40).for_each(|number| visit(&site, number));
    // What was appended is written and collected before the end.
    site.server().signal(Signal::TERM);
    assert_eq!(site.server().wait(Duration::from_secs(20)), Exit::Code(0));
    let (mut old, mut new) = (lines(&moved), lines(&log));
    old.sort_unstable();
    new.sort_unstable();
    assert_eq!((old, new), ((0..20).collect::<Vec<_>>(), (20..40).collect::<Vec<_>>()));
}
