//! The memcached client against a real server, on fibers over both backends and on plain threads.

mod common;

use std::sync::LazyLock;
use std::time::Duration;

use common::{everywhere, unique};
use tenfold_client::Error;
use tenfold_client::memcached::Client;
use tenfold_runtime::{deadline, scope};
use tenfold_testkit::services::Memcached;

static MEMCACHED: LazyLock<Option<Memcached>> = LazyLock::new(Memcached::start);

/// A client; `None` where there is no server, and the test is left out.
fn client() -> Option<Client> {
    Some(Client::new(&MEMCACHED.as_ref()?.address()).unwrap())
}

#[test]
fn values_are_stored_found_and_removed() {
    everywhere(|| {
        let Some(client) = client() else { return };
        let key = unique("value");
        assert_eq!(client.get(&key).unwrap(), None);
        client.set(&key, b"a\r\nb", Some(Duration::from_secs(100))).unwrap();
        assert_eq!(client.get(&key).unwrap().as_deref(), Some(&b"a\r\nb"[..]));
        assert!(!client.add(&key, "x", None).unwrap() && client.replace(&key, "y", None).unwrap());
        assert!(client.touch(&key, Some(Duration::from_secs(60 * 24 * 60 * 60))).unwrap());
        assert_eq!(client.get(&key).unwrap().as_deref(), Some(&b"y"[..]));
        assert!(client.remove(&key).unwrap() && !client.remove(&key).unwrap());
        assert!(!client.replace(&key, "z", None).unwrap() && !client.touch(&key, None).unwrap());
        assert!(client.add(&key, "", None).unwrap());
        assert_eq!(client.get(&key).unwrap().as_deref(), Some(&b""[..]));
    });
}

#[test]
fn a_value_that_has_changed_is_not_overwritten() {
    everywhere(|| {
        let Some(client) = client() else { return };
        let key = unique("version");
        client.set(&key, "1", None).unwrap();
        let seen = client.get_versioned(&key).unwrap().unwrap();
        client.set(&key, "2", None).unwrap();
        assert!(!client.set_if_unchanged(&key, "3", None, seen.version).unwrap());
        let seen = client.get_versioned(&key).unwrap().unwrap();
        assert!(client.set_if_unchanged(&key, "4", None, seen.version).unwrap());
        assert_eq!(client.get(&key).unwrap().as_deref(), Some(&b"4"[..]));
    });
}

#[test]
fn numbers_count_and_what_is_none_is_refused() {
    everywhere(|| {
        let Some(client) = client() else { return };
        let key = unique("number");
        assert_eq!(client.count(&key, 1).unwrap(), None);
        client.set(&key, "10", None).unwrap();
        assert_eq!((client.count(&key, 5).unwrap(), client.count(&key, -20).unwrap()), (Some(15), Some(0)));
        client.set(&key, "ten", None).unwrap();
        assert!(matches!(client.count(&key, 1), Err(Error::Rejected { .. })));
        let large = vec![0; 2 << 20];
        assert!(matches!(client.set(&key, large, None), Err(Error::Rejected { .. })));
        assert!(matches!(client.get("two words"), Err(Error::InvalidRequest(_))));
        assert_eq!(client.get(&key).unwrap(), None, "the server drops what it could not replace");
    });
}

#[test]
fn many_share_one_connection_and_each_gets_its_own_reply() {
    everywhere(|| {
        let Some(client) = client() else { return };
        let name = unique("shared");
        scope(|scope| {
            for number in 0..32 {
                let (client, key) = (&client, format!("{name}-{number}"));
                scope.spawn(move || {
                    for turn in 0..20 {
                        let value = format!("{number}-{turn}");
                        client.set(&key, &value, None).unwrap();
                        assert_eq!(client.get(&key).unwrap().as_deref(), Some(value.as_bytes()));
                    }
                });
            }
        });
        let keys = [format!("{name}-0"), format!("{name}-none"), format!("{name}-31")];
        let found = client.get_many(keys.iter().map(String::as_str)).unwrap();
        assert_eq!(
            (found[0].as_deref(), &found[1], found[2].as_deref()),
            (Some(&b"0-19"[..]), &None, Some(&b"31-19"[..]))
        );
        assert!(client.get_many([]).unwrap().is_empty());
    });
}

#[test]
fn a_deadline_leaves_the_connection_good_and_a_restart_is_noticed() {
    static SERVER: LazyLock<Option<Memcached>> = LazyLock::new(Memcached::start);
    everywhere(|| {
        let Some(server) = SERVER.as_ref() else { return };
        let client = Client::new(&server.address()).unwrap();
        client.set("a", "1", None).unwrap();
        server.pause();
        let late = deadline(Duration::from_millis(10), || client.set("a", "2", None)).unwrap_err();
        assert!(late.is_timeout(), "{late}");
        server.resume();
        assert_eq!(client.get("a").unwrap().as_deref(), Some(&b"2"[..]));
        server.restart();
        let first = client.get("a");
        assert!(matches!(first, Ok(None) | Err(Error::Closed | Error::Io { .. })), "{first:?}");
        assert_eq!(client.get("a").unwrap(), None);
    });
}
