//! Where a request goes: the parts of its URL, and the addresses of its host.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::Uri;
use tenfold_runtime::net::TcpStream;

use crate::address;
use crate::dns::Resolver;
use crate::error::Error;

/// An `http://` URL, taken apart: for callers that speak HTTP on connections of their own.
///
/// ```
/// let url = tenfold_client::http::Url::parse("http://127.0.0.1:8080/a?b")?;
/// assert_eq!((url.authority(), url.target()), ("127.0.0.1:8080", "/a?b"));
/// # Ok::<(), tenfold_client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Url {
    pub(crate) origin: Arc<Origin>,
    /// `/path?query`.
    pub(crate) target: String,
}

/// Host and port; what connections are pooled by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// For the Host field: in lower case, an IPv6 address in brackets, the port unless it is the scheme's own.
    pub(crate) authority: String,
    port: u16,
    /// Whether it is `https`.
    pub(crate) secure: bool,
}

/// The schemes that the client speaks.
const SUPPORTED: &str = if cfg!(feature = "https") { "http:// and https://" } else { "http://" };

impl Url {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`], [`Error::UnsupportedScheme`].
    pub fn parse(text: &str) -> Result<Url, Error> {
        match Url::parse_any(text)? {
            url if url.origin.secure => {
                Err(Error::UnsupportedScheme { scheme: "https".into(), supported: "http://" })
            }
            url => Ok(url),
        }
    }

    /// As [`Url::parse`], and `https` where it is spoken.
    pub(crate) fn parse_any(text: &str) -> Result<Url, Error> {
        let invalid = |reason| Error::InvalidUrl { url: text.into(), reason };
        let uri: Uri = text.parse().map_err(|_| invalid("it is no URI"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(invalid("it is not absolute, as http://host/path is"));
        };
        let secure = scheme == "https";
        if scheme != "http" && !(secure && cfg!(feature = "https")) {
            return Err(Error::UnsupportedScheme { scheme: scheme.into(), supported: SUPPORTED });
        }
        let usual_port = if secure { 443 } else { 80 };
        if authority.as_str().contains('@') {
            // RFC 9110 section 4.2.4: credentials in a URL end up in logs; send them in a header.
            return Err(invalid("a user name or password does not belong there"));
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(invalid("the host is missing"));
        }
        let port = match authority.as_str().rsplit_once(':') {
            // The colon of an IPv6 address is inside of brackets.
            Some((_, digits)) if !digits.ends_with(']') && !digits.is_empty() => {
                digits.parse().map_err(|_| invalid("the port is no number up to 65535"))?
            }
            _ => usual_port,
        };
        let mut shown = String::with_capacity(host.len() + ":65535".len());
        shown.push_str(host);
        shown.make_ascii_lowercase();
        if port != usual_port {
            let _ = write!(shown, ":{port}");
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let target = if target.starts_with('/') { target.into() } else { format!("/{target}") };
        Ok(Url { origin: Arc::new(Origin { authority: shown, port, secure }), target })
    }

    /// For the Host field: in lower case, an IPv6 address in brackets, the port unless it is 80.
    pub fn authority(&self) -> &str {
        &self.origin.authority
    }

    /// For the request line: `/path?query`.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The host's addresses, in the resolver's order; at least one.
    ///
    /// # Errors
    /// The resolver's; `NotFound` for a name without an address.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.origin.addresses()
    }
}

/// A URL in its plainest form, of which nothing has to be changed or decoded: `http://host[:port][/target]` in lower case.
/// Nearly all that are asked for are; the others go the long way, to the same result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain<'a> {
    authority: &'a str,
    port: u16,
    target: &'a str,
}

impl<'a> Plain<'a> {
    pub(crate) fn of(text: &'a str) -> Option<Plain<'a>> {
        /// Far below what the long way takes.
        const BYTES_MAX: usize = 4096;
        let in_host = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
        let in_target = |byte: &u8| byte.is_ascii_alphanumeric() || b"/?&=%+,;:@!$*._~-".contains(byte);
        let rest = text.strip_prefix("http://").filter(|rest| rest.len() <= BYTES_MAX)?;
        let (authority, target) = match rest.find('/') {
            Some(end) => rest.split_at(end),
            None => (rest, "/"),
        };
        let (host, port) = match authority.split_once(':') {
            // What a number would be written as: neither the scheme's own nor with zeros or a sign in front.
            Some((_, digits)) if !digits.starts_with(|digit: char| ('1'..='9').contains(&digit)) => {
                return None;
            }
            Some((host, digits)) => (host, digits.parse().ok().filter(|port| *port != 80)?),
            None => (authority, 80),
        };
        let is_plain = !host.is_empty()
            && host.bytes().all(|byte| in_host(&byte))
            && target.bytes().all(|byte| in_target(&byte));
        is_plain.then_some(Plain { authority, port, target })
    }

    /// Whether it is that host's.
    pub(crate) fn is_of(&self, origin: &Origin) -> bool {
        origin.port == self.port && !origin.secure && origin.authority == self.authority
    }

    pub(crate) fn origin(&self) -> Origin {
        Origin { authority: self.authority.into(), port: self.port, secure: false }
    }

    /// `origin` is its own.
    pub(crate) fn url(&self, origin: Arc<Origin>) -> Url {
        Url { origin, target: self.target.into() }
    }
}

impl Origin {
    /// The addresses, in the resolver's order. A name is asked for on the thread pool where the caller is a fiber; a literal
    /// address asks nobody.
    pub(crate) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        Resolver::shared().lookup(self.host(), self.port)
    }

