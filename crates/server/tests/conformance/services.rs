//! TCP and UDP services beside HTTP, in every model that can have them. The fixture has the services that the settings of a
//! case give an address.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tenfold_testkit::{Client, Exit, PATIENCE, ServerProcess, Signal, signal_process, wait_until};

use crate::variant::{Variant, status, wait_until_alone};

behaviours![
    pipelined_frames_are_answered_in_their_order only has_services,
    a_frame_may_come_byte_by_byte only has_services,
    a_frame_that_is_too_long_ends_its_connection_after_the_earlier_answers only has_services,
    a_frame_that_takes_too_long_ends_its_connection only has_services,
    a_connection_that_says_nothing_is_closed only has_services,
    a_client_that_takes_nothing_is_dropped only has_services,
    a_panic_ends_its_connection_and_no_other only has_services,
    an_answer_may_close_the_connection only has_services,
    handlers_share_the_state_of_the_app_and_frames_count_as_requests only has_services,
    a_handler_that_waits_holds_up_nobody_else only |variant| has_services(variant) && variant.waits_apart(),
    a_service_has_its_own_bound_of_connections only |variant| has_services(variant) && variant.serves_many(),
    a_function_reads_and_writes_as_it_likes only has_services,
    a_function_may_use_a_framing only has_services,
    datagrams_are_answered only has_services,
    a_stop_lets_a_frame_that_has_begun_be_answered only has_services,
    a_stop_lets_a_function_end_its_frame only has_services,
    a_stop_ends_idle_connections only |variant| has_services(variant) && variant.serves_many(),
    a_reload_under_load_loses_neither_connections_nor_datagrams only has_services,
    an_upgrade_under_load_loses_neither_connections_nor_datagrams only |variant| has_services(variant) && variant.serves_many(),
    with_reuseport_each_worker_has_sockets_of_its_own only has_services,
    services_are_refused_where_handlers_have_no_connections only |variant| !has_services(variant),
];

fn has_services(variant: &Variant) -> bool {
    !variant.has_handler_processes()
}

/// A server with one of the fixture's services, and the address that it got.
fn start(variant: &'static Variant, name: &str, limits: &str) -> (ServerProcess, String) {
    start_with(variant, name, "", limits)
}

fn start_with(variant: &'static Variant, name: &str, top: &str, limits: &str) -> (ServerProcess, String) {
    let server = variant.start(&format!("services = {{ {name} = '127.0.0.1:0' }}\n{top}"), limits);
    let address = address_of(&server, name);
    (server, address)
}

fn address_of(server: &ServerProcess, name: &str) -> String {
    let prefix = format!("service {name} ");
    let log = server.log();
    let line = log.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap_or_else(|| panic!("the service {name} has no address:\n{log}")).to_owned()
}

/// Ends the server and expects that it ends well.
fn stop(mut server: ServerProcess) {
    server.signal(Signal::TERM);
    assert_eq!(server.wait(PATIENCE), Exit::Code(0), "{}", server.log());
}

fn pipelined_frames_are_answered_in_their_order(variant: &'static Variant) {
    let (server, address) = start(variant, "echo", "");
    let lines: String = (0..5000).map(|number| format!("line {number}\r\n")).collect();
    let mut client = Client::connect(&address);
    // The answers are more than the socket's buffers hold, so somebody has to read them meanwhile.
    let mut writer = client.second_half();
    let all = lines.clone();
    let sent = std::thread::spawn(move || writer.try_send(all));
    client.read_exactly(&lines);
    sent.join().expect("it does not panic").expect("everything was sent");
    client.send("one more\r\n").read_exactly("one more\r\n");
    drop(client);
    stop(server);
}

fn a_frame_may_come_byte_by_byte(variant: &'static Variant) {
    let (_server, address) = start(variant, "echo", "");
    let mut client = Client::connect(&address);
    client.trickle(b"hel\rlo\r\nsecond\r\nthi", Duration::from_millis(1));
    client.read_exactly("hel\rlo\r\nsecond\r\n");
    client.trickle(b"rd\r\n", Duration::from_millis(1)).read_exactly("third\r\n");
}

fn a_frame_that_is_too_long_ends_its_connection_after_the_earlier_answers(variant: &'static Variant) {
    let (server, address) = start(variant, "echo", "");
    let mut client = Client::connect(&address);
    client.send(format!("first\r\n{}", "x".repeat(1000))).read_exactly("first\r\n");
    client.expect_end();
    server.wait_for_log("a frame is longer than 1000 bytes");
    Client::connect(&address).send("next\r\n").read_exactly("next\r\n");
    assert_eq!(status(&server).bad_requests, 1);
}

