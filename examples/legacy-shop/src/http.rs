//! The few lines of HTTP that the shop has always had: one request a connection, no keep-alive.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};

/// Longest head and longest form that are read, in bytes.
const HEAD_MAX: u64 = 16 * 1024;
const FORM_MAX: usize = 64 * 1024;

#[derive(Debug, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: HashMap<String, String>,
    pub form: HashMap<String, String>,
    pub cookie: String,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub content_type: &'static str,
    pub location: Option<String>,
    pub cookie: Option<String>,
    pub body: String,
}

impl Request {
    /// Reads one request.
    pub fn read(stream: impl Read) -> io::Result<Request> {
        let mut reader = BufReader::new(stream);
        let mut head = reader.by_ref().take(HEAD_MAX);
        let mut line = String::new();
        head.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let (method, target) = match (words.next(), words.next()) {
            (Some(method), Some(target)) => (method.to_owned(), target.to_owned()),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        let (mut length, mut cookie) = (0, String::new());
        loop {
            let mut line = String::new();
            if head.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
                }
                Some((name, value)) if name.eq_ignore_ascii_case("cookie") => {
                    value.trim().clone_into(&mut cookie)
                }
                Some(_) => {}
                None => break,
            }
        }
        if length > FORM_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Request::new(&method, &target, cookie, &String::from_utf8_lossy(&body)))
    }

    pub fn new(method: &str, target: &str, cookie: String, body: &str) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: pairs(query),
            form: pairs(body),
            cookie,
        }
    }

    /// A number of the form.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.form.get(name)?.parse().ok()
    }
}

impl Response {
    pub fn html(status: u16, body: String) -> Response {
        Response { status, content_type: "text/html; charset=utf-8", location: None, cookie: None, body }
    }

    pub fn see_other(location: String) -> Response {
        Response { location: Some(location), ..Response::html(303, String::new()) }
    }

    pub fn write(&self, mut stream: impl Write) -> io::Result<()> {
        let mut head = format!(
            "HTTP/1.1 {} -\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n",
            self.status,
            self.content_type,
            self.body.len()
        );
        for (name, value) in self.headers() {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.push_str(&self.body);
        stream.write_all(head.as_bytes())
    }

    /// What it says beside type and length.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if let Some(location) = &self.location {
            headers.push(("Location", location.clone()));
        }
        if let Some(cookie) = &self.cookie {
            headers.push(("Set-Cookie", format!("session={cookie}; Path=/; HttpOnly; SameSite=Lax")));
        }
        headers
    }
}

fn pairs(text: &str) -> HashMap<String, String> {
    let parts = text.split('&').filter_map(|part| part.split_once('='));
    parts.map(|(name, value)| (decode(name), decode(value))).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = [bytes.next().unwrap_or(0), bytes.next().unwrap_or(0)];
                let digits = std::str::from_utf8(&digits).unwrap_or("");
                out.push(u8::from_str_radix(digits, 16).unwrap_or(b'?'));
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
