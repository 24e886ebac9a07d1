//! The handler processes of a lane, as the process in front sees them.
//!
//! A handler process connects to the front's socket and says who it is; then it is given one request at a time. What
//! crosses is the client's connection itself (SCM_RIGHTS, unix(7)) with the bytes that have been read from it: the handler
//! reads the rest of the body and writes the answer on its own, and hands the connection back.
//!
//! ```text
//!   handler ──hello(lane, slot)──▶ front          one packet each, SOCK_SEQPACKET
//!   front ──request(flags, bytes) + descriptor──▶ handler       in further packets if they are many
//!   handler ──reply(what comes after, bytes read too far)──▶ front
//! ```

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use tenfold_http::h1::After;
use tenfold_runtime::net::TcpStream;
use tenfold_runtime::{Interest, park, sleep};
use tenfold_scoreboard::Handed;

/// Largest part of a head and what came with it in one packet. Two packets fit the socket buffer, whose default is 208 KiB.
const PIECE_MAX: usize = 64 * 1024;
/// Largest packet: a piece with its header, which has an address of at most 255 bytes.
const PACKET_MAX: usize = PIECE_MAX + 512;
/// How often a request looks for a handler process while all of them are being replaced.
const LOOK: Duration = Duration::from_millis(2);

/// A channel to one handler process.
#[derive(Debug)]
pub(crate) struct Channel {
    stream: TcpStream,
    /// The handler's slot on the scoreboard.
    pub(crate) slot: usize,
}

/// The idle handler processes of a lane.
#[derive(Debug, Default)]
pub(crate) struct Crew {
    idle: Mutex<Vec<Channel>>,
}

/// What a front says of a request that it gives away.
pub(crate) struct Passed<'a> {
    /// The connection closes after this answer, whatever the client wishes.
    pub(crate) last: bool,
    /// How long ago the request has arrived.
    pub(crate) age: Duration,
    /// The client's address in text, for the handler.
    pub(crate) peer: &'a str,
    /// What the front has counted of it.
    pub(crate) handed: &'a Handed,
}

/// What a handler process got.
pub(crate) struct Given {
    pub(crate) client: OwnedFd,
    /// The connection closes after this answer, whatever the client wishes.
    pub(crate) last: bool,
    /// How long ago the request has arrived.
    pub(crate) age: Duration,
    /// What was read from the connection, beginning with the request's head.
    pub(crate) bytes: Vec<u8>,
    /// The client's address in text, for the handler.
    pub(crate) peer: String,
    /// What the front has counted of it.
    pub(crate) handed: Handed,
}

/// What a handler process gives back.
pub(crate) struct Reply {
    pub(crate) after: After,
    pub(crate) bytes: Vec<u8>,
}

impl Crew {
    pub(crate) fn join(&self, channel: Channel) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
    }

    /// Takes an idle handler process, waiting for one until `until`: dead ones are being replaced.
    pub(crate) fn take(&self, until: Instant) -> Option<Channel> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(channel) if channel.is_alive() => return Some(channel),
                Some(_) => continue,
                None if Instant::now() >= until => return None,
                None => sleep(LOOK),
            }
        }
    }
}

impl Channel {
    /// Front: takes a handler's connection; its first packet says who it is.
    pub(crate) fn greet(stream: TcpStream) -> io::Result<(usize, Channel)> {
        let mut hello = [0; 8];
        let count =
            park::parking(|| stream.read_until(&mut hello, Some(Instant::now() + Duration::from_secs(5))))?;
        let (lane, slot) = (&hello[..4], &hello[4..]);
        if count != hello.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        Ok((number(lane), Channel { slot: number(slot), stream }))
    }

    /// Handler: says who it is.
    pub(crate) fn hello(fd: OwnedFd, lane: usize, slot: usize) -> io::Result<Channel> {
        let stream = TcpStream::from_fd(fd);
        let mut hello = Vec::from((lane as u32).to_be_bytes());
        hello.extend((slot as u32).to_be_bytes());
        stream.write_all_until(&hello, None)?;
        Ok(Channel { stream, slot })
    }

