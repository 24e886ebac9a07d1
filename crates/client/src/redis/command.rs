//! `Command`, `Pipeline`: what is sent.

use std::borrow::Cow;

use crate::error::Error;

use super::resp;
use super::value::Value;

/// Commands that change the connection itself or hold it up: others cannot share it meanwhile.
const NEED_A_CONNECTION: [&str; 23] = [
    "AUTH",
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "CLIENT",
    "EXEC",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "QUIT",
    "RESET",
    "SELECT",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SYNC",
    "WAIT",
    "WATCH",
];

/// A command and its arguments, as bytes that are ready to be sent.
///
/// ```
/// use tenfold_client::redis::Command;
/// let command = Command::new("SET").arg("key").arg(7).arg(b"bytes");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a command does nothing until it is sent"]
pub struct Command {
    arguments: usize,
    /// All of them, encoded.
    body: Vec<u8>,
    needs_connection: bool,
}

/// Commands that are sent at once and answered one by one.
///
/// ```
/// use tenfold_client::redis::{Command, Pipeline};
/// let mut pipeline = Pipeline::new();
/// pipeline.add(Command::new("INCR").arg("hits")).add(Command::new("TTL").arg("hits"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Pipeline {
    pub(super) bytes: Vec<u8>,
    pub(super) commands: usize,
    pub(super) atomic: bool,
    needs_connection: bool,
}

/// What can be an argument.
pub trait Argument {
    /// Its bytes.
    fn bytes(&self) -> Cow<'_, [u8]>;
}

impl Command {
    /// A command by its name.
    pub fn new(name: &str) -> Command {
        let needs_connection = NEED_A_CONNECTION.iter().any(|known| known.eq_ignore_ascii_case(name));
        let mut command = Command { arguments: 0, body: Vec::with_capacity(64), needs_connection };
        command.push(name.as_bytes());
        command
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl Argument) -> Command {
        self.push(&argument.bytes());
        self
    }

    /// Adds several arguments.
    pub fn args<A: Argument>(mut self, arguments: impl IntoIterator<Item = A>) -> Command {
        for argument in arguments {
            self.push(&argument.bytes());
        }
        self
    }

    fn push(&mut self, argument: &[u8]) {
        // XREAD and XREADGROUP wait with BLOCK; a key of that name is only a detour.
        self.needs_connection |= argument.len() == 5 && argument.eq_ignore_ascii_case(b"BLOCK");
        self.arguments += 1;
        resp::put_argument(&mut self.body, argument);
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        resp::put_head(out, self.arguments);
        out.extend_from_slice(&self.body);
    }

    /// Whether it cannot be sent over a connection that others use at the same time.
    pub(super) fn needs_connection(&self) -> bool {
        self.needs_connection
    }
}

impl Pipeline {
    /// No commands.
    pub fn new() -> Pipeline {
        Pipeline::default()
    }

    /// All or nothing: the commands run between MULTI and EXEC, and nobody else's in between.
    pub fn atomic() -> Pipeline {
        let mut pipeline = Pipeline { atomic: true, ..Pipeline::default() };
        Command::new("MULTI").encode(&mut pipeline.bytes);
        pipeline
    }

    /// Adds a command.
    #[expect(clippy::needless_pass_by_value, reason = "commands are built in place")]
    pub fn add(&mut self, command: Command) -> &mut Pipeline {
        if command.needs_connection() {
            self.needs_connection = true;
        }
        command.encode(&mut self.bytes);
        self.commands += 1;
        self
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.commands == 0
    }

    pub(super) fn needs_connection(&self) -> bool {
        self.needs_connection
    }

    /// The bytes to send and the number of replies to expect.
    pub(super) fn encoded(&self) -> (Cow<'_, [u8]>, usize) {
        if !self.atomic {
            return (Cow::Borrowed(&self.bytes), self.commands);
        }
        let mut bytes = self.bytes.clone();
        Command::new("EXEC").encode(&mut bytes);
        (Cow::Owned(bytes), self.commands + 2)
    }
}

impl Pipeline {
    /// One value for each command, from the replies to what was sent.
    pub(super) fn results(&self, mut replies: Vec<Value>) -> Result<Vec<Value>, Error> {
        if !self.atomic {
            return Ok(replies);
        }
        let exec = replies.pop().ok_or(Error::Unexpected("EXEC has no reply"))?;
        if let Value::Error(_) = &exec {
            // Why it was given up is said where the command was queued.
            let cause = replies.into_iter().find(|reply| matches!(reply, Value::Error(_)));
            return Err(match cause.unwrap_or(exec).accepted() {
                Err(error) => error,
                Ok(_) => Error::Unexpected("EXEC has failed without an error"),
            });
        }
        match exec {
            Value::List(results) => Ok(results),
            Value::Nil => {
                Err(Error::Rejected { code: "NIL".into(), message: "a watched key has changed".into() })
            }
            _ => Err(Error::Unexpected("EXEC has answered with something else than a list")),
        }
    }
}

impl<A: Argument + ?Sized> Argument for &A {
    fn bytes(&self) -> Cow<'_, [u8]> {
        (**self).bytes()
    }
}

impl Argument for str {
    fn bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.as_bytes())
    }
}

impl Argument for String {
    fn bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.as_bytes())
    }
}

impl Argument for [u8] {
    fn bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
}

impl<const N: usize> Argument for [u8; N] {
    fn bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
}

impl Argument for Vec<u8> {
    fn bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
}

impl Argument for bytes::Bytes {
    fn bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl Argument for $number {
            fn bytes(&self) -> Cow<'_, [u8]> {
                Cow::Owned(self.to_string().into_bytes())
            }
        })*
    };
}

numbers!(i64, i32, u64, u32, usize, f64);
