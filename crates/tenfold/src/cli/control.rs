//! Talks to a running server over its control socket: `status`, `reload`, `upgrade` and the rest.
//!
//! The socket is where `--control` or the configuration file says, else the only one in this user's runtime directory.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tenfold_server::Settings;

use super::{Error, config};

/// Requests in flight that `status` lists.
const REQUESTS_MAX: usize = 20;

/// Longer than a reload or an upgrade may take by default.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// Where a server's socket is when nobody says: next to the pid file, or in this user's runtime directory.
pub(crate) fn default_path(settings: &Settings) -> Option<PathBuf> {
    if let Some(path) = tenfold_server::supervisor::inherited_control() {
        return Some(path);
    }
    if let Some(pid_file) = &settings.pid_file {
        return Some(pid_file.with_extension("sock"));
    }
    let directory = directory();
    if let Err(error) = make_private(&directory) {
        tracing::warn!("there is no control socket: {}: {error}", directory.display());
        return None;
    }
    let listen = settings.listen.first().map_or("", String::as_str);
    let mut name: String =
        listen.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' }).collect();
    // The kernel chooses the port, so the address tells nothing apart.
    if listen.ends_with(":0") {
        let _ = write!(name, "-{}", std::process::id());
    }
    Some(directory.join(format!("{name}.sock")))
}

fn directory() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = fs::metadata("/proc/self").map_or(u32::MAX, |own| own.uid());
    match (variable("RUNTIME_DIRECTORY"), variable("XDG_RUNTIME_DIR"), user) {
        (Some(directory), ..) => directory,
        (_, Some(directory), _) => directory.join("tenfold"),
        (.., 0) => "/run/tenfold".into(),
        _ => std::env::temp_dir().join(format!("tenfold-{user}")),
    }
}

/// A directory that nobody else can put sockets into, or replace.
fn make_private(directory: &Path) -> Result<(), String> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| error.to_string())?;
    let found = fs::symlink_metadata(directory).map_err(|error| error.to_string())?;
    let user = fs::metadata("/proc/self").map_err(|error| error.to_string())?.uid();
    if !found.is_dir() || found.uid() != user || found.mode() & 0o022 != 0 {
        return Err("it is not a directory that only this user can write to".into());
    }
    Ok(())
}

/// The socket of the server that is meant.
pub(crate) fn find(control: Option<&Path>, file: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(path) = control {
        return Ok(path.to_owned());
    }
    if let Some(file) = file {
        let settings = config::load(file)?;
        return match settings.control.as_deref() {
            Some("off") => Err(Error::System(format!("{}: control is off", file.display()))),
            Some(path) => Ok(path.into()),
            None => default_path(&settings).ok_or_else(|| Error::System("there is no control socket".into())),
        };
    }
    let entries = fs::read_dir(directory()).into_iter().flatten().flatten();
    let sockets: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
        .filter(|path| UnixStream::connect(path).is_ok())
        .collect();
    match &sockets[..] {
        [one] => Ok(one.clone()),
        [] => Err(Error::System(format!(
            "no server answers in {}: give --control PATH or --config FILE",
            directory().display()
        ))),
        many => {
            let names: Vec<String> = many.iter().map(|path| path.display().to_string()).collect();
            Err(Error::System(format!(
                "several servers answer, choose one with --control: {}",
                names.join(", ")
            )))
        }
    }
}

/// Sends one request and waits for its answer.
///
/// # Errors
/// [`Error::System`] when nobody answers, or with the server's reason.
pub(crate) fn ask(socket: &Path, request: &str) -> Result<Value, Error> {
    let name = socket.display();
    let failed = |error: std::io::Error| Error::System(format!("{name}: {error}"));
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;
    stream.write_all(format!("{request}\n").as_bytes()).map_err(failed)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(failed)?;
    let answer: Value = serde_json::from_str(&line)
        .map_err(|_| Error::System(format!("{name}: the server has ended without an answer")))?;
    match answer["ok"].as_bool() {
        Some(true) => Ok(answer),
        _ => Err(Error::System(answer["error"].as_str().unwrap_or("the server gave no reason").to_owned())),
    }
}

/// The answer as a person reads it.
pub(crate) fn text(answer: &Value) -> String {
    match answer["said"].as_str() {
        Some(said) => format!("{}\n", said.trim_end()),
        None => tenfold_server::sight::text(answer, REQUESTS_MAX),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_a_line_and_a_table_and_anything_else_is_what_was_said() {
        assert_eq!(text(&json!({ "ok": true, "said": "3 workers" })), "3 workers\n");
        let status = text(&json!({
            "ok": true, "state": "serving", "pid": 7, "listeners": ["127.0.0.1:80"],
            "last_reload": { "ok": false, "reason": "no luck" },
            "workers": [{ "slot": 0, "group": "worker", "index": 0, "pid": 8, "state": "ready" }],
        }));
        let lines: Vec<&str> = status.lines().collect();
        assert!(lines[0].starts_with("serving · ") && lines[0].ends_with("127.0.0.1:80"), "{status}");
        assert_eq!(lines[1], "last reload: failed: no luck");
        assert!(lines[4].contains("worker") && lines[4].contains('8'), "{status}");
    }
}
