//! The demo site: small, but real. `tenfold serve` without a configuration serves it.
//!
//! The master makes its data and binds the supplier simulator's port before it forks; the workers open the data each for
//! themselves; at the end the master removes what it has made.

mod site;

mod ads;
mod articles;
mod live;
mod orders;
mod pages;
mod probes;
mod sale;
mod transfer;

mod database;
mod store;

use std::path::Path;

use tenfold::cli::{Error, Program, backend_name};
use tenfold::compare::simulator::Suppliers;
use tenfold::supervisor::Identity;
use tenfold::{App, Settings};

use self::site::Facts;
use self::store::{Data, Store};

/// Makes the demo, and makes it again for each reload. Runs in the process that becomes the master.
///
/// Its data and the suppliers' port are made once: what was written before a reload is there after it.
pub fn programs() -> impl FnMut(&Settings) -> Result<Program, Error> + 'static {
    let mut made: Option<(Data, String)> = None;
    move |settings| {
        let system = |what: &str, error: std::io::Error| Error::System(format!("{what}: {error}"));
        if let Some((data, url)) = &made {
            return Ok(Program::new(app(settings, data.clone(), url.clone())?));
        }
        let store = Store::create().map_err(|error| system("cannot make the demo's data", error))?;
        let suppliers =
            Suppliers::bind().map_err(|error| system("cannot bind the suppliers' port", error))?;
        hand_over(settings, &store).map_err(|error| system("cannot hand the demo's data over", error))?;
        let (data, url) = (store.data(), suppliers.url().to_owned());
        let program = Program::new(app(settings, data.clone(), url.clone())?).group(suppliers.group());
        made = Some((data, url));
        Ok(program.at_end(move || drop(store)))
    }
}

/// Workers that run as another user have to write to the data.
fn hand_over(settings: &Settings, store: &Store) -> std::io::Result<()> {
    let identity = Identity::find(settings.user.as_deref(), settings.group.as_deref());
    // A user that is not known is the server's own error, and it says so later.
    let Ok(Some(identity)) = identity else { return Ok(()) };
    let own = |path: &Path| std::os::unix::fs::chown(path, Some(identity.user()), Some(identity.group()));
    let Some(directory) = store.data().database().parent().map(Path::to_owned) else { return Ok(()) };
    own(&directory)?;
    std::fs::read_dir(&directory)?.flatten().try_for_each(|entry| own(&entry.path()))
}

fn app(settings: &Settings, data: Data, suppliers: String) -> Result<App, Error> {
    let facts = Facts {
        model: settings.model.clone(),
        workers: settings.workers(),
        threads: settings.threads,
        backend: backend_name(settings)?,
    };
    site::app(facts, data, suppliers).map_err(|error| Error::Usage(error.to_string()))
}
