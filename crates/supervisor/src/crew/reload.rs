//! Reload: a new generation comes up completely, and only then the old one drains. What does not come up changes nothing.
//!
//! ```text
//!   asked ─▶ trial (a child process builds everything once) ─▶ room (at most 2 drain) ─▶ coming ─▶ served
//!               fails, panics, exits, hangs: reason                                       a worker fails, time: reason
//! ```

use std::{
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Instant, SystemTime},
};

use rustix::process::{Pid, Signal, WaitStatus, kill_process};
use serde_json::json;

use super::{Crew, Stop};
use crate::{
    control::ClientId,
    error::Error,
    generation::{Generation, Phase},
    master::MasterConfig,
    notify,
    seat::how,
    source::{Prepared, Source, Wish},
    sys::{self, Forked},
    worker,
};

/// Somebody wants a new generation.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) workers: Option<usize>,
    pub(super) clients: Vec<ClientId>,
}

/// One that is under way.
#[derive(Debug)]
pub(super) struct Reload {
    request: Request,
    stage: Stage,
    /// The bounds before it, should it fail.
    config_before: MasterConfig,
}

#[derive(Debug)]
enum Stage {
    /// A child tries.
    Trial { pid: Pid, said: std::fs::File, text: Vec<u8>, until: Instant },
    /// It waits for a draining generation to end, which is cut then.
    Room { until: Instant },
    /// The generation of this number starts.
    Coming { number: u32 },
}

/// How the last reload or upgrade went.
#[derive(Clone, Debug)]
pub(super) struct LastChange {
    pub(super) at: SystemTime,
    pub(super) outcome: Result<u32, String>,
}

impl Reload {
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.stage {
            Stage::Trial { said, .. } => Some(said.as_fd()),
            _ => None,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Trial { until, .. } | Stage::Room { until } => Some(until),
            // The generation's own.
            Stage::Coming { .. } => None,
        }
    }
}

