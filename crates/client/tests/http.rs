//! The HTTP client against servers that follow a script, on fibers over both backends and on plain threads.

mod common;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{everywhere, runtime};
use tenfold_client::http::Client;
use tenfold_client::pool::PoolError;
use tenfold_client::{Error, Phase};
use tenfold_runtime::net::{TcpListener, TcpStream};
use tenfold_runtime::{BackendChoice, JoinHandle, deadline, scope, sleep, spawn};

/// Serves `connections` one after another with `serve`, which gets each connection's number; returns its address.
fn server(connections: usize, serve: impl Fn(usize, TcpStream) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x?y=1", listener.local_addr().unwrap());
    let handle = spawn(move || {
        for number in 0..connections {
            serve(number, listener.accept().unwrap());
        }
    });
    (url, handle)
}

/// Reads one request: its head, and a body of known length.
fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut all = Vec::new();
    let mut byte = [0];
    while !all.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        all.push(byte[0]);
    }
    let mut text = String::from_utf8(all).unwrap();
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    text.push_str(&String::from_utf8(body).unwrap());
    Some(text)
}

fn await_flag(flag: &AtomicBool) {
    while !flag.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(1));
    }
}

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Kind: greeting\r\n\r\nhello";

#[test]
fn a_request_goes_out_and_its_answer_comes_in() {
    everywhere(|| {
        let (url, server) = server(1, |_, mut stream| {
            let request = read_request(&mut stream).unwrap();
            assert!(request.starts_with("POST /x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
            assert!(request.contains("\r\nx-color: blue\r\n"), "{request}");
            assert!(request.contains("\r\ncontent-type: application/json\r\n"), "{request}");
            assert!(request.ends_with("\r\n\r\n[1,2]"), "{request}");
            stream.write_all(HELLO).unwrap();
        });
        let client = Client::new();
        let response = client.post(&url).unwrap().header("X-Color", "blue").json(&[1, 2]).send().unwrap();
        assert_eq!((response.status().as_u16(), response.header("x-kind")), (200, Some("greeting")));
        assert_eq!(response.text().unwrap(), "hello");
        server.join().unwrap();
    });
}

#[test]
fn a_connection_is_used_again_after_each_kind_of_body() {
    everywhere(|| {
        let (url, server) = server(1, |_, mut stream| {
            let answers: [&[u8]; 4] = [
                b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\nX-Sum: 3\r\n\r\n",
                b"HTTP/1.1 204 No Content\r\n\r\n",
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            ];
            for answer in answers {
                read_request(&mut stream).expect("all requests come over this connection");
                stream.write_all(answer).unwrap();
            }
        });
        let client = Client::new();
        let get = || client.get(&url).unwrap().send().unwrap();
        assert_eq!(get().text().unwrap(), "ab");
        let mut chunked = get();
        let mut text = String::new();
        chunked.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), chunked.trailers().unwrap()["x-sum"].to_str().unwrap()), ("abc", "3"));
        assert_eq!(get().status(), 204);
        assert_eq!(get().text().unwrap(), "");
        server.join().unwrap();
    });
}

#[test]
fn an_idle_connection_that_the_peer_has_closed_costs_no_request() {
    everywhere(|| {
        let (url, server) = server(2, |_, mut stream| {
            read_request(&mut stream).unwrap();
            stream.write_all(HELLO).unwrap();
        });
        let client = Client::new();
        for _ in 0..2 {
            // The server closes after each answer without having said so.
            assert_eq!(client.get(&url).unwrap().send().unwrap().text().unwrap(), "hello");
        }
        server.join().unwrap();
    });
}

