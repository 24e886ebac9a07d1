//! Bodies, in the order of RFC 9112 sections 6 to 8. Each is decoded whole, byte by byte and cut at every byte.

use http::HeaderMap;
use tenfold_http::h1::{BodyDecoder, Framing, chunk, chunk_start, last_chunk};
use tenfold_http::{BodyError, BodyLimits};

/// Content, bytes consumed, whether it ended, trailers.
type Outcome = Result<(Vec<u8>, usize, bool, Option<HeaderMap>), BodyError>;

fn decode_pieces(framing: Framing, pieces: &[&[u8]], limits: BodyLimits) -> Outcome {
    let mut decoder = BodyDecoder::new(framing, limits)?;
    let (mut content, mut consumed) = (Vec::new(), 0);
    for mut piece in pieces.iter().copied() {
        while !piece.is_empty() && !decoder.is_end() {
            let decoded = decoder.decode(piece)?;
            assert!(decoded.consumed > 0, "no progress");
            assert_eq!(decoded.end, decoder.is_end());
            content.extend_from_slice(&piece[decoded.data]);
            consumed += decoded.consumed;
            piece = &piece[decoded.consumed..];
        }
    }
    Ok((content, consumed, decoder.is_end(), decoder.take_trailers()))
}

fn decode_under(framing: Framing, input: &[u8], limits: BodyLimits) -> Outcome {
    let whole = decode_pieces(framing, &[input], limits);
    let bytes: Vec<_> = input.chunks(1).collect();
    assert_eq!(decode_pieces(framing, &bytes, limits), whole, "byte by byte: {}", input.escape_ascii());
    for cut in 0..=input.len() {
        let (before, after) = input.split_at(cut);
        assert_eq!(
            decode_pieces(framing, &[before, after], limits),
            whole,
            "cut at {cut}: {}",
            input.escape_ascii()
        );
    }
    whole
}

fn chunked(input: &str) -> Outcome {
    decode_under(Framing::Chunked, input.as_bytes(), BodyLimits::default())
}

fn refuses(input: &str, error: BodyError) {
    assert_eq!(chunked(input), Err(error), "{}", input.escape_debug());
}

#[test]
fn s6_2_a_length_ends_the_body_and_leaves_the_next_request() {
    let outcome = decode_under(Framing::Length(5), b"helloGET /", BodyLimits::default());
    assert_eq!(outcome, Ok((b"hello".to_vec(), 5, true, None)));
    let mut decoder = BodyDecoder::new(Framing::Length(5), BodyLimits::default()).unwrap();
    assert_eq!(decoder.remaining_hint(), Some(5));
    decoder.decode(b"he").unwrap();
    assert_eq!(decoder.remaining_hint(), Some(3));
    assert_eq!(decoder.finish(), Err(BodyError::Truncated));
}

#[test]
fn s6_2_a_length_over_the_limit_gets_413_before_a_byte_is_read() {
    let limits = BodyLimits { body_bytes_max: 4, ..BodyLimits::default() };
    assert!(BodyDecoder::new(Framing::Length(4), limits).is_ok());
    assert_eq!(BodyDecoder::new(Framing::Length(5), limits).map(|_| ()), Err(BodyError::TooLarge));
    assert_eq!(BodyError::TooLarge.status(), 413);
}

#[test]
fn s6_3_no_body_and_an_empty_one_end_at_once() {
    for framing in [Framing::None, Framing::Length(0)] {
        assert_eq!(decode_under(framing, b"GET /", BodyLimits::default()), Ok((vec![], 0, true, None)));
        let mut decoder = BodyDecoder::new(framing, BodyLimits::default()).unwrap();
        assert_eq!((decoder.is_end(), decoder.remaining_hint(), decoder.finish()), (true, Some(0), Ok(())));
    }
}

#[test]
fn s6_3_a_body_until_close_ends_with_the_connection_and_within_its_limit() {
    let limits = BodyLimits { body_bytes_max: 4, ..BodyLimits::default() };
    assert_eq!(decode_under(Framing::UntilClose, b"abcd", limits), Ok((b"abcd".to_vec(), 4, false, None)));
    assert_eq!(decode_under(Framing::UntilClose, b"abcde", limits), Err(BodyError::TooLarge));
    let mut decoder = BodyDecoder::new(Framing::UntilClose, limits).unwrap();
    assert_eq!((decoder.remaining_hint(), decoder.finish(), decoder.is_end()), (None, Ok(()), true));
}

