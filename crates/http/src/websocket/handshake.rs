//! The opening handshake (RFC 6455 section 4.2): what a request head has to say, and what it is answered.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use sha1::{Digest, Sha1};

use super::agreement::Agreement;
use super::extension::{Malformed, extensions};
use crate::h1::HeadView;

/// What is hashed behind the client's key (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request that asks for a WebSocket, and may have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// For `Sec-WebSocket-Accept`.
    pub accept: String,
    /// The subprotocols that the client would speak, the best one first.
    pub protocols: Vec<String>,
    /// What its best offer of permessage-deflate leads to, of those that this side can keep to.
    pub deflate: Option<Agreement>,
}

/// Why a request cannot have a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NoHandshake {
    /// The answer's status. 426 needs `Upgrade: websocket` and `Sec-WebSocket-Version: 13` beside it.
    pub status: StatusCode,
    /// For a person.
    pub reason: &'static str,
}

/// Reads a request.
///
/// # Errors
/// It is no handshake, or one of another version.
pub fn read(head: &HeadView<'_>) -> Result<Offer, NoHandshake> {
    let refuse = |status, reason| Err(NoHandshake { status, reason });
    if head.method_str() != "GET" {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket begins with GET");
    }
    let asks = head
        .upgrade()
        .is_some_and(|upgrade| tokens(upgrade).any(|one| one.eq_ignore_ascii_case("websocket")));
    if !asks {
        return refuse(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket: ask for an upgrade to it");
    }
    if single(head, "sec-websocket-version") != Some("13") {
        return refuse(StatusCode::UPGRADE_REQUIRED, "only version 13 of WebSocket is spoken here");
    }
    let key = single(head, "sec-websocket-key").unwrap_or_default();
    if !STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16) {
        return refuse(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is not 16 bytes in base64, once");
    }
    let Ok(deflate) = agreement(head) else {
        return refuse(StatusCode::BAD_REQUEST, "Sec-WebSocket-Extensions is malformed");
    };
    let protocols = all(head, "sec-websocket-protocol").filter_map(|value| std::str::from_utf8(value).ok());
    Ok(Offer {
        accept: accept_value(key),
        protocols: protocols.flat_map(tokens).map(str::to_owned).collect(),
        deflate,
    })
}

/// What proves that the other side has understood: `Sec-WebSocket-Accept` for a key.
///
/// ```
/// use tenfold_http::websocket::handshake::accept_value;
/// // RFC 6455 section 1.3
/// assert_eq!(accept_value("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
pub fn accept_value(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID);
    STANDARD.encode(hash.finalize())
}

/// Whether a page of `origin` belongs to `host`: what a browser says about who opens the connection, against cross-site
/// hijacking (RFC 6455 section 10.2). Ports have to agree, written or not.
///
/// ```
/// use tenfold_http::websocket::handshake::is_same_origin;
/// assert!(is_same_origin("https://shop.example", "shop.example"));
/// assert!(is_same_origin("http://127.0.0.1:8080", "127.0.0.1:8080"));
/// assert!(!is_same_origin("https://evil.example", "shop.example"));
/// assert!(!is_same_origin("null", "shop.example"));
/// ```
pub fn is_same_origin(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let bare = |name: &str| name.strip_suffix(port).unwrap_or(name).to_ascii_lowercase();
    bare(authority) == bare(host)
}

/// The first offer of permessage-deflate that this side can keep to.
fn agreement(head: &HeadView<'_>) -> Result<Option<Agreement>, Malformed> {
    let mut agreement = None;
    // What is malformed fails the handshake wherever it stands, so all of it is read.
    for extension in all(head, "sec-websocket-extensions").flat_map(extensions) {
        agreement = agreement.or(Agreement::on(&extension?));
    }
    Ok(agreement)
}

/// The value of a header that comes once, as these have to (RFC 6455 sections 11.3.1 and 11.3.5).
fn single<'a>(head: &HeadView<'a>, name: &'a str) -> Option<&'a str> {
    let mut values = all(head, name);
    let value = values.next().filter(|_| values.next().is_none())?;
    std::str::from_utf8(value).ok().map(str::trim)
}

fn all<'a>(head: &HeadView<'a>, wanted: &'a str) -> impl Iterator<Item = &'a [u8]> {
    head.headers().filter(move |(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
}

fn tokens(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|token| !token.is_empty())
}
