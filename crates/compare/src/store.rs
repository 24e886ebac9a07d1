//! The store that `cycle` asks: one call, and what is behind it is chosen by an address.
//!
//! `redis://host:port/db` for Redis and for the bundled simulator, which speaks its protocol, `postgres://…`,
//! `tarantool://host:port`, and `sqlite:/path`. Opened in each worker after the fork.

mod postgres;
mod resp;
mod sqlite;
mod tarantool;

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

pub(crate) use resp::Command;

use crate::units;

/// Items that there are.
pub(crate) const ITEMS: u64 = 64;

/// How long the simulator takes unless told otherwise.
const LATENCY: Duration = Duration::from_millis(1);

/// The longest that it may take.
const LATENCY_MAX: Duration = Duration::from_secs(10);

/// What the user wants to have asked: `--store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreChoice {
    /// The bundled simulator, with a latency.
    Simulated(Duration),
    /// A Redis server: host and port, and the number of the database.
    Redis {
        /// As `127.0.0.1:6379`.
        address: String,
        /// Usually 0.
        database: u32,
    },
    /// A PostgreSQL server, by a URL as libpq takes it.
    Postgres(String),
    /// A Tarantool, as `127.0.0.1:3301` or `user:password@127.0.0.1:3301`.
    Tarantool(String),
    /// A SQLite file of its own.
    Sqlite,
}

/// An open store.
#[derive(Debug)]
pub(crate) enum Store {
    Redis(resp::Pool),
    Postgres(tenfold_client::postgres::Client),
    Tarantool(tenfold_client::tarantool::Client),
    Sqlite(sqlite::Database),
}

impl Default for StoreChoice {
    fn default() -> Self {
        StoreChoice::Simulated(LATENCY)
    }
}

impl FromStr for StoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<StoreChoice, String> {
        let expected = "expected sim:1ms, redis://host:port/0, postgres://…, tarantool://host:port or sqlite";
        if let Some(url) = text.strip_prefix("redis://") {
            let (host, database) = url.split_once('/').unwrap_or((url, ""));
            if host.is_empty() || host.contains('@') {
                return Err(format!("{text:?}: {expected}, without a password"));
            }
            let address = if host.contains(':') { host.to_owned() } else { format!("{host}:6379") };
            let database = if database.is_empty() { Ok(0) } else { database.parse() };
            let database = database.map_err(|_| format!("{text:?}: the database is a number"))?;
            return Ok(StoreChoice::Redis { address, database });
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            postgres::open(text).map_err(|error| format!("{error}: {expected}"))?;
            return Ok(StoreChoice::Postgres(text.into()));
        }
        if let Some(address) = text.strip_prefix("tarantool://") {
            tarantool::open(address).map_err(|error| format!("{error}: {expected}"))?;
            return Ok(StoreChoice::Tarantool(address.into()));
        }
        match (text, text.strip_prefix("sim:")) {
            ("sim", _) => Ok(StoreChoice::default()),
            ("sqlite", _) => Ok(StoreChoice::Sqlite),
            (_, Some(latency)) => parse_latency(latency).map(StoreChoice::Simulated),
            _ => Err(format!("unknown store {text:?}: {expected}")),
        }
    }
}

impl fmt::Display for StoreChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreChoice::Simulated(latency) => write!(f, "simulator, {latency:?}"),
            StoreChoice::Redis { address, database } => write!(f, "redis://{address}/{database}"),
            // A report is passed around, and needs no passwords.
            StoreChoice::Postgres(url) => write!(f, "postgres://{}", without_user(url)),
            StoreChoice::Tarantool(address) => write!(f, "tarantool://{}", without_user(address)),
            StoreChoice::Sqlite => write!(f, "SQLite"),
        }
    }
}

fn without_user(url: &str) -> &str {
    let url = url.split_once("://").map_or(url, |(_, rest)| rest);
    url.rsplit_once('@').map_or(url, |(_, host)| host)
}

impl StoreChoice {
    /// What [`Store::open`] takes; `sqlite` is where the file of a SQLite store is.
    pub(crate) fn address(&self, sqlite: &Path) -> String {
        match self {
            StoreChoice::Postgres(url) => url.clone(),
            StoreChoice::Tarantool(address) => format!("tarantool://{address}"),
            StoreChoice::Sqlite => format!("sqlite:{}", sqlite.display()),
            other => other.to_string(),
        }
    }
}

fn parse_latency(text: &str) -> Result<Duration, String> {
    match units::parse_duration(text) {
        Ok(latency) if latency <= LATENCY_MAX => Ok(latency),
        _ => Err(format!("{text:?} is no latency: expected as 1ms or 500us, at most 10s")),
    }
}

