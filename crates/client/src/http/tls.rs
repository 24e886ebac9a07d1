//! TLS for `https://`: rustls over the runtime's streams, in blocking style.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tenfold_runtime::net::TcpStream;

use crate::error::{Error, Phase};

/// Whose certificates are believed. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Trust(Arc<ClientConfig>);

/// Mozilla's list, as of the build of the crate `webpki-roots`: the same on every machine, and no files to be read.
static PUBLIC: LazyLock<Trust> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    Trust::new(roots)
});

impl Trust {
    /// The authorities in a PEM file's text, and nobody else.
    pub(crate) fn only(pem: &[u8]) -> Result<Trust, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| Error::CaCertificates(error.to_string()))?;
            roots.add(certificate).map_err(|error| Error::CaCertificates(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(Error::CaCertificates("there is no certificate".into()));
        }
        Ok(Trust::new(roots))
    }

    fn new(roots: RootCertStore) -> Trust {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Trust(Arc::new(config))
    }
}

/// The public certificate authorities.
impl Default for Trust {
    fn default() -> Trust {
        PUBLIC.clone()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

/// A connection over TLS. One task uses it at a time.
#[derive(Debug)]
pub(crate) struct TlsStream {
    tcp: TcpStream,
    tls: RefCell<ClientConnection>,
}

impl TlsStream {
    /// Shakes hands with `host`, whose certificate has to be for that name or address, until `until` at most.
    pub(crate) fn open(
        tcp: TcpStream,
        trust: &Trust,
        (host, shown): (&str, &str),
        until: Instant,
    ) -> Result<TlsStream, Error> {
        let invalid =
            |_| Error::InvalidUrl { url: shown.into(), reason: "no certificate can be for this name" };
        let name = ServerName::try_from(host).map_err(invalid)?.to_owned();
        let failed = |error| sort(error, shown);
        let mut tls = ClientConnection::new(trust.0.clone(), name).map_err(|error| failed(other(error)))?;
        while tls.is_handshaking() {
            if let Err(error) = tls.complete_io(&mut Timed { tcp: &tcp, until: Some(until) }) {
                return Err(failed(error));
            }
        }
        Ok(TlsStream { tcp, tls: RefCell::new(tls) })
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Reads some bytes; 0 once the peer has said that there are no more. Its silence before the end of the connection is
    /// `UnexpectedEof`: somebody in between may have cut it.
    pub(crate) fn read_until(&self, buf: &mut [u8], until: Option<Instant>) -> io::Result<usize> {
        let mut tls = self.tls.borrow_mut();
        let mut timed = Timed { tcp: &self.tcp, until };
        loop {
            match tls.reader().read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            // Answers of the protocol's own, such as a new key, go first: the peer may wait for them.
            while tls.wants_write() {
                tls.write_tls(&mut timed)?;
            }
            tls.read_tls(&mut timed)?;
            tls.process_new_packets().map_err(other)?;
        }
    }

    /// Writes all of it. After an error how much has left is not known.
    pub(crate) fn write_all(&self, mut bytes: &[u8], until: impl Fn() -> Instant) -> io::Result<()> {
        let mut tls = self.tls.borrow_mut();
        loop {
            // Its buffer is bounded (64 KiB), so it may take a part only.
            let taken = tls.writer().write(bytes)?;
            bytes = &bytes[taken..];
            while tls.wants_write() {
                tls.write_tls(&mut Timed { tcp: &self.tcp, until: Some(until()) })?;
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Whether the peer has neither ended the connection nor said something that nobody asked for. What the protocol says
    /// on its own (TLS 1.3 sends tickets for later connections after the handshake) is taken in.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut tls = self.tls.borrow_mut();
        loop {
            match tls.read_tls(&mut Now(&self.tcp)) {
                Ok(0) => return false,
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
                Ok(_) => match tls.process_new_packets() {
                    Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
                    _ => return false,
                },
            }
        }
    }
}

/// Says goodbye where that does not wait: else the peer would have to take the end for a cut.
impl Drop for TlsStream {
    fn drop(&mut self) {
        let tls = self.tls.get_mut();
        tls.send_close_notify();
        let _ = tls.write_tls(&mut Now(&self.tcp));
    }
}

/// The stream for calls that wait until a time.
struct Timed<'a> {
    tcp: &'a TcpStream,
    until: Option<Instant>,
}

impl Read for Timed<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        again(|| self.tcp.read_until(buf, self.until))
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        again(|| self.tcp.write_until(buf, self.until))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn again(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The stream for calls that do not wait.
struct Now<'a>(&'a TcpStream);

impl Read for Now<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl Write for Now<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn other(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// What a failed handshake is: the network's fault, a certificate that is not to be believed, or the peer's.
fn sort(source: io::Error, host: &str) -> Error {
    let host = host.to_owned();
    match source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => Error::Certificate { host, source },
        Some(_) => Error::Tls { host, source },
        None => match Error::io(Phase::Connecting, source) {
            Error::Io { source, .. } => Error::Tls { host, source },
            ended => ended,
        },
    }
}
