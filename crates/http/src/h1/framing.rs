//! How the end of a body is found (RFC 9112 section 6.3).

use crate::error::HeadError;
use crate::h1::syntax;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// The body has this many bytes. Zero is possible: `Content-Length: 0` was sent.
    Length(u64),
    /// The body comes in chunks and ends with one of size zero.
    Chunked,
    /// The body ends with the connection. Only responses have it.
    UntilClose,
}

/// What a Transfer-Encoding value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// Exactly `chunked`.
    Chunked,
    /// `chunked` comes last and once, after codings that we do not have.
    OthersThenChunked,
    /// `chunked` is missing.
    NotChunked,
}

impl Transfer {
    /// Reads one field value.
    ///
    /// # Errors
    /// `InvalidTransferEncoding` for an empty list, for `chunked` twice, with parameters, or not at the end.
    pub(crate) fn parse(value: &[u8]) -> Result<Transfer, HeadError> {
        if value.eq_ignore_ascii_case(b"chunked") {
            return Ok(Transfer::Chunked);
        }
        let mut chunked = false;
        let mut count = 0;
        for coding in syntax::list(value) {
            if chunked {
                return Err(HeadError::InvalidTransferEncoding);
            }
            let name = syntax::trim(coding.split(|&b| b == b';').next().unwrap_or_default());
            if !syntax::is_token(name) {
                return Err(HeadError::InvalidTransferEncoding);
            }
            chunked = name.eq_ignore_ascii_case(b"chunked");
            if chunked && name.len() != coding.len() {
                return Err(HeadError::InvalidTransferEncoding);
            }
            count += 1;
        }
        // A lone `chunked` that is not the whole value stands among empty list elements. A list parser reads it as
        // chunked, a string comparison does not: that difference is the attack, so it is no chunked for us.
        match (count, chunked) {
            (0, _) | (1, true) => Err(HeadError::InvalidTransferEncoding),
            (_, true) => Ok(Transfer::OthersThenChunked),
            (_, false) => Ok(Transfer::NotChunked),
        }
    }
}

/// The framing of a request from its two fields.
///
/// # Errors
/// `BothLengths`; `TransferEncodingInHttp10`; 400 when `chunked` does not come last, since then the end cannot be known
/// (rule 4); 501 when it does, but other codings come before it (section 6.1).
#[inline]
pub(crate) fn of_request(
    length: Option<u64>,
    transfer: Option<Transfer>,
    minor_version: u8,
) -> Result<Framing, HeadError> {
    let Some(transfer) = transfer else { return Ok(length.map_or(Framing::None, Framing::Length)) };
    if length.is_some() {
        return Err(HeadError::BothLengths);
    }
    if minor_version == 0 {
        return Err(HeadError::TransferEncodingInHttp10);
    }
    match transfer {
        Transfer::Chunked => Ok(Framing::Chunked),
        Transfer::OthersThenChunked => Err(HeadError::UnsupportedTransferEncoding),
        Transfer::NotChunked => Err(HeadError::InvalidTransferEncoding),
    }
}

/// The framing of a response from its two fields, when its status and the request's method allow a body.
///
/// # Errors
/// `BothLengths` and `TransferEncodingInHttp10`: section 6.1 lets a client handle the latter "as if the framing is
/// faulty". `UnsupportedTransferEncoding` for codings that we did not offer in TE.
pub(crate) fn of_response(
    length: Option<u64>,
    transfer: Option<Transfer>,
    minor_version: u8,
) -> Result<Framing, HeadError> {
    let Some(transfer) = transfer else { return Ok(length.map_or(Framing::UntilClose, Framing::Length)) };
    if length.is_some() {
        return Err(HeadError::BothLengths);
    }
    if minor_version == 0 {
        return Err(HeadError::TransferEncodingInHttp10);
    }
    match transfer {
        Transfer::Chunked => Ok(Framing::Chunked),
        Transfer::OthersThenChunked | Transfer::NotChunked => Err(HeadError::UnsupportedTransferEncoding),
    }
}