fn a_frame_that_takes_too_long_ends_its_connection(variant: &'static Variant) {
    let (server, address) = start(variant, "echo", "header_timeout_secs = 0.3");
    let mut client = Client::connect(&address);
    client.send("first\r\nsec").read_exactly("first\r\n").expect_end();
    server.wait_for_log("a frame took too long");
}

fn a_connection_that_says_nothing_is_closed(variant: &'static Variant) {
    for name in ["echo", "shout"] {
        let (server, address) = start(variant, name, "keepalive_timeout_secs = 0.3");
        let ending = if name == "echo" { "\r\n" } else { "\n" };
        let mut client = Client::connect(&address);
        client.send(format!("A{ending}")).read_exactly(format!("A{ending}")).expect_end();
        Client::connect(&address).expect_end();
        assert_eq!(status(&server).bad_requests, 0, "{}", server.log());
    }
}

fn a_client_that_takes_nothing_is_dropped(variant: &'static Variant) {
    let (server, address) = start(variant, "rpc", "write_stall_timeout_secs = 0.3");
    let mut client = Client::connect(&address);
    client.send(frame(b"much")).send(frame(b"much"));
    wait_until("the server has dropped it", || {
        let mut probe = client.second_half();
        probe.try_send(frame(b"x")).err()
    });
    wait_until_alone(&server);
}

fn a_panic_ends_its_connection_and_no_other(variant: &'static Variant) {
    let (server, address) = start(variant, "rpc", "");
    let mut client = Client::connect(&address);
    client.send([frame(b"echo hi"), frame(b"panic")].concat()).read_exactly(frame(b"hi")).expect_end();
    Client::connect(&address).send(frame(b"echo on")).read_exactly(frame(b"on"));
    server.wait_for_log("on purpose");
}

fn an_answer_may_close_the_connection(variant: &'static Variant) {
    let (_server, address) = start(variant, "rpc", "");
    let mut client = Client::connect(&address);
    client.send([frame(b"quit"), frame(b"echo never")].concat()).read_exactly(frame(b"bye")).expect_end();
}

fn handlers_share_the_state_of_the_app_and_frames_count_as_requests(variant: &'static Variant) {
    let (server, address) = start(variant, "rpc", "");
    let mut client = Client::connect(&address);
    client.send([frame(b"count"), frame(b"count")].concat());
    client.read_exactly([frame(b"1"), frame(b"2")].concat());
    drop(client);
    wait_until("frames are counted", || (status(&server).requests >= 2).then_some(()));
}

fn a_handler_that_waits_holds_up_nobody_else(variant: &'static Variant) {
    let (_server, address) = start(variant, "rpc", "");
    let (mut slow, mut fast) = (Client::connect(&address), Client::connect(&address));
    slow.send(frame(b"meet"));
    fast.send(frame(b"meet"));
    slow.read_exactly(frame(b"met"));
    fast.read_exactly(frame(b"met"));
}

fn a_service_has_its_own_bound_of_connections(variant: &'static Variant) {
    let (_server, address) = start(variant, "narrow", "");
    let mut first = Client::connect(&address);
    first.send("a\r\n").read_exactly("a\r\n");
    let mut second = Client::connect(&address);
    second.send("b\r\n");
    first.send("c\r\n").read_exactly("c\r\n");
    assert!(second.is_quiet(), "one connection at a time");
    drop(first);
    second.read_exactly("b\r\n");
}

fn a_function_reads_and_writes_as_it_likes(variant: &'static Variant) {
    let (server, address) = start(variant, "talk", "");
    let mut client = Client::connect(&address);
    client.read_exactly("who?\n").send("somebody\n").read_exactly("hello somebody\n");
    client.half_close().read_exactly("bye\n").expect_end();
    drop(client);
    stop(server);
}

fn a_function_may_use_a_framing(variant: &'static Variant) {
    let (server, address) = start(variant, "shout", "");
    let mut client = Client::connect(&address);
    client.trickle(b"one\r\ntwo\nthr", Duration::from_millis(1)).read_exactly("ONE\nTWO\n");
    client.send("ee\n").read_exactly("THREE\n");
    client.send("x".repeat(1 << 21));
    assert!(client.read_to_end_or_reset() == 0);
    server.wait_for_log("a frame is longer than");
}

