//! Where a target's requests go and what they are, prepared once: addresses, bytes, expectation.

use std::path::PathBuf;
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tenfold_client::http::Url;
use tenfold_http::h1::{BodyLength, RequestHead, request_head};
use tenfold_runtime::net::{TcpStream, UnixStream};

use super::spec::{Expect, Shape, TargetSpec};
use crate::error::Error;

/// A target, ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    peer: Peer,
    pub(crate) method: Method,
    /// One request, head and content.
    pub(crate) request: Vec<u8>,
    pub(crate) expect: Expect,
}

/// Where to connect to.
#[derive(Clone, Debug)]
enum Peer {
    Tcp(std::net::SocketAddr),
    Unix(PathBuf),
}

impl Target {
    /// Prepares a target. `place` is its name in messages. A name is resolved here, once: a measurement is of a server and not of
    /// the resolver.
    ///
    /// # Errors
    /// [`Error::InvalidSpec`], [`Error::Resolve`].
    pub(crate) fn prepare(spec: &TargetSpec, place: &str) -> Result<Target, Error> {
        let invalid = |field: &str, reason: String| Error::invalid(format!("{place}.{field}"), reason);
        let (peer, host, path) = locate(&spec.url, place)?;
        let method: Method = spec
            .method
            .parse()
            .map_err(|_| invalid("method", format!("{:?} is no HTTP method", spec.method)))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &spec.headers {
            let name = HeaderName::try_from(name.as_str())
                .map_err(|_| invalid("headers", format!("{name:?} is no header name")))?;
            let value = HeaderValue::from_str(value)
                .map_err(|_| invalid("headers", format!("{value:?} is no header value")))?;
            headers.append(name, value);
        }
        let body = match spec.body.len() {
            0 => BodyLength::None,
            length => BodyLength::Known(length as u64),
        };
        let keep_alive = !matches!(spec.shape, Shape::Closed { close: true, .. });
        let head =
            RequestHead { method: &method, target: &path, host: &host, headers: &headers, body, keep_alive };
        let mut request = Vec::new();
        request_head(&mut request, head).map_err(|error| invalid("url", error.to_string()))?;
        request.extend_from_slice(spec.body.as_bytes());
        Ok(Target { peer, method, request, expect: spec.expect.clone() })
    }

    /// Opens a connection, by `until`.
    pub(crate) fn connect(&self, until: Instant) -> std::io::Result<TcpStream> {
        match &self.peer {
            Peer::Tcp(address) => {
                let left = until.saturating_duration_since(Instant::now());
                let stream = TcpStream::connect_timeout(address, left)?;
                stream.set_nodelay(true)?;
                Ok(stream)
            }
            Peer::Unix(path) => {
                let stream = tenfold_runtime::deadline_at(until, || UnixStream::connect(path))?;
                // A stream socket is used as one of TCP's: the kernel's calls are the same.
                Ok(TcpStream::from_fd(std::os::fd::AsFd::as_fd(&stream).try_clone_to_owned()?))
            }
        }
    }
}

/// The peer, the Host field and the target of a URL.
fn locate(url: &str, place: &str) -> Result<(Peer, String, String), Error> {
    if let Some(rest) = url.strip_prefix("unix:") {
        // A path in the file system may have colons; one that a socket is bound to hardly ends in `:/`.
        let (socket, target) = rest.split_once(":/").unwrap_or((rest, ""));
        if socket.is_empty() {
            return Err(Error::invalid(format!("{place}.url"), "the socket's path is missing"));
        }
        return Ok((Peer::Unix(socket.into()), "localhost".into(), format!("/{target}")));
    }
    let parsed =
        Url::parse(url).map_err(|error| Error::invalid(format!("{place}.url"), error.to_string()))?;
    let host = parsed.authority().to_owned();
    let addresses = parsed.addresses().map_err(|source| Error::Resolve { host: host.clone(), source })?;
    // `localhost` has an address of each family, and most servers listen on the older one only.
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    let address = *first.expect("a resolved name has an address");
    Ok((Peer::Tcp(address), host, parsed.target().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request_of(spec: &TargetSpec) -> String {
        String::from_utf8(Target::prepare(spec, "t").unwrap().request).unwrap()
    }

    fn closed(close: bool) -> Shape {
        Shape::Closed { connections: 1, pipeline: 1, close }
    }

    #[test]
    fn a_request_is_what_the_specification_says() {
        let mut spec = TargetSpec::get("http://127.0.0.1:81/a?b", closed(false));
        assert_eq!(request_of(&spec), "GET /a?b HTTP/1.1\r\nHost: 127.0.0.1:81\r\n\r\n");
        spec.method = "POST".into();
        spec.body = "hi".into();
        spec.headers = vec![("X-A".into(), "b".into())];
        spec.shape = closed(true);
        let text = request_of(&spec);
        assert!(text.starts_with("POST ") && text.ends_with("\r\n\r\nhi"), "{text}");
        for line in ["x-a: b", "Connection: close", "Content-Length: 2"] {
            assert!(text.to_lowercase().contains(&line.to_lowercase()), "{text}");
        }
    }

    #[test]
    fn a_unix_socket_has_a_path_of_its_own_and_one_of_the_request() {
        let spec = TargetSpec::get("unix:/run/a.sock:/x?y", closed(false));
        assert!(request_of(&spec).starts_with("GET /x?y HTTP/1.1\r\nHost: localhost\r\n"));
        let bare = TargetSpec::get("unix:/run/a.sock", closed(false));
        assert!(request_of(&bare).starts_with("GET / HTTP/1.1\r\n"));
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_its_name() {
        let good = TargetSpec::get("http://127.0.0.1/", closed(false));
        for (spec, word) in [
            (TargetSpec { url: "https://a/".into(), ..good.clone() }, "t.url: "),
            (TargetSpec { url: "unix:".into(), ..good.clone() }, "t.url: "),
            (TargetSpec { method: "G T".into(), ..good.clone() }, "t.method: "),
            (TargetSpec { headers: vec![("a b".into(), "c".into())], ..good.clone() }, "t.headers: "),
            (TargetSpec { headers: vec![("a".into(), "c\r\nd".into())], ..good }, "t.headers: "),
        ] {
            let error = Target::prepare(&spec, "t").unwrap_err().to_string();
            assert!(error.starts_with(word) && !error.contains('\n'), "{error}");
        }
    }
}
