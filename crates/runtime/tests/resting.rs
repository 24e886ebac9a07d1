//! A pooled socket between two uses, in a process that has one loop and gets another one: a suite of its own, since other
//! tests' loops would count.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;

use tenfold_runtime::net::TcpStream;
use tenfold_runtime::{BackendChoice, ReactorConfig, Runtime, RuntimeConfig};

fn run_on<T: 'static>(backend: BackendChoice, main: impl FnOnce() -> T + 'static) -> Option<T> {
    let reactor = ReactorConfig { backend, ..ReactorConfig::default() };
    match Runtime::new(&RuntimeConfig { reactor, ..RuntimeConfig::default() }) {
        Ok(runtime) => Some(runtime.run(main).unwrap()),
        Err(error) if backend == BackendChoice::IoUring => {
            eprintln!("left out: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Sends back what comes, each byte only once the client must be waiting for it.
fn start_echo() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [0; 1];
        while stream.read(&mut byte).unwrap() == 1 {
            thread::sleep(std::time::Duration::from_millis(2));
            stream.write_all(&byte).unwrap();
        }
    });
    address
}

/// Three uses, with a rest after each.
fn use_it(mut stream: &TcpStream) {
    for byte in 0..3 {
        stream.write_all(&[byte]).unwrap();
        let mut answer = [0; 8];
        assert_eq!(stream.await_until(&mut answer, None).unwrap(), 1);
        assert_eq!(answer[0], byte);
        stream.socket().rest();
    }
}

#[test]
fn a_resting_socket_is_used_by_its_loop_by_threads_and_by_loops_that_come_later() {
    for backend in [BackendChoice::IoUring, BackendChoice::Epoll] {
        let address = start_echo();
        run_on(backend, move || {
            let stream = TcpStream::connect(address).unwrap();
            use_it(&stream);
            for _ in 0..2 {
                let on_thread = stream.clone();
                tenfold_runtime::offload(move || use_it(&on_thread)).unwrap();
                use_it(&stream);
                let on_loop = stream.clone();
                let other = move || thread::spawn(move || run_on(backend, move || use_it(&on_loop)).unwrap());
                tenfold_runtime::offload(move || other().join().unwrap()).unwrap();
                use_it(&stream);
            }
            // Dropped by a thread without a loop: whoever gets its number next is not mistaken for it.
            let successor = start_echo();
            thread::spawn(move || drop(stream)).join().unwrap();
            let next = TcpStream::connect(successor).unwrap();
            use_it(&next);
        });
    }
}
