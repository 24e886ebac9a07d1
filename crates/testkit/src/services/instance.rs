//! One running service: its process, port and directory, whatever it is.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::PATIENCE;
use crate::memory::descendants;
use crate::process::{is_frozen, signal_process, wait_until};

/// How long a service may take to start; a database writes its system tables first, and the machine may be busy.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long killed processes may take to let go of what they have.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// How often a port is looked for: another process may take it between the look and the service's own bind.
const PORT_TRIES: usize = 5;
/// How long one look at a starting service waits for its answer.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// The names of directories, before the process id.
const DIRECTORY_PREFIX: &str = "tenfold-service-";
/// Where Debian keeps daemons that are not in the PATH of an ordinary user.
const MORE_PLACES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// How one kind of service is started and found to be ready.
pub(crate) struct Recipe {
    /// The name that `TENFOLD_SERVICES` uses.
    pub name: &'static str,
    /// Prepares the directory, once; the service's account owns it afterwards.
    pub prepare: fn(&Place) -> io::Result<()>,
    /// The daemon with its arguments, in the foreground.
    pub command: fn(&Place) -> Command,
    /// Whether it answers: the connection is fresh and has [`PROBE_TIMEOUT`] on it.
    pub answers: fn(&mut TcpStream, &Place) -> io::Result<bool>,
}

/// Where an instance lives.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub program: PathBuf,
    pub directory: PathBuf,
    pub port: u16,
}

/// A running service. Dropping it kills it and removes its directory.
#[derive(Debug)]
pub struct Instance {
    recipe: &'static Recipe,
    place: Place,
    /// `None` while it is down, see [`Instance::kill`].
    child: Mutex<Option<Child>>,
}

impl std::fmt::Debug for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Instance {
    /// Starts a service, unless its program is missing.
    ///
    /// # Panics
    /// When it does not get ready, with its log; when it is missing although `TENFOLD_SERVICES` names it.
    #[track_caller]
    pub(crate) fn start(recipe: &'static Recipe, program: Option<PathBuf>) -> Option<Instance> {
        let Some(program) = program else {
            let wanted = std::env::var("TENFOLD_SERVICES").unwrap_or_default();
            let name = recipe.name;
            assert!(!wanted.split_whitespace().any(|wanted| wanted == name), "{name} is not installed");
            eprintln!("left out: {name} is not installed");
            return None;
        };
        sweep();
        let mut log = String::new();
        for _ in 0..PORT_TRIES {
            let directory = new_directory();
            let place = Place { program: program.clone(), directory, port: free_port() };
            let instance = Instance { recipe, place, child: Mutex::new(None) };
            (recipe.prepare)(&instance.place)
                .unwrap_or_else(|error| panic!("{} cannot be prepared: {error}", recipe.name));
            if instance.try_launch() {
                return Some(instance);
            }
            log = instance.log();
        }
        panic!("{} does not start:\n{log}", recipe.name);
    }

