//! The client protocol of NATS: bytes ↔ operations (docs.nats.io/reference/reference-protocols/nats-protocol). No I/O.
//!
//! ```text
//!   server → client   INFO {…} │ MSG subject sid [reply] bytes │ HMSG subject sid [reply] head total │ PING │ PONG │ +OK │ -ERR '…'
//!   client → server   CONNECT {…} │ PUB │ HPUB │ SUB │ UNSUB │ PING │ PONG
//! ```
//!
//! A control line ends in CR LF; a payload has its length said before it and CR LF behind it. `fuzz/fuzz_targets/nats_operation.rs`
//! feeds it anything.

/// Most bytes of a control line: an INFO lists the servers of a cluster.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// About itself, as JSON.
    Info(String),
    /// A message of a subscription.
    Message(Message),
    /// Is the client there?
    Ping,
    /// The answer to a PING.
    Pong,
    /// It has understood.
    Okay,
    /// It has not, or closes the connection.
    Refusal(String),
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub subject: String,
    /// Which subscription it is for.
    pub sid: u64,
    /// Where an answer goes.
    pub reply: Option<String>,
    /// The status of a message that the server has made, as 503 for a request that nobody hears.
    pub status: Option<u16>,
    /// What was published.
    pub payload: Vec<u8>,
}

/// Bytes that are no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// The first operation of `input` and how many bytes it takes; `None` when it is not there as a whole.
///
/// # Errors
/// [`Malformed`]; the connection cannot go on then.
pub fn parse(input: &[u8], payload_bytes_max: usize) -> Result<Option<(Operation, usize)>, Malformed> {
    let head = &input[..input.len().min(LINE_BYTES_MAX)];
    let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
        return if input.len() >= LINE_BYTES_MAX { Err(Malformed("a line is too long")) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&input[..end]).map_err(|_| Malformed("a line is no text"))?;
    let used = end + 2;
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let rest = rest.trim();
    let operation = match word.to_ascii_uppercase().as_str() {
        "INFO" => Operation::Info(rest.into()),
        "PING" => Operation::Ping,
        "PONG" => Operation::Pong,
        "+OK" => Operation::Okay,
        "-ERR" => Operation::Refusal(rest.trim_matches('\'').into()),
        "MSG" => return message(rest, false, &input[used..], used, payload_bytes_max),
        "HMSG" => return message(rest, true, &input[used..], used, payload_bytes_max),
        _ => return Err(Malformed("an unknown operation")),
    };
    Ok(Some((operation, used)))
}

fn message(
    line: &str,
    has_head: bool,
    body: &[u8],
    used: usize,
    payload_bytes_max: usize,
) -> Result<Option<(Operation, usize)>, Malformed> {
    let mut words: Vec<&str> = line.split_ascii_whitespace().collect();
    let mut number = || {
        let digits = words.pop().ok_or(Malformed("a message without a length"))?;
        digits.parse::<usize>().map_err(|_| Malformed("a length is no number"))
    };
    let total = number()?;
    let head = if has_head { number()? } else { 0 };
    if head > total || total > payload_bytes_max {
        return Err(Malformed("a message is too long"));
    }
    let (subject, sid, reply) = match words[..] {
        [subject, sid] => (subject, sid, None),
        [subject, sid, reply] => (subject, sid, Some(reply.to_owned())),
        _ => return Err(Malformed("a message has too few words or too many")),
    };
    let sid = sid.parse().map_err(|_| Malformed("a subscription is no number"))?;
    let Some(bytes) = body.get(..total + 2) else { return Ok(None) };
    if &bytes[total..] != b"\r\n" {
        return Err(Malformed("a message does not end in CR LF"));
    }
    let status = if has_head { status(&bytes[..head])? } else { None };
    let payload = bytes[head..total].to_vec();
    let message = Message { subject: subject.into(), sid, reply, status, payload };
    Ok(Some((Operation::Message(message), used + total + 2)))
}

/// The status of a head: `NATS/1.0[ status[ words]]`, and then lines that nobody here asks for.
fn status(head: &[u8]) -> Result<Option<u16>, Malformed> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| Malformed("a head is no text"))?;
    let rest = line.strip_prefix("NATS/1.0").ok_or(Malformed("a head of another version"))?;
    let Some(word) = rest.split_ascii_whitespace().next() else { return Ok(None) };
    word.parse().map(Some).map_err(|_| Malformed("a status is no number"))
}

/// Appends a CONNECT with these words in JSON.
pub fn put_connect(out: &mut Vec<u8>, json: &str) {
    out.extend_from_slice(format!("CONNECT {json}\r\n").as_bytes());
}

/// Appends a SUB.
pub fn put_subscribe(out: &mut Vec<u8>, subject: &str, sid: u64) {
    out.extend_from_slice(format!("SUB {subject} {sid}\r\n").as_bytes());
}

/// Appends an UNSUB.
pub fn put_unsubscribe(out: &mut Vec<u8>, sid: u64) {
    out.extend_from_slice(format!("UNSUB {sid}\r\n").as_bytes());
}

