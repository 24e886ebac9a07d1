//! `https://` against OpenSSL's own server and against one of rustls, with certificates of an authority made for the test, on
//! fibers over both backends and on plain threads.

#![cfg(feature = "https")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use common::everywhere;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tenfold_client::Error;
use tenfold_client::http::Client;
use tenfold_testkit::wait_until;

/// An authority and what it has signed. Made once, by `openssl`.
struct Authority {
    directory: PathBuf,
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("tenfold-https-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let authority = Authority { directory };
    authority.openssl(&format!("{NEW} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"));
    authority.openssl(&format!("{NEW} -keyout other.key -out other.pem -subj /CN=other -days 2"));
    for (name, names, days) in
        [("good", "DNS:localhost,IP:127.0.0.1", 2), ("elsewhere", "DNS:example.org", 2)]
    {
        authority.openssl(&format!(
            "{NEW} -keyout {name}.key -out {name}.pem -subj /CN={name} -days {days} -CA ca.pem -CAkey ca.key \
             -addext subjectAltName={names} -addext basicConstraints=critical,CA:FALSE"
        ));
    }
    authority
});

const NEW: &str = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256";

impl Authority {
    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(&self.directory);
        let output = command.output().expect("openssl is installed");
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn pem(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.join(format!("{name}.pem"))).unwrap()
    }

    /// A client that believes the authority `name` and nobody else.
    fn client(&self, name: &str) -> Client {
        Client::builder().only_ca_certificates(&self.pem(name)).unwrap().build()
    }

    /// A server's side with the certificate `name`.
    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let chain = CertificateDer::pem_slice_iter(&self.pem(name)).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(self.directory.join(format!("{name}.key"))).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }
}

/// `openssl s_server -www`: a page about the connection for every request, then the end.
struct OpenSsl {
    process: Child,
    port: u16,
}

impl OpenSsl {
    fn start(certificate: &str, options: &str) -> OpenSsl {
        // Only s_server itself can tell that it listens, so the port is chosen here.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("openssl")
            .args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}")])
            .args(["-cert", &format!("{certificate}.pem"), "-key", &format!("{certificate}.key")])
            .args(options.split_whitespace())
            .current_dir(&AUTHORITY.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        wait_until("s_server listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        OpenSsl { process, port }
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves connections on threads: `serve` gets each with its number.
fn rustls_server(
    certificate: &str,
    serve: impl Fn(usize, StreamOwned<ServerConnection, TcpStream>) + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = AUTHORITY.server(certificate);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            serve(number, StreamOwned::new(connection, stream.unwrap()));
        }
    });
    port
}

/// Reads the head of a request; false at the end.
fn read_head(stream: &mut impl Read) -> bool {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return false;
        }
        head.push(byte[0]);
    }
    true
}

#[test]
fn openssl_is_understood_in_both_versions_of_the_protocol() {
    everywhere(|| {
        for (option, protocol) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            let server = OpenSsl::start("good", option);
            for host in ["localhost", "127.0.0.1"] {
                let response =
                    AUTHORITY.client("ca").get(&format!("https://{host}:{}/", server.port)).unwrap();
                let page = response.send().unwrap().text().unwrap();
                assert!(page.contains(protocol), "{page}");
            }
        }
    });
}

#[test]
fn a_certificate_that_is_not_to_be_believed_is_told_by_its_type() {
    everywhere(|| {
        let cases = [("good", "other", "UnknownIssuer"), ("elsewhere", "ca", "not valid for name")];
        for (certificate, believed, reason) in cases {
            let server = OpenSsl::start(certificate, "");
            let url = format!("https://localhost:{}/", server.port);
            let error = AUTHORITY.client(believed).get(&url).unwrap().send().unwrap_err();
            let Error::Certificate { host, source } = &error else { panic!("{certificate}: {error:?}") };
            assert_eq!(*host, format!("localhost:{}", server.port));
            assert!(source.to_string().contains(reason), "{certificate}: {source}");
        }
        let server = OpenSsl::start("good", "");
        let error =
            Client::new().get(&format!("https://localhost:{}/", server.port)).unwrap().send().unwrap_err();
        assert!(
            matches!(error, Error::Certificate { .. }),
            "by default only public authorities count: {error:?}"
        );
    });
}

#[test]
fn a_connection_is_kept_alive_and_moves_a_large_body() {
    everywhere(|| {
        let port = rustls_server("good", |number, mut stream| {
            while read_head(&mut stream) {
                let body = vec![b'a' + number as u8; 3_000_000];
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
                stream.write_all(&body).unwrap();
                stream.flush().unwrap();
            }
        });
        let client = AUTHORITY.client("ca");
        for _ in 0..5 {
            let response = client.get(&format!("https://localhost:{port}/")).unwrap().send().unwrap();
            let body = response.bytes(4_000_000).unwrap();
            assert!(
                body.len() == 3_000_000 && body.iter().all(|byte| *byte == b'a'),
                "one connection, whole"
            );
        }
    });
}

#[test]
fn a_large_request_arrives_whole() {
    everywhere(|| {
        let port = rustls_server("good", |_, mut stream| {
            assert!(read_head(&mut stream));
            let mut body = vec![0; 2_000_000];
            stream.read_exact(&mut body).unwrap();
            let same = body.iter().all(|byte| *byte == b'b');
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{same:5}").unwrap();
        });
        let request = AUTHORITY.client("ca").post(&format!("https://localhost:{port}/")).unwrap();
        assert_eq!(request.body(vec![b'b'; 2_000_000]).send().unwrap().text().unwrap(), "true ");
    });
}

#[test]
fn an_answer_that_is_cut_by_somebody_in_between_is_not_whole() {
    everywhere(|| {
        let port = rustls_server("good", |_, mut stream| {
            assert!(read_head(&mut stream));
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall my money").unwrap();
            stream.flush().unwrap();
            // Without close_notify: what a man in the middle can do.
            stream.sock.shutdown(std::net::Shutdown::Both).unwrap();
        });
        let request = AUTHORITY.client("ca").get(&format!("https://localhost:{port}/")).unwrap();
        let error = request.send().unwrap().text().unwrap_err();
        assert!(matches!(error, Error::Io { .. } | Error::Body(_)), "{error:?}");
    });
}

#[test]
fn who_speaks_no_tls_and_who_says_nothing_are_told_apart() {
    everywhere(|| {
        let plain = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = plain.local_addr().unwrap().port();
        let speaker = std::thread::spawn(move || {
            let mut stream = plain.accept().unwrap().0;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            plain
        });
        let error =
            AUTHORITY.client("ca").get(&format!("https://localhost:{port}/")).unwrap().send().unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "{error:?}");
        let _silent = speaker.join().unwrap();
        let client = Client::builder().only_ca_certificates(&AUTHORITY.pem("ca")).unwrap();
        let client = client.connect_timeout(Duration::from_millis(50)).build();
        let error = client.get(&format!("https://localhost:{port}/")).unwrap().send().unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
    });
}

#[test]
fn what_is_no_authority_is_refused() {
    for bad in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let refused = Client::builder().only_ca_certificates(bad.as_bytes()).unwrap_err();
        assert!(matches!(refused, Error::CaCertificates(_)), "{bad}: {refused:?}");
    }
    assert!(Path::new(&AUTHORITY.directory).exists());
}
