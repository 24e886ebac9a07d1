//! A stream of Redis or Valkey.

use std::time::Duration;

use tenfold_client::Error as ClientError;
use tenfold_client::pool::PoolOptions;
use tenfold_client::redis::{Client, Command, Pipeline, Value};

use super::{Stream, check_name, no_address};
use crate::error::Result;

/// Longest wait for a connection, and for the answers of a part.
const ANSWER_MAX: Duration = Duration::from_secs(5);

pub(super) struct RedisStream {
    url: String,
    key: String,
    /// Made in the process that uses it.
    client: Option<Client>,
}

impl RedisStream {
    pub(super) fn new(url: &str, key: &str) -> Result<RedisStream> {
        check_name(key, "-_.:")?;
        let _checked = Client::builder(url).map_err(|error| no_address(&error))?;
        Ok(RedisStream { url: url.into(), key: key.into(), client: None })
    }

    fn client(&mut self) -> Result<&Client, ClientError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                let pool = PoolOptions::new().connections_max(1);
                let builder = Client::builder(&self.url)?;
                builder.connect_timeout(ANSWER_MAX).reply_timeout(ANSWER_MAX).pool(pool).build()
            }
        };
        Ok(self.client.insert(client))
    }
}

impl Stream for RedisStream {
    /// All or none of them: what comes again after a reader was killed has not come in part.
    fn append(&mut self, records: &[&[u8]], entries_max: u64) -> Result<(), ClientError> {
        let mut pipeline = Pipeline::atomic();
        for record in records {
            let add = Command::new("XADD").arg(&self.key).arg("MAXLEN").arg("~").arg(entries_max);
            pipeline.add(add.arg("*").arg("record").arg(*record));
        }
        let replies = self.client()?.pipeline(&pipeline)?;
        // `WRONGTYPE`, say: MULTI does not undo the others.
        match replies
            .into_iter()
            .find_map(|reply| if let Value::Error(said) = reply { Some(said) } else { None })
        {
            Some(said) => {
                let (code, message) = said.split_once(' ').unwrap_or((&said, ""));
                Err(ClientError::Rejected { code: code.into(), message: message.into() })
            }
            None => Ok(()),
        }
    }
}
