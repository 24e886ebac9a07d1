//! Bare responder on io_uring: multishot accept, multishot receive into a
//! buffer ring, one send in flight per connection; SINGLE_ISSUER and
//! DEFER_TASKRUN. The floor for completion-based servers.

use std::{
    collections::HashMap,
    os::fd::AsRawFd,
    sync::atomic::{AtomicU16, Ordering::Release},
};

use io_uring::{IoUring, cqueue, opcode, squeue::Entry, types};
use peers::{ANSWER, Heads, LAST_ANSWER, listener, wants_close};

const BUFFERS: u16 = 1024;
const BUFFER_BYTES: usize = 4096;
const ACCEPT: u64 = 1 << 32;
const RECEIVE: u64 = 2 << 32;
const SEND: u64 = 3 << 32;

/// One connection, by descriptor.
#[derive(Default)]
struct Connection {
    heads: Heads,
    /// What the send in flight sends; must not move until it completes.
    sending: Vec<u8>,
    sent: usize,
    /// Answers that wait for the send in flight.
    next: usize,
    closing: bool,
    receiving: bool,
}

/// The buffers that receives pick from (io_uring_register_buf_ring(3)).
struct Buffers {
    entries: *mut types::BufRingEntry,
    memory: Vec<u8>,
    tail: u16,
}

impl Buffers {
    fn new(ring: &IoUring) -> Self {
        // SAFETY: a fresh anonymous mapping, page-aligned as the ring demands,
        // that is never unmapped; it holds BUFFERS entries of 16 bytes.
        let entries = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BUFFERS as usize * 16,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(entries, libc::MAP_FAILED);
        // SAFETY: the mapping lives as long as the process.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, BUFFERS, 0, 0) }
            .expect("Linux 5.19 has buffer rings");
        let mut buffers =
            Self { entries: entries.cast(), memory: vec![0; BUFFERS as usize * BUFFER_BYTES], tail: 0 };
        (0..BUFFERS).for_each(|id| buffers.give(id));
        buffers
    }

    /// Gives buffer `id` (back) to the kernel.
    fn give(&mut self, id: u16) {
        let address = self.memory[id as usize * BUFFER_BYTES..].as_ptr() as u64;
        // SAFETY: the index is within the ring; the kernel reads an entry only
        // after the tail was moved past it.
        unsafe {
            let entry = &mut *self.entries.add((self.tail & (BUFFERS - 1)) as usize);
            entry.set_addr(address);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = types::BufRingEntry::tail(self.entries).cast::<AtomicU16>();
            (*tail).store(self.tail, Release);
        }
    }

    fn filled(&self, id: u16, length: usize) -> &[u8] {
        &self.memory[id as usize * BUFFER_BYTES..][..length]
    }
}

fn main() {
    let listener = listener();
    let mut ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_cqsize(8192)
        .build(1024)
        .expect("io_uring is allowed here");
    let mut buffers = Buffers::new(&ring);
    let mut connections: HashMap<i32, Connection> = HashMap::new();
    let mut todo: Vec<Entry> = vec![accept(listener.as_raw_fd())];
    let mut done: Vec<(u64, i32, u32)> = Vec::new();
    loop {
        for entry in todo.drain(..) {
            // SAFETY: what an entry points to (`sending`) stays in its
            // connection, unmoved, until the completion was handled.
            while unsafe { ring.submission().push(&entry) }.is_err() {
                ring.submit().expect("submit");
            }
        }
        match ring.submit_and_wait(1) {
            Err(error)
                if error.raw_os_error() != Some(libc::EINTR) && error.raw_os_error() != Some(libc::EBUSY) =>
            {
                panic!("{error}")
            }
            _ => {}
        }
        done.extend(ring.completion().map(|c| (c.user_data(), c.result(), c.flags())));
        for (data, result, flags) in done.drain(..) {
            let fd = data as u32 as i32;
            match data >> 32 << 32 {
                ACCEPT => {
                    if result >= 0 {
                        nodelay(result);
                        connections.insert(result, Connection { receiving: true, ..Connection::default() });
                        todo.push(receive(result));
                    }
                    if !cqueue::more(flags) {
                        todo.push(accept(listener.as_raw_fd()));
                    }
                }
                RECEIVE => {
                    let Some(connection) = connections.get_mut(&fd) else { continue };
                    if let Some(id) = cqueue::buffer_select(flags) {
                        let bytes = buffers.filled(id, result.max(0) as usize);
                        connection.next += connection.heads.count(bytes);
                        connection.closing |= wants_close(bytes);
                        buffers.give(id);
                    }
                    if !cqueue::more(flags) {
                        connection.receiving = false;
                        if result == 0 || (result < 0 && result != -libc::ENOBUFS) {
                            connection.closing = true;
                        } else {
                            connection.receiving = true;
                            todo.push(receive(fd));
                        }
                    }
                    step(fd, connection, &mut todo);
                }
                _ => {
                    let Some(connection) = connections.get_mut(&fd) else { continue };
                    if result < 0 {
                        connection.closing = true;
                        connection.next = 0;
                        connection.sent = connection.sending.len();
                    } else {
                        connection.sent += result as usize;
                    }
                    if connection.sent < connection.sending.len() {
                        todo.push(send(fd, &connection.sending[connection.sent..]));
                    } else {
                        connection.sending.clear();
                        step(fd, connection, &mut todo);
                    }
                }
            }
            let over = |c: &Connection| c.closing && c.sending.is_empty() && c.next == 0;
            if connections.get(&fd).is_some_and(over) && data >> 32 << 32 != ACCEPT {
                // Ends the receive; its completion closes the descriptor.
                if connections[&fd].receiving {
                    // SAFETY: the descriptor is ours and open.
                    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
                } else {
                    connections.remove(&fd);
                    // SAFETY: as above; no operation on it is in flight.
                    unsafe { libc::close(fd) };
                }
            }
        }
    }
}

/// Sends what is due, unless a send is in flight.
fn step(fd: i32, connection: &mut Connection, todo: &mut Vec<Entry>) {
    if connection.sending.is_empty() && connection.next > 0 {
        let answer = if connection.closing { LAST_ANSWER } else { ANSWER };
        (0..connection.next).for_each(|_| connection.sending.extend_from_slice(answer));
        connection.next = 0;
        connection.sent = 0;
        todo.push(send(fd, &connection.sending));
    }
}

fn accept(fd: i32) -> Entry {
    opcode::AcceptMulti::new(types::Fd(fd)).build().user_data(ACCEPT)
}

fn receive(fd: i32) -> Entry {
    opcode::RecvMulti::new(types::Fd(fd), 0).build().user_data(RECEIVE | fd as u64)
}

fn send(fd: i32, bytes: &[u8]) -> Entry {
    let (address, length) = (bytes.as_ptr(), bytes.len() as u32);
    opcode::Send::new(types::Fd(fd), address, length)
        .flags(libc::MSG_NOSIGNAL)
        .build()
        .user_data(SEND | fd as u64)
}

fn nodelay(fd: i32) {
    let on: i32 = 1;
    // SAFETY: the option is an int, and the descriptor is open.
    unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const on).cast(), 4) };
}
