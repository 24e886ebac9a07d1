//! Large bodies in bounded memory: up to disk, and down from it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;

use sha2::{Digest, Sha256};
use tenfold::{Body, IntoResponse, Response, Result, State, yield_now};

use super::store::Data;

/// Most bytes of an upload.
pub const UPLOAD_BYTES_MAX: u64 = 128 << 20;

/// How much of an upload is in memory before it is written: a client that sends a byte now and then must not cost a write for
/// each of them, which is a thread's work and holds a loop that runs its handlers inline.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// What an upload has at first. Thousands of slow ones have no more than that.
const PIECE_BYTES_MIN: usize = 4 << 10;

/// `POST /upload`: streams the body to disk and answers its SHA-256 in hexadecimal.
pub fn upload(State(data): State<Data>, mut body: Body) -> Result<String> {
    // Made when there is something to write.
    let mut file = None;
    let mut sum = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES_MIN];
    let (mut filled, mut length): (usize, u64) = (0, 0);
    loop {
        let count = body.read(&mut piece[filled..])?;
        filled += count;
        if count > 0 && filled < piece.len() {
            continue;
        }
        if count > 0 && piece.len() < PIECE_BYTES_MAX {
            piece.resize(2 * filled, 0);
            continue;
        }
        let mut rest = &piece[..filled];
        sum.update(rest);
        if file.is_none() && filled > 0 {
            file = Some(data.scratch()?);
        }
        while let Some(file) = file.as_ref().filter(|_| !rest.is_empty()) {
            let written = file.write_at(rest, length)?;
            length += written as u64;
            rest = &rest[written..];
        }
        if count == 0 {
            break;
        }
        filled = 0;
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
    fn an_upload_of_any_length_gets_its_sum() {
        let store = Store::create().unwrap();
        let edges = [PIECE_BYTES_MIN, 3 * PIECE_BYTES_MIN, PIECE_BYTES_MAX, 2 * PIECE_BYTES_MAX];
        for length in edges.into_iter().flat_map(|edge| [edge - 1, edge, edge + 1]).chain([0]) {
            let bytes: Vec<u8> = (0..length).map(|number| (number % 251) as u8).collect();
            let expected: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(upload(State(store.data()), Body::from(bytes)).unwrap(), expected, "{length} bytes");
        }
    }

    #[test]
    fn an_upload_gets_its_sum() {
        let store = Store::create().unwrap();
        // The example of FIPS 180-2, appendix B.1.
        let sum = upload(State(store.data()), Body::from("abc")).unwrap();
        assert_eq!(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
