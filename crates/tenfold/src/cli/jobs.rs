//! `jobs`: a look at the queues of a running server, and the ways to step in.
//!
//! The master knows where the keeper listens; everything else is between this program and the keeper.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;
use tenfold_jobs::{Ask, keeper, report};
use tenfold_server::sight::{self, plain};

use super::arguments::Server;
use super::{Error, control, print};

#[derive(Args)]
pub(crate) struct JobsOptions {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    server: Server,
    /// Print the answer as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Show all queues, or the jobs of one.
    List {
        /// The queue.
        queue: Option<String>,
        /// Jobs in this state: live, done, dead or cancelled.
        #[arg(long, default_value = "live")]
        state: String,
        /// Most jobs that are shown.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show one job, with its history and its payload.
    Show {
        /// The job's id.
        id: String,
    },
    /// Show dead jobs.
    Dead {
        /// The queue; all without one.
        queue: Option<String>,
        /// Most jobs that are shown.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Run dead jobs again.
    Retry {
        /// The job's id.
        #[arg(required_unless_present = "queue", conflicts_with = "queue")]
        id: Option<String>,
        /// All dead jobs of a queue; `all` for every queue.
        #[arg(long)]
        queue: Option<String>,
    },
    /// Take a job back, or stop it where it runs.
    Cancel {
        /// The job's id.
        id: String,
    },
    /// Forget an ended job.
    Delete {
        /// The job's id.
        id: String,
    },
    /// Start no job of a queue, until `resume`; it takes jobs in. Also after a restart.
    Pause {
        /// The queue.
        queue: String,
    },
    /// Take no job in, until `resume`, and run what is there. Also after a restart.
    Drain {
        /// The queue.
        queue: String,
    },
    /// End a pause or a drain.
    Resume {
        /// The queue.
        queue: String,
    },
}

pub(crate) fn run(options: &JobsOptions) -> Result<ExitCode, Error> {
    let control = control::find(options.server.control.as_deref(), options.server.config.as_deref())?;
    let status = control::ask(&control, "status")?;
    let socket = status["jobs"]["socket"].as_str().map(PathBuf::from);
    let socket = socket.ok_or_else(|| Error::System("this server has no jobs".into()))?;
    let ask = |ask: &Ask| keeper::ask(&socket, ask).map_err(Error::System);
    let mut answer = Value::Null;
    for request in options.what.requests() {
        answer = ask(&request)?;
    }
    // A rate needs two looks; the master has that of the last second.
    for queue in answer.get_mut("queues").and_then(Value::as_array_mut).into_iter().flatten() {
        let all = status["jobs"]["queues"].as_array().into_iter().flatten();
        let known = all.into_iter().find(|one| one["name"] == queue["name"]);
        queue["per_second"] = known.map_or(Value::Null, |known| known["per_second"].clone());
    }
    print(&if options.json { format!("{answer:#}\n") } else { options.what.text(&answer) })
}

impl What {
    fn requests(&self) -> Vec<Ask> {
        let list = |queue: &Option<String>, state: &str, limit: &u32| Ask::List {
            queue: queue.clone().unwrap_or_default(),
            state: state.into(),
            limit: *limit,
        };
        vec![match self {
            What::List { queue: None, state, .. } if state == "live" => Ask::Queues,
            What::List { queue, state, limit } => list(queue, state, limit),
            What::Dead { queue, limit } => list(queue, "dead", limit),
            What::Show { id } => Ask::Job(id.clone()),
            What::Retry { id, queue } => Ask::Retry {
                id: id.clone().unwrap_or_default(),
                queue: queue.clone().filter(|queue| queue != "all").unwrap_or_default(),
            },
            What::Cancel { id } => Ask::Cancel(id.clone()),
            What::Delete { id } => Ask::Delete(id.clone()),
            What::Pause { queue } => Ask::Pause { queue: queue.clone(), on: true },
            What::Drain { queue } => Ask::Drain { queue: queue.clone(), on: true },
            What::Resume { queue } => {
                return vec![
                    Ask::Pause { queue: queue.clone(), on: false },
                    Ask::Drain { queue: queue.clone(), on: false },
                ];
            }
        }]
    }

    fn text(&self, answer: &Value) -> String {
        match (self, answer) {
            (What::Show { .. }, _) => report::job(answer),
            (_, Value::Array(_)) => report::jobs(answer),
            (_, answer) if answer["queues"].is_array() => sight::queues(answer),
            (_, answer) if answer["paused"].is_boolean() => {
                let state = match (answer["paused"] == true, answer["draining"] == true) {
                    (true, true) => "is paused and drains: nothing comes in, and nothing starts",
                    (true, false) => "is paused: jobs come in, and none starts",
                    (false, true) => "drains: nothing comes in, and what is there runs",
                    (false, false) => "takes jobs in and runs them",
                };
                format!("the queue {} {state}\n", plain(&answer["queue"]))
            }
            (_, Value::Object(fields)) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name}: {}", plain(value))).collect();
                format!("{}\n", fields.join(", "))
            }
            _ => format!("{answer}\n"),
        }
    }
}
