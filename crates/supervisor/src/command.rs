//! `Command`: what can be asked over the control socket.

use crate::order::LogLevel;

/// One request. Its text is what [`std::fmt::Display`] would be: see [`Command::parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// How everything is: `status`.
    Status,
    /// A new generation from the configuration: `reload`.
    Reload,
    /// A new master from the program file: `upgrade`; with `hold` it waits for `commit` or `rollback`.
    Upgrade {
        /// Both masters serve until somebody decides.
        hold: bool,
    },
    /// Finishes an upgrade that is held: `commit`.
    Commit,
    /// Undoes an upgrade that is not finished: `rollback`.
    Rollback,
    /// Another number of workers: `scale N`.
    Scale(usize),
    /// Ends all workers gracefully and keeps the listeners: `drain`.
    Drain,
    /// Opens all log files again: `reopen-logs`.
    ReopenLogs,
    /// Ends the server: `stop`, `stop fast`.
    Stop {
        /// Without waiting for requests in flight.
        fast: bool,
    },
    /// Kills the worker in a slot, which is replaced: `worker kill N`.
    WorkerKill(usize),
    /// Tells what the worker in a slot is doing: `worker dump N`.
    WorkerDump(usize),
    /// Logs from a level on, in all processes: `log LEVEL`.
    Log(LogLevel),
}

impl Command {
    /// Reads a request line.
    ///
    /// # Errors
    /// One line that says what is wrong, or which words there are.
    pub fn parse(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number =
            |text: &str| text.parse::<usize>().map_err(|_| format!("{text:?} is not a number, in {line:?}"));
        Ok(match words[..] {
            ["status"] => Self::Status,
            ["reload"] => Self::Reload,
            ["upgrade"] => Self::Upgrade { hold: false },
            ["upgrade", "hold"] => Self::Upgrade { hold: true },
            ["commit"] => Self::Commit,
            ["rollback"] => Self::Rollback,
            ["scale", count] => Self::Scale(number(count)?),
            ["drain"] => Self::Drain,
            ["reopen-logs"] => Self::ReopenLogs,
            ["stop"] => Self::Stop { fast: false },
            ["stop", "fast"] => Self::Stop { fast: true },
            ["worker", "kill", slot] => Self::WorkerKill(number(slot)?),
            ["worker", "dump", slot] => Self::WorkerDump(number(slot)?),
            ["log", level] => Self::Log(level.parse()?),
            _ => {
                return Err(format!(
                    "unknown command {line:?}: expected status, reload, upgrade [hold], commit, rollback, scale N, \
                     drain, reopen-logs, stop [fast], worker kill N, worker dump N or log LEVEL"
                ));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_commands_and_mistakes_are_named() {
        assert_eq!(Command::parse(" scale  3 "), Ok(Command::Scale(3)));
        assert_eq!(Command::parse("worker kill 0"), Ok(Command::WorkerKill(0)));
        assert_eq!(Command::parse("log debug"), Ok(Command::Log(LogLevel::Debug)));
        for (line, word) in [("scale many", "many"), ("fly", "fly"), ("", "expected"), ("log loud", "loud")] {
            let error = Command::parse(line).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