    /// Its address, as `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.place.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.place.port
    }

    /// Its directory; its Unix sockets, if it has some, are in there.
    pub fn directory(&self) -> &Path {
        &self.place.directory
    }

    /// What it has written to standard output and error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.place.directory.join("log")).unwrap_or_default()
    }

    /// Kills it and all its processes, as a crash of the machine would: no good-bye on its connections but the kernel's.
    pub fn kill(&self) {
        let Some(mut child) = lock(&self.child).take() else { return };
        // Stopped first, so that it starts no more of them: one that survives keeps a database from starting again.
        signal_process(child.id(), Signal::STOP);
        let processes = descendants(child.id());
        signal_process(child.id(), Signal::KILL);
        processes.iter().for_each(|process| signal_process(*process, Signal::KILL));
        let _ = child.wait();
        let until = Instant::now() + END_PATIENCE;
        while processes.iter().any(|process| is_alive(*process)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops all its processes where they are: its port goes on to accept, and nobody answers. Returns when all have stopped:
    /// one that runs on another processor goes on for a moment after the signal.
    ///
    /// # Panics
    /// When one does not stop.
    #[track_caller]
    pub fn pause(&self) {
        let stopped = self.signal_all(Signal::STOP);
        wait_until("all processes of the service have stopped", || {
            stopped.iter().copied().all(is_frozen).then_some(())
        });
    }

    /// Lets a paused one go on.
    pub fn resume(&self) {
        drop(self.signal_all(Signal::CONT));
    }

    /// Kills it, if it runs, and starts it on the same port and with the same data. A process that it had begun to fork when
    /// it was killed may hold on to its memory for a moment (PostgreSQL refuses to start then), so it is tried again.
    ///
    /// # Panics
    /// When it does not get ready, with its log.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        let until = Instant::now() + PATIENCE;
        while !self.try_launch() {
            assert!(Instant::now() < until, "{} does not start again:\n{}", self.recipe.name, self.log());
        }
    }

    /// Which processes it was sent to.
    fn signal_all(&self, signal: Signal) -> Vec<u32> {
        let Some(process) = lock(&self.child).as_ref().map(Child::id) else { return Vec::new() };
        signal_process(process, signal);
        let mut processes = descendants(process);
        processes.iter().for_each(|process| signal_process(*process, signal));
        processes.push(process);
        processes
    }

    /// Whether it runs and answers now; false when it has ended by itself.
    fn try_launch(&self) -> bool {
        let log = fs::File::options().create(true).append(true).open(self.place.directory.join("log"));
        let log = log.expect("a log can be opened in the directory");
        let mut command = as_service((self.recipe.command)(&self.place));
        command
            .current_dir(&self.place.directory)
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a descriptor is left"))
            .stdout(log);
        let child =
            spawn(command).unwrap_or_else(|error| panic!("cannot start {}: {error}", self.recipe.name));
        *lock(&self.child) = Some(child);
        let until = Instant::now() + START_PATIENCE;
        while Instant::now() < until {
            let ended = lock(&self.child).as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended {
                *lock(&self.child) = None;
                return false;
            }
            if self.answers().unwrap_or(false) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} is not ready after {START_PATIENCE:?}:\n{}", self.recipe.name, self.log());
    }

    fn answers(&self) -> io::Result<bool> {
        let mut stream = TcpStream::connect(self.address())?;
        stream.set_read_timeout(Some(PROBE_TIMEOUT))?;
        stream.set_write_timeout(Some(PROBE_TIMEOUT))?;
        (self.recipe.answers)(&mut stream, &self.place)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.place.directory);
    }
}

/// The first of `names` that is a program here.
pub(crate) fn find_program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = MORE_PLACES.iter().map(PathBuf::from);
    let directories: Vec<PathBuf> = std::env::split_paths(&path).chain(more).collect();
    names
        .iter()
        .flat_map(|name| directories.iter().map(move |directory| directory.join(name)))
        .find(|file| file.is_file())
}

/// Runs a program that prepares a directory, as the service's account.
pub(crate) fn prepare_with(command: Command) -> io::Result<()> {
    let output = as_service(command).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(io::Error::other(String::from_utf8_lossy(&text).into_owned()))
}

/// The command as an account without rights (databases refuse to run as root), and so that it ends with this process.
///
/// By setpriv(1), since what a child does between fork and exec cannot be said in safe code.
fn as_service(command: Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--pdeathsig", "KILL"]);
    if is_root() {
        wrapped.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]);
    }
    wrapped.arg("--").arg(command.get_program()).args(command.get_args());
    wrapped.env("HOME", std::env::temp_dir()).env("LC_ALL", "C");
    wrapped
}

/// Whether a process still holds memory; one that nobody has waited for does not.
fn is_alive(process: u32) -> bool {
    let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    !line.is_empty()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Starts a process from a thread that lives as long as this process: the signal by which a child learns of its parent's
/// death is sent when the *thread* that forked it ends (prctl(2), `PR_SET_PDEATHSIG`), and a test is a thread.
fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in orders {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (reply, answer) = mpsc::channel();
    lock(spawner).send((command, reply)).expect("the thread ends with the process");
    answer.recv().expect("each order is answered")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

fn new_directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{DIRECTORY_PREFIX}{}-{count}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    fs::create_dir_all(&directory).expect("a temporary directory can be made");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).expect("our own directory");
    if is_root() {
        std::os::unix::fs::chown(&directory, Some(NOBODY), Some(NOBODY)).expect("root may do that");
    }
    directory
}

/// The account `nobody` and the group `nogroup`, on Debian and most others.
const NOBODY: u32 = 65534;

/// Removes what processes left behind that have ended without dropping their instances.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(DIRECTORY_PREFIX)?.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
