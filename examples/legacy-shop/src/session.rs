//! Who a request comes from: a random word in a cookie.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use crate::http::Request;

/// The session of a request, and whether it is new.
pub fn of(request: &Request) -> (String, bool) {
    let cookies = request.cookie.split(';').filter_map(|part| part.trim().split_once('='));
    match cookies.filter(|(name, value)| *name == "session" && is_valid(value)).map(|(_, value)| value).next()
    {
        Some(session) => (session.to_owned(), false),
        None => (format!("{:016x}{:016x}", random(), random()), true),
    }
}

fn is_valid(session: &str) -> bool {
    session.len() == 32 && session.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The keys of std's hash maps come from the system's random numbers.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_kept_and_nonsense_is_replaced() {
        let with = |cookie: &str| Request { cookie: cookie.to_owned(), ..Request::default() };
        let known = "0123456789abcdef0123456789abcdef";
        assert_eq!(of(&with(&format!("a=b; session={known}"))), (known.to_owned(), false));
        assert!(of(&with("session=../../etc/passwd")).1);
        assert_ne!(of(&with("")).0, of(&with("")).0);
    }
}
