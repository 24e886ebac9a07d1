//! The fixture's TCP and UDP services. They run in the server process.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tenfold_server::{
    App, Conn, Datagram, Delimiter, FramingExt, LengthPrefix, Reply, ServiceLimits, Settings, State,
    TcpHandler,
};

/// What no case connects to: each gives its services addresses.
const NOWHERE: &str = "127.0.0.1:1";

#[derive(Clone, Default)]
struct Shared {
    count: Arc<AtomicU64>,
    waiting: Arc<AtomicU64>,
}

/// Adds the services that the settings give an address.
pub(crate) fn add(mut app: App, settings: &Settings) -> App {
    app = app.state(Shared::default());
    for name in settings.services.keys() {
        let echo = |line: &[u8], reply: &mut Reply<'_>| reply.frame(line);
        let short = ServiceLimits { frame_bytes_max: 1000, ..ServiceLimits::default() };
        let one = ServiceLimits { connections_max: Some(1), ..ServiceLimits::default() };
        app = match &**name {
            "echo" => app.tcp(name, NOWHERE, Delimiter::crlf().each(echo).limits(short)),
            "narrow" => app.tcp(name, NOWHERE, Delimiter::crlf().each(echo).limits(one)),
            "rpc" => app.tcp(name, NOWHERE, LengthPrefix::u32().each(rpc)),
            "talk" => app.tcp(name, NOWHERE, talk),
            "shout" => app.tcp(name, NOWHERE, shout),
            "ping" => app.udp(name, NOWHERE, ping),
            _ => app,
        };
    }
    app
}

fn rpc(frame: &[u8], reply: &mut Reply<'_>, State(shared): State<Shared>) -> Result<(), String> {
    let answer = match frame {
        b"count" => (shared.count.fetch_add(1, Ordering::Relaxed) + 1).to_string().into_bytes(),
        b"much" => vec![b'x'; 16 << 20],
        b"panic" => panic!("on purpose"),
        b"meet" => meet(&shared),
        b"quit" => {
            reply.close();
            b"bye".to_vec()
        }
        other => match other.strip_prefix(b"echo ") {
            Some(text) => text.to_vec(),
            None => return Err("an unknown call".into()),
        },
    };
    reply.frame(&answer).map_err(|error| error.to_string())
}

/// Waits until two are there at the same time.
fn meet(shared: &Shared) -> Vec<u8> {
    shared.waiting.fetch_add(1, Ordering::SeqCst);
    for _ in 0..10_000 {
        if shared.waiting.load(Ordering::SeqCst) >= 2 {
            return b"met".to_vec();
        }
        tenfold_runtime::sleep(Duration::from_millis(1));
    }
    b"alone".to_vec()
}

/// Speaks first, and last.
fn talk(conn: &mut Conn) -> std::io::Result<()> {
    conn.write_all(b"who?\n")?;
    let mut name = String::new();
    while conn.read_line(&mut name)? > 0 {
        write!(conn, "hello {name}")?;
        name.clear();
    }
    conn.write_all(b"bye\n")
}

fn shout(conn: &mut Conn) -> std::io::Result<()> {
    let (lines, mut line) = (Delimiter::line(), Vec::new());
    while conn.read_frame(&lines, &mut line)? {
        conn.write_frame(&lines, &line.to_ascii_uppercase())?;
    }
    Ok(())
}

fn ping(datagram: &Datagram<'_>) -> std::io::Result<()> {
    if datagram.bytes() == b"bad" {
        return Err(std::io::Error::other("a bad datagram"));
    }
    datagram.reply(&[b"pong ", datagram.bytes()].concat())
}
