//! MariaDB, with fresh system tables.

use std::fs;
use std::io::{self, Read};
use std::net::TcpStream;
use std::ops::Deref;
use std::process::Command;

use super::instance::{Instance, Place, Recipe, find_program, prepare_with};

/// Connections: 200 requests at once, each on its own, and some for the test.
const CONNECTIONS_MAX: u32 = 300;

/// Runs at each start.
pub(super) const INIT: &str = "CREATE DATABASE IF NOT EXISTS tenfold;\n\
    CREATE USER IF NOT EXISTS tenfold@'%' IDENTIFIED BY 'tenfold';\n\
    GRANT ALL ON *.* TO tenfold@'%';\n";

static RECIPE: Recipe = Recipe {
    name: "mariadb",
    prepare: |place| {
        fs::write(place.directory.join("init.sql"), INIT)?;
        let installer = find_program(&["mariadb-install-db", "mysql_install_db"]);
        let mut command = Command::new(installer.unwrap_or_else(|| "mariadb-install-db".into()));
        command.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"]);
        command.arg(format!("--datadir={}", place.directory.join("data").display()));
        command.arg(format!("--tmpdir={}", place.directory.display()));
        prepare_with(command)
    },
    command: |place| server(place, "mariadb.sock"),
    answers: greets,
};

/// The server in the foreground, with that name for its Unix socket.
pub(super) fn server(place: &Place, socket: &str) -> Command {
    let directory = place.directory.display();
    let mut command = Command::new(&place.program);
    command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
    command.arg(format!("--datadir={directory}/data"));
    // A server that starts throws away all temporary tables in this directory: in /tmp also those of the others that start.
    command.arg(format!("--tmpdir={directory}"));
    command.arg(format!("--socket={directory}/{socket}"));
    command.arg(format!("--pid-file={directory}/pid"));
    command.arg(format!("--init-file={directory}/init.sql"));
    command.arg(format!("--port={}", place.port));
    command.arg(format!("--max-connections={CONNECTIONS_MAX}"));
    // What a crash of the machine would lose does not matter here.
    command.args(["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M"]);
    command
}

/// Whether a packet comes that begins with the version of the protocol: 10, or 255 for an error.
pub(super) fn greets(stream: &mut TcpStream, _: &Place) -> io::Result<bool> {
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting)?;
    Ok(greeting[4] == 10)
}

/// A private MariaDB with the user `tenfold` (password `tenfold`, every right) and the database `tenfold`; also on
/// `mariadb.sock` in its directory.
#[derive(Debug)]
pub struct MariaDb(Instance);

impl MariaDb {
    /// Starts one; `None` when it is not installed. Takes some seconds.
    ///
    /// # Panics
    /// When it does not get ready, see [`crate::services`].
    #[track_caller]
    pub fn start() -> Option<MariaDb> {
        Instance::start(&RECIPE, find_program(&["mariadbd", "mysqld"])).map(MariaDb)
    }

    /// Its address as the crate `mysql` takes it: `mysql://tenfold:tenfold@127.0.0.1:PORT/tenfold`.
    pub fn url(&self) -> String {
        format!("mysql://tenfold:tenfold@{}/tenfold", self.address())
    }
}

impl Deref for MariaDb {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.0
    }
}
