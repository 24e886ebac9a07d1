//! Lines arrive whole, in order, at the latest at the end; what does not fit is dropped and counted.

use std::sync::mpsc;
use std::time::UNIX_EPOCH;

use super::*;

fn entry(target: &str) -> Entry<'_> {
    static PEER: Peer = Peer { address: None };
    Entry {
        peer: &PEER,
        at: UNIX_EPOCH + Duration::from_secs(971_186_136),
        method: "GET",
        target,
        version: Version::HTTP_11,
        status: StatusCode::OK,
        body_bytes: 13,
        took: Duration::from_micros(250),
        route: "/{name}",
        request_id: None,
        referer: None,
        user_agent: Some(b"curl/8 \"x\""),
    }
}

#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<u8>>>);

impl Write for Collected {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(piece)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Collected {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[test]
fn a_text_line_is_combined_and_a_json_line_is_an_object() {
    let lines = |format| {
        let out = Collected::default();
        let log = AccessLog::to(format, out.clone()).unwrap();
        log.record(&entry("/a"));
        drop(log);
        out.text()
    };
    assert_eq!(
        lines(LogFormat::Text),
        "unix - - [10/Oct/2000:13:55:36 +0000] \"GET /a HTTP/1.1\" 200 13 \"-\" \"curl/8 \\x22x\\x22\" 250us \
         /{name} -\n"
    );
    let value: serde_json::Value = serde_json::from_str(&lines(LogFormat::Json)).unwrap();
    assert_eq!(
        value,
        serde_json::json!({
            "time": "2000-10-10T13:55:36.000000Z", "peer": "unix", "method": "GET", "target": "/a",
            "route": "/{name}", "user_agent": "curl/8 \"x\"", "version": "HTTP/1.1", "status": 200,
            "body_bytes": 13, "took_us": 250
        })
    );
}

#[test]
fn all_lines_are_written_in_order_when_the_log_ends() {
    let out = Collected::default();
    let log = AccessLog::to(LogFormat::Text, out.clone()).unwrap();
    let targets: Vec<String> = (0..1000).map(|number| format!("/{number}")).collect();
    targets.iter().for_each(|target| log.record(&entry(target)));
    drop(log);
    let text = out.text();
    let written: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(6)).collect();
    assert_eq!(written, targets);
}

#[test]
fn a_target_that_does_not_keep_up_costs_lines_and_never_waits() {
    /// Writes nothing until it is let go.
    struct Stuck(mpsc::Receiver<()>, Collected);
    impl Write for Stuck {
        fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.write(piece)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (go, stuck) = mpsc::channel();
    let out = Collected::default();
    let log = AccessLog::to(LogFormat::Text, Stuck(stuck, out.clone())).unwrap();
    let long = "x".repeat(1000);
    let lines = 3 * BUFFER_BYTES_MAX / 1000;
    (0..lines).for_each(|_| log.record(&entry(&long)));
    assert!(log.dropped() > 0);
    drop(go);
    let dropped = log.dropped();
    drop(log);
    assert_eq!(out.text().lines().count() as u64 + dropped, lines as u64);
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = AccessLog::to(LogFormat::Json, Full).unwrap();
    let shared = log.shared.clone();
    log.record(&entry("/a"));
    log.record(&entry("/b"));
    drop(log);
    assert_eq!(shared.dropped.load(Ordering::Relaxed), 2);
}

#[test]
fn a_log_that_is_off_takes_nothing() {
    let log = AccessLog::open(LogFormat::Off, &LogTarget::Stdout).unwrap();
    assert!(!log.is_on());
    log.record(&entry("/a"));
    assert!(log.shared.lock().bytes.is_empty());
}

/// A disk with room for so many bytes.
#[derive(Clone)]
struct Disk {
    bytes: Collected,
    room: Arc<Mutex<usize>>,
}

impl Write for Disk {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let mut room = self.room.lock().unwrap();
        let count = piece.len().min(*room);
        if count == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        *room -= count;
        self.bytes.write(&piece[..count])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_costs_lines_and_the_log_goes_on_with_a_whole_one() {
    let room = Arc::new(Mutex::new(10));
    let mut disk = Disk { bytes: Collected::default(), room: room.clone() };
    let (mut trouble, dropped) = (Trouble::default(), AtomicU64::new(0));
    trouble.write(&mut disk, b"first\nsecond\nthird\n", &dropped);
    trouble.write(&mut disk, b"fourth\n", &dropped);
    assert_eq!((disk.bytes.text().as_str(), dropped.load(Ordering::Relaxed)), ("first\nseco", 3));
    *room.lock().unwrap() = 100;
    trouble.write(&mut disk, b"fifth\n", &dropped);
    assert_eq!(disk.bytes.text(), "first\nseco\nfifth\n");
    assert_eq!((trouble.lines_lost, trouble.torn), (0, false));
}

#[test]
fn lines_before_a_reopening_are_the_old_files_and_lines_behind_it_the_new_ones() {
    let directory = std::env::temp_dir().join(format!("tenfold-access-log-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (path, old) = (directory.join("access"), directory.join("access.1"));
    // The writer is nearly never as quick as the caller here, so each round finds both lines in its buffer.
    for _ in 0..50 {
        let log = AccessLog::open(LogFormat::Text, &LogTarget::File(path.clone())).unwrap();
        log.record(&entry("/before"));
        std::fs::rename(&path, &old).unwrap();
        log.reopen().unwrap();
        log.record(&entry("/behind"));
        log.reopen().unwrap();
        log.record(&entry("/last"));
        drop(log);
        let targets = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().map(|line| line.split(' ').nth(6).unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(targets(&old), ["/before"]);
        assert_eq!(targets(&path), ["/behind", "/last"]);
        std::fs::remove_file(&path).unwrap();
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
