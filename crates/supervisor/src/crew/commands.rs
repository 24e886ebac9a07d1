//! What comes over the control socket, and answers that workers have to give first.

use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Crew, Stop, lives::REPORT_TIMEOUT, reload};
use crate::{
    command::Command,
    control::{ClientId, Control},
    generation::Generation,
    order::{LogLevel, Order},
};

/// A client whose answer depends on workers.
#[derive(Debug)]
pub(super) struct Waiting {
    client: Option<ClientId>,
    about: About,
    pub(super) until: Instant,
}

#[derive(Debug)]
enum About {
    /// These slots have not said yet that their logs are open again.
    Logs { slots: Vec<usize>, failures: Vec<String> },
    /// What this slot is doing.
    Dump { slot: usize },
}

impl Crew {
    pub(super) fn take_commands(&mut self) {
        let requests = self.control.as_mut().map(Control::turn).unwrap_or_default();
        for (client, line) in requests {
            match Command::parse(&line) {
                Ok(command) => self.command(client, command),
                Err(error) => self.answer(Some(client), Err(error)),
            }
        }
    }

    fn command(&mut self, client: ClientId, command: Command) {
        tracing::debug!(target: "supervisor", ?command, "a command");
        let answer = match command {
            Command::Status => Ok(self.status()),
            Command::Reload => {
                return self.request_reload(reload::Request { workers: None, clients: vec![client] });
            }
            Command::Upgrade { hold } => return self.request_upgrade(hold, Some(client)),
            Command::Commit => return self.request_commit(client),
            Command::Rollback => return self.request_rollback(client),
            Command::Scale(count) => return self.request_scale(count, Some(client)),
            Command::WorkerDump(slot) => return self.dump(slot, client),
            Command::ReopenLogs => {
                let failures = self.reopen_logs();
                return self.wait_for_logs(client, failures.err().into_iter().collect());
            }
            Command::Drain => self.drain(),
            Command::Stop { fast } => {
                match (fast, self.stop) {
                    (true, _) => self.stop_fast(),
                    (false, Stop::No) => self.stop_gracefully(),
                    _ => {}
                }
                Ok(json!({ "said": "stopping" }))
            }
            Command::WorkerKill(slot) => self.kill_worker(slot),
            Command::Log(level) => self.set_log_level(level),
        };
        self.answer(Some(client), answer);
    }

    fn kill_worker(&mut self, slot: usize) -> Result<Value, String> {
        let pid = self.process_in(slot)?;
        tracing::warn!(target: "supervisor", slot, pid = pid.as_raw_pid(), "killing a worker by command");
        // It is our child and was not yet reaped. Its death is handled as any other.
        rustix::process::kill_process(pid, Signal::KILL).map_err(|errno| errno.to_string())?;
        Ok(
            json!({ "said": format!("killed process {} in slot {slot}", pid.as_raw_pid()), "pid": pid.as_raw_pid() }),
        )
    }

    fn process_in(&self, slot: usize) -> Result<rustix::process::Pid, String> {
        let mut processes = self.generations.iter().flat_map(Generation::processes);
        let process = processes.find(|(_, process)| process.slot_index == slot);
        process.map(|(_, process)| process.pid).ok_or_else(|| format!("there is no worker in slot {slot}"))
    }

    fn dump(&mut self, slot: usize, client: ClientId) {
        let processes = self.generations.iter().flat_map(Generation::processes);
        let process = processes.map(|(_, process)| process).find(|process| process.slot_index == slot);
        let Some(process) = process else {
            return self.answer(Some(client), Err(format!("there is no worker in slot {slot}")));
        };
        process.order(Order::Dump);
        let until = Instant::now() + REPORT_TIMEOUT;
        self.waiting.push(Waiting { client: Some(client), about: About::Dump { slot }, until });
    }

    /// Hands a worker's words to those who have asked for them.
    pub(super) fn dumped(&mut self, from: usize, text: String) {
        let is_it = |waiting: &Waiting| matches!(waiting.about, About::Dump { slot } if slot == from);
        let (mine, others) = std::mem::take(&mut self.waiting).into_iter().partition(is_it);
        self.waiting = others;
        for Waiting { client, .. } in mine {
            let said = self.in_flight(from) + &text;
            self.answer(client, Ok(json!({ "slot": from, "said": said })));
        }
    }