/// Appends a PUB, or an HPUB where there are headers. Subjects and headers are the program's own words: without blanks or ends of
/// lines.
pub fn put_publish(
    out: &mut Vec<u8>,
    subject: &str,
    reply: &str,
    headers: &[(&str, String)],
    payload: &[u8],
) {
    if headers.is_empty() {
        out.extend_from_slice(format!("PUB {subject} {reply} {}\r\n", payload.len()).as_bytes());
    } else {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("NATS/1.0\r\n{lines}\r\n");
        let line = format!("HPUB {subject} {reply} {} {}\r\n", head.len(), head.len() + payload.len());
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(head.as_bytes());
    }
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(input: &str) -> Operation {
        match parse(input.as_bytes(), 1 << 20) {
            Ok(Some((operation, used))) if used == input.len() => operation,
            other => panic!("{input:?} gave {other:?}"),
        }
    }

    #[test]
    fn each_operation_is_read() {
        assert_eq!(whole("INFO {\"a\":1} \r\n"), Operation::Info("{\"a\":1}".into()));
        assert_eq!((whole("PING\r\n"), whole("pong\r\n")), (Operation::Ping, Operation::Pong));
        assert_eq!(whole("+OK\r\n"), Operation::Okay);
        assert_eq!(
            whole("-ERR 'Authorization Violation'\r\n"),
            Operation::Refusal("Authorization Violation".into())
        );
        let message =
            Message { subject: "a.b".into(), sid: 9, payload: b"x\r\ny".to_vec(), ..Message::default() };
        assert_eq!(whole("MSG a.b 9 4\r\nx\r\ny\r\n"), Operation::Message(message.clone()));
        let answered = Message { reply: Some("r".into()), ..message };
        assert_eq!(whole("MSG a.b 9 r 4\r\nx\r\ny\r\n"), Operation::Message(answered));
    }

    #[test]
    fn a_status_is_read_from_a_head() {
        let nobody = whole("HMSG in.1 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n");
        assert!(matches!(nobody, Operation::Message(Message { status: Some(503), .. })), "{nobody:?}");
        let plain = whole("HMSG s 1 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
        assert!(
            matches!(plain, Operation::Message(Message { status: None, ref payload, .. }) if payload == b"hi")
        );
    }

    #[test]
    fn every_beginning_of_an_operation_is_missing_something() {
        let input = b"HMSG in.1 1 reply 16 18\r\nNATS/1.0 100\r\n\r\nok\r\n";
        for end in 0..input.len() {
            assert_eq!(parse(&input[..end], 1 << 20), Ok(None), "{end}");
        }
        assert!(parse(input, 1 << 20).unwrap().is_some());
    }

    #[test]
    fn what_is_no_operation_is_malformed() {
        for bad in [
            "HELLO\r\n",
            "\r\n",
            "MSG a\r\n",
            "MSG a 1 x\r\n",
            "MSG a b 1\r\nx\r\n",
            "MSG a 1 r s 1\r\nx\r\n",
            "MSG a 1 1\r\nxyz\r\n",
            "MSG a 1 99999999\r\n",
            "HMSG a 1 5 4\r\nabcd\r\n",
            "HMSG a 1 4 4\r\nHTTP\r\n",
        ] {
            assert!(parse(bad.as_bytes(), 1 << 20).is_err(), "{bad:?}");
        }
        assert!(parse(&[b'a'; LINE_BYTES_MAX], 1 << 20).is_err());
    }

    /// The fuzz target's claims, for a while and on seeds of ours.
    #[test]
    fn bytes_that_are_changed_at_random_make_no_trouble() {
        let seed = b"MSG a.b 9 r 4\r\nx\r\ny\r\nHMSG in.1 1 16 18\r\nNATS/1.0 100\r\n\r\nok\r\nPING\r\nINFO {}\r\n-ERR 'x'\r\n";
        let mut state = 88_172_645_463_325_252_u64;
        let mut random = |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % bound as u64) as usize
        };
        for _ in 0..20_000 {
            let mut bytes = seed[random(40)..].to_vec();
            for _ in 0..random(4) {
                let at = random(bytes.len());
                bytes[at] = random(256) as u8;
            }
            let mut rest = &bytes[..];
            while let Ok(Some((_, used))) = parse(rest, 1 << 16) {
                assert!(used > 0 && used <= rest.len());
                assert!(!matches!(parse(&rest[..used - 1], 1 << 16), Ok(Some(_))));
                rest = &rest[used..];
            }
        }
    }

    #[test]
    fn what_is_published_says_its_lengths() {
        let mut out = Vec::new();
        put_publish(&mut out, "s", "r", &[("A", "1".into())], b"hi");
        assert_eq!(out, b"HPUB s r 18 20\r\nNATS/1.0\r\nA: 1\r\n\r\nhi\r\n");
        out.clear();
        put_publish(&mut out, "s", "r", &[], b"hi");
        put_subscribe(&mut out, "s.*", 1);
        put_unsubscribe(&mut out, 1);
        assert_eq!(out, b"PUB s r 2\r\nhi\r\nSUB s.* 1\r\nUNSUB 1\r\n");
    }
}
