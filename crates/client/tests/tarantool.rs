//! The Tarantool client against a real server, on fibers over both backends and on plain threads.

#![cfg(feature = "tarantool")]

mod common;

use std::sync::LazyLock;
use std::time::Duration;

use common::{everywhere, unique};
use tenfold_client::Error;
use tenfold_client::tarantool::{Client, Iterator, Select};
use tenfold_runtime::{deadline, scope};
use tenfold_testkit::services::Tarantool;

static TARANTOOL: LazyLock<Option<Tarantool>> = LazyLock::new(Tarantool::start);

/// A client; `None` where there is no server, and the test is left out.
fn client() -> Option<Client> {
    Some(Client::new(&TARANTOOL.as_ref()?.address()).unwrap())
}

/// A space of the caller's own.
fn space(client: &Client, name: &str) -> String {
    let name = unique(name);
    let lua = "local s = box.schema.space.create(...) s:create_index('pk') return s.id";
    let _: (u32,) = client.eval(lua, &(&name,)).unwrap();
    name
}

type Tuple = (u32, String, i64);

fn tuple(id: u32, name: &str, count: i64) -> Tuple {
    (id, name.into(), count)
}

#[test]
fn tuples_are_added_found_changed_and_removed() {
    everywhere(|| {
        let Some(client) = client() else { return };
        let name = space(&client, "tuples");
        let space = client.space(&name).unwrap();
        for id in 1..=5 {
            assert_eq!(space.insert(&tuple(id, "x", 0)).unwrap(), tuple(id, "x", 0));
        }
        let taken = space.insert(&tuple(1, "y", 0)).unwrap_err();
        assert!(matches!(&taken, Error::Rejected { code, .. } if code == "3"), "{taken}");
        space.replace(&tuple(1, "y", 0)).unwrap();
        let changed: Option<Tuple> = space.update(&(2,), &[("+", 2, 7)]).unwrap();
        assert_eq!(changed, Some(tuple(2, "x", 7)));
        assert_eq!(space.update::<Tuple>(&(99,), &[("+", 2, 7)]).unwrap(), None);
        space.upsert(&tuple(2, "n", 0), &[("+", 2, 1)]).unwrap();
        space.upsert(&tuple(6, "n", 0), &[("+", 2, 1)]).unwrap();
        assert_eq!(space.delete::<Tuple>(&(3,)).unwrap(), Some(tuple(3, "x", 0)));
        assert_eq!(space.delete::<Tuple>(&(3,)).unwrap(), None);
        let above = Select::index(0).iterator(Iterator::GreaterOrEqual).limit(2).offset(1);
        let found: Vec<Tuple> = space.select(above, &(1,)).unwrap();
        assert_eq!(found, [tuple(2, "x", 8), tuple(4, "x", 0)]);
        let wrong = space.select::<(String,)>(Select::index(0), &(1,)).unwrap_err();
        assert!(matches!(wrong, Error::Type { .. }), "{wrong}");
        let missing = client.space("nowhere").unwrap_err();
        assert!(matches!(&missing, Error::Rejected { code, .. } if code == "36"), "{missing}");
    });
}

#[test]
fn functions_lua_and_sql_run() {
    everywhere(|| {
        let Some(client) = client() else { return };
        client.ping().unwrap();
        assert_eq!(
            client.eval::<(i64, String)>("local a, b = ... return a + 1, b", &(41, "x")).unwrap(),
            (42, "x".into())
        );
        let id: (String,) = client.call("tostring", &(7,)).unwrap();
        assert_eq!(id.0, "7");
        let failed = client.eval::<()>("error('odd')", &()).unwrap_err();
        assert!(matches!(&failed, Error::Rejected { message, .. } if message.contains("odd")), "{failed}");
        let table = unique("t");
        client.sql::<()>(&format!("create table {table} (id int primary key, word text)"), &()).unwrap();
        let changed =
            client.sql::<()>(&format!("insert into {table} values (?, ?), (2, 'b')"), &(1, "a")).unwrap();
        assert_eq!((changed.changed, changed.rows.len()), (2, 0));
        let rows = client
            .sql::<(i64, String)>(&format!("select id, word from {table} where id > ?"), &(1,))
            .unwrap();
        assert_eq!(
            (rows.columns.as_slice(), rows.rows.as_slice()),
            (&["ID".to_owned(), "WORD".into()][..], &[(2, "b".into())][..])
        );
        assert!(matches!(client.sql::<()>("selec", &()), Err(Error::Rejected { .. })));
    });
}

#[test]
fn a_slow_request_holds_up_nobody_on_the_same_connection() {
    everywhere(|| {
        let Some(client) = client() else { return };
        scope(|scope| {
            let slow =
                scope.spawn(|| client.eval::<(u32,)>("require('fiber').sleep(0.2) return 1", &()).unwrap());
            for number in 0..100u32 {
                assert_eq!(client.eval::<(u32,)>("return ...", &(number,)).unwrap(), (number,));
            }
            assert_eq!(slow.join().unwrap(), (1,));
        });
        let late = deadline(Duration::from_millis(10), || {
            client.eval::<()>("require('fiber').sleep(0.1)", &()).unwrap_err()
        });
        assert!(late.is_timeout(), "{late}");
        client.ping().unwrap();
    });
}

#[test]
fn credentials_are_proved_and_wrong_ones_refused() {
    everywhere(|| {
        let Some(tarantool) = TARANTOOL.as_ref() else { return };
        let with = |password| {
            Client::builder(&tarantool.address()).unwrap().credentials("tenfold", password).build()
        };
        assert_eq!(with("tenfold").eval::<(String,)>("return box.session.user()", &()).unwrap().0, "tenfold");
        let refused = with("wrong").ping().unwrap_err();
        assert!(matches!(&refused, Error::Rejected { .. }), "{refused}");
    });
}

/// Streams came with Tarantool 2.10; an older server says that it does not know them.
#[test]
fn a_stream_is_a_transaction_where_the_server_has_them() {
    everywhere(|| {
        let Some(client) = client() else { return };
        let name = space(&client, "stream");
        let mut stream = client.stream().unwrap();
        match stream.begin() {
            Err(Error::Rejected { message, .. }) => {
                return assert!(message.contains("Unknown request"), "{message}");
            }
            other => other.unwrap(),
        }
        stream.space(&name).unwrap().insert(&tuple(1, "x", 0)).unwrap();
        stream.rollback().unwrap();
        stream.begin().unwrap();
        stream.space(&name).unwrap().insert(&tuple(2, "x", 0)).unwrap();
        stream.commit().unwrap();
        let space = client.space(&name).unwrap();
        let found: Vec<Tuple> =
            space.select(Select::index(0).iterator(Iterator::GreaterOrEqual), &(0,)).unwrap();
        assert_eq!(found, [tuple(2, "x", 0)]);
    });
}