    /// Connects to the first address that answers, within `longest` and the task's deadline.
    pub(crate) fn connect(&self, longest: Duration) -> Result<TcpStream, Error> {
        address::connect(self.host(), self.port, &self.authority, longest)
    }

    pub(crate) fn host(&self) -> &str {
        if let Some(inner) = self.authority.strip_prefix('[') {
            return inner.split(']').next().unwrap_or_default();
        }
        self.authority.split(':').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, u16, String) {
        let url = Url::parse(text).unwrap();
        (url.origin.authority.clone(), url.origin.host().into(), url.origin.port, url.target)
    }

    #[test]
    fn a_url_is_taken_apart() {
        let expected = |authority: &str, host: &str, port, target: &str| {
            (authority.to_owned(), host.to_owned(), port, target.to_owned())
        };
        assert_eq!(parts("http://Example.ORG"), expected("example.org", "example.org", 80, "/"));
        assert_eq!(parts("http://a:80/x?y=1#z"), expected("a", "a", 80, "/x?y=1"));
        assert_eq!(parts("http://127.0.0.1:8080?q"), expected("127.0.0.1:8080", "127.0.0.1", 8080, "/?q"));
        assert_eq!(parts("http://[::1]:81/"), expected("[::1]:81", "::1", 81, "/"));
        assert_eq!(parts("http://[::1]/"), expected("[::1]", "::1", 80, "/"));
    }

    #[test]
    fn the_short_way_leads_where_the_long_one_does() {
        let plain = [
            "http://example.org",
            "http://example.org/",
            "http://127.0.0.1:8080/offer",
            "http://a:1/x?y=1&z=%20",
            "http://a-b.c:65535//x/../y;z=1,2?a:b@c!$*",
            "http://a/~b_c?d/e?f",
        ];
        for text in plain {
            let plain = Plain::of(text).expect(text);
            let (short, long) = (plain.url(Arc::new(plain.origin())), Url::parse_any(text).unwrap());
            assert_eq!((&short.origin, &short.target), (&long.origin, &long.target), "{text}");
            assert!(plain.is_of(&long.origin));
        }
        let others = [
            "",
            "http://",
            "http:///a",
            "http://A/",
            "http://a:80/",
            "http://a:080/",
            "http://a:+1/",
            "http://a:/",
            "http://a:65536/",
            "http://a:b/",
            "http://a:1:2/",
            "http://u@a/",
            "http://[::1]/",
            "http://a?b",
            "http://a#b",
            "http://a/#b",
            "http://a/b c",
            "http://a/\u{e9}",
            "http://a/\"",
            "http://a_b/",
            "https://a/",
            "HTTP://a/",
        ];
        for text in others {
            assert!(Plain::of(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_is_no_http_url_is_refused_with_a_reason() {
        for bad in ["", "/path", "example.org", "http://", "http://a b/", "http://u:p@a/", "http://a:99999/"]
        {
            assert!(matches!(Url::parse(bad), Err(Error::InvalidUrl { .. })), "{bad}");
        }
        let refusal = Url::parse("https://a/").unwrap_err().to_string();
        assert_eq!(refusal, "cannot speak https: only http:// URLs are supported");
        let refusal = Url::parse_any("ftp://a/").unwrap_err().to_string();
        assert!(refusal.starts_with("cannot speak ftp: only http://"), "{refusal}");
    }

    #[test]
    #[cfg(feature = "https")]
    fn each_scheme_has_its_own_port() {
        let authority = |text: &str| Url::parse_any(text).unwrap().origin.authority.clone();
        assert_eq!(authority("https://a:443/"), "a");
        assert_eq!(authority("https://a:80/"), "a:80");
        assert_eq!(authority("http://a:443/"), "a:443");
        assert_ne!(Url::parse_any("https://a/").unwrap().origin, Url::parse_any("http://a/").unwrap().origin);
    }

    #[test]
    fn literal_addresses_and_names_resolve() {
        let of = |text: &str| Url::parse(text).unwrap().origin.addresses().unwrap();
        assert_eq!(of("http://[::1]:9/"), ["[::1]:9".parse().unwrap()]);
        assert!(of("http://localhost:9/").iter().all(|address| address.ip().is_loopback()));
    }
}
