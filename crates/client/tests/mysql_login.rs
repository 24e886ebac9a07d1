//! `caching_sha2_password`, MySQL's login since 8: against a real server where there is one, and always against one side of it
//! that is written here, because Debian's stable releases have no MySQL.

#![cfg(feature = "mysql")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::LazyLock;

use common::everywhere;
use rsa::pkcs8::{EncodePublicKey, LineEnding};
use rsa::{Oaep, PrivateKey};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tenfold_client::Error;
use tenfold_client::mysql::{Client, ClientBuilder};
use tenfold_testkit::services::MySql;

static MYSQL: LazyLock<Option<MySql>> = LazyLock::new(MySql::start);

const SALT: &[u8; 20] = b"abcdefghijklmnopqrst";

/// What the server of the test does once it has the proof.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// It has the digest.
    Knows,
    /// It wants the password.
    Asks,
    /// It switches from the native login to this one first.
    SwitchesAndAsks,
}

static KEY: LazyLock<PrivateKey> =
    LazyLock::new(|| PrivateKey::new(&mut rsa::rand_core::UnwrapErr(getrandom::SysRng), 1024).unwrap());

fn public_key() -> String {
    KEY.to_public_key().to_public_key_pem(LineEnding::LF).unwrap()
}

fn send(stream: &mut TcpStream, number: u8, content: &[u8]) {
    let mut packet = (content.len() as u32).to_le_bytes().to_vec();
    packet[3] = number;
    packet.extend_from_slice(content);
    stream.write_all(&packet).unwrap();
}

fn receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).ok()?;
    let mut content = vec![0; usize::from(head[0]) | usize::from(head[1]) << 8];
    stream.read_exact(&mut content).ok()?;
    Some(content)
}

/// Takes one login of `ada` with that password; gives whether the client has shown it.
fn serve(listener: &TcpListener, password: &str, then: Then) -> bool {
    let mut stream = listener.accept().unwrap().0;
    let plugin: &[u8] =
        if then == Then::SwitchesAndAsks { b"mysql_native_password" } else { b"caching_sha2_password" };
    let mut greeting = b"\x0a9.7.0\0\x07\0\0\0".to_vec();
    greeting.extend_from_slice(&SALT[..8]);
    greeting.extend_from_slice(b"\0\x0f\xa2\x2d\x02\0\x08\0\x15\0\0\0\0\0\0\0\0\0\0");
    greeting.extend_from_slice(&[&SALT[8..], b"\0", plugin, b"\0"].concat());
    send(&mut stream, 0, &greeting);
    let login = receive(&mut stream).unwrap();
    let mut proof = login.clone();
    if then == Then::SwitchesAndAsks {
        send(&mut stream, 2, &[b"\xfecaching_sha2_password\0", &SALT[..], b"\0"].concat());
        proof = receive(&mut stream).unwrap();
    }
    let once = Sha256::digest(password);
    let mask = Sha256::new().chain_update(Sha256::digest(once)).chain_update(SALT).finalize();
    let expected: Vec<u8> = once.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    if !proof.windows(32).any(|part| part == expected) {
        send(&mut stream, 2, b"\xff\x15\x04#28000Access denied");
        return false;
    }
    if then == Then::Knows {
        send(&mut stream, 2, b"\x01\x03");
        send(&mut stream, 3, b"\0\0\0\x02\0\0\0");
        return false;
    }
    send(&mut stream, 4, b"\x01\x04");
    // The client may have the key, may ask for it, or may go.
    let Some(mut shown) = receive(&mut stream) else { return false };
    if shown == [2] {
        send(&mut stream, 6, &[b"\x01", public_key().as_bytes()].concat());
        shown = receive(&mut stream).unwrap();
    }
    let masked = KEY.decrypt(Oaep::<Sha1>::new(), &shown).unwrap();
    let clear: Vec<u8> = masked.iter().zip(SALT.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    assert_eq!(clear, [password.as_bytes(), b"\0"].concat());
    send(&mut stream, 8, b"\0\0\0\x02\0\0\0");
    true
}

/// One login; what the client got, and whether the password was shown.
fn log_in(
    password: &'static str,
    then: Then,
    build: fn(ClientBuilder) -> ClientBuilder,
) -> (Result<(), Error>, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mysql://ada:{password}@{}/shop", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || serve(&listener, "a long secret", then));
    let outcome = build(Client::builder(&url).unwrap()).build().get().map(drop);
    (outcome, server.join().unwrap())
}

#[test]
fn a_password_whose_digest_the_server_has_is_not_shown() {
    everywhere(|| {
        let (outcome, shown) = log_in("a long secret", Then::Knows, |builder| builder);
        outcome.unwrap();
        assert!(!shown);
    });
}

#[test]
fn else_it_is_encrypted_with_the_servers_key() {
    everywhere(|| {
        let asking: fn(ClientBuilder) -> ClientBuilder = |builder| builder;
        let knowing: fn(ClientBuilder) -> ClientBuilder =
            |builder| builder.server_key(&public_key()).unwrap();
        for then in [Then::Asks, Then::SwitchesAndAsks] {
            for build in [asking, knowing] {
                let (outcome, shown) = log_in("a long secret", then, build);
                outcome.unwrap();
                assert!(shown, "{then:?}");
            }
        }
    });
}

#[test]
fn a_wrong_password_is_refused_in_the_servers_words() {
    everywhere(|| {
        let (outcome, shown) = log_in("another", Then::Asks, |builder| builder);
        assert!(matches!(&outcome, Err(Error::Rejected { code, .. }) if code == "28000"), "{outcome:?}");
        assert!(!shown);
    });
}

#[test]
fn a_text_that_is_no_key_is_refused_when_it_is_given() {
    let builder = Client::builder("mysql://ada@127.0.0.1/shop").unwrap();
    assert!(matches!(builder.server_key("nothing"), Err(Error::InvalidRequest(_))));
}

#[test]
fn a_real_server_takes_first_and_later_logins() {
    everywhere(|| {
        let Some(server) = MYSQL.as_ref() else { return };
        let root = Client::new(&server.url()).unwrap();
        let user = common::unique("u");
        root.get().unwrap().batch(&format!("create user {user}@'%' identified by 'a long secret'")).unwrap();
        root.get().unwrap().batch(&format!("create user {user}e@'%' identified by ''")).unwrap();
        // The first one shows the password, from then on the server has its digest.
        for _ in 0..3 {
            let client = Client::new(&format!("mysql://{user}:a long secret@{}", server.address())).unwrap();
            assert_eq!(client.get().unwrap().query("select 1", &[]).unwrap().len(), 1);
        }
        let key = std::fs::read_to_string(server.directory().join("data/public_key.pem")).unwrap();
        root.get().unwrap().batch("flush privileges").unwrap();
        let url = format!("mysql://{user}:a long secret@{}", server.address());
        let client = Client::builder(&url).unwrap().server_key(&key).unwrap().build();
        assert_eq!(client.get().unwrap().query("select 1", &[]).unwrap().len(), 1);
        Client::new(&format!("mysql://{user}e@{}", server.address())).unwrap().get().unwrap();
        let wrong = Client::new(&format!("mysql://{user}:another@{}", server.address())).unwrap();
        assert!(matches!(wrong.get(), Err(Error::Rejected { code, .. }) if code == "28000"));
    });
}