    /// An idle handler says nothing, so anything readable is its end.
    fn is_alive(&self) -> bool {
        let mut byte = [0];
        matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Front: gives a request away and waits for the reply.
    ///
    /// # Errors
    /// `UnexpectedEof` and the like when the handler process has died.
    pub(crate) fn pass(
        &self,
        client: impl AsFd,
        passed: &Passed<'_>,
        parts: [&[u8]; 2],
    ) -> io::Result<Reply> {
        let Passed { last, age, peer, handed } = passed;
        let header = [u8::from(*last), peer.len() as u8];
        let age_ms = u32::try_from(age.as_millis()).unwrap_or(u32::MAX).to_be_bytes();
        let header = [header.as_slice(), &age_ms, peer.as_bytes(), &handed.to_bytes()].concat();
        park::parking(|| {
            self.send(&header, parts, Some(client.as_fd()))?;
            let (mut first, _) = self.receive()?;
            let after = decode_after(*first.first().ok_or(io::ErrorKind::UnexpectedEof)?)?;
            let bytes = self.receive_rest(first.split_off(1))?;
            Ok(Reply { after, bytes })
        })
    }

    /// Handler: waits until there is a request, or the front is gone. Only this wait may be interrupted: what comes after
    /// it is a request that somebody waits for.
    pub(crate) fn wait_given(&self) -> io::Result<()> {
        self.stream.wait_ready(Interest::READ, None)
    }

    /// Handler: takes a request; `None` when the front is gone.
    pub(crate) fn given(&self) -> io::Result<Option<Given>> {
        let (bytes, client) = self.receive()?;
        let (Some(client), [last, peer_len, a, b, c, d, rest @ ..]) = (client, &bytes[..]) else {
            return Ok(None);
        };
        let age = Duration::from_millis(u32::from_be_bytes([*a, *b, *c, *d]).into());
        let Some((peer, rest)) = rest.split_at_checked(usize::from(*peer_len)) else { return Ok(None) };
        let Some((handed, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let peer = String::from_utf8_lossy(peer).into_owned();
        let handed = Handed::from_bytes(handed);
        let bytes = self.receive_rest(rest.to_vec())?;
        Ok(Some(Given { client, last: *last != 0, age, bytes, peer, handed }))
    }

    /// Handler: gives the connection back.
    pub(crate) fn reply(&self, after: After, bytes: &[u8]) -> io::Result<()> {
        self.send(&[encode_after(after)], [bytes, &[]], None)
    }

    /// Sends a header, the length of the rest in four bytes, and the rest in as many packets as it takes: a loop can have
    /// received more of a body than one packet holds.
    fn send(&self, header: &[u8], parts: [&[u8]; 2], client: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let total = parts[0].len() + parts[1].len();
        let length = u32::try_from(total).map_err(|_| io::ErrorKind::InvalidInput)?.to_be_bytes();
        let mut sent = 0;
        loop {
            let piece = cut(parts, sent, PIECE_MAX);
            let first = if sent == 0 { [header, &length] } else { [&[][..]; 2] };
            let bufs = [first[0], first[1], piece[0], piece[1]].map(IoSlice::new);
            self.when_ready(Interest::WRITE, || {
                let fds = client.as_slice();
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                if sent == 0 && !fds.is_empty() {
                    ancillary.push(SendAncillaryMessage::ScmRights(fds));
                }
                rustix::net::sendmsg(&self.stream, &bufs, &mut ancillary, flags_out()).map(drop)
            })?;
            sent += piece[0].len() + piece[1].len();
            if sent >= total {
                return Ok(());
            }
        }
    }

    /// What follows a header, of which `bytes` came with it.
    fn receive_rest(&self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let (length, first) = bytes.split_first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
        let total = u32::from_be_bytes(*length) as usize;
        let mut all = first.to_vec();
        while all.len() < total {
            let (more, _) = self.receive()?;
            if more.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            all.extend(more);
        }
        Ok(all)
    }

    fn receive(&self) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
        let mut bytes = vec![0; PACKET_MAX];
        let mut client = None;
        let mut count = 0;
        self.when_ready(Interest::READ, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut bufs = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            count = rustix::net::recvmsg(&self.stream, &mut bufs, &mut ancillary, flags)?.bytes;
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(mut fds) = message {
                    client = fds.next();
                }
            }
            Ok(())
        })?;
        bytes.truncate(count);
        Ok((bytes, client))
    }

    fn when_ready(
        &self,
        interest: Interest,
        mut attempt: impl FnMut() -> rustix::io::Result<()>,
    ) -> io::Result<()> {
        loop {
            match attempt() {
                Err(rustix::io::Errno::AGAIN) => self.stream.wait_ready(interest, None)?,
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }
}

/// At most `count` bytes of both parts, from `start` on.
fn cut(parts: [&[u8]; 2], start: usize, count: usize) -> [&[u8]; 2] {
    let within = |bytes: &'_ [u8], from: usize, to: usize| (from.min(bytes.len()), to.min(bytes.len()));
    let (from, to) = within(parts[0], start, start + count);
    let shift = parts[0].len();
    let (second_from, second_to) =
        within(parts[1], start.saturating_sub(shift), (start + count).saturating_sub(shift));
    [&parts[0][from..to], &parts[1][second_from..second_to]]
}

fn flags_out() -> SendFlags {
    SendFlags::DONTWAIT | SendFlags::NOSIGNAL
}

fn encode_after(after: After) -> u8 {
    match after {
        After::KeepAlive => b'k',
        After::Linger => b'l',
        _ => b'c',
    }
}

fn decode_after(code: u8) -> io::Result<After> {
    match code {
        b'k' => Ok(After::KeepAlive),
        b'l' => Ok(After::Linger),
        b'c' => Ok(After::Close),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn requests_and_replies_of_any_length_cross_whole() {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (front, handler) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let channel = |fd| Channel { stream: TcpStream::from_fd(fd), slot: 0 };
        let (front, handler) = (channel(front), channel(handler));
        let echo = std::thread::spawn(move || {
            while let Ok(Some(given)) = handler.given() {
                assert!(given.last && given.peer == "a peer" && given.age == Duration::from_millis(1500));
                handler.reply(After::Linger, &given.bytes).unwrap();
            }
        });
        let client = std::fs::File::open("/dev/null").unwrap();
        for (head, rest) in
            [(0, 0), (1, 0), (40, 7), (PIECE_MAX, 0), (PIECE_MAX - 1, 2), (100, 5 * PIECE_MAX)]
        {
            let bytes: Vec<u8> = (0..head + rest).map(|index| (index % 251) as u8).collect();
            let (head, rest) = bytes.split_at(head);
            let passed = Passed {
                last: true,
                age: Duration::from_millis(1500),
                peer: "a peer",
                handed: &Handed::default(),
            };
            let reply = front.pass(&client, &passed, [head, rest]).unwrap();
            assert!(reply.bytes == bytes && reply.after == After::Linger, "{} bytes", bytes.len());
        }
        drop(front);
        echo.join().unwrap();
    }
}
