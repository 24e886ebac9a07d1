//! `block_on`, the adapters and delays: by hand-written futures over tokio's and futures' traits, without any runtime.

mod common;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use common::{everywhere, on_fibers};
use tenfold_runtime::adapter::AsyncStream;
use tenfold_runtime::net::{TcpListener, TcpStream, UnixStream};
use tenfold_runtime::sync::WaitError;
use tenfold_runtime::{block_on, deadline, delay, sleep, spawn, yield_now};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const SHORT: Duration = Duration::from_millis(10);

async fn read(stream: &mut (impl AsyncRead + Unpin), buf: &mut [u8]) -> io::Result<usize> {
    poll_fn(|context| {
        let mut buf = ReadBuf::new(buf);
        match Pin::new(&mut *stream).poll_read(context, &mut buf) {
            Poll::Ready(outcome) => Poll::Ready(outcome.map(|()| buf.filled().len())),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn write_all(stream: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|context| Pin::new(&mut *stream).poll_write(context, bytes)).await?;
        bytes = &bytes[written..];
    }
    poll_fn(|context| Pin::new(&mut *stream).poll_shutdown(context)).await
}

async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
    let (mut total, mut buf) = (0, [0; 4096]);
    loop {
        match read(stream, &mut buf).await? {
            0 => return Ok(total),
            count => total += count,
        }
    }
}

/// Both at once, as `join!` does it.
async fn both<A: Future, B: Future>(one: A, other: B) -> (A::Output, B::Output) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (None, None);
    poll_fn(|context| {
        if first.is_none()
            && let Poll::Ready(output) = one.as_mut().poll(context)
        {
            first = Some(output);
        }
        if second.is_none()
            && let Poll::Ready(output) = other.as_mut().poll(context)
        {
            second = Some(output);
        }
        if first.is_some() && second.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (first.unwrap(), second.unwrap())
}

#[test]
fn two_futures_of_one_block_on_move_megabytes_to_each_other() {
    everywhere(|| {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (AsyncStream::from(one), AsyncStream::from(other));
        let bytes = vec![1; 3 << 20];
        let moved = block_on(both(write_all(&mut one, &bytes), read_to_end(&mut other))).unwrap();
        assert_eq!((moved.0.unwrap(), moved.1.unwrap()), ((), 3 << 20));
    });
}

#[test]
fn fibers_and_futures_talk_over_tcp() {
    everywhere(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(move || {
            let mut stream = AsyncStream::from(listener.accept().unwrap());
            block_on(read_to_end(&mut stream)).unwrap().unwrap()
        });
        let mut client = AsyncStream::from(TcpStream::connect(address).unwrap());
        block_on(write_all(&mut client, &vec![2; 1 << 20])).unwrap().unwrap();
        assert_eq!(server.join().unwrap(), 1 << 20);
    });
}

#[test]
fn futures_traits_work_as_tokios_do() {
    everywhere(|| {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (AsyncStream::from(one), AsyncStream::from(other));
        let mut buf = [0; 8];
        let reading =
            poll_fn(|context| futures_io::AsyncRead::poll_read(Pin::new(&mut other), context, &mut buf));
        let writing = async {
            delay(SHORT).await;
            poll_fn(|context| futures_io::AsyncWrite::poll_write(Pin::new(&mut one), context, b"hi")).await
        };
        let (read, written) = block_on(both(reading, writing)).unwrap();
        assert_eq!((read.unwrap(), written.unwrap()), (2, 2));
    });
}

#[test]
fn delays_overlap_and_are_not_early() {
    everywhere(|| {
        let start = Instant::now();
        block_on(both(delay(4 * SHORT), delay(4 * SHORT))).unwrap();
        assert!(start.elapsed() >= 4 * SHORT);
        assert!(start.elapsed() < Duration::from_secs(20));
    });
}

#[test]
fn a_waker_may_be_woken_by_another_thread() {
    everywhere(|| {
        for _ in 0..200 {
            let shared = Arc::new(Mutex::new((false, None::<Waker>)));
            let thread = std::thread::spawn({
                let shared = shared.clone();
                move || {
                    let mut shared = shared.lock().unwrap();
                    shared.0 = true;
                    if let Some(waker) = shared.1.take() {
                        waker.wake();
                    }
                }
            });
            block_on(poll_fn(|context| {
                let mut shared = shared.lock().unwrap();
                if shared.0 {
                    return Poll::Ready(());
                }
                shared.1 = Some(context.waker().clone());
                Poll::Pending
            }))
            .unwrap();
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_deadline_and_a_cancel_end_it_and_drop_the_future() {
    everywhere(|| {
        let alive = Arc::new(());
        let never = |held: Arc<()>| async move {
            std::future::pending::<()>().await;
            drop(held);
        };
        let outcome = deadline(SHORT, || block_on(never(alive.clone())));
        assert_eq!(outcome, Err(WaitError::TimedOut));
        assert_eq!(Arc::strong_count(&alive), 1);
        let held = alive.clone();
        let waiting = spawn(move || block_on(never(held)));
        yield_now();
        waiting.cancel();
        assert_eq!(waiting.join().unwrap(), Err(WaitError::Cancelled));
        drop(alive);
    });
}

#[test]
fn other_fibers_run_while_a_future_waits_and_calls_nest() {
    on_fibers(|| {
        let other = spawn(|| {
            sleep(SHORT);
            1
        });
        let total = block_on(async {
            delay(2 * SHORT).await;
            // Blocking-style code inside of a future parks, too.
            block_on(async { other.join().unwrap() }).unwrap() + 1
        });
        assert_eq!(total, Ok(2));
    });
}

#[test]
fn a_stream_may_be_polled_on_a_fiber_today_and_on_a_thread_tomorrow() {
    on_fibers(|| {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (AsyncStream::from(one), AsyncStream::from(other));
        let waits = deadline(SHORT, || block_on(read(&mut other, &mut [0; 4])));
        assert!(matches!(waits, Err(WaitError::TimedOut)));
        let thread = std::thread::spawn(move || {
            let first = block_on(read(&mut other, &mut [0; 4])).unwrap().unwrap();
            (first, other)
        });
        block_on(poll_fn(|context: &mut Context<'_>| Pin::new(&mut one).poll_write(context, b"abc")))
            .unwrap()
            .unwrap();
        while !thread.is_finished() {
            sleep(Duration::from_millis(1));
        }
        let (first, mut other) = thread.join().unwrap();
        assert_eq!(first, 3);
        block_on(write_all(&mut one, b"xy")).unwrap().unwrap();
        assert_eq!(block_on(read_to_end(&mut other)).unwrap().unwrap(), 2);
    });
}
