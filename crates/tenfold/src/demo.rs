//! The demo site: small, but real. `tenfold serve` without a configuration serves it.
//!
//! The master makes its data and binds the supplier simulator's port before it forks; the workers open the data each for
//! themselves; at the end the master removes what it has made.

mod site;

mod ads;
mod articles;
mod pages;
mod probes;
mod transfer;

mod database;
mod store;

use tenfold::Settings;
use tenfold::cli::{Error, Program, backend_name};
use tenfold::compare::simulator::Suppliers;

use self::site::Facts;
use self::store::Store;

/// The demo and what it needs around it. Runs in the process that becomes the master.
///
/// # Errors
/// When there is no room for the data, or no port.
pub fn program(settings: &Settings) -> Result<Program, Error> {
    let system = |what: &str, error: std::io::Error| Error::System(format!("{what}: {error}"));
    let store = Store::create().map_err(|error| system("cannot make the demo's data", error))?;
    let suppliers = Suppliers::bind().map_err(|error| system("cannot bind the suppliers' port", error))?;
    let facts = Facts {
        model: settings.model.clone(),
        workers: settings.workers(),
        threads: settings.threads,
        backend: backend_name(settings)?,
    };
    let app = site::app(facts, store.data(), suppliers.url().to_owned())
        .map_err(|error| Error::Usage(error.to_string()))?;
    Ok(Program::new(app).group(suppliers.group()).at_end(move || drop(store)))
}
