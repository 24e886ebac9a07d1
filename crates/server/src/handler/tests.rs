//! Functions of all shapes are handlers, and their arguments and ends behave.

use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, Uri, Version};
use tenfold_runtime::Runtime;
use tenfold_runtime::sync::WaitError;

use super::*;
use crate::context::testing::{Asked, text_of};
use crate::error::{Rejection, Result};
use crate::extract::{Json, MatchedPath, Path, Query, State};
use crate::peer::Peer;
use crate::{Body, Bytes};

/// Compiles only for handlers; the value tells the two kinds apart.
fn is_async<M: 'static>(handler: impl Handler<M>) -> bool {
    erase(handler).is_async()
}

type E1 = Method;
type E2 = Uri;
type E3 = Version;
type E4 = HeaderMap;
type E5 = Peer;
type E6 = MatchedPath;
type E7 = Query<Vec<(String, String)>>;

fn plain(_: E1, _: Bytes) -> Result<&'static str> {
    Ok("plain")
}

async fn asynchronous(_: E1, _: Bytes) -> Result<&'static str> {
    Ok("async")
}

#[test]
fn plain_functions_of_up_to_eight_arguments_are_handlers() {
    assert!(!is_async(|| "text"));
    assert!(!is_async(|_: E1| ()));
    assert!(!is_async(plain));
    assert!(!is_async(|_: E1, _: E2, _: Body| Json(1)));
    assert!(!is_async(|_: E1, _: E2, _: E3, _: String| StatusCode::OK));
    assert!(!is_async(|_: E1, _: E2, _: E3, _: E4, _: E5| String::new()));
    assert!(!is_async(|_: E1, _: E2, _: E3, _: E4, _: E5, _: E6| Bytes::new()));
    assert!(!is_async(|_: E1, _: E2, _: E3, _: E4, _: E5, _: E6, _: E7| (StatusCode::OK, "text")));
    assert!(!is_async(|_: E1, _: E2, _: E3, _: E4, _: E5, _: E6, _: E7, _: Json<u8>| "text"));
}

#[test]
fn async_functions_of_up_to_eight_arguments_are_handlers() {
    assert!(is_async(|| async { "text" }));
    assert!(is_async(async || "text"));
    assert!(is_async(|_: E1| async {}));
    assert!(is_async(asynchronous));
    assert!(is_async(|_: E1, _: E2, _: Body| async { Json(1) }));
    assert!(is_async(|_: E1, _: E2, _: E3, _: String| async { StatusCode::OK }));
    assert!(is_async(|_: E1, _: E2, _: E3, _: E4, _: E5| async { String::new() }));
    assert!(is_async(|_: E1, _: E2, _: E3, _: E4, _: E5, _: E6| async { Bytes::new() }));
    assert!(is_async(async |_: E1, _: E2, _: E3, _: E4, _: E5, _: E6, _: E7| (StatusCode::OK, "text")));
    assert!(is_async(|_: E1, _: E2, _: E3, _: E4, _: E5, _: E6, _: E7, _: Json<u8>| async { "text" }));
}

#[test]
fn a_future_need_not_be_send() {
    let answer = Asked::get("/a").call(|| async {
        let shared = Rc::new(1);
        std::future::ready(()).await;
        shared.to_string()
    });
    assert_eq!(text_of(answer), "1");
}

#[test]
fn the_arguments_are_extracted_in_their_order_and_the_first_rejection_answers() {
    fn never(_: Path<u8>, _: Query<Vec<(String, u8)>>) -> &'static str {
        panic!("it is called although its arguments are refused")
    }
    let asked = Asked::get("/x?n=x").pattern("/{id}");
    let answer = asked.call(never);
    assert_eq!(answer.status(), 400);
    assert_eq!(text_of(answer), "invalid path: \"id\" is no u8: \"x\"");
}

#[test]
fn a_second_body_is_refused() {
    let asked = Asked::post("/a", "text/plain", "text");
    assert_eq!(asked.call(|_: Body, _: Bytes| "text").status(), 500);
    let second = |_: Body, second: Result<Bytes, Rejection>| match second {
        Err(Rejection::BodyTaken) => "taken",
        _ => "not taken",
    };
    assert_eq!(text_of(asked.call(second)), "taken");
}

#[test]
fn limits_and_needs_are_facts_of_the_handler() {
    let facts = plain.body_bytes_max(7).timeout(Duration::from_secs(1)).facts();
    assert_eq!((facts.body_bytes_max, facts.timeout), (Some(7), Some(Duration::from_secs(1))));
    assert_eq!((|_: State<u8>, _: State<u16>| ()).facts().needs, [Need::state::<u8>(), Need::state::<u16>()]);
    assert_eq!((|_: Option<State<u8>>| ()).facts().needs, []);
}

#[test]
fn a_body_beyond_the_route_s_own_limit_is_413() {
    let asked = Asked::post("/a", "text/plain", "12345678");
    assert_eq!(asked.call((|_: Bytes| ()).body_bytes_max(8)).status(), 200);
    assert_eq!(asked.call((|_: Bytes| ()).body_bytes_max(7)).status(), 413);
}

#[test]
fn a_deadline_ends_an_async_handler_with_504() {
    let answer = tenfold_runtime::deadline(Duration::from_millis(2), || {
        Asked::get("/a").call(async || std::future::pending::<&str>().await)
    });
    assert_eq!(answer.status(), 504);
}

/// Is ready at the second poll, which another thread asks for.
fn woken_from_elsewhere() -> impl Future<Output = &'static str> {
    let mut asked = false;
    poll_fn(move |context| {
        if asked {
            return Poll::Ready("woken");
        }
        asked = true;
        let waker = context.waker().clone();
        std::thread::spawn(move || waker.wake());
        Poll::Pending
    })
}

fn pending_until_the_deadline() -> std::result::Result<(), WaitError> {
    tenfold_runtime::deadline(Duration::from_millis(5), || block_on(pending::<()>()))
}

#[test]
fn a_future_is_woken_from_another_thread_on_a_thread_and_on_a_fiber() {
    assert_eq!(block_on(woken_from_elsewhere()), Ok("woken"));
    let runtime = Runtime::new(&Default::default()).unwrap();
    assert_eq!(runtime.run(|| block_on(woken_from_elsewhere())).unwrap(), Ok("woken"));
}

#[test]
fn a_future_that_wakes_itself_goes_on_at_once() {
    let mut polls = 0;
    let yielding = poll_fn(|context| {
        polls += 1;
        context.waker().wake_by_ref();
        if polls == 3 { Poll::Ready(polls) } else { Poll::Pending }
    });
    assert_eq!(block_on(yielding), Ok(3));
}

#[test]
fn the_deadline_ends_a_future_on_a_thread_and_on_a_fiber() {
    assert_eq!(pending_until_the_deadline(), Err(WaitError::TimedOut));
    let runtime = Runtime::new(&Default::default()).unwrap();
    assert_eq!(runtime.run(pending_until_the_deadline).unwrap(), Err(WaitError::TimedOut));
}
