//! Upgrade: another program takes over, without a moment in which nobody accepts. Both sides; `takeover.rs` has the talk.
//!
//! The old master executes the program file again, which is a new one by then, with the same arguments, and passes the
//! listeners by inheritance. Until the new one has said `taken`, everything can be undone by ending it: the old generation
//! was not touched.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    os::unix::net::UnixStream,
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::{Pid, Signal, WaitStatus, kill_process};
use serde_json::json;

use super::{Crew, Stop, reload::LastChange};
use crate::{
    control::{ClientId, Control},
    notify,
    pidfile::PidFile,
    seat::how,
    source::Source,
    takeover::{Baton, Link, VARIABLE},
};

/// A new master that does not yet serve alone.
#[derive(Debug)]
pub(super) struct Upgrade {
    pid: Pid,
    link: Link,
    stage: Stage,
    client: Option<ClientId>,
    /// It waits for somebody to decide.
    hold: bool,
    /// It was killed or has ended; what is left is to reap it.
    over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Starting {
        until: Instant,
    },
    Held,
    Committing {
        until: Instant,
    },
    /// It is the master, and this one drains.
    Committed,
    /// It was told to end.
    Undone {
        until: Instant,
    },
}

/// How long a new master may take from `commit` to `taken`.
const TAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the new master's own bookkeeping may take beyond its workers' time.
const MARGIN: Duration = Duration::from_secs(5);

impl Upgrade {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    pub(super) fn is_committed(&self) -> bool {
        self.stage == Stage::Committed
    }

    pub(super) fn is_held(&self) -> bool {
        self.stage == Stage::Held
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Starting { until } | Stage::Committing { until } | Stage::Undone { until }
                if !self.over =>
            {
                Some(until)
            }
            _ => None,
        }
    }
}

impl Crew {
    /// Starts the new program.
    pub(super) fn request_upgrade(&mut self, hold: bool, client: Option<ClientId>) {
        let refusal = match (self.stop, &self.upgrade, &self.reload, self.listeners().is_some()) {
            (Stop::No, None, None, true) if self.announced && self.predecessor.is_none() => None,
            (_, Some(_), ..) => Some("an upgrade is under way"),
            (_, _, Some(_), _) => Some("a reload is under way"),
            (_, _, _, false) => Some("there are no listeners to pass on"),
            _ => Some("this is not the time: the server starts, stops, or is itself being taken over to"),
        };
        if let Some(refusal) = refusal {
            tracing::warn!(target: "supervisor", "no upgrade: {refusal}");
            return self.answer(client, Err(refusal.into()));
        }
        notify::reloading();
        match self.execute() {
            Ok((pid, link)) => {
                tracing::info!(target: "supervisor", %pid, "upgrading: a new master starts");
                let until = Instant::now() + self.config.ready_timeout + MARGIN;
                let stage = Stage::Starting { until };
                self.upgrade = Some(Upgrade { pid, link, stage, client, hold, over: false });
            }
            Err(reason) => {
                self.note_failed_upgrade(&reason);
                self.answer(client, Err(reason));
            }
        }
    }