fn datagrams_are_answered(variant: &'static Variant) {
    let (server, address) = start(variant, "ping", "");
    let client = datagrams(&address);
    for text in ["a", "", "a longer one"] {
        assert_eq!(asked(&client, text.as_bytes()), Some(format!("pong {text}").into_bytes()));
    }
    // Nobody answers this one, and the next one is answered all the same.
    client.send(b"bad").expect("sent");
    assert_eq!(asked(&client, b"next"), Some(b"pong next".to_vec()));
    server.wait_for_log("a bad datagram");
    stop(server);
}

fn datagrams(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("the loopback has a free port");
    socket.connect(address).expect("an address");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    socket
}

fn asked(socket: &UdpSocket, question: &[u8]) -> Option<Vec<u8>> {
    let mut buf = [0; 2048];
    socket.send(question).ok()?;
    let count = socket.recv(&mut buf).ok()?;
    Some(buf[..count].to_vec())
}

fn a_stop_lets_a_frame_that_has_begun_be_answered(variant: &'static Variant) {
    let (mut server, address) = start(variant, "echo", "");
    let mut client = Client::connect(&address);
    client.send("first\r\nsecond, in ha").read_exactly("first\r\n");
    server.signal(Signal::TERM);
    wait_until_refused(&address);
    client.send("lf\r\n").read_exactly("second, in half\r\n").expect_end();
    assert_eq!(server.wait(PATIENCE), Exit::Code(0), "{}", server.log());
}

fn a_stop_lets_a_function_end_its_frame(variant: &'static Variant) {
    let (mut server, address) = start(variant, "shout", "");
    let mut client = Client::connect(&address);
    client.send("first\nsecond, in ha").read_exactly("FIRST\n");
    server.signal(Signal::TERM);
    wait_until_refused(&address);
    client.send("lf\n").read_exactly("SECOND, IN HALF\n").expect_end();
    assert_eq!(server.wait(PATIENCE), Exit::Code(0), "{}", server.log());
}

fn a_stop_ends_idle_connections(variant: &'static Variant) {
    for (name, ending) in [("echo", "\r\n"), ("shout", "\n")] {
        let (mut server, address) = start(variant, name, "");
        let mut idle: Vec<Client> = (0..10).map(|_| Client::connect(&address)).collect();
        let line = format!("A{ending}");
        for client in &mut idle {
            client.send(&line).read_exactly(&line);
        }
        server.signal(Signal::TERM);
        idle.iter_mut().for_each(Client::expect_end);
        assert_eq!(server.wait(PATIENCE), Exit::Code(0), "{}", server.log());
    }
}

/// Waits until new connections are not served: they are refused, or nobody answers them.
fn wait_until_refused(address: &str) {
    wait_until("new connections are not served", || {
        let Ok(client) = Client::try_connect(address) else { return Some(()) };
        let mut client = client.patience(Duration::from_millis(100));
        let sent = client.try_send("probe\r\n");
        let answer = sent.and_then(|()| client.try_take(7)).unwrap_or(0);
        (answer == 0).then_some(())
    });
}

/// Asks on connections of one question each and by datagrams, until it is told to stop.
struct Asker {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<Result<(), String>>,
}

impl Asker {
    fn start(ask: impl Fn(u64) -> Result<(), String> + Send + 'static) -> Asker {
        let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (is_over, count) = (stop.clone(), asked.clone());
        let thread = std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                ask(count.fetch_add(1, Ordering::Relaxed))?;
            }
            Ok(())
        });
        Asker { stop, asked, thread }
    }

    fn wait_for(&self, count: u64) {
        let until = self.asked.load(Ordering::Relaxed) + count;
        wait_until("more questions are answered", || {
            (self.thread.is_finished() || self.asked.load(Ordering::Relaxed) >= until).then_some(())
        });
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let outcome = self.thread.join().expect("the asker does not panic");
        assert_eq!(outcome, Ok(()));
    }
}

fn ask_once(address: &str, number: u64) -> Result<(), String> {
    let text = |error: std::io::Error| format!("question {number}: {error}");
    let mut stream = TcpStream::connect(address).map_err(text)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(text)?;
    let lines = format!("question {number}\r\nand another\r\n");
    stream.write_all(lines.as_bytes()).map_err(text)?;
    let mut answer = vec![0; lines.len()];
    stream.read_exact(&mut answer).map_err(text)?;
    if answer == lines.as_bytes() { Ok(()) } else { Err(format!("question {number}: another answer")) }
}

