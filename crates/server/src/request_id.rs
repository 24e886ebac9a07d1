//! A name for a request that goes through all logs: the client's, or a new one.

use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::HeaderValue;
use tenfold_http::h1::HeadView;

use crate::context::Context;
use crate::extract::FromRequest;

/// The header that carries it, in both directions.
pub const X_REQUEST_ID: http::HeaderName = http::HeaderName::from_static(NAME);
/// Its name as text: each use of the constant makes a value that has to be dropped.
const NAME: &str = "x-request-id";

/// Most bytes of an id that is taken from a client.
const BYTES_MAX: usize = 128;

/// A request's id: that of the client's `X-Request-Id` if it is at most 128 visible ASCII characters, else a new one,
/// unique among all processes and boots. As an argument of a handler it is also sent with the response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new id: 32 hexadecimal digits, the first half of which is this process's.
    pub fn generate() -> RequestId {
        // The seed must not be shared by the workers, which are forks of one master: it is made at the first use, and the
        // master handles no request. The process id is mixed in for programs that fork in another way.
        static SEED: OnceLock<u64> = OnceLock::new();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let seed = *SEED.get_or_init(random);
        let process = seed ^ u64::from(std::process::id()).rotate_left(32);
        let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(seed.rotate_left(17));
        RequestId(format!("{process:016x}{number:016x}").into())
    }

    /// The id that the client has sent, if it is sane. Anything else would be a way to write into our logs.
    pub fn of(head: HeadView<'_>) -> Option<RequestId> {
        RequestId::sent_in(head).map(RequestId::from_sent)
    }

    /// One that the client has sent, as a value of its own.
    pub(crate) fn from_sent(text: &str) -> RequestId {
        RequestId(text.into())
    }

    /// As [`RequestId::of`], where it stands.
    pub fn sent_in<'a>(head: HeadView<'a>) -> Option<&'a str> {
        let value = head.header(NAME)?;
        let sane = !value.is_empty() && value.len() <= BYTES_MAX && value.iter().all(u8::is_ascii_graphic);
        std::str::from_utf8(value).ok().filter(|_| sane)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn header_value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("it consists of visible ASCII characters")
    }
}

/// 64 random bits of the kernel, by way of the standard library's hash seeds.
fn random() -> u64 {
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromRequest for RequestId {
    type Rejection = Infallible;

    fn from_request(cx: &mut Context<'_>) -> Result<RequestId, Infallible> {
        Ok(cx.request_id().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::testing::Asked;

    #[test]
    fn new_ids_are_32_digits_and_differ() {
        let (first, second) = (RequestId::generate(), RequestId::generate());
        assert_ne!(first, second);
        assert!(first.as_str().len() == 32 && first.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn a_sane_id_of_the_client_is_taken_and_others_are_replaced() {
        let id = |value: &str| {
            let asked = Asked::get("/").header("X-Request-Id", value);
            asked.extract::<RequestId>().unwrap().to_string()
        };
        assert_eq!(id("abc-123"), "abc-123");
        assert_eq!(id(&"x".repeat(128)), "x".repeat(128));
        for refused in ["", "two words", "t\u{e9}", &"x".repeat(129)] {
            assert_eq!(id(refused).len(), 32, "{refused}");
            assert_ne!(id(refused), refused);
        }
    }
}
