//! `Site`: what is served, as the master sees it. It makes the plan of each generation and keeps the sockets.

use std::fs::OpenOptions;
use std::sync::Arc;

use tenfold_scoreboard::Scoreboard;
use tenfold_supervisor::{Identity, Listen, ListenerSet, LogLevel, Prepared, Source, Wish};

use super::{Again, ServeError, groups, plan, raise_descriptors};
use crate::app::Blueprint;
use crate::settings::Settings;
use crate::sight::picture::Picture;

pub(super) struct Site {
    blueprint: Arc<Blueprint>,
    again: Again,
    listeners: ListenerSet,
    board: Scoreboard,
    /// The settings of the start.
    started: Settings,
    /// What serves, and what was prepared and may serve soon.
    current: Option<Facts>,
    coming: Option<Facts>,
}

struct Facts {
    blueprint: Arc<Blueprint>,
    settings: Settings,
    listen: Listen,
    identity: Option<Identity>,
}

impl Site {
    pub(super) fn new(
        blueprint: Arc<Blueprint>,
        again: Again,
        listeners: ListenerSet,
        board: Scoreboard,
        started: Settings,
    ) -> Site {
        Site { blueprint, again, listeners, board, started, current: None, coming: None }
    }

    /// Notes what the first generation is, whose sockets are open.
    pub(super) fn begin(&mut self) -> Result<(), ServeError> {
        let (_, plan) = plan(&self.started, self.blueprint.clone(), &self.listeners, self.board)?;
        self.coming = Some(Facts {
            blueprint: self.blueprint.clone(),
            settings: self.started.clone(),
            listen: plan.listen,
            identity: plan.identity,
        });
        self.make_log_files().map_err(ServeError::Settings)
    }

    /// Log files that workers will write to as another user have to be theirs.
    fn make_log_files(&self) -> Result<(), String> {
        let Some(facts) = self.coming.as_ref().or(self.current.as_ref()) else { return Ok(()) };
        let Some(identity) = &facts.identity else { return Ok(()) };
        let files = facts.settings.access_log_file.iter().chain(&facts.settings.error_log_file);
        for file in files {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(file)
                .and_then(|_| std::os::unix::fs::chown(file, Some(identity.user()), Some(identity.group())))
                .map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(())
    }
}

/// What the deadlines are, and what they do not reach under the model.
fn deadlines(settings: &Settings) -> serde_json::Value {
    let Ok(model) = crate::models::find(&settings.model) else { return serde_json::Value::Null };
    serde_json::json!({
        "request_timeout_secs": settings.limits.request_timeout_secs,
        "request_overrun_secs": settings.limits.request_overrun_secs,
        "cannot_cancel": model.cannot_cancel(),
        "past_the_hard_one": model.facts(settings).overrun.text(),
    })
}

impl Source for Site {
    fn prepare(&mut self, wish: &Wish) -> Result<Prepared, String> {
        let (mut settings, app) = (self.again)()?;
        settings.workers = wish.workers.or(settings.workers);
        settings.check_reload(&self.started)?;
        let blueprint = match app {
            Some(mut app) => {
                app.prepare(&settings).map_err(|error| error.to_string())?;
                Arc::new(app.build().map_err(|error| error.to_string())?)
            }
            None => self.blueprint.clone(),
        };
        let text = |error: ServeError| error.to_string();
        let (model, plan) = plan(&settings, blueprint.clone(), &self.listeners, self.board).map_err(text)?;
        if wish.trial {
            // Opening a socket here, or even closing a copy of one, could cost connections.
            return Ok(Prepared { groups: Vec::new(), config: settings.master() });
        }
        self.listeners.open(&plan.listen).map_err(|error| error.to_string())?;
        raise_descriptors(model, &settings);
        let (listen, identity) = (plan.listen.clone(), plan.identity.clone());
        self.coming = Some(Facts { blueprint, settings: settings.clone(), listen, identity });
        let groups = self.make_log_files().and_then(|()| groups(model, plan))?;
        Ok(Prepared { groups, config: settings.master() })
    }

    fn committed(&mut self) {
        if let Some(coming) = self.coming.take() {
            self.listeners.commit(&coming.listen);
            self.blueprint = coming.blueprint.clone();
            self.current = Some(coming);
        }
    }

    fn abandoned(&mut self) {
        self.coming = None;
        self.listeners.abandon();
    }

    fn listeners(&self) -> Option<&ListenerSet> {
        Some(&self.listeners)
    }

    fn reopen_logs(&mut self) -> Result<(), String> {
        self.make_log_files()?;
        crate::logs::reopen_error_log()
    }

    fn set_log_level(&mut self, level: LogLevel) -> Result<(), String> {
        crate::logs::set_level(level)
    }

    fn describe(&self, status: &mut serde_json::Map<String, serde_json::Value>) {
        if let Some(facts) = &self.current {
            Picture { board: self.board, settings: facts.settings.clone() }.add_to(status);
            status.insert("reuseport".into(), facts.listen.reuseport.into());
            status.insert("deadlines".into(), deadlines(&facts.settings));
        }
    }

    fn in_flight(&self, slot: usize) -> String {
        let settings = Settings::default();
        Picture { board: self.board, settings }.lines(slot)
    }

    fn forked(&mut self) {
        self.listeners.close();
    }
}