/// Connections and datagrams of two services, asked for all the time.
struct Askers {
    connections: Asker,
    datagrams: Asker,
}

impl Askers {
    fn start(server: &ServerProcess) -> Askers {
        let (echo, ping) = (address_of(server, "echo"), address_of(server, "ping"));
        let socket = datagrams(&ping);
        Askers {
            connections: Asker::start(move |number| ask_once(&echo, number)),
            datagrams: Asker::start(move |number| match asked(&socket, number.to_string().as_bytes()) {
                Some(answer) if answer == format!("pong {number}").as_bytes() => Ok(()),
                other => Err(format!("datagram {number}: {other:?}")),
            }),
        }
    }

    fn wait_for(&self, more: u64) {
        self.connections.wait_for(more);
        self.datagrams.wait_for(more);
    }

    fn end(self) {
        self.connections.end();
        self.datagrams.end();
    }
}

/// The grace is the default: a connection that was accepted may have its first bytes on the way, on a busy machine for long.
const ASKED: &str =
    "services = { echo = '127.0.0.1:0', ping = '127.0.0.1:0' }\nworkers = 2\nkeepalive_min_grace_secs = 2.0";

fn a_reload_under_load_loses_neither_connections_nor_datagrams(variant: &'static Variant) {
    let server = variant.start(ASKED, "");
    let askers = Askers::start(&server);
    for _ in 0..3 {
        let before = server.children();
        askers.wait_for(20);
        server.signal(Signal::HUP);
        wait_until("all workers are new ones", || {
            let now = server.children();
            (now.len() >= 2 && now.iter().all(|pid| !before.contains(pid))).then_some(())
        });
    }
    askers.wait_for(20);
    askers.end();
    stop(server);
}

/// The newer master gets the sockets of the services as it gets those of HTTP. Its workers answer, the older one ends, and a
/// connection that is in the middle of a frame has its answer from the older one.
fn an_upgrade_under_load_loses_neither_connections_nor_datagrams(variant: &'static Variant) {
    let mut server = variant.start(ASKED, "");
    let askers = Askers::start(&server);
    let mut begun = Client::connect(&address_of(&server, "echo"));
    begun.send("first\r\nsec").read_exactly("first\r\n");
    askers.wait_for(20);
    let older = server.children();
    server.signal(Signal::USR2);
    let newer = wait_until("a newer master has workers", || {
        let newer = server.children().into_iter().find(|pid| !older.contains(pid))?;
        (tenfold_testkit::descendants(newer).len() >= 2).then_some(newer)
    });
    begun.send("ond\r\n").read_exactly("second\r\n");
    askers.wait_for(20);
    assert_eq!(server.wait(PATIENCE), Exit::Code(0), "{}", server.log());
    askers.wait_for(20);
    askers.end();
    for pid in tenfold_testkit::descendants(newer).into_iter().chain([newer]) {
        signal_process(pid, Signal::KILL);
    }
}

fn with_reuseport_each_worker_has_sockets_of_its_own(variant: &'static Variant) {
    let services = "services = { echo = '127.0.0.1:0', ping = '127.0.0.1:0' }\nworkers = 2\nreuseport = true";
    let server = variant.start(services, "");
    let (echo, ping) = (address_of(&server, "echo"), address_of(&server, "ping"));
    for number in 0..40 {
        // From a port of its own each: the kernel chooses the worker by it.
        assert_eq!(asked(&datagrams(&ping), b"x"), Some(b"pong x".to_vec()));
        assert_eq!(ask_once(&echo, number), Ok(()));
    }
    stop(server);
}

fn services_are_refused_where_handlers_have_no_connections(variant: &'static Variant) {
    let settings = format!(
        "model = '{}'\nlisten = ['127.0.0.1:0']\nservices = {{ echo = '127.0.0.1:0' }}",
        variant.model.name()
    );
    let (exit, log) = crate::variant::refusal(&settings);
    assert_eq!(exit, Exit::Code(2));
    assert!(log.contains("cannot honour TCP and UDP services"), "{log}");
}

/// A frame of the service `rpc`.
fn frame(content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32).to_be_bytes()[..], content].concat()
}
