//! `Client`: one listener, its connection and what it makes of the bytes that come.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::time::TimeSpec;
use rustix::net::{AddressFamily, SocketType};

use crate::options::Options;

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// The beginning of a frame that is not whole.
    pub(crate) rest: Vec<u8>,
    /// Whether the times of its messages count; with stamps only some clients' do.
    pub(crate) timed: bool,
}

/// Now, in the clock that all processes share.
pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// From one of many loopback addresses: one has no more than 28,000 ports to begin from, and those of the last run rest in
/// TIME_WAIT.
pub(crate) fn connect(to: SocketAddrV4, number: usize) -> io::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let run = std::process::id();
    let from = Ipv4Addr::new(127, 1 + (run >> 8 & 0x7f) as u8, run as u8, 1 + (number / 1_000) as u8);
    rustix::net::bind(&socket, &SocketAddrV4::new(from, 0))?;
    rustix::net::connect(&socket, &to)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

/// How many bytes, and when the last of them came, in the clock of [`now_ns`].
pub(crate) fn read_stamped(
    stream: &TcpStream,
    chunk: &mut [u8],
    ahead: Duration,
) -> io::Result<(usize, u64)> {
    let mut space = nix::cmsg_space!(TimeSpec);
    let mut parts = [io::IoSliceMut::new(chunk)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
    let stamp = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
        _ => None,
    });
    let at = stamp.and_then(|stamp| stamp.checked_sub(ahead));
    Ok((message.bytes, at.map_or_else(now_ns, |at| at.as_nanos() as u64)))
}

pub(crate) fn shake_hands(client: &mut Client, options: &Options) -> io::Result<()> {
    let mut input = Vec::new();
    let end = loop {
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        let mut chunk = [0; 2048];
        match client.stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => input.extend_from_slice(&chunk[..count]),
        }
    };
    if !input.starts_with(b"HTTP/1.1 101") {
        return Err(io::Error::other(String::from_utf8_lossy(&input).into_owned()));
    }
    client.rest = input[end..].to_vec();
    options.say.iter().try_for_each(|text| client.stream.write_all(&masked(text.as_bytes())))
}

/// A masked text frame, for up to 125 bytes.
pub(crate) fn masked(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    tenfold_http::websocket::encode_masked(
        &mut out,
        tenfold_http::websocket::Opcode::Text,
        payload,
        [1, 2, 3, 4],
    );
    out
}

/// The first frame's payload, and what follows it.
pub(crate) fn frame(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = input.split_first_chunk::<2>()?;
    let (length, rest) = match head[1] & 0x7f {
        126 => {
            let (bytes, rest) = rest.split_first_chunk::<2>()?;
            (u16::from_be_bytes(*bytes) as usize, rest)
        }
        127 => {
            let (bytes, rest) = rest.split_first_chunk::<8>()?;
            (u64::from_be_bytes(*bytes) as usize, rest)
        }
        length => (usize::from(length), rest),
    };
    rest.split_at_checked(length)
}

/// The time in a message.
pub(crate) fn time_of(payload: &[u8]) -> Option<u64> {
    let at = payload.windows(5).position(|five| five == b"\"t\":\"")? + 5;
    let digits = payload.get(at..at + 20)?;
    digits.iter().try_fold(0u64, |number, digit| match digit {
        b'0'..=b'9' => Some(number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))),
        _ => None,
    })
}
