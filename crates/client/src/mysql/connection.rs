//! `Connection`: one connection to MySQL or MariaDB.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tenfold_runtime::cause::{Cause, waiting_for};
use tenfold_runtime::net::TcpStream;
use tenfold_runtime::{park, spawn_detached};

use crate::address::after;
use crate::error::{Error, Phase};
use crate::received::Received;

use super::login::{self, Login};
use super::packet::{self, Column, Done, Greeting, Reader};
use super::settings::{ServerKey, Settings};
use super::value::{Row, Value};

/// Most statements that a connection keeps prepared.
const STATEMENTS_MAX: usize = 256;
/// Largest content of one packet; what is longer goes on in the next one.
const PACKET_BYTES_MAX: usize = 0xff_ffff;

/// What a read may bring, unless a longer packet is known to come.
const READ_BYTES: usize = 4096;

/// One connection. Calls on it are made one after another.
pub struct Connection {
    stream: TcpStream,
    settings: Settings,
    /// The server's number for it, to have its query killed.
    number: u32,
    sequence: u8,
    received: Received,
    statements: HashMap<String, Statement>,
    /// A call has begun and its answer has not come: nobody else may have the connection.
    pub(super) busy: bool,
    pub(super) in_transaction: bool,
}

#[derive(Clone)]
struct Statement {
    number: u32,
    parameters: usize,
}

/// What a statement without rows has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// Rows that were changed.
    pub rows: u64,
    /// The number that an AUTO_INCREMENT column got; 0 without one.
    pub last_id: u64,
}

impl Connection {
    /// Connects and logs in.
    pub(super) fn open(settings: &Settings) -> Result<Connection, Error> {
        let mut connection = Connection {
            stream: settings.address.connect(settings.connect_timeout)?,
            settings: settings.clone(),
            number: 0,
            sequence: 0,
            received: Received::new(READ_BYTES),
            statements: HashMap::new(),
            busy: false,
            in_transaction: false,
        };
        connection.log_in(after(settings.connect_timeout))?;
        Ok(connection)
    }

    fn log_in(&mut self, until: Instant) -> Result<(), Error> {
        let first = self.receive(until)?;
        if first.first() == Some(&0xff) {
            return Err(packet::refusal(&first));
        }
        let greeting = Greeting::parse(&first)?;
        self.number = greeting.connection;
        let Settings { user, password, database, .. } = self.settings.clone();
        // The server's own choice saves a round trip where it is the user's as well.
        let mut login = Login::by_name(&greeting.plugin).unwrap_or(Login::NativePassword);
        let mut salt = greeting.salt;
        let proof = login.proof(&password, &salt);
        self.send(&packet::login(&user, (login.name(), &proof), database.as_deref()), until)?;
        loop {
            let answer = self.receive(until)?;
            match answer.first() {
                Some(0x00) => return Ok(()),
                Some(0xff) => return Err(packet::refusal(&answer)),
                Some(0xfe) => {
                    let (plugin, new_salt) = packet::switch(&answer)?;
                    login = Login::by_name(plugin).ok_or(Error::Unexpected(
                        "the server asks for a login other than caching_sha2_password and mysql_native_password",
                    ))?;
                    salt = new_salt.to_vec();
                    self.send(&login.proof(&password, &salt), until)?;
                }
                Some(0x01) if login == Login::CachingSha2 => match answer[1..] {
                    // The server knows the password's digest, and says so before it says that all is well.
                    [login::KNOWN] => {}
                    [login::UNKNOWN] => self.show_password(&salt, until)?,
                    _ => {
                        return Err(Error::Unexpected("the server goes on with its login in an unknown way"));
                    }
                },
                _ => return Err(Error::Unexpected("the server asks for more than a password")),
            }
        }
    }

