//! What jobs add to an [`App`]: its methods, the keeper, and the runner in each worker.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tenfold_server::supervisor::Group;
use tenfold_server::{App, Companion, Part, Settings, StateMap};

use crate::cron::Cron;
use crate::handler::JobHandler;
use crate::jobs::Jobs;
use crate::keeper;
use crate::page;
use crate::place::{DEFAULT_FILE, Place};
use crate::queue::Queue;
use crate::registry::{Job, Registry};
use crate::runner::Runner;
use crate::store::{KeeperStore, NoStore, Store};
use crate::topic::{Collect, Topic, TopicsPart};
use crate::wire::{self, Misfire, ScheduleSpec, Want};

/// Gives an [`App`] jobs.
pub trait AppJobs {
    /// Runs jobs of this name with `handler`: in every worker of the server, beside its requests; or in `job_workers` processes of
    /// their own where the settings say so, or its queue has some ([`Queue::processes`]). See [`JobHandler`] for what
    /// may be said about it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenfold_jobs::{AppJobs, Backoff, JobCx, JobHandler, JobResult};
    /// use tenfold_server::App;
    ///
    /// fn welcome(cx: &JobCx, user: u64) -> JobResult {
    ///     println!("a mail to user {user}");
    ///     cx.progress(50);
    ///     std::fs::metadata("/")?; // an error is tried again
    ///     Ok(())
    /// }
    ///
    /// App::new().job("welcome", welcome.queue("mail").retries(3).timeout(Duration::from_secs(30)));
    /// ```
    fn job<M: 'static>(self, name: &str, handler: impl JobHandler<M>) -> App;

    /// Keeps jobs in this file where the settings name none, instead of `jobs.db` in the working directory; or in an engine that
    /// several machines share: `redis://HOST:PORT`, with parameters behind `?` (docs/jobs.md).
    fn jobs_in(self, file: impl Into<PathBuf>) -> App;

    /// Sets the rules of a queue.
    fn queue(self, queue: Queue) -> App;

    /// A log that all workers append to by [`Topics`](crate::topic::Topics), and whoever has [`Topic::reader`] reads.
    fn topic(self, topic: Topic) -> App;

    /// The same, with a process of its own that hands batch after batch to `collect`: [`Lines`](crate::topic::Lines), a file, or a
    /// function.
    ///
    /// ```
    /// use tenfold_jobs::AppJobs;
    /// use tenfold_jobs::topic::{Batch, Topic};
    /// use tenfold_server::App;
    ///
    /// App::new().topic_to(Topic::new("visits"), |batch: Batch<'_>| {
    ///     println!("{} visits", batch.records().count());
    ///     Ok(())
    /// });
    /// ```
    fn topic_to(self, topic: Topic, collect: impl Collect) -> App;

    /// Serves a page under this path, to look at queues and jobs and to step in. It asks nobody who they are: put it where only
    /// the right people come.
    fn jobs_page(self, path: &str) -> App;

    /// Runs `handler` at each multiple of `period` (since 1970, so that a restart moves nothing): never early, once for the
    /// whole service, and once for all times that passed while nothing ran. Its jobs are named after the function.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenfold_jobs::AppJobs;
    /// use tenfold_server::App;
    ///
    /// fn sweep() {
    ///     println!("swept");
    /// }
    /// App::new().every(Duration::from_secs(60), sweep);
    /// ```
    fn every<M: 'static>(self, period: Duration, handler: impl JobHandler<M>) -> App;

    /// Runs `handler` at the times of a cron pattern, in UTC, once for the whole service.
    ///
    /// ```
    /// use tenfold_jobs::{AppJobs, Misfire};
    /// use tenfold_server::App;
    /// App::new().cron("0 3 * * *", Misfire::Once, || println!("it is three"));
    /// ```
    fn cron<M: 'static>(self, pattern: &str, misfire: Misfire, handler: impl JobHandler<M>) -> App;
}

/// The jobs of an app, while it is written.
#[derive(Default)]
struct JobsPart {
    registry: Registry,
    /// Where the app wants them, and where they are.
    wished: Option<PathBuf>,
    place: Option<Place>,
    /// The first mistake; said when the app is built.
    mistake: Option<String>,
}

impl AppJobs for App {
    fn job<M: 'static>(mut self, name: &str, handler: impl JobHandler<M>) -> App {
        self.part::<JobsPart>().add(name, handler);
        self
    }

    fn jobs_in(mut self, file: impl Into<PathBuf>) -> App {
        self.part::<JobsPart>().wished = Some(file.into());
        self
    }

    fn queue(mut self, queue: Queue) -> App {
        let part = self.part::<JobsPart>();
        let name = queue.name().to_owned();
        if part.registry.queues.insert(name.clone(), queue).is_some() {
            part.fail(format!("there are two queues of the name {name:?}"));
        }
        self
    }

    fn topic(mut self, topic: Topic) -> App {
        self.part::<TopicsPart>().add(topic);
        self
    }

    fn topic_to(mut self, topic: Topic, collect: impl Collect) -> App {
        self.part::<TopicsPart>().add_collector(topic.clone(), collect);
        self.topic(topic)
    }

    fn jobs_page(mut self, path: &str) -> App {
        self.part::<JobsPart>();
        page::add(self, path)
    }

    fn every<M: 'static>(mut self, period: Duration, handler: impl JobHandler<M>) -> App {
        let every_ms = wire::millis(period);
        let part = self.part::<JobsPart>();
        if every_ms == 0 {
            part.fail("a period has at least one millisecond".into());
        }
        part.add_schedule(ScheduleSpec { every_ms, ..ScheduleSpec::default() }, handler);
        self
    }

    fn cron<M: 'static>(mut self, pattern: &str, misfire: Misfire, handler: impl JobHandler<M>) -> App {
        let part = self.part::<JobsPart>();
        if let Err(mistake) = Cron::parse(pattern) {
            part.fail(mistake);
        }
        part.add_schedule(ScheduleSpec { cron: pattern.into(), misfire, ..ScheduleSpec::default() }, handler);
        self
    }
}