    fn in_flight(&self, slot: usize) -> String {
        self.options.source.as_ref().map_or(String::new(), |source| source.in_flight(slot))
    }

    fn set_log_level(&mut self, level: LogLevel) -> Result<Value, String> {
        let source = self.options.source.as_mut().ok_or("the program has a log of its own")?;
        source.set_log_level(level)?;
        self.generations.iter().for_each(|generation| generation.order(Order::Log(level)));
        Ok(json!({ "said": format!("logging from {level} on") }))
    }

    /// The master first: it may have rights that workers have given up, and makes the file theirs.
    pub(super) fn reopen_logs(&mut self) -> Result<(), String> {
        let outcome = self.options.source.as_mut().map_or(Ok(()), |source| source.reopen_logs());
        match &outcome {
            Ok(()) => tracing::info!(target: "supervisor", "logs are opened again"),
            Err(reason) => tracing::error!(target: "supervisor", "logs cannot be opened again: {reason}"),
        }
        self.generations.iter().for_each(|generation| generation.order(Order::ReopenLogs));
        outcome
    }

    fn wait_for_logs(&mut self, client: ClientId, failures: Vec<String>) {
        let processes = self.generations.iter().flat_map(Generation::processes);
        let ready = processes.filter(|(_, process)| process.ready_at.is_some());
        let slots = ready.map(|(_, process)| process.slot_index).collect();
        let until = Instant::now() + REPORT_TIMEOUT;
        self.waiting.push(Waiting { client: Some(client), about: About::Logs { slots, failures }, until });
        self.answer_logs();
    }

    /// A worker has opened its logs again.
    pub(super) fn logs_reopened(&mut self, from: usize, outcome: Result<(), String>) {
        if let Err(reason) = &outcome {
            tracing::error!(target: "supervisor", slot = from, "logs cannot be opened again: {reason}");
        }
        for waiting in &mut self.waiting {
            if let About::Logs { slots, failures } = &mut waiting.about
                && let Some(at) = slots.iter().position(|slot| *slot == from)
            {
                slots.remove(at);
                failures.extend(outcome.clone().err().map(|reason| format!("slot {from}: {reason}")));
            }
        }
        self.answer_logs();
    }

    fn answer_logs(&mut self) {
        let is_done =
            |waiting: &Waiting| matches!(&waiting.about, About::Logs { slots, .. } if slots.is_empty());
        let (done, others) = std::mem::take(&mut self.waiting).into_iter().partition(is_done);
        self.waiting = others;
        for Waiting { client, about, .. } in done {
            let answer = match about {
                About::Logs { failures, .. } if !failures.is_empty() => Err(failures.join("; ")),
                _ => Ok(json!({ "said": "logs are open again in all processes" })),
            };
            self.answer(client, answer);
        }
    }

    /// A worker that has ended says nothing more; its logs are closed.
    pub(super) fn forget_waiting(&mut self, slot: usize) {
        self.logs_reopened(slot, Ok(()));
    }

    /// Answers clients whose workers do not.
    pub(super) fn waiting_over(&mut self, now: Instant) {
        let is_over = |waiting: &Waiting| waiting.until <= now;
        let (over, others) = std::mem::take(&mut self.waiting).into_iter().partition(is_over);
        self.waiting = others;
        for Waiting { client, about, .. } in over {
            let answer = match about {
                About::Logs { slots, .. } => Err(format!("the workers in slots {slots:?} do not answer")),
                // What it is stuck in is known all the same.
                About::Dump { slot } => match self.in_flight(slot) {
                    requests if requests.is_empty() => {
                        Err(format!("the worker in slot {slot} does not answer: it is stuck"))
                    }
                    requests => Ok(json!({
                        "slot": slot,
                        "said": format!("{requests}the worker itself does not answer: it is busy or stuck\n"),
                    })),
                },
            };
            self.answer(client, answer);
        }
    }
}