impl Drop for Reload {
    /// A trial that nobody waits for any more ends.
    fn drop(&mut self) {
        if let Stage::Trial { pid, .. } = self.stage {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Crew {
    /// Begins one, or has it follow the one that is under way.
    pub(super) fn request_reload(&mut self, request: Request) {
        let refusal = match (self.options.source.is_some(), self.stop, &self.upgrade) {
            (false, ..) => Some("there is nothing to reload from"),
            (_, Stop::No, None) => None,
            (_, Stop::No, Some(_)) => Some("an upgrade is under way"),
            _ => Some("the server stops"),
        };
        if let Some(refusal) = refusal {
            tracing::warn!(target: "supervisor", "no reload: {refusal}");
            return request.clients.into_iter().for_each(|id| self.answer(Some(id), Err(refusal.into())));
        }
        if self.reload.is_some() {
            // Several that wait are one: the configuration is read when its turn comes.
            let next = self.next_reload.get_or_insert_default();
            next.workers = request.workers;
            next.clients.extend(request.clients);
            return;
        }
        notify::reloading();
        tracing::info!(target: "supervisor", "reloading");
        let config_before = self.config.clone();
        match self.start_trial(request.workers) {
            Ok(stage) => self.reload = Some(Reload { request, stage, config_before }),
            Err(error) => {
                let stage = Stage::Room { until: Instant::now() };
                self.reload = Some(Reload { request, stage, config_before });
                self.fail_reload(&error.to_string());
            }
        }
    }

    fn start_trial(&mut self, workers: Option<usize>) -> Result<Stage, Error> {
        let (said, say) = worker::pipe()?;
        // A trial has no orders to hear; its signals go to a pipe that nobody reads.
        let (nothing, orders) = worker::pipe()?;
        match sys::fork(orders, self.config.ready_timeout)? {
            Forked::Parent(pid) => Ok(Stage::Trial {
                pid,
                said: said.into(),
                text: Vec::new(),
                until: Instant::now() + self.config.ready_timeout,
            }),
            Forked::Child => {
                drop((said, nothing));
                self.try_out(&Wish { workers, trial: true }, &say)
            }
        }
    }

    /// The whole life of a trial: says "ok" or why not.
    fn try_out(&mut self, wish: &Wish, say: &OwnedFd) -> ! {
        self.leave_the_master();
        let source = self.options.source.as_mut().expect("a reload has a source");
        let outcome = catch_unwind(AssertUnwindSafe(|| source.prepare(wish)));
        let said = match outcome {
            Ok(Ok(_)) if sys::threads().is_ok_and(|threads| threads > 1) => {
                "building the application starts threads, which a master must not have".into()
            }
            Ok(Ok(_)) => "ok".into(),
            Ok(Err(reason)) => reason,
            Err(_) => "building the application panics".into(),
        };
        // Less than a pipe holds, so it does not block.
        let _ = rustix::io::write(say, &said.as_bytes()[..said.len().min(32 << 10)]);
        sys::exit(0)
    }

    /// Takes what a child has said that has ended, if it was the trial.
    pub(super) fn trial_ended(&mut self, pid: Pid, status: WaitStatus) -> bool {
        let Some(Reload { stage: Stage::Trial { pid: trial, said, text, .. }, .. }) = &mut self.reload else {
            return false;
        };
        if *trial != pid {
            return false;
        }
        // What is in the pipe is there; it does not block.
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = said.read(&mut chunk) {
            text.extend_from_slice(&chunk[..count]);
        }
        let text = String::from_utf8_lossy(text).into_owned();
        if let Some(reload) = &mut self.reload {
            reload.stage = Stage::Room { until: Instant::now() + self.config.cut_patience };
        }
        match (text.as_str(), status.exit_status()) {
            ("ok", _) => self.go_on_with_reload(),
            ("", _) => {
                self.fail_reload(&format!("building the application ended its process: {}", how(status)))
            }
            (reason, _) => self.fail_reload(reason),
        }
        true
    }

    /// Does the next step that is possible.
    pub(super) fn go_on_with_reload(&mut self) {
        let now = Instant::now();
        match self.reload.as_ref().map(|reload| &reload.stage) {
            Some(Stage::Trial { until, .. }) if now >= *until => {
                self.fail_reload("building the application takes too long");
            }
            Some(Stage::Room { until }) => {
                let draining = self.generations.iter().filter(|generation| generation.is_draining());
                if draining.clone().count() < self.config.draining_max.max(1) {
                    self.start_generation();
                } else if now >= *until {
                    let until = now + self.config.fast_timeout;
                    let oldest = self.generations.iter_mut().find(|generation| generation.is_draining());
                    if let Some(oldest) = oldest.filter(|it| !matches!(it.phase, Phase::Cut { .. })) {
                        let number = oldest.number;
                        tracing::warn!(target: "supervisor", generation = number, "too many generations drain, cutting the oldest");
                        oldest.cut(until);
                    }
                    if let Some(reload) = &mut self.reload {
                        reload.stage = Stage::Room { until };
                    }
                }
            }
            Some(Stage::Coming { number }) => {
                let number = *number;
                let coming = self
                    .generations
                    .iter()
                    .find(|generation| generation.number == number && !generation.lasting);
                match coming {
                    Some(coming) if coming.is_ready() => self.finish_reload(number),
                    Some(Generation { phase: Phase::Coming { until }, .. }) if now >= *until => {
                        self.fail_reload("not all workers were ready in time");
                    }
                    Some(_) => {}
                    None => self.fail_reload("the new generation is gone"),
                }
            }
            _ => {}
        }
    }

    /// Builds in the master what the trial has built, and starts it.
    fn start_generation(&mut self) {
        let workers = self.reload.as_ref().and_then(|reload| reload.request.workers);
        let Some(source) = &mut self.options.source else { return };
        let wish = Wish { workers, trial: false };
        // It has just worked, so a panic here is a freak; the master still has to live on.
        let prepared = catch_unwind(AssertUnwindSafe(|| source.prepare(&wish)));
        let Prepared { groups, config } = match prepared {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(reason)) => return self.fail_reload(&reason),
            Err(_) => return self.fail_reload("building the application panics in the master"),
        };
        self.config = config;
        self.last_number += 1;
        let number = self.last_number;
        let phase = Phase::Coming { until: Instant::now() + self.config.ready_timeout };
        self.generations.push(Generation::new(number, groups, phase, false, &self.config));
        if let Some(reload) = &mut self.reload {
            reload.stage = Stage::Coming { number };
        }
        self.start_due();
    }

    fn finish_reload(&mut self, number: u32) {
        let until = self.graceful_until();
        if let Some(source) = &mut self.options.source {
            // Before the old workers drain: the last one to close a socket must be the one that emptied its queue.
            source.committed();
        }
        for generation in self.generations.iter_mut().filter(|generation| !generation.lasting) {
            match generation.phase {
                Phase::Coming { .. } => generation.phase = Phase::Serving,
                Phase::Serving => generation.drain(until),
                _ => {}
            }
        }
        self.drained = false;
        tracing::info!(target: "supervisor", generation = number, "reloaded");
        notify::serving(&format!("serving, generation {number}"));
        self.last_reload = Some(LastChange { at: SystemTime::now(), outcome: Ok(number) });
        self.close_reload(&Ok(number));
    }

    /// Undoes what was done so far. The reason goes to the log, to `last_reload` and to whoever asked.
    pub(super) fn fail_reload(&mut self, reason: &str) {
        let until = Instant::now() + self.config.fast_timeout;
        let coming = self.generations.iter_mut().filter(|it| matches!(it.phase, Phase::Coming { .. }));
        coming.for_each(|generation| generation.cut(until));
        if let Some(source) = &mut self.options.source {
            source.abandoned();
        }
        if let Some(reload) = &self.reload {
            self.config = reload.config_before.clone();
        }
        tracing::error!(target: "supervisor", "reload failed, the old generation serves on: {reason}");
        notify::serving(&format!("serving; the last reload failed: {reason}"));
        self.last_reload = Some(LastChange { at: SystemTime::now(), outcome: Err(reason.to_owned()) });
        self.close_reload(&Err(reason.to_owned()));
    }

    fn close_reload(&mut self, outcome: &Result<u32, String>) {
        let clients = self.reload.take().map(|mut reload| std::mem::take(&mut reload.request.clients));
        for id in clients.into_iter().flatten() {
            let answer = match outcome {
                Ok(number) => {
                    Ok(json!({ "said": format!("generation {number} serves"), "generation": number }))
                }
                Err(reason) => Err(reason.clone()),
            };
            self.answer(Some(id), answer);
        }
        if let Some(next) = self.next_reload.take() {
            self.request_reload(next);
        }
    }

    /// The sockets that belong to the master.
    pub(super) fn listeners(&self) -> Option<&crate::listeners::ListenerSet> {
        self.options.source.as_deref().and_then(Source::listeners)
    }
}
