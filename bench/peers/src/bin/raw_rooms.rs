//! What sending alone costs: every connection is in one room, and a publish is a loop of send(2) over all of them. It reads
//! nothing that clients say, and knows one key.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// For the key of RFC 6455 section 1.3, which bench/rooms uses.
const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0u16);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("ready");
    let members: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.set_nodelay(true)?;
        let mut input = Vec::new();
        let Some(head) = read_head(&mut stream, &mut input) else { continue };
        if head.starts_with("GET ") {
            stream.write_all(ACCEPT.as_bytes())?;
            stream.set_nonblocking(true)?;
            members.lock().unwrap().push(stream);
        } else {
            let members = members.clone();
            std::thread::spawn(move || publish_all(stream, head, input, &members));
        }
    }
    Ok(())
}

/// The head; what follows it stays in `input`.
fn read_head(stream: &mut TcpStream, input: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = input.drain(..end + 4).collect();
            return String::from_utf8(head).ok();
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(count) => input.extend_from_slice(&chunk[..count]),
        }
    }
}

fn publish_all(mut stream: TcpStream, mut head: String, mut input: Vec<u8>, members: &Mutex<Vec<TcpStream>>) {
    loop {
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).and_then(|n| n.parse().ok());
        let length: usize = length.unwrap_or(0);
        while input.len() < length {
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(count) => input.extend_from_slice(&chunk[..count]),
            }
        }
        let body: Vec<u8> = input.drain(..length).collect();
        let text = [b"{\"room\":\"bench\",\"data\":", &body[..], b"}"].concat();
        let mut frame = vec![0x81, 126, (text.len() >> 8) as u8, text.len() as u8];
        frame.extend_from_slice(&text);
        for mut member in members.lock().unwrap().iter() {
            let _ = member.write(&frame);
        }
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").is_err() {
            return;
        }
        match read_head(&mut stream, &mut input) {
            Some(next) => head = next,
            None => return,
        }
    }
}