impl Store {
    /// Opens the store that an address names.
    pub(crate) fn open(address: &str) -> io::Result<Store> {
        if let Some(path) = address.strip_prefix("sqlite:") {
            return sqlite::Database::open(Path::new(path)).map(Store::Sqlite).map_err(io::Error::other);
        }
        match address.parse() {
            Ok(StoreChoice::Redis { address, database }) => {
                Ok(Store::Redis(resp::Pool::new(address, database)))
            }
            Ok(StoreChoice::Postgres(url)) => postgres::open(&url).map(Store::Postgres),
            Ok(StoreChoice::Tarantool(address)) => tarantool::open(&address).map(Store::Tarantool),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{address:?} is no store"))),
        }
    }

    /// An item as JSON; `None` if there is none.
    pub(crate) fn get(&self, id: u64) -> io::Result<Option<Vec<u8>>> {
        match self {
            Store::Redis(pool) => pool.with(|connection| connection.get(&key(id))),
            Store::Postgres(client) => postgres::get(client, id),
            Store::Tarantool(client) => tarantool::get(client, id),
            Store::Sqlite(database) => database.get(id).map_err(io::Error::other),
        }
    }
}

/// Makes the items where they have to be made: a Redis server has them for an hour, PostgreSQL and Tarantool have them as
/// `tenfold_compare` until the next comparison.
///
/// # Errors
/// When the store cannot be reached or filled.
pub(crate) fn fill(address: &str) -> io::Result<()> {
    if let Some(path) = address.strip_prefix("sqlite:") {
        return sqlite::create(Path::new(path)).map_err(io::Error::other);
    }
    let items = (0..ITEMS).map(|id| (id, item(id)));
    match Store::open(address)? {
        Store::Redis(pool) => pool.with(|connection| {
            let mut items = items;
            items.try_for_each(|(id, item)| connection.set_for_an_hour(&key(id), &item))
        }),
        Store::Postgres(client) => postgres::fill(&client, items),
        Store::Tarantool(client) => tarantool::fill(&client, items),
        Store::Sqlite(_) => Ok(()),
    }
}

/// Long enough not to be somebody else's.
fn key(id: u64) -> String {
    format!("tenfold:compare:item:{id}")
}

/// What a store has of an item, about 500 bytes of JSON.
pub(crate) fn item(id: u64) -> Vec<u8> {
    let notes: Vec<String> =
        (0..8).map(|number| format!("Note {number} on item {id}: as good as <new>, and \"tried\"")).collect();
    let item =
        serde_json::json!({ "title": format!("Item {id}"), "cents": 100 + id * 37 % 900, "notes": notes });
    item.to_string().into_bytes()
}

/// The number of the item that a key names.
pub(crate) fn id_of_key(key: &[u8]) -> Option<u64> {
    let digits = key.rsplit(|byte| *byte == b':').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_chosen_by_its_address() {
        let choice = |text: &str| text.parse::<StoreChoice>();
        assert_eq!(choice("sim"), Ok(StoreChoice::Simulated(LATENCY)));
        assert_eq!(choice("sim:250us"), Ok(StoreChoice::Simulated(Duration::from_micros(250))));
        let redis = |address: &str, database| StoreChoice::Redis { address: address.into(), database };
        assert_eq!(choice("redis://10.0.0.1"), Ok(redis("10.0.0.1:6379", 0)));
        assert_eq!(choice("redis://h:1/3"), Ok(redis("h:1", 3)));
        assert_eq!(choice("sqlite"), Ok(StoreChoice::Sqlite));
        let postgres = choice("postgres://me:secret@h:1/db").unwrap();
        assert_eq!(postgres.address(Path::new("")), "postgres://me:secret@h:1/db");
        assert_eq!(postgres.to_string(), "postgres://h:1/db");
        let tarantool = choice("tarantool://me:secret@h:1").unwrap();
        assert_eq!(tarantool.address(Path::new("")), "tarantool://me:secret@h:1");
        assert_eq!(tarantool.to_string(), "tarantool://h:1");
        for wrong in
            ["sim:", "sim:1h", "sim:11s", "redis://", "redis://:x@h", "redis://h/x", "tarantool://", "mysql"]
        {
            let line = choice(wrong).unwrap_err();
            assert!(!line.contains('\n') && line.contains("expected") || line.contains("number"), "{line}");
        }
    }

    /// Fills and asks the real one, where it is installed.
    #[track_caller]
    fn works(address: &str) {
        fill(address).unwrap();
        fill(address).unwrap();
        let store = Store::open(address).unwrap();
        assert_eq!(store.get(17).unwrap(), Some(item(17)), "{address}");
        assert_eq!(store.get(ITEMS).unwrap(), None, "{address}");
    }

    #[test]
    fn real_stores_are_filled_and_asked() {
        if let Some(server) = tenfold_testkit::services::Redis::start() {
            works(&server.url());
        }
        if let Some(server) = tenfold_testkit::services::Postgres::start() {
            works(&server.url());
        }
        if let Some(server) = tenfold_testkit::services::Tarantool::start() {
            works(&format!("tarantool://{}", server.address()));
        }
    }

    #[test]
    fn a_key_names_its_item() {
        assert_eq!(id_of_key(key(17).as_bytes()), Some(17));
        assert_eq!(id_of_key(b"something"), None);
    }
}
