//! The methods of one pattern.

use http::header::ALLOW;
use http::{HeaderValue, Method, StatusCode};

use crate::error::Error;
use crate::respond::IntoResponse;
use crate::route::{NewRoute, Route};
use crate::router::RouteError;

/// One pattern's handlers by method, and the built-in answers of the pattern.
pub(super) struct Methods {
    pattern: &'static str,
    /// By [`slot_of`].
    common: [Option<Route>; COMMON.len()],
    /// Extension methods, and the ones that nobody routes.
    others: Vec<(Method, Route)>,
    any: Option<Route>,
    options: Route,
    not_allowed: Route,
}

const COMMON: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
const GET: usize = 0;
const HEAD: usize = 1;
const OPTIONS: usize = 6;

impl Methods {
    pub(super) fn new(pattern: &'static str) -> Methods {
        Methods {
            pattern,
            common: [const { None }; COMMON.len()],
            others: Vec::new(),
            any: None,
            options: answer_options(""),
            not_allowed: answer_not_allowed(""),
        }
    }

    pub(super) fn pattern(&self) -> &'static str {
        self.pattern
    }

    pub(super) fn add(&mut self, new: NewRoute) -> Result<(), RouteError> {
        let method = new.method.clone();
        let name = method.as_ref().map_or("any method", Method::as_str).to_owned();
        let route = Route::of(new, self.pattern);
        let before = match method {
            None => self.any.replace(route),
            Some(method) => match slot_of(method.as_str()) {
                Some(slot) => self.common[slot].replace(route),
                None => match self.others.iter_mut().find(|(other, _)| *other == method) {
                    Some((_, old)) => Some(std::mem::replace(old, route)),
                    None => {
                        self.others.push((method, route));
                        None
                    }
                },
            },
        };
        match before {
            None => Ok(()),
            Some(_) => Err(RouteError::Duplicate { pattern: self.pattern.into(), method: name }),
        }
    }

    /// Prepares the built-in answers once all handlers are there.
    pub(super) fn finish(&mut self) {
        let mut allow: Vec<&str> = Vec::new();
        for (slot, name) in COMMON.into_iter().enumerate() {
            let head_by_get = slot == HEAD && self.common[GET].is_some();
            if self.common[slot].is_some() || head_by_get || slot == OPTIONS {
                allow.push(name);
            }
        }
        allow.extend(self.others.iter().map(|(method, _)| method.as_str()));
        let allow = allow.join(", ");
        self.options = answer_options(&allow);
        self.not_allowed = answer_not_allowed(&allow);
    }

    /// What answers `method`: its own handler, GET's for HEAD, the one for any method, or a built-in answer.
    #[inline]
    pub(super) fn route(&self, method: &str) -> &Route {
        match slot_of(method) {
            Some(slot) => match &self.common[slot] {
                Some(route) => route,
                None => self.without_own(slot),
            },
            None => self.uncommon(method),
        }
    }

    fn without_own(&self, slot: usize) -> &Route {
        let by_get = if slot == HEAD { self.common[GET].as_ref() } else { None };
        let fallback = if slot == OPTIONS { &self.options } else { &self.not_allowed };
        by_get.or(self.any.as_ref()).unwrap_or(fallback)
    }

    #[cold]
    fn uncommon(&self, method: &str) -> &Route {
        let own = self.others.iter().find(|(other, _)| other.as_str() == method).map(|(_, route)| route);
        own.or(self.any.as_ref()).unwrap_or(&self.not_allowed)
    }
}

#[inline]
fn slot_of(method: &str) -> Option<usize> {
    Some(match method.as_bytes() {
        b"GET" => GET,
        b"HEAD" => HEAD,
        b"POST" => 2,
        b"PUT" => 3,
        b"DELETE" => 4,
        b"PATCH" => 5,
        b"OPTIONS" => OPTIONS,
        _ => return None,
    })
}

fn header(allow: &str) -> HeaderValue {
    HeaderValue::from_str(allow).expect("methods are tokens")
}

fn answer_options(allow: &str) -> Route {
    let allow = header(allow);
    Route::built_in("(options)", move || (StatusCode::NO_CONTENT, [(ALLOW, allow.clone())], ()))
}

/// RFC 9110 section 15.5.6: a 405 has to say what is allowed.
fn answer_not_allowed(allow: &str) -> Route {
    let allow = header(allow);
    Route::built_in("(method not allowed)", move || {
        let error = Error::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        ([(ALLOW, allow.clone())], error).into_response()
    })
}