    /// The server has only a digest that it has to compute from the password itself: sends it, for nobody but who has the key.
    fn show_password(&mut self, salt: &[u8], until: Instant) -> Result<(), Error> {
        let key = match &self.settings.server_key {
            ServerKey::Known(key) => key.clone(),
            ServerKey::OfLoopback if !self.peer_is_loopback() => {
                return Err(Error::Unexpected(
                    "the server does not know the password's digest and wants it encrypted with its key, which only \
                     ClientBuilder::server_key says",
                ));
            }
            ServerKey::OfLoopback | ServerKey::OfAnybody => {
                self.send(&[login::SEND_KEY], until)?;
                match self.receive(until)?.split_first() {
                    Some((0x01, pem)) => {
                        login::key(&String::from_utf8_lossy(pem)).map_err(Error::Unexpected)?
                    }
                    _ => return Err(Error::Unexpected("the server does not say its key")),
                }
            }
        };
        let shown = login::encrypted(&self.settings.password, salt, &key)?;
        self.send(&shown, until)
    }

    fn peer_is_loopback(&self) -> bool {
        self.stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback())
    }

    /// Runs a statement, with parameters in the place of `?`, and returns all rows.
    ///
    /// # Errors
    /// [`Error::Rejected`] with the SQLSTATE, and the error's number behind the message; [`Error::TimedOut`] and
    /// [`Error::Cancelled`], after which the query is killed on the server as well and the connection is not used again;
    /// [`Error::InvalidRequest`] for another number of parameters; those of the connection.
    pub fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, Error> {
        Ok(self.run(sql, parameters)?.0)
    }

    /// Runs a statement without rows.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<Changes, Error> {
        let done = self.run(sql, parameters)?.1;
        Ok(Changes { rows: done.changed, last_id: done.last_id })
    }

    /// Runs `work` in a transaction: committed if it succeeds, else rolled back.
    ///
    /// # Errors
    /// Those of `work`; as [`Connection::query`].
    pub fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.batch("begin")?;
        match work(self) {
            Ok(value) => {
                self.batch("commit")?;
                Ok(value)
            }
            Err(error) => {
                // Where that fails, the connection is closed, and the server rolls back.
                let _ = self.batch("rollback");
                Err(error)
            }
        }
    }

    /// Runs one statement that cannot be prepared, and throws its rows away.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub fn batch(&mut self, sql: &str) -> Result<(), Error> {
        self.guarded(|connection, until| {
            connection.command(&[b"\x03", sql.as_bytes()].concat(), until)?;
            connection.results(until, false).map(drop)
        })
    }

    pub(super) fn ping(&mut self) -> Result<(), Error> {
        self.guarded(|connection, until| {
            connection.command(b"\x0e", until)?;
            connection.results(until, false).map(drop)
        })
    }

    fn run(&mut self, sql: &str, parameters: &[Value]) -> Result<(Vec<Row>, Done), Error> {
        let statement = match self.statements.get(sql) {
            Some(statement) => statement.clone(),
            None => self.guarded(|connection, until| connection.prepare(sql, until))?,
        };
        if statement.parameters != parameters.len() {
            let (wanted, given) = (statement.parameters, parameters.len());
            return Err(Error::InvalidRequest(format!(
                "the statement has {wanted} parameters and got {given}"
            )));
        }
        self.guarded(|connection, until| {
            connection.command(&packet::execute(statement.number, parameters), until)?;
            connection.results(until, true)
        })
    }

    fn prepare(&mut self, sql: &str, until: Instant) -> Result<Statement, Error> {
        if self.statements.len() >= STATEMENTS_MAX {
            for (_, statement) in std::mem::take(&mut self.statements) {
                // Closing a statement has no answer.
                self.command(&[b"\x19", &statement.number.to_le_bytes()[..]].concat(), until)?;
            }
        }
        self.command(&[b"\x16", sql.as_bytes()].concat(), until)?;
        let answer = self.receive(until)?;
        if answer.first() == Some(&0xff) {
            return Err(packet::refusal(&answer));
        }
        let mut reader = Reader(&answer);
        reader.number(1)?;
        let number = reader.number(4)? as u32;
        let (columns, parameters) = (reader.number(2)?, reader.number(2)?);
        for list in [parameters, columns] {
            // Descriptions and the end of their list: those of the columns come again with the rows.
            for _ in 0..if list > 0 { list + 1 } else { 0 } {
                self.receive(until)?;
            }
        }
        let statement = Statement { number, parameters: parameters as usize };
        self.statements.insert(sql.into(), statement.clone());
        Ok(statement)
    }

    /// The answer to a command: rows, or what was done. Rows of a command that was not prepared are thrown away.
    fn results(&mut self, until: Instant, prepared: bool) -> Result<(Vec<Row>, Done), Error> {
        let first = self.receive(until)?;
        match first.first() {
            Some(0x00) => {
                let done = packet::done(&first)?;
                self.in_transaction = done.in_transaction;
                return Ok((Vec::new(), done));
            }
            Some(0xff) => return Err(packet::refusal(&first)),
            Some(0xfb) => return Err(Error::Unexpected("the server asks for a local file")),
            _ => {}
        }
        let count = Reader(&first).length()?;
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push(packet::column(&self.receive(until)?)?);
        }
        let columns: Arc<[Column]> = columns.into();
        self.receive(until)?;
        let mut rows = Vec::new();
        loop {
            let answer = self.receive(until)?;
            if let Some(in_transaction) = packet::end_of_list(&answer) {
                self.in_transaction = in_transaction;
                return Ok((rows, Done::default()));
            }
            if answer.first() == Some(&0xff) {
                return Err(packet::refusal(&answer));
            }
            if prepared {
                let values = packet::row(&answer, &columns)?;
                rows.push(Row { columns: columns.clone(), values });
            }
        }
    }

    /// Runs a call, and has its query killed if the task's time ends first.
    fn guarded<T>(
        &mut self,
        call: impl FnOnce(&mut Connection, Instant) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.busy {
            return Err(Error::Closed);
        }
        self.busy = true;
        let until = after(self.settings.query_timeout);
        let outcome = waiting_for(Cause::Database, "mysql", || call(self, until));
        match &outcome {
            Ok(_) | Err(Error::Rejected { .. }) => self.busy = false,
            Err(Error::TimedOut { .. } | Error::Cancelled { .. }) => kill(self.settings.clone(), self.number),
            Err(_) => {}
        }
        outcome
    }

    fn command(&mut self, content: &[u8], until: Instant) -> Result<(), Error> {
        self.sequence = 0;
        self.send(content, until)
    }

    fn send(&mut self, content: &[u8], until: Instant) -> Result<(), Error> {
        if content.len() >= PACKET_BYTES_MAX {
            return Err(Error::InvalidRequest(
                "a statement and its parameters are larger than 16 MiB".into(),
            ));
        }
        let mut packet = (content.len() as u32).to_le_bytes().to_vec();
        packet[3] = self.sequence;
        packet.extend_from_slice(content);
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all_until(&packet, Some(until)).map_err(|error| Error::io(Phase::Sending, error))
    }

    /// The next packet's content, joined if it goes on in further ones.
    fn receive(&mut self, until: Instant) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        loop {
            self.received.fill(&self.stream, 4, Some(until))?;
            let head = &self.received.filled()[..4];
            let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
            self.sequence = head[3].wrapping_add(1);
            self.received.fill(&self.stream, 4 + length, Some(until))?;
            content.extend_from_slice(&self.received.filled()[4..4 + length]);
            self.received.consume(4 + length);
            if content.len() > self.settings.row_bytes_max {
                return Err(Error::Unexpected("a row is larger than allowed"));
            }
            if length < PACKET_BYTES_MAX {
                return Ok(content);
            }
        }
    }

    /// Says that another loop or thread may use it next.
    pub(super) fn rest(&self) {
        self.stream.socket().rest();
    }
}

/// Asks the server to give up what runs on a connection. By a task of its own: the caller's time is over.
fn kill(settings: Settings, number: u32) {
    let kill = move || {
        let killed = Connection::open(&settings)
            .and_then(|mut connection| connection.batch(&format!("kill query {number}")));
        match killed {
            // It has ended meanwhile.
            Ok(()) | Err(Error::Rejected { .. }) => {}
            Err(error) => {
                tracing::warn!(%error, "a query could not be killed on the server {}", settings.address)
            }
        }
    };
    match park::parks() {
        true => drop(spawn_detached("kill", kill)),
        false => drop(std::thread::Builder::new().name("kill".into()).spawn(kill)),
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("number", &self.number)
            .field("busy", &self.busy)
            .finish_non_exhaustive()
    }
}
