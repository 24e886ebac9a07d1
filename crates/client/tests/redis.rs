//! The Redis client against a real server, on fibers over both backends and on plain threads.

mod common;

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use common::{everywhere, unique};
use tenfold_client::redis::{Client, ClientBuilder, Command, Pipeline, Script, Value};
use tenfold_client::{Error, Phase};
use tenfold_runtime::{deadline, scope, spawn};
use tenfold_testkit::services::Redis;

static REDIS: LazyLock<Option<Redis>> = LazyLock::new(Redis::start);

fn builder_of(redis: &Redis) -> ClientBuilder {
    Client::builder(&format!("redis://{}", redis.address())).unwrap()
}

/// A client; `None` where there is no server, and the test is left out.
fn client() -> Option<Client> {
    Some(builder_of(REDIS.as_ref()?).build())
}

#[test]
fn commands_are_answered_in_the_types_that_were_asked_for() {
    everywhere(|| {
        let Some(client) = client() else { return };
        client.set("greeting", "hello").unwrap();
        assert_eq!(client.get::<String>("greeting").unwrap(), "hello");
        assert_eq!(client.get::<Option<String>>("missing").unwrap(), None);
        assert!(client.remove("greeting").unwrap() && !client.remove("greeting").unwrap());
        client.query::<()>(&Command::new("DEL").arg("h").arg("l")).unwrap();
        client.query::<i64>(&Command::new("HSET").arg("h").args(["a", "1", "b", "2"])).unwrap();
        let map: HashMap<String, u32> = client.query(&Command::new("HGETALL").arg("h")).unwrap();
        assert_eq!((map["a"], map["b"]), (1, 2));
        client.query::<()>(&Command::new("RPUSH").arg("l").args([3, 1, 2])).unwrap();
        let list: Vec<i64> = client.query(&Command::new("LRANGE").arg("l").arg(0).arg(-1)).unwrap();
        assert_eq!(list, [3, 1, 2]);
        client.set_for("brief", b"\0\r\n", Duration::from_secs(100)).unwrap();
        assert!((1..=100).contains(&client.query::<i64>(&Command::new("TTL").arg("brief")).unwrap()));
        assert_eq!(&client.get::<bytes::Bytes>("brief").unwrap()[..], b"\0\r\n");
    });
}

#[test]
fn refusals_and_wrong_types_are_errors_and_break_nothing() {
    everywhere(|| {
        let Some(client) = client() else { return };
        client.set("text", "words").unwrap();
        let refused = client.query::<i64>(&Command::new("LLEN").arg("text")).unwrap_err();
        assert!(matches!(&refused, Error::Rejected { code, .. } if code == "WRONGTYPE"), "{refused}");
        assert!(matches!(client.get::<i64>("text"), Err(Error::Type { .. })));
        for name in ["SUBSCRIBE", "blpop", "Select"] {
            let needs = client.query::<()>(&Command::new(name).arg("x")).unwrap_err();
            assert!(matches!(needs, Error::InvalidRequest(_)), "{needs}");
        }
        assert_eq!(client.get::<String>("text").unwrap(), "words");
    });
}

#[test]
fn many_fibers_share_one_connection_and_each_gets_its_own_reply() {
    everywhere(|| {
        let Some(client) = client() else { return };
        let name = unique("shared");
        let name = name.as_str();
        let large = "x".repeat(300_000);
        client.set("large", large.as_str()).unwrap();
        scope(|scope| {
            for number in 0..64 {
                let (client, large) = (&client, &large);
                scope.spawn(move || {
                    for turn in 0..20 {
                        let key = format!("{name}-{number}");
                        let value = format!("{number}-{turn}");
                        client.set(&key, &value).unwrap();
                        assert_eq!(client.get::<String>(&key).unwrap(), value);
                    }
                    if number % 16 == 0 {
                        assert_eq!(&client.get::<String>("large").unwrap(), large);
                        client.set(format!("{name}-large"), large).unwrap();
                    }
                });
            }
        });
        let clients: String =
            client.connection().unwrap().query(&Command::new("CLIENT").arg("LIST")).unwrap();
        assert!(!clients.is_empty());
    });
}

