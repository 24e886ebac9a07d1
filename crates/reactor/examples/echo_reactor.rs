//! A complete echo server on the classic reactor interface: `cargo run --example echo_reactor -- 127.0.0.1:7000`.
//!
//! Everything is a callback: the listener's accepts, a connection's echoes, and when the peer reads slowly it stops
//! reading until there is room to write again, so a connection holds at most one buffer.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;

use tenfold_reactor::{EventLoop, Interest, ReactorConfig, Ready};

const BUFFER_BYTES: usize = 16 * 1024;

struct Echo {
    stream: TcpStream,
    /// What was read and not yet written back.
    owed: Vec<u8>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".into());
    let listener = TcpListener::bind(&address)?;
    listener.set_nonblocking(true)?;
    let events = EventLoop::new(&ReactorConfig::default())?;
    println!("echo on {} ({})", listener.local_addr()?, events.backend_name());

    let listener = Rc::new(listener);
    let accepting = listener.clone();
    events.add(listener.as_fd(), Interest::READ, move |events, _, _| {
        while let Ok((stream, peer)) = accepting.accept() {
            println!("{peer} connected");
            serve(events, stream).unwrap_or_else(|error| eprintln!("{peer}: {error}"));
        }
    });
    events.run()?;
    Ok(())
}

fn serve(events: &EventLoop, stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let echo = Rc::new(RefCell::new(Echo { stream, owed: Vec::new() }));
    let watched = echo.clone();
    events.add(echo.borrow().stream.as_fd(), Interest::READ, move |events, _, ready| {
        let mut echo = watched.borrow_mut();
        if !echo.turn(events, ready).unwrap_or(false) {
            events.del(echo.stream.as_fd());
        }
    });
    Ok(())
}

impl Echo {
    /// Reads if nothing is owed, writes what is owed; false when the connection is over.
    fn turn(&mut self, events: &EventLoop, ready: Ready) -> io::Result<bool> {
        if ready.readable() && self.owed.is_empty() {
            self.owed.resize(BUFFER_BYTES, 0);
            let taken = match self.stream.read(&mut self.owed) {
                Ok(0) => return Ok(false),
                Ok(taken) => taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            self.owed.truncate(taken);
        }
        while !self.owed.is_empty() {
            match self.stream.write(&self.owed) {
                Ok(sent) => drop(self.owed.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    events.set(self.stream.as_fd(), Interest::WRITE);
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
        events.set(self.stream.as_fd(), Interest::READ);
        Ok(true)
    }
}
