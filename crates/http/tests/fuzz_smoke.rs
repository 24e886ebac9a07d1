//! The fuzz targets, run on stable over a corpus that is the same each time: real messages and the mutations of them that
//! matter to a parser of lines.

use tenfold_http::fuzzing;

const ROUNDS: usize = 100_000;

/// Messages to start from; good ones, so that mutations get deep.
const SEEDS: &[&[u8]] = &[
    b"GET /hello?a=b HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n",
    b"\r\nPOST http://a.example/x HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    b"PUT /x HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\nConnection: upgrade, close\r\nUpgrade: x\r\n\r\n",
    b"OPTIONS * HTTP/1.0\r\nA:\r\nB: \t b \t\r\nConnection: keep-alive\r\n\r\nnext",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello",
    b"HTTP/1.1 204\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.0 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"a;name=value\r\n0123456789\r\n00\r\nX-Sum: 1\r\nY: 2\r\n\r\nGET",
    b"1\r\na\r\n2\r\nbc\r\n3;x\r\ndef\r\n0\r\n\r\n",
];

/// What a parser of lines trips over.
const SPLINTERS: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\0",
    b"\x7f",
    b"\x80",
    b"0",
    b"f",
    b"+",
    b"0x",
    b"?",
    b"#",
    b"*",
    b"chunked",
    b"close",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: a\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"ffffffffffffffff",
    b"X: y\r\nX: y\r\nX: y\r\nX: y\r\nX: y\r\nX: y\r\nX: y\r\nX: y\r\n",
];

#[test]
fn request_heads_keep_their_properties() {
    run(1, fuzzing::h1_request_head);
}

#[test]
fn request_heads_in_pieces_get_the_verdict_of_the_whole() {
    run(2, fuzzing::h1_request_head_split);
    each_prefixed(fuzzing::h1_request_head_split);
}

#[test]
fn response_heads_keep_their_properties() {
    run(3, fuzzing::h1_response_head);
}

#[test]
fn response_heads_in_pieces_get_the_verdict_of_the_whole() {
    run(4, fuzzing::h1_response_head_split);
    each_prefixed(fuzzing::h1_response_head_split);
}

#[test]
fn bodies_in_pieces_are_those_of_the_whole() {
    run(5, fuzzing::h1_body);
    run(5, |data| fuzzing::h1_body(&[&[3, 7], data].concat()));
}

#[test]
fn chunks_are_read_back_as_they_were_sent() {
    run(6, fuzzing::h1_chunk_round_trip);
}

#[test]
fn responses_are_read_back_with_the_framing_that_was_promised() {
    run(7, fuzzing::h1_response_round_trip);
}

#[test]
fn messages_in_pieces_are_those_of_the_whole() {
    const FRAMES: &[&[u8]] = &[
        b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x89\x80\x01\x02\x03\x04",
        b"\x01\x03Hel\x89\x02hi\x80\x02lo\x88\x02\x03\xe8",
        b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\x82\x7e\x00\x80",
        b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00\x01\x04\xf0\x9f\x92\x80\x00\x00",
    ];
    run_pieces(8, FRAMES, fuzzing::websocket_messages);
}

#[test]
fn extensions_say_the_same_when_they_are_written_again() {
    const OFFERS: &[&[u8]] = &[
        b"permessage-deflate",
        b"permessage-deflate; client_max_window_bits; server_max_window_bits=10",
        b"permessage-deflate;server_max_window_bits=\"8\" , other;a=b;c",
        b"server_no_context_takeover",
        b", ",
    ];
    run_pieces(9, OFFERS, |data| fuzzing::websocket_extensions(data.get(1..).unwrap_or_default()));
}

#[test]
fn compressed_messages_are_read_back() {
    let mut random = Random(10);
    for _ in 0..ROUNDS / 100 {
        let mut data = vec![random.below(256) as u8];
        while data.len() < 10_000 {
            data.extend_from_slice(SEEDS[random.below(SEEDS.len())]);
            mutate(&mut data, &mut random);
            if random.below(20) == 0 {
                break;
            }
        }
        fuzzing::websocket_deflate(&data);
    }
}

/// The unchanged seeds under every way of cutting.
fn each_prefixed(target: impl Fn(&[u8])) {
    for cuts in 0..=255 {
        for seed in SEEDS {
            target(&[&[cuts], *seed].concat());
        }
    }
}

fn run(seed: u64, target: impl Fn(&[u8])) {
    let mut random = Random(seed);
    for _ in 0..ROUNDS {
        let mut data = SEEDS[random.below(SEEDS.len())].to_vec();
        if random.below(2) == 0 {
            data.insert(0, random.below(256) as u8);
        }
        for _ in 0..random.below(5) {
            mutate(&mut data, &mut random);
        }
        target(&data);
    }
}

/// Up to four of these pieces behind a byte of any value.
fn run_pieces(seed: u64, pieces: &[&[u8]], target: impl Fn(&[u8])) {
    let mut random = Random(seed);
    for _ in 0..ROUNDS {
        let mut data = vec![random.below(256) as u8];
        for _ in 0..=random.below(3) {
            data.extend_from_slice(pieces[random.below(pieces.len())]);
        }
        for _ in 0..random.below(6) {
            mutate(&mut data, &mut random);
        }
        target(&data);
    }
}

fn mutate(data: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(data.len() + 1);
    match random.below(5) {
        0 if at < data.len() => data[at] = random.below(256) as u8,
        1 if at < data.len() => drop(data.remove(at)),
        2 => data.truncate(at),
        3 if at < data.len() => data.extend_from_within(at..),
        _ => drop(data.splice(at..at, SPLINTERS[random.below(SPLINTERS.len())].iter().copied())),
    }
}

/// xorshift64*: a fixed sequence, so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }
}
