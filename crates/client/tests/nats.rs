//! The NATS client against a real server with JetStream, on fibers over both backends and on plain threads.

mod common;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use common::{everywhere, unique};
use serde_json::json;
use tenfold_client::Error;
use tenfold_client::nats::{Connection, Expected, Login, is_missing};
use tenfold_runtime::{Runtime, RuntimeConfig, spawn};
use tenfold_testkit::services::Nats;

static NATS: LazyLock<Option<Nats>> = LazyLock::new(Nats::start);

/// A connection; `None` where there is no server, and the test is left out.
fn nats() -> Option<Connection> {
    Some(open(NATS.as_ref()?))
}

fn open(nats: &Nats) -> Connection {
    Connection::open(&Login::parse(&nats.url()).unwrap(), Duration::from_secs(5)).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

/// A stream of its own: its name, which is the beginning of its subjects too.
fn stream(nats: &mut Connection) -> String {
    let name = unique("S");
    let config = json!({ "name": name, "subjects": [format!("{name}.>")], "max_msgs_per_subject": 5 });
    nats.api(&format!("STREAM.CREATE.{name}"), &config).unwrap();
    name
}

#[test]
fn a_connection_needs_no_more_than_the_stack_that_a_fiber_has() {
    let Some(url) = NATS.as_ref().map(Nats::url) else { return };
    let talk = move || {
        let mut nats = Connection::open(&Login::parse(&url).unwrap(), Duration::from_secs(5)).unwrap();
        let subject = unique("talk");
        nats.subscribe(&subject).unwrap();
        nats.publish(&subject, &[b'x'; 1000]).unwrap();
        assert_eq!(nats.next(soon()).unwrap().unwrap().payload.len(), 1000);
    };
    let runtime = Runtime::new(&RuntimeConfig::default()).unwrap();
    runtime.run(move || spawn(talk).join().unwrap()).unwrap();
}

#[test]
fn what_is_published_comes_to_those_who_listen_and_to_no_others() {
    everywhere(|| {
        let Some(mut nats) = nats() else { return };
        let subject = unique("talk");
        let (one, all) =
            (nats.subscribe(&format!("{subject}.a")).unwrap(), nats.subscribe(&subject).unwrap());
        nats.publish(&format!("{subject}.a"), b"x\r\ny").unwrap();
        nats.publish(&format!("{subject}.b"), b"nobody's").unwrap();
        nats.publish(&subject, b"").unwrap();
        let heard = [nats.next(soon()).unwrap().unwrap(), nats.next(soon()).unwrap().unwrap()];
        assert_eq!((heard[0].sid, &heard[0].payload[..]), (one, &b"x\r\ny"[..]));
        assert_eq!((heard[1].sid, &heard[1].payload[..]), (all, &b""[..]));
        nats.unsubscribe(one).unwrap();
        nats.publish(&format!("{subject}.a"), b"after").unwrap();
        nats.publish(&subject, b"last").unwrap();
        assert_eq!(nats.next(soon()).unwrap().unwrap().payload, b"last");
        // Nobody answers, and that is said at once.
        assert!(
            matches!(nats.request("nobody", &[], b""), Err(Error::Rejected { code, .. }) if code == "503")
        );
    });
}

#[test]
fn of_two_who_expect_the_same_end_one_appends() {
    everywhere(|| {
        let Some(mut a) = nats() else { return };
        let mut b = nats().unwrap();
        let name = stream(&mut a);
        let subject = format!("{name}.x");
        let first = a.append(&subject, Expected::LastOfSubject(0), b"1").unwrap().unwrap();
        assert_eq!(b.append(&subject, Expected::LastOfSubject(0), b"2").unwrap(), None);
        let second = b.append(&format!("{name}.y"), Expected::Last(first), b"3").unwrap().unwrap();
        assert_eq!(a.append(&subject, Expected::Last(first), b"4").unwrap(), None);
        assert_eq!(a.append(&subject, Expected::LastOfSubject(first), b"5").unwrap(), Some(second + 1));
        let kept = b.kept(&name, &json!({ "last_by_subj": subject })).unwrap().unwrap();
        assert_eq!((kept.number, &kept.payload[..]), (second + 1, &b"5"[..]));
        assert_eq!(b.kept(&name, &json!({ "last_by_subj": "other" })).unwrap(), None);
        let missing = a.api("STREAM.INFO.NONE", &json!({})).unwrap_err();
        assert!(is_missing(&missing), "{missing}");
    });
}

#[test]
fn what_a_stream_keeps_is_read_in_its_order_and_apart_from_what_is_heard() {
    everywhere(|| {
        let Some(mut nats) = nats() else { return };
        let name = stream(&mut nats);
        assert_eq!(nats.all_kept(&name, &format!("{name}.>")).unwrap(), []);
        let heard = nats.subscribe(&format!("{name}.talk")).unwrap();
        for n in 0..8_u8 {
            nats.append(&format!("{name}.x.{}", n % 2), Expected::Anything, &[n]).unwrap();
        }
        nats.append(&format!("{name}.talk"), Expected::Anything, b"aside").unwrap();
        let payloads = |filter: &str, nats: &mut Connection| {
            let all = nats.all_kept(&name, filter).unwrap();
            assert!(all.iter().all(|kept| kept.time > 0 && kept.number > 0));
            all.into_iter().map(|kept| kept.payload[0]).collect::<Vec<u8>>()
        };
        assert_eq!(payloads(&format!("{name}.x.1"), &mut nats), [1, 3, 5, 7]);
        assert_eq!(payloads(&format!("{name}.x.*"), &mut nats), [0, 1, 2, 3, 4, 5, 6, 7]);
        // Five of a subject are kept.
        for n in 8..20_u8 {
            nats.append(&format!("{name}.x.0"), Expected::Anything, &[n]).unwrap();
        }
        assert_eq!(payloads(&format!("{name}.x.0"), &mut nats), [15, 16, 17, 18, 19]);
        let aside = nats.next(soon()).unwrap().unwrap();
        assert_eq!((aside.sid, &aside.payload[..]), (heard, &b"aside"[..]), "it came while others were read");
    });
}

#[test]
fn a_server_that_is_gone_is_an_error_and_one_that_pauses_a_time_out() {
    let Some(server) = Nats::start() else { return };
    let login = Login::parse(&server.url()).unwrap();
    let mut nats = Connection::open(&login, Duration::from_millis(300)).unwrap();
    server.pause();
    assert!(nats.api("INFO", &json!({})).unwrap_err().is_timeout());
    server.resume();
    let mut again = open(&server);
    server.kill();
    assert!(again.api("INFO", &json!({})).is_err());
    assert!(matches!(Connection::open(&login, Duration::from_secs(1)), Err(Error::Connect { .. })));
    server.restart();
    assert!(open(&server).info().jetstream);
}
