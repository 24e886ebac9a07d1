//! Looks at a server's processes while load is driven at it.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::stages::{Board, Ticks};
use super::tree::{self, CpuTime, Switches};

/// Time between two looks, at least.
const EVERY: Duration = Duration::from_millis(40);

/// A look is followed by a pause of this many times its own length: ten thousand threads take long to look at.
const PAUSE: u32 = 8;

/// One look.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) cpu: CpuTime,
    pub(crate) switches: u64,
    pub(crate) threads: usize,
    pub(crate) memory_kib: u64,
    pub(crate) descriptors: u64,
    /// The server's own counters.
    pub(crate) ticks: Ticks,
}

/// Looks at a server until it is told to finish.
#[derive(Debug)]
pub(crate) struct Sampler {
    finish: mpsc::Sender<()>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    /// Takes the first look before it returns.
    pub(crate) fn start(root: u32, board: Board) -> Sampler {
        let (finish, finished) = mpsc::channel();
        let mut eye = Eye { root, board, switches: Switches::default() };
        let first = eye.look();
        let thread = std::thread::spawn(move || {
            let mut samples = vec![first];
            let mut pause = EVERY;
            while let Err(RecvTimeoutError::Timeout) = finished.recv_timeout(pause) {
                let start = Instant::now();
                samples.push(eye.look());
                pause = EVERY.max(start.elapsed() * PAUSE);
            }
            samples.push(eye.look());
            samples
        });
        Sampler { finish, thread }
    }

    /// All looks in their order, the last one taken now. At least two.
    pub(crate) fn finish(self) -> Vec<Sample> {
        let _ = self.finish.send(());
        self.thread.join().unwrap_or_default()
    }
}

struct Eye {
    root: u32,
    board: Board,
    switches: Switches,
}

impl Eye {
    fn look(&mut self) -> Sample {
        let processes = tree::processes(self.root);
        // What is put into proportion comes first and together.
        let (at, cpu, ticks) = (Instant::now(), tree::cpu_time(&processes), self.board.ticks());
        Sample {
            at,
            cpu,
            ticks,
            switches: self.switches.look(&processes),
            threads: tree::threads(&processes),
            memory_kib: tree::memory_kib(&processes),
            descriptors: tree::descriptors(&processes),
        }
    }
}
