//! `Connection`: one connection to a NATS server, for one user: requests and their answers, or the messages of a subscription.
//!
//! Used by plain threads of the keeper; on a fiber its waits would park. Plain TCP, a user and password or a token; no TLS, no NKEYS.

use std::net::ToSocketAddrs;
use std::time::Instant;

use serde::Deserialize;
use serde_json::json;
use tenfold_server::runtime::net::TcpStream;

use super::super::engine::EngineError;
use super::codec::{self, Message, Operation};
use crate::backoff::random;

/// Most bytes of a message: an answer has a stored message in it, in base64.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// The subscription of answers.
const ANSWERS: u64 = 1;

type Result<T> = std::result::Result<T, EngineError>;

/// Where a server is, and who comes.
#[derive(Clone)]
pub(super) struct Login {
    host: String,
    port: u16,
    user: Option<String>,
    /// A password, or a token where there is no user.
    secret: Option<String>,
}

/// What a server says about itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Info {
    pub(super) version: String,
    pub(super) headers: bool,
    pub(super) jetstream: bool,
    pub(super) max_payload: usize,
    tls_required: bool,
}

pub(super) struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    info: Info,
    /// Where answers come in.
    inbox: String,
    requests: u64,
}

impl Login {
    /// From `nats://[[user]:password@]host[:port]`, or `nats://token@host`.
    pub(super) fn parse(url: &str) -> std::result::Result<Login, String> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/');
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, rest),
        };
        let (user, secret) = match credentials.map(|text| text.split_once(':').ok_or(text)) {
            Some(Ok((user, password))) => (Some(user.to_owned()), Some(password.to_owned())),
            Some(Err(token)) => (None, Some(token.to_owned())),
            None => (None, None),
        };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (address, "4222"),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().ok().filter(|_| !host.is_empty());
        let port = port.ok_or("jobs: a NATS address is nats://HOST:PORT".to_owned())?;
        Ok(Login { host: host.into(), port, user, secret })
    }

    fn connect_words(&self) -> String {
        let mut words = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1,
            "name": "tenfold jobs", "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
        });
        match (&self.user, &self.secret) {
            (Some(user), secret) => (words["user"], words["pass"]) = (json!(user), json!(secret)),
            (None, Some(token)) => words["auth_token"] = json!(token),
            (None, None) => {}
        }
        words.to_string()
    }
}

impl Connection {
    /// Connects and logs in.
    pub(super) fn open(login: &Login, until: Instant) -> Result<Connection> {
        let failed =
            |error: std::io::Error| EngineError::Gone(format!("{}:{}: {error}", login.host, login.port));
        let addresses = (login.host.as_str(), login.port).to_socket_addrs().map_err(failed)?;
        let mut last = failed(std::io::ErrorKind::NotFound.into());
        for address in addresses {
            let patience = until.saturating_duration_since(Instant::now());
            match TcpStream::connect_timeout(&address, patience) {
                Ok(stream) => return Connection::greet(stream, login, until),
                Err(error) => last = failed(error),
            }
        }
        Err(last)
    }

    fn greet(stream: TcpStream, login: &Login, until: Instant) -> Result<Connection> {
        let _ = stream.set_nodelay(true);
        let inbox = format!("_INBOX.{:016x}", random());
        let mut connection =
            Connection { stream, input: Vec::new(), info: Info::default(), inbox, requests: 0 };
        match connection.operation(until)? {
            Some(Operation::Info(text)) => {
                let info = serde_json::from_str(&text);
                connection.info =
                    info.map_err(|error| EngineError::Gone(format!("the server's INFO: {error}")))?;
            }
            other => return Err(EngineError::Gone(format!("the server begins with {other:?}"))),
        }
        if connection.info.tls_required {
            return Err(EngineError::Unfit(format!(
                "{}: the server asks for TLS, which jobs do not speak",
                login.host
            )));
        }
        let mut out = Vec::new();
        codec::put_connect(&mut out, &login.connect_words());
        codec::put_subscribe(&mut out, &format!("{}.*", connection.inbox), ANSWERS);
        out.extend_from_slice(b"PING\r\n");
        connection.send(&out, until)?;
        loop {
            match connection.operation(until)? {
                Some(Operation::Pong) => return Ok(connection),
                Some(Operation::Refusal(words)) if words.to_ascii_lowercase().contains("authorization") => {
                    return Err(EngineError::Unfit(format!("{}: {words}", login.host)));
                }
                Some(Operation::Refusal(words)) => return Err(EngineError::Gone(words)),
                Some(_) => {}
                None => return Err(EngineError::Gone("the server does not answer".into())),
            }
        }
    }

