//! `Report`: what a worker tells its master, as lines on a pipe.
//!
//! ```text
//!   ready                    it serves from now on
//!   failed REASON            it cannot start, and ends
//!   closed                   it accepts no more, and its listeners are closed
//!   logs                     the log files are open again      logs REASON   … are not
//!   condemned REASON         a request is past its hard deadline: it needs a replacement
//!   facts NAME JSON         something of its own for `status`
//!   dump TEXT                what its requests are doing, newlines as \n
//! ```
//!
//! A line is written under a lock and waits for room at most [`PATIENCE`]; a master that does not read is given up on.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// Most bytes of a line: what a master keeps of one worker.
pub(crate) const LINE_BYTES_MAX: usize = 256 << 10;
/// How long a line may wait for room in the pipe.
const PATIENCE: Duration = Duration::from_secs(1);

/// One thing that a worker says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report {
    /// It serves.
    Ready,
    /// It cannot start.
    Failed(String),
    /// It has been told to stop, has emptied the queues of its listeners and closed them; it finishes what it has.
    Closed,
    /// It has opened its logs again, or why not.
    Logs(Result<(), String>),
    /// What its requests are doing.
    Dump(String),
    /// What it wants to be said in the answer to `status`: a name of its own there, and JSON. The latest word counts.
    Facts {
        /// The field's name; one word.
        name: String,
        /// Its value, as JSON.
        json: String,
    },
    /// A request does not end: the worker needs a replacement. It serves on until that is ready, or ends at once if it has
    /// nothing else to do.
    Condemned(String),
}

/// The worker's end; may be shared between its threads. Says nothing where there is no master.
#[derive(Clone, Debug)]
pub struct Reporter {
    pipe: Arc<Mutex<Option<OwnedFd>>>,
}

impl Reporter {
    pub(crate) fn new(pipe: Option<OwnedFd>) -> Self {
        Self { pipe: Arc::new(Mutex::new(pipe)) }
    }

    /// Tells the master. A master that is gone needs no report; one that takes none for a second gets no more.
    pub fn say(&self, report: &Report) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*pipe
            && !write_all(open, report.line().as_bytes())
        {
            *pipe = None;
        }
    }
}

fn write_all(pipe: &OwnedFd, mut bytes: &[u8]) -> bool {
    let until = Instant::now() + PATIENCE;
    while !bytes.is_empty() {
        match rustix::io::write(pipe, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return false;
                }
                let left = Timespec::try_from(left).ok();
                let _ = poll(&mut [PollFd::new(pipe, PollFlags::OUT)], left.as_ref());
            }
            Err(_) => return false,
        }
    }
    true
}

impl Report {
    fn line(&self) -> String {
        let with_name;
        let (word, text) = match self {
            Self::Facts { name, json } => {
                with_name = format!("{name} {json}");
                ("facts ", with_name.as_str())
            }
            Self::Ready => ("ready", ""),
            Self::Closed => ("closed", ""),
            Self::Failed(reason) => ("failed ", reason.as_str()),
            Self::Logs(Ok(())) => ("logs", ""),
            Self::Logs(Err(reason)) => ("logs ", reason.as_str()),
            Self::Dump(text) => ("dump ", text.as_str()),
            Self::Condemned(reason) => ("condemned ", reason.as_str()),
        };
        let mut line = format!("{word}{}", text.replace('\\', "\\\\").replace('\n', "\\n"));
        let mut end = line.len().min(LINE_BYTES_MAX - 1);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('\n');
        line
    }

    fn parse(line: &str) -> Option<Self> {
        let (word, text) = line.split_once(' ').map_or((line, None), |(word, text)| (word, Some(text)));
        let text = text.map(unescape);
        Some(match word {
            "ready" => Self::Ready,
            "closed" => Self::Closed,
            "failed" => Self::Failed(text.unwrap_or_default()),
            "logs" => Self::Logs(text.map_or(Ok(()), Err)),
            "facts" => {
                let text = text?;
                let (name, json) = text.split_once(' ')?;
                Self::Facts { name: name.into(), json: json.into() }
            }
            "dump" => Self::Dump(text.unwrap_or_default()),
            "condemned" => Self::Condemned(text.unwrap_or_default()),
            _ => return None,
        })
    }
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' if chars.clone().next() == Some('n') => {
                chars.next();
                plain.push('\n');
            }
            '\\' => plain.extend(chars.next()),
            other => plain.push(other),
        }
    }
    plain
}

/// The master's end.
#[derive(Debug)]
pub(crate) struct ReportReader {
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl ReportReader {
    pub(crate) fn new(pipe: OwnedFd) -> Self {
        Self { pipe: Some(pipe), bytes: Vec::new() }
    }

    /// What to poll; `None` once the worker has closed its end, which would else be readable for ever.
    pub(crate) fn pipe(&self) -> Option<&OwnedFd> {
        self.pipe.as_ref()
    }

    /// Everything that was said since the last call. Never blocks.
    pub(crate) fn take(&mut self) -> Vec<Report> {
        let mut chunk = [0; 4096];
        while let Some(pipe) = &self.pipe {
            match rustix::io::read(pipe, &mut chunk) {
                Ok(0) => self.pipe = None,
                Ok(count) => self.bytes.extend_from_slice(&chunk[..count]),
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
            // A worker that says more than it may is not listened to any further.
            if self.bytes.len() > LINE_BYTES_MAX {
                break;
            }
        }
        let Some(end) = self.bytes.iter().rposition(|byte| *byte == b'\n') else {
            if self.bytes.len() > LINE_BYTES_MAX {
                self.bytes.clear();
            }
            return Vec::new();
        };
        let lines: Vec<u8> = self.bytes.drain(..=end).collect();
        String::from_utf8_lossy(&lines).lines().filter_map(Report::parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_arrive_as_they_were_said() {
        let (ours, theirs) = crate::worker::pipe().unwrap();
        let (reporter, mut reader) = (Reporter::new(Some(theirs)), ReportReader::new(ours));
        assert!(reader.take().is_empty());
        let said = [
            Report::Ready,
            Report::Closed,
            Report::Failed("no\nluck \\n".into()),
            Report::Logs(Ok(())),
            Report::Logs(Err("full".into())),
            Report::Dump("one\ntwo".into()),
            Report::Condemned("stuck".into()),
            Report::Facts { name: "jobs".into(), json: r#"{"a":"b c\\n"}"#.into() },
        ];
        said.iter().for_each(|report| reporter.say(report));
        assert_eq!(reader.take(), said);
        drop(reporter);
        assert!(reader.take().is_empty() && reader.pipe().is_none());
    }

    #[test]
    fn a_long_report_is_cut_and_does_not_block_for_ever() {
        let (ours, theirs) = crate::worker::pipe().unwrap();
        let (reporter, mut reader) = (Reporter::new(Some(theirs)), ReportReader::new(ours));
        let sender = std::thread::spawn(move || reporter.say(&Report::Dump("ä".repeat(LINE_BYTES_MAX))));
        let mut reports = Vec::new();
        while reports.is_empty() {
            reports = reader.take();
        }
        sender.join().unwrap();
        assert!(matches!(&reports[..], [Report::Dump(text)] if text.len() < LINE_BYTES_MAX));
    }
}