impl JobsPart {
    fn fail(&mut self, mistake: String) {
        self.mistake.get_or_insert(mistake);
    }

    fn add<M: 'static>(&mut self, name: &str, handler: impl JobHandler<M>) {
        let options = handler.options();
        let job = Job { run: Box::new(move |cx, payload| handler.run(cx, payload)), options };
        if self.registry.jobs.insert(name.into(), job).is_some() {
            self.fail(format!("there are two jobs of the name {name:?}"));
        }
    }

    /// A schedule's job is named after its function; closures of one function share a name, and are numbered.
    fn add_schedule<M: 'static, H: JobHandler<M>>(&mut self, spec: ScheduleSpec, handler: H) {
        let base = short(std::any::type_name::<H>());
        let mut name = base.clone();
        let mut number = 1;
        while self.registry.jobs.contains_key(&name) {
            number += 1;
            name = format!("{base}-{number}");
        }
        let queue = handler.options().queue;
        self.add(&name, handler);
        self.registry.schedules.push(ScheduleSpec { name, queue, ..spec });
    }
}

/// The function's own name, without its path and what was said about it.
fn short(type_name: &str) -> String {
    let inner = type_name.rsplit_once("Configured<").map_or(type_name, |(_, inner)| inner);
    let inner = inner.split([',', '<', '>']).next().unwrap_or(inner);
    let parts: Vec<&str> = inner.split("::").filter(|part| *part != "{{closure}}").collect();
    let name = parts.last().copied().unwrap_or("schedule");
    name.chars().take(100).collect()
}

impl Part for JobsPart {
    fn prepare(&mut self, settings: &Settings) -> Result<(), String> {
        let said = settings.jobs.as_ref().map(PathBuf::from).or_else(|| self.wished.clone());
        let said = said.unwrap_or_else(|| DEFAULT_FILE.into());
        // A path that is no text is a file.
        self.place = Some(match said.to_str() {
            Some(text) => Place::parse(text)?,
            None => Place::File(said),
        });
        Ok(())
    }

    fn processes(&self) -> Vec<Group> {
        self.place.iter().map(|place| keeper::group_of(place.clone())).collect()
    }

    fn finish(self: Box<Self>, app: App) -> Result<App, String> {
        if let Some(mistake) = self.mistake {
            return Err(mistake);
        }
        let registry = Arc::new(self.registry);
        let file = self.place.map(|place| place.file().to_owned());
        // One for each worker, made after the fork, and shared by its requests and its runner.
        let for_state = registry.clone();
        let app = app.state_with(move || {
            let store: Arc<dyn Store> = match &file {
                Some(file) => Arc::new(KeeperStore::new(keeper::socket_path(file), for_state.hello())),
                None => Arc::new(NoStore),
            };
            Ok(Jobs { store, registry: for_state.clone() })
        });
        Ok(match registry.jobs.is_empty() {
            true => app,
            false => add_runners(app, &registry),
        })
    }
}

/// Puts runners where the queues and the settings want them: in the workers, or in processes beside them.
fn add_runners(mut app: App, registry: &Registry) -> App {
    let wants = registry.wants();
    let start = |wants: Vec<Want>| {
        move |state: &Arc<StateMap>| -> Result<Box<dyn Companion>, String> {
            Ok(Box::new(Runner::start(state, wants.clone())?))
        }
    };
    if !wants.is_empty() {
        app = app.aside_or_companion("jobs", |settings| settings.job_workers, start(wants));
    }
    for (queue, count) in registry.apart() {
        let name = format!("jobs-{queue}");
        app = app.aside(&name, count, start(vec![Want { queue, at_once: 1 }]));
    }
    app
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_named_after_their_functions() {
        assert_eq!(short("shop::tasks::sweep"), "sweep");
        assert_eq!(short("shop::main::{{closure}}"), "main");
        assert_eq!(short("tenfold_jobs::handler::Configured<shop::sweep, tenfold_jobs::Bare>"), "sweep");
    }

    #[test]
    fn mistakes_are_found_when_the_app_is_built() {
        let twice = App::new().job("a", || ()).job("a", || ()).build().unwrap_err();
        assert_eq!(twice.to_string(), "there are two jobs of the name \"a\"");
        let queues = App::new().queue(Queue::new("q")).queue(Queue::new("q")).build();
        assert!(queues.unwrap_err().to_string().contains("two queues"));
        let never = App::new().cron("0 0 30 2 *", Misfire::Once, || ()).build();
        assert!(never.unwrap_err().to_string().contains("cron"));
        assert!(App::new().every(Duration::ZERO, || ()).build().is_err());
        assert!(
            App::new()
                .every(Duration::from_secs(1), || ())
                .every(Duration::from_secs(2), || ())
                .build()
                .is_ok()
        );
    }
}
