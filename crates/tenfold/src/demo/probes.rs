//! Small routes: for load tools, for the suite that compares the models, and to try things out.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tenfold::runtime::JoinHandle;
use tenfold::{
    Body, Error, HeaderMap, IntoResponse, Path, Response, Result, StatusCode, ms, sleep, try_sleep,
};

/// Longest `/sleep`, in milliseconds.
const SLEEP_MS_MAX: u64 = 60_000;

/// Longest `/cpu`, in milliseconds: it holds what it runs on.
const CPU_MS_MAX: u64 = 10_000;

/// Longest `/reports`, in milliseconds.
const REPORT_MS_MAX: u64 = 30_000;

/// Most pieces of `/stream`.
const PIECES_MAX: u64 = 100_000;

/// 13 bytes, as every benchmark has them.
pub fn hello() -> &'static str {
    "Hello, world!"
}

/// Waits. What it waits on, a fiber or a thread, is the model's choice.
pub fn wait(Path(millis): Path<u64>) -> Result<String> {
    let bounded = bounded(millis, SLEEP_MS_MAX)?;
    try_sleep(ms(bounded))?;
    Ok(format!("slept {bounded} ms\n"))
}

/// Waits, as an `async fn`: the one kind of handler that waits in the model `event` without holding its loop.
pub async fn wait_async(Path(millis): Path<u64>) -> Result<String> {
    let bounded = bounded(millis, SLEEP_MS_MAX)?;
    Alarm::after(ms(bounded)).await;
    Ok(format!("slept {bounded} ms\n"))
}

/// Computes.
pub fn burn(Path(millis): Path<u64>) -> Result<String> {
    let end = Instant::now() + ms(bounded(millis, CPU_MS_MAX)?);
    let mut rounds: u64 = 0;
    while Instant::now() < end {
        rounds = std::hint::black_box(rounds + 1);
    }
    Ok(format!("{rounds} rounds in {millis} ms\n"))
}

/// A long request; its lane bounds how many run and how many wait.
pub fn report(Path(millis): Path<u64>) -> Result<String> {
    let bounded = bounded(millis, REPORT_MS_MAX)?;
    try_sleep(ms(bounded))?;
    Ok(format!("a report that took {bounded} ms, from process {}\n", std::process::id()))
}

/// Sends the request's body back, piece by piece as it comes.
pub fn echo(body: Body) -> Body {
    body
}

/// Pieces that are made while they are sent.
pub fn stream(Path(pieces): Path<u64>) -> Result<Body> {
    if pieces > PIECES_MAX {
        return Err(Error::bad_request(format!("at most {PIECES_MAX} pieces")));
    }
    let text = Body::producer(move |out| (0..pieces).try_for_each(|number| writeln!(out, "piece {number}")));
    Ok(text.with_content_type(tenfold::TEXT))
}

/// Fails as programs do.
pub fn panic() -> &'static str {
    panic!("on purpose: somebody has asked for /panic")
}

/// Leaves HTTP for a protocol that sends everything back.
pub fn upgrade(headers: HeaderMap) -> Response {
    let wanted = headers.get("upgrade").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"echo"));
    if !wanted {
        // RFC 9110 section 15.5.22: a 426 names what to upgrade to.
        return (StatusCode::UPGRADE_REQUIRED, [("Upgrade", "echo")], "send Upgrade: echo\n").into_response();
    }
    tenfold::upgrade_to("echo", |mut stream| {
        if let Ok(mut out) = stream.try_clone() {
            // It ends with the client, who is not there to be told of an error.
            let _ = std::io::copy(&mut stream, &mut out);
        }
    })
}

fn bounded(millis: u64, most: u64) -> Result<u64> {
    match millis <= most {
        true => Ok(millis),
        false => Err(Error::bad_request(format!("at most {most} ms"))),
    }
}

/// A future that is ready after a time: a fiber, or a thread where there is no loop, sleeps and wakes it.
struct Alarm {
    duration: Duration,
    rang: Arc<AtomicBool>,
    sleeper: Option<JoinHandle<()>>,
}

impl Alarm {
    fn after(duration: Duration) -> Alarm {
        Alarm { duration, rang: Arc::default(), sleeper: None }
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.rang.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        if self.sleeper.is_none() {
            // Awaited in one place, so the first waker is the only one.
            let (duration, rang, waker) = (self.duration, self.rang.clone(), cx.waker().clone());
            self.sleeper = Some(tenfold::spawn(move || {
                sleep(duration);
                rang.store(true, Ordering::Release);
                waker.wake();
            }));
        }
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(sleeper) = &self.sleeper {
            sleeper.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_bounded_with_a_400() {
        assert_eq!(wait(Path(SLEEP_MS_MAX + 1)).unwrap_err().status(), 400);
        assert_eq!(burn(Path(CPU_MS_MAX + 1)).unwrap_err().status(), 400);
        assert_eq!(stream(Path(PIECES_MAX + 1)).unwrap_err().status(), 400);
        assert_eq!(wait(Path(1)).unwrap(), "slept 1 ms\n");
    }

    #[test]
    fn an_alarm_rings_after_its_time_and_not_before() {
        let start = Instant::now();
        tenfold::block_on(Alarm::after(ms(20))).unwrap();
        assert!(start.elapsed() >= ms(20));
    }

    #[test]
    fn a_stream_has_its_pieces() {
        assert_eq!(&stream(Path(2)).unwrap().collect(100).unwrap()[..], b"piece 0\npiece 1\n");
    }
}
