//! Offload, files and names: the loop goes on meanwhile, and what borrows is waited for.

mod common;

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use common::{everywhere, on_fibers};
use tenfold_runtime::net::{TcpListener, TcpStream};
use tenfold_runtime::{
    OffloadError, deadline, dns, fs, offload, offload_scoped, offload_threads, scope, spawn, yield_now,
};

const SHORT: Duration = Duration::from_millis(10);

#[test]
fn the_loop_goes_on_while_a_closure_blocks() {
    on_fibers(|| {
        let (open, gate) = mpsc::channel();
        let blocked = spawn(move || offload(move || gate.recv().unwrap()));
        yield_now();
        // Were the closure on this thread, this line would not be reached.
        open.send(9).unwrap();
        assert_eq!(blocked.join().unwrap().unwrap(), 9);
    });
}

#[test]
fn a_panic_comes_back_as_an_error() {
    everywhere(|| {
        let outcome = offload(|| panic!("on purpose"));
        assert!(matches!(outcome, Err(OffloadError::Panicked(_))));
        assert_eq!(offload(|| 1).unwrap(), 1);
    });
}

#[test]
fn closures_may_borrow_and_are_waited_for_whatever_happens_to_the_task() {
    on_fibers(|| {
        let (open, gate) = mpsc::channel();
        let ended = std::sync::Arc::new(AtomicBool::new(false));
        let task = spawn({
            let ended = ended.clone();
            move || {
                let mut number = 1;
                let (gate, ended) = (std::sync::Mutex::new(gate), &ended);
                let outcome = deadline(SHORT, || {
                    offload_scoped(|| {
                        gate.lock().unwrap().recv().unwrap();
                        number += 1;
                        ended.store(true, Ordering::SeqCst);
                    })
                });
                assert!(ended.load(Ordering::SeqCst), "it returned while the closure borrowed");
                (number, outcome.is_ok())
            }
        });
        yield_now();
        task.cancel();
        tenfold_runtime::sleep(2 * SHORT);
        assert!(!task.is_finished());
        open.send(()).unwrap();
        assert_eq!(task.join().unwrap().0, 2);
    });
}

#[test]
fn a_task_that_is_out_of_time_does_not_wait_for_a_closure_of_its_own() {
    on_fibers(|| {
        let (open, gate) = mpsc::channel::<()>();
        let outcome = deadline(SHORT, || offload(move || gate.recv().is_ok()));
        assert!(matches!(outcome, Err(OffloadError::TimedOut)));
        drop(open);
    });
}

#[test]
fn hundreds_of_closures_take_at_most_the_configured_threads() {
    on_fibers(|| {
        static MOST: AtomicUsize = AtomicUsize::new(0);
        static PRESENT: AtomicUsize = AtomicUsize::new(0);
        scope(|scope| {
            for _ in 0..300 {
                scope.spawn(|| {
                    offload(|| {
                        let present = PRESENT.fetch_add(1, Ordering::SeqCst) + 1;
                        MOST.fetch_max(present, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_micros(200));
                        PRESENT.fetch_sub(1, Ordering::SeqCst);
                    })
                    .unwrap();
                });
            }
        });
        let most = MOST.load(Ordering::SeqCst);
        assert!((1..=64).contains(&most), "{most} at once");
        assert!(offload_threads() <= 64);
    });
}

#[test]
fn a_plain_thread_runs_it_in_place() {
    let me = std::thread::current().id();
    assert_eq!(offload(move || std::thread::current().id()).unwrap(), me);
}

#[test]
fn files_are_written_read_sought_renamed_and_removed() {
    everywhere(|| {
        let name = format!("tenfold-files-{}-{:?}", std::process::id(), std::thread::current().id());
        let folder = std::env::temp_dir().join(name);
        let (first, second) = (folder.join("deep/first"), folder.join("second"));
        fs::create_dir_all(folder.join("deep")).unwrap();
        let mut file = fs::File::create(&first).unwrap();
        file.write_all(b"hello world").unwrap();
        assert_eq!(file.write_at(b"H", 0).unwrap(), 1);
        file.sync_all().unwrap();
        file.sync_data().unwrap();
        assert_eq!(file.metadata().unwrap().len(), 11);
        fs::rename(&first, &second).unwrap();
        assert_eq!(fs::read_to_string(&second).unwrap(), "Hello world");

        let mut file = fs::File::open(&second).unwrap();
        assert_eq!(file.seek(SeekFrom::End(-5)).unwrap(), 6);
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "world");
        let mut buf = [0; 64];
        assert_eq!(file.read_at(&mut buf, 9).unwrap(), 2, "a short read at the end");
        assert_eq!(file.read_at(&mut buf, 11).unwrap(), 0, "and the end");
        assert!(file.seek(SeekFrom::Current(-100)).is_err());

        fs::write(&second, "new").unwrap();
        assert_eq!(fs::read(&second).unwrap(), b"new");
        fs::remove_file(&second).unwrap();
        assert_eq!(fs::metadata(&second).unwrap_err().kind(), std::io::ErrorKind::NotFound);
        fs::remove_dir_all(&folder).unwrap();
    });
}

#[test]
fn names_and_literal_addresses_are_found() {
    everywhere(|| {
        assert_eq!(dns::lookup("[::1]", 80).unwrap(), ["[::1]:80".parse().unwrap()]);
        let local = dns::lookup("localhost", 81).unwrap();
        assert!(local.iter().all(|address| address.ip().is_loopback() && address.port() == 81), "{local:?}");
        assert!(!local.is_empty());
        assert_eq!(TcpStream::connect("no port").unwrap_err().kind(), std::io::ErrorKind::InvalidInput);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("localhost", port)).unwrap();
        listener.accept().unwrap();
    });
}
