//! wrk(1) beside our own client: a load tool that nobody here wrote, and that counts errors its own way.

use std::process::{Child, Command, Stdio};

use tenfold_testkit::{Signal, signal_process, wait_until};

/// A running wrk; ended when it is dropped.
pub struct Wrk(Option<Child>);

impl Wrk {
    /// Two connections that ask as fast as they can, until it is stopped. `None`, and a word about it, where there is no wrk.
    pub fn start(address: &str) -> Option<Wrk> {
        let mut command = Command::new("wrk");
        command.args(["-t1", "-c2", "-d3600s", "--timeout", "20s", &format!("http://{address}/hello")]);
        match command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
            Ok(child) => {
                let pid = child.id();
                let wrk = Wrk(Some(child));
                // Before that an interrupt ends it without a word, as it ends anybody.
                wait_until("wrk runs its load", || catches_interrupt(pid).then_some(()));
                Some(wrk)
            }
            Err(error) => {
                println!("left out: the load of wrk, which cannot be started ({error}; Debian package wrk)");
                None
            }
        }
    }

    /// Ends it; how many requests it has made, none of which may have failed.
    #[track_caller]
    pub fn stop(mut self) -> u64 {
        let mut child = self.0.take().expect("it is stopped once");
        // Again and again: an interrupt between its handler and its sleep is caught, and wakes nobody.
        wait_until("wrk has ended", || {
            signal_process(child.id(), Signal::INT);
            child.try_wait().unwrap()
        });
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // It prints these lines only if there is something to count.
        assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
        let requests = said.lines().find_map(|line| line.trim().split_once(" requests in"));
        requests.and_then(|(count, _)| count.parse().ok()).unwrap_or_else(|| panic!("no count in {said:?}"))
    }
}

/// Whether a process has a handler for SIGINT, by the mask of caught signals in proc_pid_status(5).
fn catches_interrupt(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask & 1 << (Signal::INT.as_raw() - 1) != 0)
}

impl Drop for Wrk {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
