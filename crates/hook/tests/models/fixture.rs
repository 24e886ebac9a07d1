//! The application: one route for each driver, each with a pool. It runs in the server process, never in the one that tests.

use std::io;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use diesel::sql_types::BigInt;
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, sql_query};
use mysql::prelude::Queryable;
use serde::{Deserialize, Serialize};
use tenfold_client::pool::{Manager, Pool, PoolOptions, all_stats};
use tenfold_server::{App, Error, Handler, Json, Path, Result, Settings, StatusCode, serve};

/// Set in the environment of a server process; its value is the settings in TOML. The services' addresses are in
/// `TENFOLD_HOOK_` and their name.
pub(crate) const FIXTURE: &str = "TENFOLD_HOOK_FIXTURE";
/// Connections of one worker to one service.
pub(crate) const CONNECTIONS_MAX: usize = 32;
/// How long a request to a service may take.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a driver that has time-outs of its own waits for its service: all that ends a call that blocks a thread.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(1);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Serves; called before the process has a second thread.
pub(crate) fn main(settings: &str) -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    let settings: Settings = match toml::from_str(settings) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let app = App::new()
        .get("/hello", || "Hello, world!")
        .get("/redis/{number}", (|Path(n): Path<u64>| ask(&REDIS, n)).timeout(REQUEST_TIMEOUT))
        .get("/mysql/{number}", (|Path(n): Path<u64>| ask(&MYSQL, n)).timeout(REQUEST_TIMEOUT))
        .get("/postgres/{number}", (|Path(n): Path<u64>| ask(&POSTGRES, n)).timeout(REQUEST_TIMEOUT))
        .get("/memcached/{number}", (|Path(n): Path<u64>| ask(&MEMCACHED, n)).timeout(REQUEST_TIMEOUT))
        .get("/memcached-own/{number}", (|Path(n): Path<u64>| ask_own(n)).timeout(REQUEST_TIMEOUT))
        .get("/redis/wait/{ms}", |Path(ms): Path<u64>| wait(&REDIS, ms))
        .get("/mysql/wait/{ms}", |Path(ms): Path<u64>| wait(&MYSQL, ms))
        .get("/postgres/wait/{ms}", |Path(ms): Path<u64>| wait(&POSTGRES, ms))
        .health("/status", status);
    let ready = |serving: &tenfold_server::Serving| println!("ready {}", serving.addresses[0]);
    serve(app, &settings, Vec::new(), ready).unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}

/// What `/status` tells of the process that has the connections.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) pid: u32,
    pub(crate) connections_open: u64,
    pub(crate) fibers_in_use: u64,
    /// Descriptors of the process.
    pub(crate) descriptors: usize,
    /// Connections of its pools that somebody has borrowed.
    pub(crate) borrowed: usize,
}

fn status() -> Json<Status> {
    let slot = tenfold_scoreboard::current();
    Json(Status {
        pid: std::process::id(),
        connections_open: slot.connections_open.get(),
        fibers_in_use: slot.fibers_in_use.get(),
        descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        borrowed: all_stats().iter().map(|pool| pool.open - pool.idle).sum(),
    })
}

/// What differs between the drivers.
trait Driver: Manager<Error = Failure> {
    /// Lets the service compute something, so that an answer that is meant for another request is noticed.
    fn double(connection: &mut Self::Connection, number: u64) -> std::result::Result<u64, Failure>;

    /// Lets the service wait.
    fn wait(connection: &mut Self::Connection, ms: u64) -> std::result::Result<(), Failure>;
}

fn ask<D: Driver>(pool: &Pool<D>, number: u64) -> Result<String> {
    with(pool, |connection| D::double(connection, number).map(|double| double.to_string()))
}

fn wait<D: Driver>(pool: &Pool<D>, ms: u64) -> Result<String> {
    with(pool, |connection| D::wait(connection, ms).map(|()| "waited".to_owned()))
}

/// A connection is given back if all went well.
fn with<D: Driver>(
    pool: &Pool<D>,
    f: impl FnOnce(&mut D::Connection) -> std::result::Result<String, Failure>,
) -> Result<String> {
    let bad = |error: Failure| Error::new(StatusCode::BAD_GATEWAY, format!("{}: {error}", pool.name()));
    let mut connection = pool.get().map_err(bad)?;
    match f(&mut connection) {
        Ok(text) => Ok(text),
        Err(error) => {
            connection.discard();
            Err(bad(error))
        }
    }
}

fn pool<D: Driver>(driver: D) -> Pool<D> {
    PoolOptions::new().connections_max(CONNECTIONS_MAX).wait_max(REQUEST_TIMEOUT).build(driver)
}

fn url(service: &str) -> String {
    std::env::var(format!("TENFOLD_HOOK_{service}")).expect("the tests say where the services are")
}

static REDIS: LazyLock<Pool<Redis>> = LazyLock::new(|| pool(Redis));
static MYSQL: LazyLock<Pool<MySql>> = LazyLock::new(|| pool(MySql));
static POSTGRES: LazyLock<Pool<Postgres>> = LazyLock::new(|| pool(Postgres));
static MEMCACHED: LazyLock<Pool<Memcached>> = LazyLock::new(|| pool(Memcached));

struct Redis;

impl Manager for Redis {
    type Connection = redis::Connection;
    type Error = Failure;