    fn execute(&self) -> Result<(Pid, Link), String> {
        let failed = |what: &str, error: std::io::Error| format!("{what}: {error}");
        let program = self.options.program.as_ref().ok_or("this program does not know its own file")?;
        let (ours, theirs) = UnixStream::pair().map_err(|error| failed("socketpair", error))?;
        // A copy that survives the exec, and lives in this process only until then. There is no other thread that could
        // start a program meanwhile.
        let passed = |fd: BorrowedFd<'_>| rustix::io::dup(fd).map_err(|errno| failed("dup", errno.into()));
        let listeners = self.listeners().ok_or("there are no listeners")?.pass(|all| {
            all.iter()
                .map(|(about, fd)| Ok((passed(*fd)?, about.clone())))
                .collect::<Result<Vec<_>, String>>()
        })?;
        let link: OwnedFd = passed(theirs.as_fd())?;
        let baton = Baton {
            master: std::process::id(),
            link: link.as_raw_fd(),
            generation: self.last_number,
            control: self.control.as_ref().map(|control| control.path().display().to_string()),
            listeners: listeners.iter().map(|(fd, about)| (fd.as_raw_fd(), about.clone())).collect(),
        };
        let baton = serde_json::to_string(&baton).map_err(|error| error.to_string())?;
        let mut arguments = std::env::args_os();
        let mut command = Command::new(program);
        if let Some(name) = arguments.next() {
            std::os::unix::process::CommandExt::arg0(&mut command, name);
        }
        command.args(arguments).env(VARIABLE, baton);
        for activation in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
            command.env_remove(activation);
        }
        let child = command
            .spawn()
            .map_err(|error| failed(&format!("cannot execute {}", program.display()), error))?;
        let pid =
            i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("the new master has no number")?;
        let link = Link::new(ours.into()).map_err(|error| error.to_string())?;
        Ok((pid, link))
    }

    /// Hears the new master, or the old one.
    pub(super) fn go_on_with_upgrade(&mut self) {
        self.hear_predecessor();
        let now = Instant::now();
        let said = self.upgrade.as_mut().map(|upgrade| upgrade.link.take()).unwrap_or_default();
        for line in said {
            let stage = self.upgrade.as_ref().map(|upgrade| upgrade.stage);
            match (line.split_once(' ').unwrap_or((&line, "")), stage) {
                (("ready", _), Some(Stage::Starting { .. })) => self.successor_is_ready(),
                (("taken", _), Some(Stage::Committing { .. })) => self.successor_has_taken(),
                (("failed", reason), Some(Stage::Starting { .. })) => {
                    self.fail_upgrade(&format!("the new master says: {reason}"));
                }
                _ => {}
            }
        }
        let Some(upgrade) = self.upgrade.as_mut().filter(|upgrade| !upgrade.over) else { return };
        match upgrade.stage {
            Stage::Starting { until } if now >= until => {
                self.fail_upgrade("the new master was not ready in time")
            }
            Stage::Committing { until } if now >= until => {
                self.fail_upgrade("the new master did not take over")
            }
            Stage::Undone { until } if now >= until => {
                upgrade.over = true;
                let _ = kill_process(upgrade.pid, Signal::KILL);
            }
            _ => {}
        }
    }

    fn successor_is_ready(&mut self) {
        let Some(upgrade) = &mut self.upgrade else { return };
        if upgrade.hold {
            upgrade.stage = Stage::Held;
            let (client, pid) = (upgrade.client.take(), upgrade.pid.as_raw_pid());
            tracing::info!(target: "supervisor", pid, "the new master is ready, and held");
            let said = format!("process {pid} serves as well; commit or rollback decides");
            return self.answer(client, Ok(json!({ "said": said, "pid": pid, "held": true })));
        }
        self.commit();
    }

    /// Tells the new master to take over.
    fn commit(&mut self) {
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.stage = Stage::Committing { until: Instant::now() + TAKE_TIMEOUT };
            upgrade.link.say("commit");
        }
    }

    pub(super) fn request_commit(&mut self, client: ClientId) {
        match self.upgrade.as_mut().filter(|upgrade| upgrade.is_held()) {
            Some(upgrade) => {
                upgrade.client = Some(client);
                self.commit();
            }
            None => self.answer(Some(client), Err("there is no upgrade that is held".into())),
        }
    }

    pub(super) fn request_rollback(&mut self, client: ClientId) {
        match self
            .upgrade
            .as_ref()
            .filter(|upgrade| matches!(upgrade.stage, Stage::Starting { .. } | Stage::Held))
        {
            Some(_) => {
                self.fail_upgrade("rolled back by command");
                self.answer(Some(client), Ok(json!({ "said": "rolled back; the old generation serves on" })));
            }
            None => self.answer(Some(client), Err("there is no upgrade that could be undone".into())),
        }
    }

    /// The new one is the master: this one drains and ends.
    fn successor_has_taken(&mut self) {
        let Some(upgrade) = &mut self.upgrade else { return };
        upgrade.stage = Stage::Committed;
        let (client, pid) = (upgrade.client.take(), upgrade.pid.as_raw_pid());
        tracing::info!(target: "supervisor", pid, "upgraded: the new master has taken over, this one drains and ends");
        // The pid file is written by now; a service manager that reads both sees one truth.
        notify::ready(pid.unsigned_abs());
        if let Some(listeners) = self.listeners() {
            listeners.own_files(false);
        }
        self.pid_file = None;
        if let Some(control) = &mut self.control {
            control.disown();
        }
        self.last_upgrade =
            Some(LastChange { at: SystemTime::now(), outcome: Ok(u32::try_from(pid).unwrap_or(0)) });
        self.answer(client, Ok(json!({ "said": format!("process {pid} is the master"), "pid": pid })));
        self.drain_all();
    }

    /// Undoes an upgrade: the new master ends, everything else is as it was.
    pub(super) fn fail_upgrade(&mut self, reason: &str) {
        let until = Instant::now() + self.config.fast_timeout;
        let Some(upgrade) = &mut self.upgrade else { return };
        if matches!(upgrade.stage, Stage::Committed | Stage::Undone { .. }) {
            return;
        }
        upgrade.stage = Stage::Undone { until };
        if !upgrade.over {
            let _ = kill_process(upgrade.pid, Signal::INT);
        }
        let client = upgrade.client.take();
        if upgrade.over {
            self.upgrade = None;
        }
        // It may have begun to take these over.
        self.retake();
        self.note_failed_upgrade(reason);
        self.answer(client, Err(format!("rolled back: {reason}")));
    }

    fn note_failed_upgrade(&mut self, reason: &str) {
        tracing::error!(target: "supervisor", "upgrade failed, the old generation serves on: {reason}");
        notify::serving(&format!("serving; the last upgrade failed: {reason}"));
        self.last_upgrade = Some(LastChange { at: SystemTime::now(), outcome: Err(reason.to_owned()) });
    }

    /// Writes the pid file and binds the control socket again where another process has them.
    fn retake(&mut self) {
        let own = std::process::id().to_string();
        if let Some(path) = &self.options.pid_file
            && std::fs::read_to_string(path).is_ok_and(|text| text.trim() != own)
        {
            self.pid_file = PidFile::write(path).ok();
        }
        if let Some(control) = &mut self.control
            && let Err(error) = control.retake()
        {
            tracing::error!(target: "supervisor", "the control socket is lost: {error}");
        }
    }

    /// Takes a child that has ended, if it was the new master.
    pub(super) fn successor_master_ended(&mut self, pid: Pid, status: WaitStatus) -> bool {
        if self.upgrade.as_ref().is_none_or(|upgrade| upgrade.pid != pid) {
            return false;
        }
        // What it said last tells more than how it ended.
        self.go_on_with_upgrade();
        let Some(upgrade) = &mut self.upgrade else { return true };
        upgrade.over = true;
        match upgrade.stage {
            Stage::Undone { .. } => self.upgrade = None,
            Stage::Committed => {}
            _ => {
                self.fail_upgrade(&format!("the new master ended before it had taken over: {}", how(status)))
            }
        }
        true
    }

    /// In a new master: does what the old one says.
    fn hear_predecessor(&mut self) {
        let Some(old) = &mut self.predecessor else { return };
        let told = old.take().iter().any(|line| line == "commit");
        // An old master that is dead leaves everything to this one; it must not stay without pid file and control socket.
        if told || (old.ended && self.announced) {
            self.take_over();
        }
    }

    fn take_over(&mut self) {
        let Some(mut old) = self.predecessor.take() else { return };
        let files = || -> Result<_, crate::Error> {
            let control = self.options.control.as_deref().map(Control::bind).transpose()?;
            let pid_file = self.options.pid_file.as_deref().map(PidFile::write).transpose()?;
            Ok((control, pid_file))
        };
        match files() {
            Ok((control, pid_file)) => (self.control, self.pid_file) = (control, pid_file),
            // It serves nevertheless: going back now would lose more.
            Err(error) => tracing::error!(target: "supervisor", "{error}"),
        }
        if let Some(listeners) = self.options.source.as_deref().and_then(Source::listeners) {
            listeners.own_files(true);
        }
        self.last_upgrade = Some(LastChange { at: SystemTime::now(), outcome: Ok(std::process::id()) });
        tracing::info!(target: "supervisor", "this master has taken over");
        if old.ended {
            notify::ready(std::process::id());
        }
        old.say("taken");
    }
}
