//! Redis' protocol, as much of it as one GET and one SET take: RESP2 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).
//!
//! Both ends are here: the client that `cycle` asks with, and the command reader of the simulator. Waiting is the streams'
//! business, so the same code parks a fiber and blocks a thread.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tenfold_runtime::cause::{Cause, waiting_for};
use tenfold_runtime::net::TcpStream;
use tenfold_runtime::sync::Semaphore;

/// Most connections of a worker to its store; more queries wait in line.
const CONNECTIONS_MAX: usize = 256;

/// A query that takes longer has failed.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes of a value and of a line, most words of a command: ours are far smaller.
const VALUE_BYTES_MAX: usize = 1 << 20;
const LINE_BYTES_MAX: u64 = 1 << 10;
const WORDS_MAX: usize = 16;

/// Connections of a worker.
#[derive(Debug)]
pub(crate) struct Pool {
    address: String,
    database: u32,
    /// Newest last, so that few stay warm when few are needed.
    idle: Mutex<Vec<Connection>>,
    room: Semaphore,
}

/// A connection to a store.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    output: Vec<u8>,
}

/// A command as a server reads it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) Vec<Vec<u8>>);

impl Pool {
    pub(crate) fn new(address: String, database: u32) -> Pool {
        Pool { address, database, idle: Mutex::default(), room: Semaphore::new(CONNECTIONS_MAX) }
    }

    /// Asks with a connection of this pool; one that has failed is not used again.
    pub(crate) fn with<T>(&self, ask: impl FnOnce(&mut Connection) -> io::Result<T>) -> io::Result<T> {
        let _room = self.room.acquire().map_err(io::Error::from)?;
        waiting_for(Cause::Database, &self.address, || {
            let idle = self.lock().pop();
            let mut connection = match idle {
                Some(connection) => connection,
                None => Connection::open(&self.address, self.database)?,
            };
            let answer = ask(&mut connection)?;
            self.lock().push(connection);
            Ok(answer)
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn open(address: &str, database: u32) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(QUERY_TIMEOUT));
        let mut connection =
            Connection { stream: BufReader::with_capacity(2 << 10, stream), output: Vec::new() };
        if database != 0 {
            connection.ask(&[b"SELECT", database.to_string().as_bytes()])?;
        }
        Ok(connection)
    }

    pub(crate) fn get(&mut self, key: &str) -> io::Result<Option<Vec<u8>>> {
        self.ask(&[b"GET", key.as_bytes()])
    }

    pub(crate) fn set_for_an_hour(&mut self, key: &str, value: &[u8]) -> io::Result<()> {
        self.ask(&[b"SET", key.as_bytes(), value, b"EX", b"3600"]).map(drop)
    }

    fn ask(&mut self, words: &[&[u8]]) -> io::Result<Option<Vec<u8>>> {
        self.output.clear();
        write!(self.output, "*{}\r\n", words.len())?;
        for word in words {
            write!(self.output, "${}\r\n", word.len())?;
            self.output.extend_from_slice(word);
            self.output.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&self.output)?;
        let line = line(&mut self.stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| not_resp(&line))?;
        match kind {
            "+" => Ok(Some(rest.as_bytes().to_vec())),
            "$" if rest == "-1" => Ok(None),
            "$" => bulk(&mut self.stream, rest).map(Some),
            "-" => Err(io::Error::other(format!("the store answers: {rest}"))),
            _ => Err(not_resp(&line)),
        }
    }
}

impl Command {
    /// The next command; `None` at the end of the stream.
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Option<Command>> {
        let Some(first) = line(from)? else { return Ok(None) };
        let count = first.strip_prefix('*').and_then(|count| count.parse::<usize>().ok());
        let count = count.filter(|count| (1..=WORDS_MAX).contains(count)).ok_or_else(|| not_resp(&first))?;
        let mut words = Vec::with_capacity(count);
        for _ in 0..count {
            let length = line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            words.push(bulk(from, length.strip_prefix('$').ok_or_else(|| not_resp(&length))?)?);
        }
        Ok(Some(Command(words)))
    }
}

/// A line without its end; `None` at the end of the stream.
fn line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if from.take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    match line.strip_suffix("\r\n") {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(not_resp(&line)),
    }
}

/// The bytes that follow their length, and their end.
fn bulk(from: &mut impl BufRead, length: &str) -> io::Result<Vec<u8>> {
    let length: usize =
        length.parse().ok().filter(|length| *length <= VALUE_BYTES_MAX).ok_or_else(|| not_resp(length))?;
    let mut value = vec![0; length + 2];
    from.read_exact(&mut value)?;
    match value.ends_with(b"\r\n") {
        true => value.truncate(length),
        false => return Err(not_resp("a value without an end")),
    }
    Ok(value)
}

fn not_resp(what: &str) -> io::Error {
    let shown: String = what.chars().take(40).collect();
    io::Error::new(io::ErrorKind::InvalidData, format!("the store does not speak Redis' protocol: {shown:?}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn commands_are_read_one_after_another_and_nonsense_is_an_error() {
        let mut input: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n";
        let next = |input: &mut &[u8]| Command::read(input).unwrap().map(|command| command.0);
        assert_eq!(next(&mut input), Some(vec![b"GET".to_vec(), b"a".to_vec()]));
        assert_eq!(next(&mut input), Some(vec![b"PING".to_vec()]));
        assert_eq!(next(&mut input), None);
        for mut wrong in [&b"GET / HTTP/1.1\r\n"[..], b"*0\r\n", b"*1\r\n$9999999\r\n", b"*1\r\n$1\r\nabc"] {
            assert!(Command::read(&mut wrong).is_err());
        }
    }

    #[test]
    fn a_connection_is_used_again_and_a_failed_one_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pool = Pool::new(listener.local_addr().unwrap().to_string(), 0);
        let server = std::thread::spawn(move || {
            let serve = |answers: &[&str]| {
                let (mut stream, _) = listener.accept().unwrap();
                for answer in answers {
                    let mut input = BufReader::new(stream.try_clone().unwrap());
                    Command::read(&mut input).unwrap().unwrap();
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            };
            serve(&["$2\r\nhi\r\n", "$-1\r\n", "-ERR wrong\r\n"]);
            serve(&["+OK\r\n"]);
        });
        let get = || pool.with(|connection| connection.get("x"));
        assert_eq!(get().unwrap(), Some(b"hi".to_vec()));
        assert_eq!(get().unwrap(), None);
        assert!(get().unwrap_err().to_string().contains("ERR wrong"));
        assert_eq!(get().unwrap(), Some(b"OK".to_vec()));
        server.join().unwrap();
    }
}
