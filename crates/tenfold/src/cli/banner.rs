//! What a person sees: the line that says that the server serves.

use std::io::Write;

use tenfold_server::runtime::{BackendChoice, ReactorConfig, Runtime, RuntimeConfig};
use tenfold_server::{Serving, Settings};

use super::Error;

/// The backend that loops will use, `None` for a model without loops: opened and closed once, in the master before it forks,
/// so that a kernel that refuses the one that was asked for is found before anything is bound.
///
/// # Errors
/// [`Error::Usage`] for settings that cannot be, [`Error::System`] when the kernel refuses.
pub fn backend_name(settings: &Settings) -> Result<Option<&'static str>, Error> {
    let model = settings.check().map_err(Error::Usage)?;
    if !model.facts(settings).evented {
        return Ok(None);
    }
    let wanted = settings.backend.as_deref().unwrap_or("auto");
    let backend: BackendChoice = wanted.parse().map_err(|error| Error::Usage(format!("{error}")))?;
    let reactor = ReactorConfig { backend, ..ReactorConfig::default() };
    Runtime::new(&RuntimeConfig { reactor, ..RuntimeConfig::default() })
        .map(|runtime| Some(runtime.backend_name()))
        .map_err(|error| Error::System(format!("cannot start an event loop with {wanted}: {error}")))
}

/// Says that the server serves. Standard output, so that a script can wait for it.
pub(crate) fn print(settings: &Settings, serving: &Serving, backend: Option<&'static str>) {
    let text = text(settings, serving, backend);
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn text(settings: &Settings, serving: &Serving, backend: Option<&'static str>) -> String {
    let backend = backend.map_or(String::new(), |backend| format!(" ({backend})"));
    let addresses: Vec<String> = serving
        .addresses
        .iter()
        .map(|address| match address.starts_with("unix:") {
            true => address.clone(),
            false => format!("http://{address}"),
        })
        .chain(serving.services.iter().map(|(name, address)| format!("{name} {address}")))
        .collect();
    format!(
        "tenfold {} · model {}{backend} · {} × {} · {}\nCtrl-C stops it; kill -TERM {} lets requests in flight finish first.\n",
        env!("CARGO_PKG_VERSION"),
        serving.model,
        counted(serving.workers, "worker"),
        threads(settings),
        addresses.join(" · "),
        std::process::id(),
    )
}

/// Threads of a worker: exact for loops, a bound for models that start them by need.
fn threads(settings: &Settings) -> String {
    let facts = settings.check().map(|model| model.facts(settings));
    match facts {
        Ok(facts) if !facts.evented && facts.threads_max > 1 => {
            format!("up to {}", counted(settings.threads.unwrap_or(facts.threads_max), "thread"))
        }
        _ => counted(settings.threads.unwrap_or(1), "thread"),
    }
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_with_loops_have_a_backend_and_others_have_none() {
        let of =
            |model: &str| backend_name(&Settings { model: model.into(), ..Settings::default() }).unwrap();
        assert!(matches!(of("fiber"), Some("io_uring" | "epoll")));
        assert_eq!(of("thread"), None);
    }

    #[test]
    fn one_is_singular() {
        assert_eq!((counted(1, "worker"), counted(2, "worker")), ("1 worker".into(), "2 workers".into()));
    }
}
