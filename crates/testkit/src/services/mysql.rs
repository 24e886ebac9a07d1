//! MySQL 8 or later: what MariaDB does not have, its login above all.

use std::fs;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;

use super::instance::{Instance, Recipe, find_program, prepare_with};
use super::mariadb::{INIT, greets, server};

static RECIPE: Recipe = Recipe {
    name: "mysql",
    prepare: |place| {
        fs::write(place.directory.join("init.sql"), INIT)?;
        let mut command = Command::new(&place.program);
        command.args(["--no-defaults", "--initialize-insecure"]);
        command.arg(format!("--datadir={}", place.directory.join("data").display()));
        prepare_with(command)
    },
    command: |place| {
        let mut command = server(place, "mysql.sock");
        command.args(["--mysqlx=OFF", "--secure-file-priv=NULL", "--skip-log-bin"]);
        command
    },
    answers: greets,
};

/// A private MySQL with the user `tenfold` (password `tenfold`, every right) and the database `tenfold`. Debian's stable
/// releases have none; Ubuntu's package is `mysql-server-core`.
#[derive(Debug)]
pub struct MySql(Instance);

impl MySql {
    /// Starts one; `None` when it is not installed. Takes some seconds.
    ///
    /// # Panics
    /// When it does not get ready, see [`crate::services`].
    #[track_caller]
    pub fn start() -> Option<MySql> {
        Instance::start(&RECIPE, find_program(&["mysqld"]).filter(is_of_mysql)).map(MySql)
    }

    /// Its address as the crate `mysql` takes it: `mysql://tenfold:tenfold@127.0.0.1:PORT/tenfold`.
    pub fn url(&self) -> String {
        format!("mysql://tenfold:tenfold@{}/tenfold", self.address())
    }
}

/// MariaDB has a program of that name as well.
fn is_of_mysql(program: &PathBuf) -> bool {
    let version = Command::new(program).arg("--version").output();
    version.is_ok_and(|out| out.status.success() && !String::from_utf8_lossy(&out.stdout).contains("MariaDB"))
}

impl Deref for MySql {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.0
    }
}
