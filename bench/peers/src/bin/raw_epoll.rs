//! Bare responder on epoll: counts heads, parses nothing. The floor for
//! readiness-based servers. One thread, level-triggered, read until short.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::fd::AsRawFd,
};

use peers::{ANSWER, Heads, LAST_ANSWER, listener, wants_close};

struct Connection {
    stream: TcpStream,
    heads: Heads,
    /// Answers that the socket did not take yet.
    unsent: Vec<u8>,
}

fn main() {
    let listener = listener();
    listener.set_nonblocking(true).expect("non-blocking");
    // SAFETY: plain system calls on descriptors that this function owns; the
    // events array outlives each call.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    let watch = |fd: i32, events: i32, how: i32| {
        let mut event = libc::epoll_event { events: events as u32, u64: fd as u64 };
        // SAFETY: as above.
        unsafe { libc::epoll_ctl(epoll, how, fd, &mut event) };
    };
    watch(listener.as_raw_fd(), libc::EPOLLIN, libc::EPOLL_CTL_ADD);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 512];
    loop {
        // SAFETY: as above.
        let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 512, -1) };
        for event in &events[..count.max(0) as usize] {
            let fd = event.u64 as i32;
            if fd == listener.as_raw_fd() {
                while let Ok((stream, _)) = listener.accept() {
                    let _ = stream.set_nonblocking(true);
                    let _ = stream.set_nodelay(true);
                    let number = stream.as_raw_fd();
                    if connections.len() <= number as usize {
                        connections.resize_with(number as usize + 1, || None);
                    }
                    connections[number as usize] =
                        Some(Connection { stream, heads: Heads::default(), unsent: Vec::new() });
                    watch(number, libc::EPOLLIN, libc::EPOLL_CTL_ADD);
                }
                continue;
            }
            let Some(connection) = connections[fd as usize].as_mut() else { continue };
            let was_blocked = !connection.unsent.is_empty();
            if !serve(connection) {
                connections[fd as usize] = None;
            } else if was_blocked != !connection.unsent.is_empty() {
                let out = if connection.unsent.is_empty() { 0 } else { libc::EPOLLOUT };
                watch(fd, libc::EPOLLIN | out, libc::EPOLL_CTL_MOD);
            }
        }
    }
}

/// Reads once and answers; `false` when the connection is over.
fn serve(connection: &mut Connection) -> bool {
    let mut buffer = [0; 8192];
    if !connection.unsent.is_empty() {
        return flush(connection);
    }
    match connection.stream.read(&mut buffer) {
        Ok(0) => false,
        Ok(read) => {
            let answers = connection.heads.count(&buffer[..read]);
            let closing = answers > 0 && wants_close(&buffer[..read]);
            let answer = if closing { LAST_ANSWER } else { ANSWER };
            if answers == 1 {
                match connection.stream.write(answer) {
                    Ok(sent) => connection.unsent.extend_from_slice(&answer[sent..]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        connection.unsent.extend_from_slice(answer)
                    }
                    Err(_) => return false,
                }
            } else {
                (0..answers).for_each(|_| connection.unsent.extend_from_slice(answer));
            }
            flush(connection) && !closing
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

fn flush(connection: &mut Connection) -> bool {
    while !connection.unsent.is_empty() {
        match connection.stream.write(&connection.unsent) {
            Ok(sent) => drop(connection.unsent.drain(..sent)),
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
    true
}
