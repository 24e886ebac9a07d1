//! `Topics`: the way from a handler to its topics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tenfold_server::supervisor::Group;
use tenfold_server::{App, Context, FromRequest, Need, Part, Rejection, Settings};

use super::collector::{Collect, group};
use super::{Topic, Writer};
use crate::error::{Error, Result};

/// The topics of an app, in a worker. An argument of a handler, and cheap to clone.
///
/// ```no_run
/// use tenfold_jobs::topic::{Lines, Topic, Topics};
/// use tenfold_jobs::AppJobs;
/// use tenfold_server::{App, Path, Result};
///
/// fn show(Path(page): Path<String>, topics: Topics) -> Result<String> {
///     topics.append("visits", page.as_bytes())?;
///     Ok(format!("page {page}\n"))
/// }
///
/// let app = App::new().get("/{page}", show).topic_to(Topic::new("visits"), Lines::to("visits.log"));
/// # let _ = app;
/// ```
#[derive(Clone, Debug)]
pub struct Topics(Arc<BTreeMap<String, Writer>>);

impl Topics {
    /// Appends a record; see [`Writer::append`].
    ///
    /// # Errors
    /// As [`Writer::append`]; [`Error::UnknownTopic`].
    pub fn append(&self, topic: &str, record: &[u8]) -> Result<()> {
        self.writer(topic)?.append(record)
    }

    /// What appends to a topic.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub fn writer(&self, topic: &str) -> Result<&Writer> {
        self.0.get(topic).ok_or_else(|| Error::UnknownTopic { topic: topic.into() })
    }
}

impl FromRequest for Topics {
    type Rejection = Rejection;

    fn from_request(cx: &mut Context<'_>) -> Result<Topics, Rejection> {
        let topics = cx.state().get::<Topics>().cloned();
        topics.ok_or(Rejection::MissingState { type_name: "Topics (App::topic makes them)" })
    }

    fn needs() -> Vec<Need> {
        vec![Need::state::<Topics>()]
    }
}

/// The topics of an app, while it is written.
#[derive(Default)]
pub(crate) struct TopicsPart {
    topics: Vec<Topic>,
    collectors: Vec<(Topic, Arc<Mutex<dyn Collect>>)>,
}

impl TopicsPart {
    pub(crate) fn add(&mut self, topic: Topic) {
        self.topics.push(topic);
    }

    pub(crate) fn add_collector(&mut self, topic: Topic, collect: impl Collect) {
        self.collectors.push((topic, Arc::new(Mutex::new(collect))));
    }
}

impl Part for TopicsPart {
    fn prepare(&mut self, _: &Settings) -> Result<(), String> {
        Ok(())
    }

    fn processes(&self) -> Vec<Group> {
        self.collectors.iter().map(|(topic, collect)| group(topic.clone(), collect.clone())).collect()
    }

    fn finish(self: Box<Self>, app: App) -> Result<App, String> {
        let topics = self.topics;
        let mut names: Vec<&str> = topics.iter().map(Topic::name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("there are two topics of the name {:?}", pair[0]));
        }
        let app = app.state_with(move || {
            let writers = topics.iter().map(|topic| (topic.name().to_owned(), topic.writer()));
            Ok(Topics(Arc::new(writers.collect())))
        });
        // When the last request and the last job that may append have ended.
        Ok(app.last_words(|state| {
            let Some(Topics(writers)) = state.get::<Topics>() else { return };
            for (topic, writer) in &**writers {
                if let Err(error) = writer.flush() {
                    tracing::error!(target: "jobs", topic, %error, "records are lost");
                }
            }
        }))
    }
}
