//! Bodies that are larger than any buffer, in bounded memory; and what becomes of the parts that nobody reads.

use tenfold_testkit::{Client, PeakWatch, ServerProcess, memory_of_tree};

use crate::variant::Variant;

behaviours![
    an_upload_of_64_mib_takes_bounded_memory,
    a_chunked_upload_of_64_mib_takes_bounded_memory,
    a_download_of_64_mib_takes_bounded_memory,
    an_echo_goes_both_ways_at_once,
    what_a_handler_leaves_of_a_body_is_never_a_request,
    a_body_nobody_reads_is_thrown_away_or_ends_the_connection,
    a_body_that_comes_while_nobody_reads_it_is_skipped_whole,
    bodies_of_all_lengths_arrive_whole,
];

const MIB: usize = 1 << 20;
/// A server that collects a body first would need nearly three times this.
const GROWTH_KIB_MAX: u64 = 24 << 10;

/// Runs `transfer` and checks what it did to the memory of the server and its processes.
#[track_caller]
fn in_bounded_memory(server: &ServerProcess, transfer: impl FnOnce(Client)) {
    // What is allocated once is no growth.
    server.client().get("/hello").expect(200);
    server.client().post("/count", vec![b'x'; MIB]).expect(200);
    let before = memory_of_tree(server.pid()).pss_kib;
    assert!(before > 0, "the memory of the server cannot be read");
    let watch = PeakWatch::start(server.pid());
    transfer(server.client());
    let peak = watch.finish(server.pid());
    assert!(peak < before + GROWTH_KIB_MAX, "from {before} KiB to {peak} KiB");
}

fn an_upload_of_64_mib_takes_bounded_memory(variant: &'static Variant) {
    in_bounded_memory(variant.server(), |mut client| {
        client.send(format!("POST /count HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", 64 * MIB));
        let piece = vec![1; MIB];
        for _ in 0..64 {
            client.send(&piece);
        }
        client.read_response().expect_text(200, &format!("{0} {0}", 64 * MIB));
        client.get("/hello").expect(200);
    });
}

fn a_chunked_upload_of_64_mib_takes_bounded_memory(variant: &'static Variant) {
    in_bounded_memory(variant.server(), |mut client| {
        client.send("POST /count HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        let piece = [format!("{MIB:x}\r\n").as_bytes(), &vec![1; MIB], b"\r\n"].concat();
        for _ in 0..64 {
            client.send(&piece);
        }
        client.send("0\r\n\r\n").read_response().expect_text(200, &format!("{0} {0}", 64 * MIB));
        client.get("/hello").expect(200);
    });
}

fn a_download_of_64_mib_takes_bounded_memory(variant: &'static Variant) {
    for kind in ["produced", "sized", "read"] {
        in_bounded_memory(variant.server(), |mut client| {
            let (mut bytes, mut wrong) = (0, 0);
            client.send_get(&format!("/{kind}/{}", 64 * MIB));
            let response = client.read_response_into(&mut |piece| {
                bytes += piece.len();
                wrong += piece.iter().filter(|byte| **byte != b'x').count();
            });
            assert_eq!((response.status, bytes, wrong), (200, 64 * MIB, 0), "{kind}");
            client.get("/hello").expect(200);
        });
    }
}

/// Neither side waits for the other's end: a server that did would block with both directions full.
fn an_echo_goes_both_ways_at_once(variant: &'static Variant) {
    in_bounded_memory(variant.server(), |mut client| {
        let mut writer = client.second_half();
        let sender = std::thread::spawn(move || {
            writer.send(format!("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", 16 * MIB));
            let piece: Vec<u8> = (0..MIB).map(|index| index as u8).collect();
            for _ in 0..16 {
                writer.send(&piece);
            }
        });
        let (mut bytes, mut wrong) = (0_usize, 0);
        let response = client.read_response_into(&mut |piece| {
            for byte in piece {
                wrong += usize::from(*byte != bytes as u8);
                bytes += 1;
            }
        });
        sender.join().expect("the sender does not fail");
        assert_eq!((response.status, bytes, wrong), (200, 16 * MIB, 0));
        client.get("/hello").expect(200);
    });
}

/// RFC 9112 section 11.2: what a handler has not read must be skipped exactly, or a client's content becomes a request.
fn what_a_handler_leaves_of_a_body_is_never_a_request(variant: &'static Variant) {
    let hidden = "GET /nowhere HTTP/1.1\r\nHost: test\r\n\r\n";
    let body = format!("abc{hidden}");
    let mut client = variant.server().client();
    for (target, answer) in
        [("/ignore", "ignored"), ("/first/0", ""), ("/first/2", "ab"), ("/first/3", "abc")]
    {
        client.post(target, &body).expect_text(200, answer);
        client.get("/users/1").expect_text(200, "user 1");
        // The same with the body in a segment of its own, and with the next request right behind it.
        let head = format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
        client.send(head).send(format!("{body}GET /users/2 HTTP/1.1\r\nHost: test\r\n\r\n"));
        client.read_response().expect_text(200, answer);
        client.read_response().expect_text(200, "user 2");
    }
}

fn a_body_nobody_reads_is_thrown_away_or_ends_the_connection(variant: &'static Variant) {
    for bytes in [1_000, 60_000, 200_000, 1_000_000] {
        let mut client = variant.server().client();
        let response = client.post("/ignore", vec![b'x'; bytes]).expect_text(200, "ignored");
        if response.closes() {
            client.expect_end();
        } else {
            client.get("/hello").expect_text(200, "Hello, world!");
        }
        assert!(bytes > 60_000 || !response.closes(), "a body of {bytes} bytes is cheaper than a connection");
    }
}

/// The body comes in many segments, at any moment of a request whose handler does not want it: wherever the connection is
/// at that moment, on its loop or off it, no byte may be lost.
fn a_body_that_comes_while_nobody_reads_it_is_skipped_whole(variant: &'static Variant) {
    let mut client = variant.server().client();
    for turn in 0..200 {
        let length = 1 + turn * 37;
        client.send(format!("POST /ignore HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"));
        for piece in vec![b'G'; length].chunks(1 + length / 5) {
            client.send(piece);
        }
        client.send_get("/users/1");
        client.read_response().expect_text(200, "ignored");
        client.read_response().expect_text(200, "user 1");
    }
}

fn bodies_of_all_lengths_arrive_whole(variant: &'static Variant) {
    let mut client = variant.server().client();
    // Around the sizes of buffers: 4, 8, 16 and 64 KiB.
    for edge in [0_usize, 1024, 4096, 8192, 16_384, 65_536] {
        for length in edge.saturating_sub(1)..=edge + 1 {
            let body: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let response = client.post("/echo", &body).expect(200);
            assert!(response.body == body, "an echo of {length} bytes has {}", response.body.len());
            for kind in ["memory", "sized", "produced", "read"] {
                let response = client.get(&format!("/{kind}/{length}")).expect(200);
                assert_eq!(response.body.len(), length, "{kind}");
            }
        }
    }
}
