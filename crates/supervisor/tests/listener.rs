//! What may be written as a listen address, and what binding it does.

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
    process,
};

use tenfold_supervisor::{Bound, Error, ListenSpec, Listener};

fn spec(text: &str) -> ListenSpec {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(text: &str) -> String {
    text.parse::<ListenSpec>().expect_err("this is not an address").to_string()
}

/// A path of this test's own, without a file.
fn socket_path(name: &str) -> PathBuf {
    let path = env::temp_dir().join(format!("tenfold-{name}-{}.sock", process::id()));
    let _ = fs::remove_file(&path);
    path
}

#[test]
fn addresses_are_read_and_printed_alike() {
    for text in ["127.0.0.1:8080", "[::1]:0", ":8080", "unix:/run/app.sock", "0.0.0.0:65535"] {
        assert_eq!(spec(text).to_string(), text);
    }
    assert_eq!(spec("*:80"), ListenSpec::AnyTcp(80));
    assert_eq!(spec("localhost:80").to_string(), "127.0.0.1:80");
}

#[test]
fn what_is_not_an_address_is_refused_with_the_reason() {
    for (text, reason) in [
        ("8080", "there is no port"),
        ("127.0.0.1:", "the port is not 0 to 65535"),
        ("127.0.0.1:+80", "the port is not 0 to 65535"),
        (":65536", "the port is not 0 to 65535"),
        ("::1:80", "an IPv6 address goes in brackets"),
        ("example.org:80", "the address is not an IP address"),
        ("unix:", "the path is empty"),
    ] {
        let expected = format!(
            "\"{text}\" is not a listen address: {reason} (expected ADDRESS:PORT, :PORT or unix:/PATH)"
        );
        assert_eq!(refusal(text), expected);
    }
    assert!(refusal(&format!("unix:/{}", "x".repeat(107))).contains("longer than 107 bytes"));
}

#[test]
fn port_zero_becomes_a_port_and_the_accepted_socket_inherits_nodelay() {
    let bound = Bound::bind(&spec("127.0.0.1:0")).expect("a free port");
    let address = bound.socket_addr().expect("a TCP address");
    assert_ne!(address.port(), 0);
    assert_eq!(bound.address(), address.to_string());
    let mut client = TcpStream::connect(address).expect("it listens");
    let (mut served, _) = bound.tcp().expect("TCP").accept().expect("a connection");
    assert!(served.nodelay().expect("a socket option"));
    served.write_all(b"x").expect("the client is there");
    let mut byte = [0];
    client.read_exact(&mut byte).expect("the byte arrives");
    assert_eq!(&byte, b"x");
}

#[test]
fn a_port_alone_listens_on_ipv4_too() {
    let bound = Bound::bind(&spec(":0")).expect("a free port");
    let port = bound.socket_addr().expect("a TCP address").port();
    TcpStream::connect(("127.0.0.1", port)).expect("IPv4 reaches it");
}

#[test]
fn a_taken_port_is_one_clear_line() {
    let first = Bound::bind(&spec("127.0.0.1:0")).expect("a free port");
    let error = Bound::bind(&spec(first.address())).expect_err("it is taken");
    assert_eq!(error.to_string(), format!("cannot listen on {}: the address is in use", first.address()));
}

#[test]
fn an_address_of_another_machine_is_one_clear_line() {
    // 192.0.2.0/24 is for documentation (RFC 5737).
    let error = Bound::bind(&spec("192.0.2.1:0")).expect_err("no machine has it");
    assert_eq!(error.to_string(), "cannot listen on 192.0.2.1:0: this machine does not have that address");
}

#[test]
fn a_socket_file_serves_and_goes_with_its_owner() {
    let path = socket_path("owner");
    let bound = Bound::bind(&ListenSpec::Unix(path.clone())).expect("a free path");
    assert_eq!(bound.address(), format!("unix:{}", path.display()));
    assert!(matches!(bound.listener(), Listener::Unix(_)));
    UnixStream::connect(&path).expect("it listens");
    drop(bound);
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_file_is_replaced() {
    let path = socket_path("stale");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a free path"));
    assert!(path.exists(), "std leaves the file behind, as a killed server does");
    let _bound = Bound::bind(&ListenSpec::Unix(path.clone())).expect("nobody answers there");
    UnixStream::connect(&path).expect("the new one listens");
}

#[test]
fn a_socket_file_where_somebody_answers_is_left_alone() {
    let path = socket_path("alive");
    let first = Bound::bind(&ListenSpec::Unix(path.clone())).expect("a free path");
    let error = Bound::bind(&ListenSpec::Unix(path.clone())).expect_err("it is in use");
    assert!(matches!(error, Error::SocketFileInUse { .. }), "{error}");
    UnixStream::connect(&path).expect("the first one still listens");
    drop(first);
}

#[test]
fn a_file_that_is_not_a_socket_is_left_alone() {
    let path = socket_path("text");
    fs::write(&path, "precious").expect("a writable directory");
    let error = Bound::bind(&ListenSpec::Unix(path.clone())).expect_err("it is a text file");
    assert!(matches!(error, Error::NotASocketFile { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    fs::remove_file(&path).expect("it is ours");
}

#[test]
fn a_socket_file_that_somebody_else_put_there_survives_the_drop() {
    let path = socket_path("successor");
    let old = Bound::bind(&ListenSpec::Unix(path.clone())).expect("a free path");
    fs::remove_file(&path).expect("it is ours");
    let _new = Bound::bind(&ListenSpec::Unix(path.clone())).expect("free again");
    drop(old);
    UnixStream::connect(&path).expect("the new one is still reachable");
}