#[test]
fn a_kept_connection_is_looked_at_before_a_post_and_after_it_has_idled() {
    everywhere(|| {
        for (method, check_after) in [("POST", Duration::from_secs(60)), ("GET", Duration::ZERO)] {
            let (at_rest, closed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let (seen, done) = (at_rest.clone(), closed.clone());
            let (url, server) = server(2, move |number, mut stream| {
                read_request(&mut stream).unwrap();
                stream.write_all(HELLO).unwrap();
                if number == 0 {
                    await_flag(&seen);
                    // Said without having been asked, as some servers do before they close what has idled.
                    stream.write_all(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n").unwrap();
                    drop(stream);
                    done.store(true, Ordering::SeqCst);
                }
            });
            let client = Client::builder().check_after(check_after).build();
            let send = || client.request(method.parse().unwrap(), &url).unwrap().send().unwrap();
            assert_eq!(send().text().unwrap(), "hello");
            at_rest.store(true, Ordering::SeqCst);
            await_flag(&closed);
            // Only the looking can tell: what lies there is a whole answer.
            assert_eq!(send().text().unwrap(), "hello", "{method}");
            server.join().unwrap();
        }
    });
}

#[test]
fn a_peer_that_closes_at_once_costs_no_get_although_nobody_has_looked() {
    everywhere(|| {
        let (url, server) = server(3, |_, mut stream| {
            read_request(&mut stream).unwrap();
            stream.write_all(HELLO).unwrap();
        });
        let client = Client::builder().check_after(Duration::from_secs(60)).build();
        for _ in 0..3 {
            assert_eq!(client.get(&url).unwrap().send().unwrap().text().unwrap(), "hello");
        }
        server.join().unwrap();
    });
}

#[test]
fn headers_and_bodies_of_any_size_come_in_whatever_is_asked_for_first() {
    everywhere(|| {
        let long = "x".repeat(3000);
        let body: String = (0..20_000).map(|number| char::from(b'a' + (number % 26) as u8)).collect();
        let (expected, sent) = (body.clone(), long.clone());
        let (url, server) = server(1, move |_, mut stream| {
            for framing in 0..4 {
                read_request(&mut stream).unwrap();
                let (field, body) = match framing % 2 {
                    0 => (format!("Content-Length: {}", body.len()), body.clone()),
                    _ => {
                        let chunks = body.as_bytes().chunks(999);
                        let chunks = chunks.map(|chunk| {
                            format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk))
                        });
                        ("Transfer-Encoding: chunked".into(), chunks.collect::<String>() + "0\r\n\r\n")
                    }
                };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\n{field}\r\nX-Long: {sent}\r\nX-Many: 1\r\nX-Many: 2\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let client = Client::new();
        for framing in 0..4 {
            let mut response = client.get(&url).unwrap().send().unwrap();
            let mut begin = vec![0; 10];
            if framing < 2 {
                response.read_exact(&mut begin).unwrap();
            } else {
                assert_eq!(response.header("x-long"), Some(long.as_str()));
                begin.clear();
            }
            response.read_to_end(&mut begin).unwrap();
            assert_eq!(String::from_utf8(begin).unwrap(), expected);
            assert_eq!(response.header("X-Long"), Some(long.as_str()));
            assert_eq!(response.headers().get_all("x-many").iter().count(), 2);
        }
        server.join().unwrap();
    });
}

#[test]
fn a_close_that_crosses_the_request_is_retried_for_get_and_told_for_post() {
    everywhere(|| {
        for (method, expected) in [("GET", true), ("POST", false)] {
            let (url, server) = server(1 + usize::from(expected), |number, mut stream| {
                read_request(&mut stream).unwrap();
                stream.write_all(HELLO).unwrap();
                if number == 0 {
                    // The next request arrives whole and is not answered: to the client it looks like a crossing.
                    read_request(&mut stream).unwrap();
                }
            });
            let client = Client::new();
            let send = || client.request(method.parse().unwrap(), &url).unwrap().send();
            assert_eq!(send().unwrap().text().unwrap(), "hello");
            match send() {
                Ok(response) if expected => assert_eq!(response.text().unwrap(), "hello"),
                Err(Error::Closed) if !expected => {}
                other => panic!("{method}: {other:?}"),
            }
            server.join().unwrap();
        }
    });
}

#[test]
fn the_pool_bounds_connections_and_the_line_is_served_in_turn() {
    everywhere(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, seen) = (open.clone(), most.clone());
        let acceptor = spawn(move || {
            while let Ok(mut stream) = listener.accept() {
                let (open, most) = (counted.clone(), seen.clone());
                spawn(move || {
                    most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    while read_request(&mut stream).is_some() {
                        sleep(Duration::from_millis(2));
                        stream.write_all(HELLO).unwrap();
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        let client = Client::builder().connections_max_per_host(3).build();
        scope(|scope| {
            let calls: Vec<_> = (0..24)
                .map(|_| {
                    let (client, url) = (client.clone(), &url);
                    scope.spawn(move || client.get(url).unwrap().send().unwrap().text().unwrap())
                })
                .collect();
            calls.into_iter().for_each(|call| assert_eq!(call.join().unwrap(), "hello"));
        });
        assert_eq!(most.load(Ordering::SeqCst), 3);
        acceptor.cancel();
        drop(client);
        acceptor.join().unwrap();
    });
}

#[test]
fn a_full_line_is_an_error_at_once() {
    everywhere(|| {
        let (url, server) = server(1, |_, mut stream| {
            read_request(&mut stream).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the answer is dropped and its connection closed");
        });
        let client = Client::builder().connections_max_per_host(1).waiters_max(0).build();
        let unread = client.get(&url).unwrap().send().unwrap();
        let refused = client.get(&url).unwrap().send().unwrap_err();
        let Error::Busy(PoolError::Full { connections_max: 1, waiting: 0, holders, .. }) = &refused else {
            panic!("{refused:?}")
        };
        assert!(holders.iter().all(|holder| holder.place.file() == file!() && holder.connections == 1));
        drop(unread);
        server.join().unwrap();
    });
}

#[test]
fn a_slow_body_ends_at_the_tasks_deadline_and_at_the_requests_timeout() {
    everywhere(|| {
        let (url, server) = server(2, |_, mut stream| {
            read_request(&mut stream).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
        });
        let client = Client::new();
        let start = Instant::now();
        let late = deadline(Duration::from_millis(30), || {
            let response = client.get(&url).unwrap().send().unwrap();
            response.text().unwrap_err()
        });
        assert!(matches!(late, Error::TimedOut { phase: Phase::ReceivingBody, .. }), "{late:?}");
        let timeout = Duration::from_millis(30);
        let mut response = client.get(&url).unwrap().timeout(timeout).send().unwrap();
        let mut all = Vec::new();
        let error = response.read_to_end(&mut all).unwrap_err();
        assert_eq!((error.kind(), all.as_slice()), (std::io::ErrorKind::TimedOut, &b"half"[..]));
        assert!(start.elapsed() < Duration::from_secs(20));
        drop(response);
        server.join().unwrap();
    });
}

#[test]
fn a_server_that_says_nothing_ends_at_the_read_timeout() {
    everywhere(|| {
        let (url, server) = server(1, |_, mut stream| {
            read_request(&mut stream).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
        });
        let client = Client::builder().read_timeout(Duration::from_millis(20)).build();
        let late = client.get(&url).unwrap().send().unwrap_err();
        assert!(matches!(late, Error::TimedOut { phase: Phase::AwaitingHead, .. }), "{late:?}");
        server.join().unwrap();
    });
}

type IsExpected = fn(&Error) -> bool;

#[test]
fn malformed_answers_are_typed_errors() {
    everywhere(|| {
        let cases: [(&'static [u8], IsExpected); 7] = [
            (b"nonsense\r\n\r\n", |error| matches!(error, Error::Head(_))),
            (b"HTTP/1.1 200 OK\nContent-Length: 1\n\n", |error| matches!(error, Error::Head(_))),
            (b"HTTP/1.1 200 OK\r\nContent-Le", |error| matches!(error, Error::Body(_))),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", |error| matches!(error, Error::Body(_))),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", |error| {
                matches!(error, Error::Body(_))
            }),
            (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", |error| matches!(error, Error::Unexpected(_))),
            (b"", |error| matches!(error, Error::Closed)),
        ];
        for (answer, is_expected) in cases {
            let (url, server) = server(1, move |_, mut stream| {
                read_request(&mut stream).unwrap();
                stream.write_all(answer).unwrap();
            });
            let outcome = Client::new().get(&url).unwrap().send().and_then(|response| response.text());
            let error = outcome.expect_err(&String::from_utf8_lossy(answer));
            assert!(is_expected(&error), "{:?} gave {error:?}", String::from_utf8_lossy(answer));
            server.join().unwrap();
        }
    });
}

#[test]
fn bodies_are_bounded_whether_their_length_is_announced_or_not() {
    everywhere(|| {
        let (url, server) = server(2, |number, mut stream| {
            read_request(&mut stream).unwrap();
            let head: &[u8] = match number {
                0 => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
                _ => b"HTTP/1.1 200 OK\r\n\r\n",
            };
            stream.write_all(head).unwrap();
            let _ = stream.write_all(&[b'x'; 100]);
        });
        for _ in 0..2 {
            let response = Client::new().get(&url).unwrap().send().unwrap();
            assert!(matches!(response.bytes(99), Err(Error::BodyTooLarge { bytes_max: 99 })));
        }
        server.join().unwrap();
    });
}

#[test]
fn nobody_listening_and_an_unknown_name_are_told_apart() {
    everywhere(|| {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = Client::builder().connect_timeout(Duration::from_secs(2)).build();
        let refused = client.get(&format!("http://{free}/")).unwrap().send().unwrap_err();
        assert!(matches!(refused, Error::Connect { .. }), "{refused:?}");
        let unknown = client.get("http://name.invalid/").unwrap().send().unwrap_err();
        assert!(matches!(unknown, Error::Resolve { .. }), "{unknown:?}");
    });
}

#[test]
fn one_client_serves_many_loops_and_threads_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut stream = TcpStream::from(stream);
                while read_request(&mut stream).is_some() {
                    stream.write_all(HELLO).unwrap();
                }
            });
        }
    });
    // Fewer connections than callers, so that each wanders between loops of both backends and threads.
    let client = Client::builder().connections_max_per_host(2).build();
    let calls = move || {
        for _ in 0..100 {
            assert_eq!(client.get(&url).unwrap().send().unwrap().text().unwrap(), "hello");
        }
    };
    let threads: Vec<_> = [None, Some(BackendChoice::Auto), Some(BackendChoice::Epoll)]
        .into_iter()
        .map(|backend| {
            let calls = calls.clone();
            std::thread::spawn(move || match backend {
                None => calls(),
                Some(backend) => runtime(backend).unwrap().run(calls).unwrap(),
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
