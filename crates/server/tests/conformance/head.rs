//! Answers without a body: RFC 9110 sections 9.3.2 (HEAD), 15.3.5 (204) and 15.4.5 (304); and methods.

use crate::variant::Variant;

behaviours![
    s9_3_2_a_head_gets_what_a_get_would_without_the_body,
    s15_3_5_statuses_without_a_body_announce_none,
    an_empty_answer_has_a_length,
    s9_3_7_a_path_tells_its_methods,
    s15_5_6_another_method_is_told_which_are_allowed,
];

fn s9_3_2_a_head_gets_what_a_get_would_without_the_body(variant: &'static Variant) {
    let mut client = variant.server().client();
    // Not "/empty": a HEAD may leave out a length that only making the content would tell (section 9.3.2), and a handler
    // that made none for a HEAD looks the same.
    for target in ["/hello", "/sized/100000", "/memory/100000", "/produced/100000", "/pieces", "/nowhere"] {
        let get = client.get(target);
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let head = client.read_response_to_head();
        let names = |response: &tenfold_testkit::TestResponse| -> Vec<_> {
            response.headers.iter().filter(|(name, _)| name != "date").cloned().collect()
        };
        assert_eq!((head.status, names(&head)), (get.status, names(&get)), "{target}");
    }
    // Had there been a body, this would have been read as the next response.
    client.get("/hello").expect_text(200, "Hello, world!");
}

fn s15_3_5_statuses_without_a_body_announce_none(variant: &'static Variant) {
    let mut client = variant.server().client();
    for (target, status) in [("/no-content", 204), ("/not-modified", 304)] {
        let response = client.get(target).expect(status);
        assert_eq!(response.header("transfer-encoding"), None, "{response}");
        // RFC 9110 section 8.6 forbids it in a 204.
        assert!(status != 204 || response.header("content-length").is_none(), "{response}");
    }
    client.get("/hello").expect_text(200, "Hello, world!");
}

fn an_empty_answer_has_a_length(variant: &'static Variant) {
    let response = variant.server().client().get("/empty").expect_text(200, "");
    assert_eq!(response.header("content-length"), Some("0"), "{response}");
}

fn s9_3_7_a_path_tells_its_methods(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.send("OPTIONS /hello HTTP/1.1\r\nHost: test\r\n\r\n");
    let response = client.read_response();
    assert!(matches!(response.status, 200 | 204), "{response}");
    assert!(
        response.header("allow").is_some_and(|methods| methods.contains("GET") && methods.contains("HEAD"))
    );
}

fn s15_5_6_another_method_is_told_which_are_allowed(variant: &'static Variant) {
    let mut client = variant.server().client();
    let response = client.post("/hello", "").expect(405);
    assert!(response.header("allow").is_some_and(|methods| methods.contains("GET")), "{response}");
    client.send("BREW /hello HTTP/1.1\r\nHost: test\r\n\r\n").read_response().expect(405);
    client.get("/hello").expect(200);
}