#[test]
fn s7_1_chunks_are_put_together() {
    let input = "5\r\nhello\r\nA\r\n, world of\r\n00c\r\n fair speech\r\n0\r\n\r\nGET /";
    let content = b"hello, world of fair speech".to_vec();
    assert_eq!(chunked(input), Ok((content, input.len() - 5, true, None)));
}

#[test]
fn s7_1_one_call_consumes_the_framing_around_its_data() {
    let mut decoder = BodyDecoder::new(Framing::Chunked, BodyLimits::default()).unwrap();
    let decoded = decoder.decode(b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n").unwrap();
    assert_eq!((decoded.consumed, decoded.data, decoded.end), (10, 3..5, false));
    let decoded = decoder.decode(b"c\r\n0\r\n\r\n").unwrap();
    assert_eq!((decoded.consumed, decoded.data, decoded.end), (8, 0..1, true));
}

#[test]
fn s7_1_a_chunk_size_is_hexadecimal_digits_and_nothing_else() {
    for size in [
        "", "+1", "-1", "0x1", "1_0", " 1", "1 ", "\t1", "1\t", "g", "1\n", "\r\n1", "1,1", "\u{661}", "1 ;x",
    ] {
        refuses(&format!("{size}\r\na\r\n0\r\n\r\n"), BodyError::InvalidChunkSize);
    }
    refuses("1\ra\r\n", BodyError::InvalidChunkExtension);
    refuses("10000000000000000\r\n", BodyError::InvalidChunkSize);
    refuses("ffffffffffffffff\r\n", BodyError::TooLarge);
}

#[test]
fn s7_1_sizes_that_add_up_beyond_64_bits_are_too_large_and_do_not_wrap() {
    let input = b"1\r\na\r\nffffffffffffffff\r\nb";
    let outcome = decode_under(Framing::Chunked, input, BodyLimits::unbounded());
    assert_eq!(outcome.map(|(content, ..)| content), Ok(b"ab".to_vec()));
    let limits = BodyLimits { body_bytes_max: u64::MAX - 1, ..BodyLimits::default() };
    assert_eq!(decode_under(Framing::Chunked, input, limits), Err(BodyError::TooLarge));
}

#[test]
fn s7_1_the_data_of_a_chunk_ends_in_crlf() {
    for input in ["1\r\nab", "1\r\na\n", "1\r\na\rb", "1\r\na0\r\n"] {
        refuses(input, BodyError::InvalidChunkEnd);
    }
}

#[test]
fn s7_1_content_over_the_limit_gets_413_at_the_size_that_exceeds_it() {
    let limits = BodyLimits { body_bytes_max: 4, ..BodyLimits::default() };
    assert!(decode_under(Framing::Chunked, b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n", limits).unwrap().2);
    assert_eq!(decode_under(Framing::Chunked, b"2\r\nab\r\n3\r\n", limits), Err(BodyError::TooLarge));
}

#[test]
fn s7_1_1_extensions_are_ignored_but_bounded_and_free_of_control_characters() {
    let input = "1;a\r\nx\r\n1;b=c;d=\"e f\"\t\r\ny\r\n0;z\r\n\r\n";
    assert_eq!(chunked(input), Ok((b"xy".to_vec(), input.len(), true, None)));
    for extension in ["a\nb", "a\rb", "a\0", "\u{7f}"] {
        refuses(&format!("1;{extension}\r\nx\r\n"), BodyError::InvalidChunkExtension);
    }
    let line = |len: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(len - 2));
    assert!(chunked(&line(256)).is_ok());
    refuses(&line(257), BodyError::ChunkLineTooLong);
    refuses(&"0".repeat(257), BodyError::ChunkLineTooLong);
}

#[test]
fn s7_1_1_many_small_chunks_with_long_extensions_are_refused() {
    let limits = BodyLimits { chunk_extension_bytes_max: 25, ..BodyLimits::default() };
    let input = "1;aaaaaaaaa\r\nx\r\n".repeat(3);
    assert_eq!(
        decode_pieces(Framing::Chunked, &[input.as_bytes()], limits),
        Err(BodyError::ChunkLineTooLong)
    );
    assert!(decode_pieces(Framing::Chunked, &[&input.as_bytes()[..32]], limits).is_ok());
}

#[test]
fn s7_1_2_trailers_are_collected() {
    let (content, _, end, trailers) =
        chunked("1\r\na\r\n0\r\nX-Sum: 1 \r\nx-sum: 2\r\nY:\r\n\r\nGET").unwrap();
    let trailers = trailers.unwrap();
    assert_eq!((content.as_slice(), end), (&b"a"[..], true));
    assert_eq!(trailers.get_all("x-sum").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(trailers["y"], "");
}

#[test]
fn s7_1_2_trailers_are_not_there_before_the_end() {
    let mut decoder = BodyDecoder::new(Framing::Chunked, BodyLimits::default()).unwrap();
    decoder.decode(b"0\r\nX: y\r\n").unwrap();
    assert!(decoder.trailers().is_none());
    decoder.decode(b"\r\n").unwrap();
    assert_eq!(decoder.trailers().unwrap()["x"], "y");
}

#[test]
fn s7_1_2_malformed_and_forbidden_trailers_are_refused() {
    for line in [
        "X : y",
        " X: y",
        "X",
        "X: a\0b",
        "X: y\r\n z",
        "Content-Length: 1",
        "transfer-encoding: chunked",
        "Host: a",
    ] {
        refuses(&format!("0\r\n{line}\r\n\r\n"), BodyError::InvalidTrailer);
    }
    refuses("0\r\nX: y\n\r\n", BodyError::InvalidTrailer);
    refuses("0\r\nX: y\r\n\n", BodyError::InvalidTrailer);
    refuses("0\r\n\rX", BodyError::InvalidTrailer);
    refuses("0\r\n\n", BodyError::InvalidTrailer);
}

#[test]
fn s7_1_2_trailers_over_the_limits_get_431() {
    let limits = BodyLimits { trailer_bytes_max: 16, trailers_max: 2, ..BodyLimits::default() };
    let decode = |section: &str| {
        decode_under(Framing::Chunked, format!("0\r\n{section}\r\n").as_bytes(), limits)
            .map(|outcome| outcome.2)
    };
    assert_eq!(decode("X: aaaaaaaaa\r\n"), Ok(true));
    assert_eq!(decode("X: aaaaaaaaaa\r\n"), Err(BodyError::TrailersTooLarge));
    assert_eq!(decode("X:\r\nY:\r\n"), Ok(true));
    assert_eq!(decode("X:\r\nY:\r\nZ:\r\n"), Err(BodyError::TrailersTooLarge));
    assert_eq!(BodyError::TrailersTooLarge.status(), 431);
}

#[test]
fn s7_1_encoded_chunks_are_decoded_again() {
    let mut sent = Vec::new();
    chunk(&mut sent, b"hello");
    chunk(&mut sent, b"");
    chunk(&mut sent, &[b'x'; 300]);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    trailers.insert("content-length", "9".parse().unwrap());
    last_chunk(&mut sent, Some(&trailers));
    assert!(sent.starts_with(b"5\r\nhello\r\n12c\r\nxxx"));
    let (content, consumed, end, trailers) =
        decode_under(Framing::Chunked, &sent, BodyLimits::default()).unwrap();
    assert_eq!((content.len(), consumed, end), (305, sent.len(), true));
    assert_eq!(trailers.unwrap().len(), 1);
}

#[test]
fn s7_1_size_lines_are_shortest_hexadecimal() {
    for (len, line) in
        [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (0xabc, "abc\r\n"), (1 << 32, "100000000\r\n")]
    {
        let mut out = Vec::new();
        chunk_start(&mut out, len);
        assert_eq!(out, line.as_bytes());
    }
}

#[test]
fn s8_a_connection_that_ends_within_a_chunked_body_truncates_it() {
    let input = b"1\r\na\r\n0\r\n\r\n";
    for end in 0..input.len() {
        let mut decoder = BodyDecoder::new(Framing::Chunked, BodyLimits::default()).unwrap();
        let mut at = 0;
        while at < end {
            at += decoder.decode(&input[at..end]).unwrap().consumed;
        }
        assert_eq!(decoder.finish(), Err(BodyError::Truncated), "{end}");
    }
}
