//! `Script`: Lua that runs on the server, sent once.

use std::sync::OnceLock;

use crate::error::Error;

use super::Client;
use super::command::{Argument, Command};
use super::value::FromValue;

/// A Lua script. Its text goes to the server at its first use there; from then on only its digest does.
///
/// ```no_run
/// # fn f(client: &tenfold_client::redis::Client) -> Result<(), tenfold_client::Error> {
/// use tenfold_client::redis::Script;
/// let add = Script::new("return redis.call('incrby', KEYS[1], ARGV[1])");
/// let sum: i64 = add.run(client, ["counter"], [5])?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Script {
    text: String,
    /// As the server has computed it.
    digest: OnceLock<String>,
}

impl Script {
    /// A script by its text.
    pub fn new(text: impl Into<String>) -> Script {
        Script { text: text.into(), digest: OnceLock::new() }
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`Error::Rejected`] with the script's error; as [`Client::query`].
    pub fn run<T: FromValue, K: Argument, A: Argument>(
        &self,
        client: &Client,
        keys: impl IntoIterator<Item = K>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<T, Error> {
        let keys: Vec<K> = keys.into_iter().collect();
        let arguments: Vec<A> = arguments.into_iter().collect();
        let digest = match self.digest.get() {
            Some(digest) => digest,
            None => {
                let digest: String = client.query(&Command::new("SCRIPT").arg("LOAD").arg(&self.text))?;
                self.digest.get_or_init(|| digest)
            }
        };
        let with = |command: Command| command.arg(keys.len()).args(&keys).args(&arguments);
        match client.query(&with(Command::new("EVALSHA").arg(digest))) {
            // The server was restarted, or its scripts were flushed.
            Err(Error::Rejected { code, .. }) if code == "NOSCRIPT" => {
                client.query(&with(Command::new("EVAL").arg(&self.text)))
            }
            other => other,
        }
    }
}
