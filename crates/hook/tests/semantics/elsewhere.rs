//! Where nothing parks, and what is left as it was.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use tenfold_runtime::spawn;

use crate::common::on_fibers;
use crate::{pair, while_waiting};

/// Runs itself: standard input is a pipe there that nobody writes to until a sibling fiber would have run.
#[test]
fn standard_descriptors_block_the_thread() {
    const CHILD: &str = "TENFOLD_HOOK_STDIN";
    if std::env::var_os(CHILD).is_some() {
        on_fibers_once(|| {
            let reading = spawn(|| {
                let mut byte = [0_u8];
                // SAFETY: one byte.
                unsafe { libc::read(0, byte.as_mut_ptr().cast(), 1) }
            });
            let sibling = spawn(|| eprintln!("sibling runs"));
            assert_eq!(reading.join().unwrap(), 1);
            sibling.join().unwrap();
        });
        return;
    }
    let name = "elsewhere::standard_descriptors_block_the_thread";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The child's only thread with a loop sleeps in read(2) when it has got so far.
    let pid = child.id();
    tenfold_testkit::wait_until("a thread of the child reads its standard input", || {
        let reads = |path: std::path::PathBuf| {
            std::fs::read_to_string(path.join("syscall")).is_ok_and(|call| call.starts_with("0 0x0 "))
        };
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        tasks.flatten().any(|task| reads(task.path())).then_some(())
    });
    child.stdin.take().unwrap().write_all(b"x").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("sibling runs"));
}

fn on_fibers_once(test: fn()) {
    let config = tenfold_runtime::RuntimeConfig::default();
    tenfold_runtime::Runtime::new(&config).unwrap().run(test).unwrap();
}

#[test]
fn errno_is_left_alone_by_a_call_that_succeeds() {
    on_fibers(|| {
        let (mut one, mut other) = pair();
        while_waiting(
            || {
                // SAFETY: the thread's own variable.
                let place = unsafe { libc::__errno_location() };
                // SAFETY: as above.
                unsafe { *place = 77 };
                one.read_exact(&mut [0]).unwrap();
                // SAFETY: as above.
                assert_eq!(unsafe { *place }, 77);
            },
            || {
                // A sibling's failure meanwhile.
                assert!(std::fs::File::open("/does/not/exist").is_err());
                other.write_all(b"x").unwrap();
            },
        );
    });
}

#[test]
fn a_forked_child_of_a_fiber_does_not_park() {
    on_fibers(|| {
        let (mut one, mut other) = pair();
        // SAFETY: the child makes calls that are fit for a signal handler only, and ends by _exit.
        unsafe {
            match libc::fork() {
                0 => {
                    let mut byte = 0_u8;
                    // Nothing to read yet: it blocks, since the loop is in the parent.
                    let got = libc::read(other.as_raw_fd(), (&raw mut byte).cast(), 1);
                    libc::_exit(if got == 1 && byte == b'x' { 0 } else { 1 });
                }
                child => {
                    std::thread::sleep(Duration::from_millis(20));
                    one.write_all(b"x").unwrap();
                    let mut status = 0;
                    assert_eq!(libc::waitpid(child, &mut status, 0), child);
                    assert_eq!(status, 0);
                }
            }
        }
        one.write_all(b"y").unwrap();
        other.read_exact(&mut [0]).unwrap();
    });
}

#[test]
fn handlers_that_run_inline_block_their_thread() {
    on_fibers(|| {
        let (mut one, mut other) = pair();
        let before = tenfold_runtime::park::waits();
        let thread = std::thread::spawn(move || other.write_all(b"x").map(|()| other).unwrap());
        tenfold_runtime::park::inline(|| one.read_exact(&mut [0])).unwrap();
        assert_eq!(tenfold_runtime::park::waits(), before, "the runtime has not heard of it");
        thread.join().unwrap();
    });
}
