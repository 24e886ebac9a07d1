//! A budget of connections for the whole machine, with eight real processes that take all they can get.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tenfold_client::pool::{Manager, Pool, PoolError, PoolOptions};
use tenfold_runtime::ProcessShare;

const PROCESSES: usize = 8;

struct Plain(SocketAddr);

impl Manager for Plain {
    type Connection = TcpStream;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn name(&self) -> &str {
        "plain"
    }

    fn connect(&self) -> Result<TcpStream, Self::Error> {
        Ok(TcpStream::connect(self.0)?)
    }
}

/// Not a test of its own: one of the processes, started by the test below.
#[test]
fn a_worker() {
    let Ok(told) = std::env::var("TENFOLD_BUDGET_WORKER") else { return };
    let mut told = told.split(' ');
    let index: usize = told.next().unwrap().parse().unwrap();
    let budget: usize = told.next().unwrap().parse().unwrap();
    let address = told.next().unwrap().parse().unwrap();
    ProcessShare::new(index, PROCESSES).set();
    let pool: Pool<Plain> = PoolOptions::new().connections_max(16).budget(budget).build(Plain(address));
    let here = ProcessShare::current().of(budget);
    assert_eq!(pool.stats().connections_max, here);
    if here == 0 {
        let error = pool.get().err().unwrap();
        let error: &PoolError = error.downcast_ref().unwrap();
        assert!(matches!(error, PoolError::NoShare { budget: 6, processes: PROCESSES, .. }), "{error}");
        return;
    }
    // Everybody holds all of its connections before anybody lets go of one: the server says when.
    std::thread::scope(|scope| {
        for _ in 0..here + 3 {
            scope.spawn(|| {
                let mut stream = pool.get().unwrap();
                stream.write_all(b"?").unwrap();
                stream.read_exact(&mut [0]).unwrap();
            });
        }
    });
    assert_eq!(pool.stats().open, here);
}

fn run(budget: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let workers = (0..PROCESSES).map(|index| {
        Command::new(std::env::current_exe().unwrap())
            .args(["a_worker", "--exact"])
            .env("TENFOLD_BUDGET_WORKER", format!("{index} {budget} {address}"))
            .spawn()
            .unwrap()
    });
    let workers: Vec<_> = workers.collect();
    let (open, asked) = (AtomicUsize::new(0), std::sync::Barrier::new(budget));
    std::thread::scope(|scope| {
        for _ in 0..budget {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                open.fetch_add(1, SeqCst);
                stream.read_exact(&mut [0]).unwrap();
                asked.wait();
                assert_eq!(open.load(SeqCst), budget, "all of the budget can be used");
                stream.write_all(b"!").unwrap();
                while stream.read(&mut [0]).unwrap_or(0) > 0 {
                    stream.write_all(b"!").unwrap();
                }
            });
        }
    });
    for mut worker in workers {
        assert!(worker.wait().unwrap().success());
    }
    // Nobody has asked for one more: it would be in the backlog.
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn eight_processes_never_open_more_than_the_budget_and_can_use_all_of_it() {
    run(21);
}

#[test]
fn with_fewer_connections_than_processes_the_last_ones_say_so() {
    run(6);
}
