//! A stream of NATS JetStream, whose only subject has its name.

use std::time::Duration;

use serde_json::json;
use tenfold_client::Error as ClientError;
use tenfold_client::nats::{Connection, Login};

use super::{Stream, check_name, no_address};
use crate::error::Result;

/// Longest wait for a connection, and for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// A stream of the name is there, with other words (nats-server, server/errors.json).
const NAME_IN_USE: &str = "10058";

pub(super) struct JetStream {
    login: Login,
    name: String,
    connection: Option<Connection>,
}

impl JetStream {
    pub(super) fn new(url: &str, name: &str) -> Result<JetStream> {
        check_name(name, "-_")?;
        let login = Login::parse(url).map_err(|error| no_address(&error))?;
        Ok(JetStream { login, name: name.into(), connection: None })
    }

    fn connect(&self, entries_max: u64) -> Result<Connection, ClientError> {
        let mut connection = Connection::open(&self.login, ANSWER_MAX)?;
        let config = json!({
            "name": self.name, "subjects": [self.name], "retention": "limits", "storage": "file", "discard": "old",
            "max_msgs": entries_max, "max_bytes": -1, "max_age": 0, "num_replicas": 1,
        });
        match connection.api(&format!("STREAM.CREATE.{}", self.name), &config) {
            // A person's own.
            Err(ClientError::Rejected { code, .. }) if code == NAME_IN_USE => {}
            made => drop(made?),
        }
        Ok(connection)
    }
}

impl Stream for JetStream {
    fn append(&mut self, records: &[&[u8]], entries_max: u64) -> Result<(), ClientError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect(entries_max)?,
        };
        connection.append_all(&self.name, records)?;
        // One that has failed is not used again.
        self.connection = Some(connection);
        Ok(())
    }
}
