//! wrk(1) beside our own client: a load tool that nobody here wrote, and that counts errors its own way.

use std::process::{Child, Command, Stdio};

use tenfold_testkit::{Signal, signal_process};

/// A running wrk; ended when it is dropped.
pub struct Wrk(Option<Child>);

impl Wrk {
    /// Two connections that ask as fast as they can, until it is stopped. `None`, and a word about it, where there is no wrk.
    pub fn start(address: &str) -> Option<Wrk> {
        let mut command = Command::new("wrk");
        command.args(["-t1", "-c2", "-d3600s", "--timeout", "20s", &format!("http://{address}/hello")]);
        match command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
            Ok(child) => Some(Wrk(Some(child))),
            Err(error) => {
                println!("left out: the load of wrk, which cannot be started ({error}; Debian package wrk)");
                None
            }
        }
    }

    /// Ends it; how many requests it has made, none of which may have failed.
    #[track_caller]
    pub fn stop(mut self) -> u64 {
        let child = self.0.take().expect("it is stopped once");
        signal_process(child.id(), Signal::INT);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // It prints these lines only if there is something to count.
        assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
        let requests = said.lines().find_map(|line| line.trim().split_once(" requests in"));
        requests.and_then(|(count, _)| count.parse().ok()).unwrap_or_else(|| panic!("no count in {said:?}"))
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
