//! A running server with its files, and the command line's answers about it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tenfold_testkit::{Signal, signal_process, wait_until};

/// Times that a change is made: a few, or as many as the contract says.
pub fn times(few: usize, many: usize) -> usize {
    if std::env::var_os("TENFOLD_LONG").is_some() { many } else { few }
}

pub struct Site {
    pub child: Child,
    pub address: String,
    pub directory: PathBuf,
    /// The program that an upgrade executes; a test may replace the file.
    pub program: PathBuf,
}

impl Site {
    /// Starts a copy of the binary with these settings; `{dir}` in them is the site's own directory.
    pub fn start(name: &str, settings: &str) -> Site {
        Site::start_with(name, settings, |_| {})
    }

    pub fn start_with(name: &str, settings: &str, change: impl FnOnce(&mut Command)) -> Site {
        let directory =
            std::env::temp_dir().join(format!("tenfold-operations-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let program = directory.join("server");
        fs::copy(env!("CARGO_BIN_EXE_tenfold"), &program).unwrap();
        let file = directory.join("site.toml");
        fs::write(&file, config(&directory, settings)).unwrap();
        let log = fs::File::create(directory.join("log")).unwrap();
        let mut command = Command::new(&program);
        command.args(["serve", "--config"]).arg(&file).env("TMPDIR", &directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        change(&mut command);
        // Another test that forks at the moment has the copy open for writing until its child executes (ETXTBSY).
        let mut child = wait_until("the program can be executed", || match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
            outcome => Some(outcome.unwrap()),
        });
        let mut banner = String::new();
        // The banner comes once everything serves: this is the wait.
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut banner).unwrap();
        // A new master prints its own, and must not find the pipe closed.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        let said = banner.trim().rsplit("http://").next().unwrap_or_default();
        let address = said.split(' ').next().unwrap().to_owned();
        let site = Site { child, address, directory, program };
        assert!(!banner.is_empty(), "it does not serve: {}", site.log());
        site
    }

    pub fn configure(&self, settings: &str) {
        fs::write(self.directory.join("site.toml"), config(&self.directory, settings)).unwrap();
    }

    /// What the command line answers about this server.
    pub fn run(&self, words: &[&str]) -> Output {
        let control = self.directory.join("control.sock");
        Command::new(env!("CARGO_BIN_EXE_tenfold"))
            .args(words)
            .arg("--control")
            .arg(control)
            .output()
            .unwrap()
    }

    /// As [`Site::run`], which has to succeed.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {said}\n{}", self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    /// As [`Site::run`], which has to fail; its reason.
    #[track_caller]
    pub fn refused(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}\n{}", self.log());
        String::from_utf8(output.stderr).unwrap()
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.ok(&["status", "--json"])).unwrap()
    }

    /// Processes of the serving group that are ready.
    #[track_caller]
    pub fn workers(&self) -> Vec<u32> {
        let status = self.status();
        let workers = status["workers"].as_array().unwrap().iter();
        let serving = workers.filter(|worker| worker["group"] == "worker" && worker["state"] == "ready");
        serving.map(|worker| worker["pid"].as_u64().unwrap() as u32).collect()
    }

    pub fn signal(&self, signal: Signal) {
        signal_process(self.child.id(), signal);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        wait_until(&format!("{text:?} is in the log"), || self.log().contains(text).then_some(()));
    }

    /// The exit code of the process that was started.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        let mut look = || self.child.try_wait().unwrap();
        wait_until("the server has ended", &mut look).code()
    }

    pub fn get(&self, target: &str) -> tenfold_testkit::TestResponse {
        tenfold_testkit::Client::connect(&self.address).get(target)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.run(&["stop", "--fast"]);
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && std::time::Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn config(directory: &Path, settings: &str) -> String {
    let own = settings.replace("{dir}", directory.to_str().unwrap());
    let default =
        |name: &str, line: &str| if settings.contains(name) { String::new() } else { format!("{line}\n") };
    format!(
        "control = '{}/control.sock'\n{}{}{}{}{own}\n",
        directory.display(),
        default("listen", "listen = ['127.0.0.1:0']"),
        default("workers", "workers = 2"),
        default("grace", "keepalive_min_grace_secs = 0.5"),
        default("watchdog", "watchdog_ms = 0"),
    )
}