#[test]
fn one_connection_serves_all_of_a_loop() {
    let Some(redis) = Redis::start() else { return };
    let client = builder_of(&redis).build();
    let runtime = common::runtime(tenfold_runtime::BackendChoice::Auto).unwrap();
    let connections = runtime.run(move || {
        scope(|scope| {
            (0..32).for_each(|_| drop(scope.spawn(|| client.set("a", 1).unwrap())));
        });
        let info: String = client.query(&Command::new("INFO").arg("clients")).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("connected_clients:")).unwrap();
        line.parse::<u32>().unwrap()
    });
    assert_eq!(connections.unwrap(), 1);
}

#[test]
fn pipelines_are_answered_one_by_one_and_atomic_ones_all_or_nothing() {
    everywhere(|| {
        let Some(client) = client() else { return };
        client.query::<()>(&Command::new("DEL").arg("n")).unwrap();
        let mut pipeline = Pipeline::new();
        pipeline
            .add(Command::new("INCR").arg("n"))
            .add(Command::new("NONSENSE"))
            .add(Command::new("INCR").arg("n"));
        let replies = client.pipeline(&pipeline).unwrap();
        assert_eq!((&replies[0], &replies[2]), (&Value::Int(1), &Value::Int(2)));
        assert!(matches!(&replies[1], Value::Error(text) if text.contains("unknown command")));
        assert!(client.pipeline(&Pipeline::new()).unwrap().is_empty());

        let mut atomic = Pipeline::atomic();
        atomic.add(Command::new("SET").arg("n").arg(5)).add(Command::new("INCR").arg("n"));
        assert_eq!(client.pipeline(&atomic).unwrap()[1], Value::Int(6));
        let mut broken = Pipeline::atomic();
        broken.add(Command::new("SET").arg("n").arg(9)).add(Command::new("NONSENSE"));
        assert!(matches!(client.pipeline(&broken), Err(Error::Rejected { .. })));
        assert_eq!(client.get::<i64>("n").unwrap(), 6);
    });
}

#[test]
fn a_connection_of_ones_own_watches_and_blocks() {
    everywhere(|| {
        let Some(client) = client() else { return };
        client.set("w", 1).unwrap();
        let mut own = client.connection().unwrap();
        own.query::<()>(&Command::new("WATCH").arg("w")).unwrap();
        client.set("w", 2).unwrap();
        let mut change = Pipeline::atomic();
        change.add(Command::new("SET").arg("w").arg(3));
        let refused = own.pipeline(&change).unwrap_err();
        assert!(matches!(&refused, Error::Rejected { code, .. } if code == "NIL"), "{refused}");
        drop(own);
        assert_eq!(client.pool().stats().idle, 0, "what has watched is not handed to others");

        client.query::<()>(&Command::new("DEL").arg("queue")).unwrap();
        let waiting = {
            let client = client.clone();
            spawn(move || {
                let until = Instant::now() + Duration::from_secs(20);
                let pop = Command::new("BLPOP").arg("queue").arg(0);
                client.connection().unwrap().query_until::<Vec<String>>(&pop, until).unwrap()
            })
        };
        client.query::<()>(&Command::new("RPUSH").arg("queue").arg("job")).unwrap();
        assert_eq!(waiting.join().unwrap(), ["queue", "job"]);
    });
}

#[test]
fn messages_reach_their_subscribers_and_a_timed_out_wait_loses_none() {
    everywhere(|| {
        let Some(client) = client() else { return };
        let channel = unique("news");
        let mut news = client.subscribe([&channel]).unwrap();
        assert_eq!(news.receive_before(Instant::now() + Duration::from_millis(5)).unwrap(), None);
        while client.publish(&channel, "first").unwrap() == 0 {}
        let message = news.receive().unwrap();
        assert_eq!(
            (message.channel.as_str(), &message.payload[..], message.pattern),
            (channel.as_str(), &b"first"[..], None)
        );
        news.unsubscribe([&channel]).unwrap();
        news.subscribe_pattern([format!("{channel}*")]).unwrap();
        while client.publish(format!("{channel}!"), "second").unwrap() == 0 {}
        let message = news.receive().unwrap();
        assert_eq!((message.pattern, &message.payload[..]), (Some(format!("{channel}*")), &b"second"[..]));
        let over = deadline(Duration::from_millis(5), || news.receive()).unwrap_err();
        assert!(matches!(over, Error::TimedOut { phase: Phase::AwaitingReply, .. }), "{over}");
    });
}