    fn connect(&self) -> std::result::Result<redis::Connection, Failure> {
        let connection = redis::Client::open(url("redis"))?.get_connection_with_timeout(DRIVER_TIMEOUT)?;
        connection.set_read_timeout(Some(DRIVER_TIMEOUT))?;
        connection.set_write_timeout(Some(DRIVER_TIMEOUT))?;
        Ok(connection)
    }

    fn name(&self) -> &str {
        "redis"
    }
}

impl Driver for Redis {
    fn double(connection: &mut redis::Connection, number: u64) -> std::result::Result<u64, Failure> {
        let script = "return 2 * tonumber(ARGV[1])";
        Ok(redis::cmd("EVAL").arg(script).arg(0).arg(number).query(connection)?)
    }

    fn wait(connection: &mut redis::Connection, ms: u64) -> std::result::Result<(), Failure> {
        let nothing: Option<(String, String)> =
            redis::cmd("BLPOP").arg("nothing").arg(ms as f64 / 1000.0).query(connection)?;
        assert_eq!(nothing, None);
        Ok(())
    }
}

struct MySql;

impl Manager for MySql {
    type Connection = mysql::Conn;
    type Error = Failure;

    fn connect(&self) -> std::result::Result<mysql::Conn, Failure> {
        let options = mysql::OptsBuilder::from_opts(mysql::Opts::from_url(&url("mysql"))?)
            .tcp_connect_timeout(Some(DRIVER_TIMEOUT))
            .read_timeout(Some(DRIVER_TIMEOUT))
            .write_timeout(Some(DRIVER_TIMEOUT));
        Ok(mysql::Conn::new(options)?)
    }

    fn name(&self) -> &str {
        "mysql"
    }
}

impl Driver for MySql {
    fn double(connection: &mut mysql::Conn, number: u64) -> std::result::Result<u64, Failure> {
        let double: Option<u64> = connection.exec_first("SELECT 2 * ?", (number,))?;
        double.ok_or_else(|| "no row".into())
    }

    fn wait(connection: &mut mysql::Conn, ms: u64) -> std::result::Result<(), Failure> {
        Ok(connection.query_drop(format!("SELECT SLEEP({})", ms as f64 / 1000.0))?)
    }
}

struct Postgres;

#[derive(QueryableByName)]
struct Double {
    #[diesel(sql_type = BigInt)]
    double: i64,
}

impl Manager for Postgres {
    type Connection = PgConnection;
    type Error = Failure;

    fn connect(&self) -> std::result::Result<PgConnection, Failure> {
        Ok(PgConnection::establish(&url("postgres"))?)
    }

    fn name(&self) -> &str {
        "postgres"
    }
}

impl Driver for Postgres {
    fn double(connection: &mut PgConnection, number: u64) -> std::result::Result<u64, Failure> {
        let query = sql_query("SELECT 2 * $1 AS double").bind::<BigInt, _>(i64::try_from(number)?);
        Ok(query.get_result::<Double>(connection)?.double.try_into()?)
    }

    fn wait(connection: &mut PgConnection, ms: u64) -> std::result::Result<(), Failure> {
        sql_query(format!("SELECT pg_sleep({})", ms as f64 / 1000.0)).execute(connection)?;
        Ok(())
    }
}

struct Memcached;

impl Manager for Memcached {
    type Connection = memcache::Client;
    type Error = Failure;

    fn connect(&self) -> std::result::Result<memcache::Client, Failure> {
        Ok(memcache::Client::connect(url("memcached"))?)
    }

    fn name(&self) -> &str {
        "memcached"
    }
}

impl Driver for Memcached {
    fn double(client: &mut memcache::Client, number: u64) -> std::result::Result<u64, Failure> {
        let key = format!("n{number}-{:?}", std::time::Instant::now()).replace([' ', '{', '}', ':', ','], "");
        client.set(&key, number, 60)?;
        Ok(client.increment(&key, number)?)
    }

    fn wait(_: &mut memcache::Client, _: u64) -> std::result::Result<(), Failure> {
        Err("memcached has no request that waits".into())
    }
}

static OWN: LazyLock<tenfold_client::memcached::Client> = LazyLock::new(|| {
    let address = url("memcached-own");
    let address = address.trim_start_matches("memcache://").split('?').next().unwrap_or_default();
    let client = tenfold_client::memcached::Client::builder(address).expect("it is an address");
    client.reply_timeout(DRIVER_TIMEOUT).connect_timeout(DRIVER_TIMEOUT).build()
});

fn ask_own(number: u64) -> Result<String> {
    // Other variants' servers ask for the same numbers at the same time.
    let key = format!("own-{}-{number}", std::process::id());
    let double = || -> std::result::Result<Option<u64>, tenfold_client::Error> {
        OWN.set(&key, number.to_string(), None)?;
        OWN.count(&key, i64::try_from(number).unwrap_or(i64::MAX))
    };
    match double() {
        Ok(Some(double)) => Ok(double.to_string()),
        // The server was started anew between the two.
        Ok(None) => Err(Error::new(StatusCode::BAD_GATEWAY, "memcached has forgotten it")),
        Err(error) => Err(Error::new(StatusCode::BAD_GATEWAY, format!("memcached: {error}"))),
    }
}