    pub(super) fn info(&self) -> &Info {
        &self.info
    }

    /// Has the messages of a subject come in; see [`Connection::next`].
    pub(super) fn subscribe(&mut self, subject: &str) -> Result<()> {
        let mut out = Vec::new();
        codec::put_subscribe(&mut out, subject, ANSWERS + 1);
        self.send(&out, Instant::now() + super::ANSWER_MAX)
    }

    /// The next message; `None` when there is none until then.
    pub(super) fn next(&mut self, until: Instant) -> Result<Option<Message>> {
        loop {
            match self.operation(until)? {
                Some(Operation::Message(message)) => return Ok(Some(message)),
                Some(Operation::Refusal(words)) => return Err(EngineError::Gone(words)),
                Some(Operation::Ping) => self.send(b"PONG\r\n", Instant::now() + super::ANSWER_MAX)?,
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// Publishes, and waits for the answer.
    pub(super) fn request(
        &mut self,
        subject: &str,
        headers: &[(&str, String)],
        payload: &[u8],
        until: Instant,
    ) -> Result<Message> {
        self.requests += 1;
        let reply = format!("{}.{}", self.inbox, self.requests);
        let mut out = Vec::with_capacity(payload.len() + 256);
        codec::put_publish(&mut out, subject, &reply, headers, payload);
        self.send(&out, until)?;
        loop {
            match self.next(until)? {
                // An answer to a request that was given up is nobody's.
                Some(message) if message.subject != reply => {}
                Some(message) if message.status == Some(503) => {
                    return Err(EngineError::Gone(format!("nobody answers to {subject}: is JetStream on?")));
                }
                Some(message) => return Ok(message),
                None => return Err(EngineError::Gone("the server does not answer".into())),
            }
        }
    }

    fn send(&mut self, mut bytes: &[u8], until: Instant) -> Result<()> {
        while !bytes.is_empty() {
            match self.stream.write_until(bytes, Some(until)) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(EngineError::Gone(format!("sending: {error}"))),
            }
        }
        Ok(())
    }

    /// The next operation of any kind; `None` when there is none until then. What has come of one by then is not lost.
    fn operation(&mut self, until: Instant) -> Result<Option<Operation>> {
        loop {
            let parsed = codec::parse(&self.input, MESSAGE_BYTES_MAX);
            if let Some((operation, used)) =
                parsed.map_err(|error| EngineError::Gone(format!("the server says no operation: {error}")))?
            {
                self.input.drain(..used);
                return Ok(Some(operation));
            }
            let mut chunk = [0; 64 << 10];
            match self.stream.read_until(&mut chunk, Some(until)) {
                Ok(0) => return Err(EngineError::Gone("the server has closed the connection".into())),
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => return Ok(None),
                Err(error) => return Err(EngineError::Gone(format!("receiving: {error}"))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_a_port_and_somebody_who_comes() {
        let login = Login::parse("nats://ann:secret@db:4300").unwrap();
        assert_eq!((login.host.as_str(), login.port), ("db", 4300));
        assert_eq!((login.user.as_deref(), login.secret.as_deref()), (Some("ann"), Some("secret")));
        let login = Login::parse("nats://token@[::1]").unwrap();
        assert_eq!((login.host.as_str(), login.port, login.secret.as_deref()), ("::1", 4222, Some("token")));
        assert!(Login::parse("nats://").is_err() && Login::parse("nats://db:x").is_err());
    }
}