#[test]
fn scripts_are_sent_once_and_survive_a_flush() {
    everywhere(|| {
        let Some(client) = client() else { return };
        let script = Script::new("return {KEYS[1], ARGV[1] + 1}");
        let run = || script.run::<Vec<String>, _, _>(&client, ["k"], [41]).unwrap();
        assert_eq!(run(), ["k", "42"]);
        client.query::<()>(&Command::new("SCRIPT").arg("FLUSH")).unwrap();
        assert_eq!(run(), ["k", "42"]);
        let failed = Script::new("return redis.error_reply('ODD one')");
        let error = failed.run::<(), &str, &str>(&client, [], []).unwrap_err();
        assert!(matches!(&error, Error::Rejected { code, .. } if code == "ODD"), "{error}");
    });
}

#[test]
fn a_deadline_or_a_cancel_leaves_the_shared_connection_good() {
    let Some(redis) = Redis::start() else { return };
    static PAUSED: LazyLock<std::sync::Mutex<Option<Client>>> = LazyLock::new(Default::default);
    *PAUSED.lock().unwrap() = Some(builder_of(&redis).build());
    static SERVER: LazyLock<std::sync::Mutex<Option<Redis>>> = LazyLock::new(Default::default);
    *SERVER.lock().unwrap() = Some(redis);
    everywhere(|| {
        let client = PAUSED.lock().unwrap().clone().unwrap();
        client.set("n", 7).unwrap();
        SERVER.lock().unwrap().as_ref().unwrap().pause();
        let late = deadline(Duration::from_millis(20), || client.get::<i64>("n")).unwrap_err();
        assert!(late.is_timeout(), "{late}");
        let waiting: Vec<_> = (0..4)
            .map(|number| {
                let client = client.clone();
                spawn(move || client.query::<i64>(&Command::new("ECHO").arg(number)))
            })
            .collect();
        waiting[0].cancel();
        let mut waiting = waiting.into_iter();
        let cancelled = waiting.next().unwrap().join().unwrap().unwrap_err();
        assert!(matches!(cancelled, Error::Cancelled { .. }), "{cancelled}");
        SERVER.lock().unwrap().as_ref().unwrap().resume();
        // Replies to those who have gone are not taken for those to others.
        client.set("n", 8).unwrap();
        for (number, call) in (1..).zip(waiting) {
            assert_eq!(call.join().unwrap().unwrap(), number);
        }
        assert_eq!(client.get::<i64>("n").unwrap(), 8);
    });
    drop(SERVER.lock().unwrap().take());
}

#[test]
fn a_server_that_dies_ends_all_calls_and_one_that_comes_back_is_used_again() {
    static SERVER: LazyLock<Option<Redis>> = LazyLock::new(Redis::start);
    everywhere(|| {
        let Some(redis) = SERVER.as_ref() else { return };
        let client = builder_of(redis).build();
        client.set("a", 1).unwrap();
        redis.pause();
        scope(|scope| {
            let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| client.get::<i64>("a"))).collect();
            redis.kill();
            for call in calls {
                let error = call.join().unwrap().unwrap_err();
                assert!(
                    matches!(error, Error::Closed | Error::Io { .. } | Error::Connect { .. }),
                    "{error:?}"
                );
            }
        });
        assert!(matches!(client.get::<i64>("a"), Err(Error::Connect { .. })));
        redis.restart();
        assert_eq!(client.get::<Option<i64>>("a").unwrap(), None);
    });
}

#[test]
fn passwords_users_and_databases_come_from_the_url() {
    everywhere(|| {
        let Some(redis) = REDIS.as_ref() else { return };
        let admin = builder_of(redis).build();
        let rule = ["SETUSER", "ada", "on", ">secret", "~*", "+@all"];
        admin.query::<()>(&Command::new("ACL").args(rule)).unwrap();
        let ada = Client::new(&format!("redis://ada:secret@{}/3", redis.address())).unwrap();
        assert_eq!(ada.query::<String>(&Command::new("ACL").arg("WHOAMI")).unwrap(), "ada");
        ada.set("where", "three").unwrap();
        assert_eq!(admin.get::<Option<String>>("where").unwrap(), None);
        let wrong = Client::new(&format!("redis://ada:wrong@{}", redis.address())).unwrap();
        let refused = wrong.set("a", 1).unwrap_err();
        assert!(matches!(&refused, Error::Rejected { code, .. } if code == "WRONGPASS"), "{refused}");
        assert!(matches!(Client::new("rediss://a"), Err(Error::UnsupportedScheme { .. })));
        assert!(matches!(Client::new("redis://"), Err(Error::InvalidUrl { .. })));
    });
}
