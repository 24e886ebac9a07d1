//! Large bodies in bounded memory: up to disk, and down from it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;

use sha2::{Digest, Sha256};
use tenfold::{Body, IntoResponse, Response, Result, State, yield_now};

use super::store::Data;

/// Most bytes of an upload.
pub const UPLOAD_BYTES_MAX: u64 = 128 << 20;

/// How much of an upload is in memory.
const PIECE_BYTES: usize = 64 << 10;

/// `POST /upload`: streams the body to disk and answers its SHA-256 in hexadecimal.
pub fn upload(State(data): State<Data>, mut body: Body) -> Result<String> {
    let file = data.scratch()?;
    let mut sum = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut length: u64 = 0;
    loop {
        let count = body.read(&mut piece)?;
        if count == 0 {
            break;
        }
        let mut rest = &piece[..count];
        while !rest.is_empty() {
            let written = file.write_at(rest, length)?;
            length += written as u64;
            rest = &rest[written..];
        }
        sum.update(&piece[..count]);
        // A sum is work: on a loop the others get their turn after each piece.
        yield_now();
    }
    let mut text = String::with_capacity(64);
    for byte in sum.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    tracing::debug!(length, "an upload of sum {text}");
    Ok(text)
}

/// `GET /download`: 16 MiB of bytes that look like noise and are the same at every start.
pub fn download(State(data): State<Data>) -> Result<Response> {
    let body = Body::file(File::open(data.download())?)?.with_content_type(tenfold::BINARY);
    let name = [("Content-Disposition", "attachment; filename=\"tenfold-16MiB.bin\"")];
    Ok((name, body).into_response())
}

#[cfg(test)]
mod tests {
    use super::super::store::Store;
    use super::*;

    #[test]
    fn an_upload_gets_its_sum() {
        let store = Store::create().unwrap();
        // The example of FIPS 180-2, appendix B.1.
        let sum = upload(State(store.data()), Body::from("abc")).unwrap();
        assert_eq!(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
