//! How many connections wait in a listener's queue, and how many may.
//!
//! The kernel tells in two ways: of a TCP socket by `TCP_INFO` (`sys.rs`), of a Unix socket by sock_diag(7) alone, which is a
//! question over a netlink socket. That one is asked for a single inode and answered before send(2) returns, so the master
//! never waits for it.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::{
    fs::fstat,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with},
};

use crate::{listener::Listener, sys};

/// `SOCK_DIAG_BY_FAMILY` in Linux' linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST` in linux/netlink.h.
const REQUEST: u16 = 1;
/// The state of a socket that listens, as a bit: `TCP_LISTEN` of net/tcp_states.h is used for Unix sockets too.
const LISTENING: u32 = 1 << 10;
/// `UDIAG_SHOW_RQLEN` in linux/unix_diag.h.
const SHOW_QUEUE: u32 = 0x10;
/// `UNIX_DIAG_RQLEN`, the attribute that it brings.
const QUEUE: u16 = 4;
/// Bytes of `struct nlmsghdr`, and of `struct unix_diag_msg` behind it.
const HEADERS: usize = 16 + 16;

/// Connections that nobody has accepted yet, and how many those may be. `None` for a socket that does not listen, and where the
/// kernel does not tell: it may have no unix_diag, or the service manager may forbid netlink (`RestrictAddressFamilies=`).
///
/// Cost: a system call for TCP, four for a Unix socket.
pub(crate) fn accept_queue(listener: &Listener) -> Option<(u32, u32)> {
    match listener {
        Listener::Tcp(listener) => sys::accept_queue(listener.as_fd()),
        Listener::Unix(listener) => unix_queue(listener.as_fd()),
        Listener::Udp(_) => None,
    }
}

fn unix_queue(listener: BorrowedFd<'_>) -> Option<(u32, u32)> {
    let inode = u32::try_from(fstat(listener).ok()?.st_ino).ok()?;
    let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
    let netlink = socket_with(family, SocketType::RAW, flags, Some(netlink::SOCK_DIAG)).ok()?;
    send(&netlink, &question(inode), SendFlags::empty()).ok()?;
    let mut answer = [0; 512];
    let (count, _) = recv(&netlink, &mut answer, RecvFlags::DONTWAIT).ok()?;
    read_answer(&answer[..count])
}

/// `struct nlmsghdr` and `struct unix_diag_req` for one socket, whose cookie nobody knows.
fn question(inode: u32) -> Vec<u8> {
    let family = AddressFamily::UNIX.as_raw() as u8;
    let body = [u32::from_ne_bytes([family, 0, 0, 0]), LISTENING, inode, SHOW_QUEUE, u32::MAX, u32::MAX];
    let length = (16 + size_of_val(&body)) as u32;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    // Its number, and who asks: the kernel fills that in.
    bytes.extend([0; 8]);
    bytes.extend(body.iter().flat_map(|word| word.to_ne_bytes()));
    bytes
}

/// The queue in an answer; `None` where it is an error, or says something else.
fn read_answer(bytes: &[u8]) -> Option<(u32, u32)> {
    let short = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if short(4)? != BY_FAMILY {
        return None;
    }
    // Attributes: length and kind, then the value, up to the next multiple of four (netlink(7)).
    let mut at = HEADERS;
    loop {
        let (length, kind) = (usize::from(short(at)?), short(at + 2)?);
        match kind {
            QUEUE if length >= 12 => return Some((word(at + 4)?, word(at + 8)?)),
            // A shorter one would be no attribute.
            _ => at += length.max(4).next_multiple_of(4),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn the_queue_of_a_unix_socket_is_told_and_follows_it() {
        let path = std::env::temp_dir().join(format!("tenfold-queue-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = Listener::Unix(UnixListener::bind(&path).unwrap());
        let Some((waiting, most)) = accept_queue(&listener) else {
            println!("left out: this kernel does not tell of Unix sockets' queues");
            return std::fs::remove_file(&path).unwrap();
        };
        assert_eq!(waiting, 0);
        let clients: Vec<UnixStream> = (0..3).map(|_| UnixStream::connect(&path).unwrap()).collect();
        assert_eq!(accept_queue(&listener), Some((3, most)));
        let Listener::Unix(socket) = &listener else { unreachable!("it was made as one") };
        drop(socket.accept().unwrap());
        assert_eq!(accept_queue(&listener), Some((2, most)));
        std::fs::remove_file(&path).unwrap();
        drop(clients);
    }

    #[test]
    fn answers_that_are_cut_off_or_say_something_else_are_no_queue() {
        let mut answer = vec![0; HEADERS];
        answer[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        let attribute = |kind: u16, words: &[u32]| {
            let length = 4 + 4 * words.len() as u16;
            let head = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
            head.into_iter().chain(words.iter().flat_map(|word| word.to_ne_bytes())).collect::<Vec<u8>>()
        };
        answer.extend([attribute(6, &[7]), attribute(QUEUE, &[3, 77])].concat());
        assert_eq!(read_answer(&answer), Some((3, 77)));
        for length in 0..answer.len() {
            assert_eq!(read_answer(&answer[..length]), None, "{length}");
        }
        let zeroes = [&answer[..HEADERS], &[0; 100]].concat();
        assert_eq!(read_answer(&zeroes), None, "an end, and no endless loop");
        answer[4] = 2; // NLMSG_ERROR
        assert_eq!(read_answer(&answer), None);
    }
}
