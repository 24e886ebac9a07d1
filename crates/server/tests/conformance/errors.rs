//! What a client reads when its request is not what a handler asks for, or the handler fails: `error.rs` has the table.

use tenfold_testkit::{Client, TestResponse};

use crate::variant::Variant;

behaviours![
    extractors_say_what_is_wrong,
    what_fits_is_handled,
    a_failure_tells_the_log_and_not_the_client,
    an_error_of_the_application_is_answered_as_it_says,
    a_handler_that_exceeds_its_time_gets_504,
    an_error_is_problem_details_for_who_accepts_them,
    errors_do_not_end_the_connection,
];

fn post(client: &mut Client, target: &str, content_type: &str, body: &str) -> TestResponse {
    let length = body.len();
    client.send(format!(
        "POST {target} HTTP/1.1\r\nHost: test\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    client.read_response()
}

fn extractors_say_what_is_wrong(variant: &'static Variant) {
    let mut client = variant.server().client();
    let client = &mut client;
    client.get("/users/seven").expect(400);
    client.get("/nowhere").expect(404);
    client.get("/query?other=1").expect(400);
    post(client, "/json", "text/plain", "{\"numbers\": [1]}").expect(415);
    let invalid = post(client, "/json", "application/json", "{\"numbers\": [1").expect(400);
    assert!(invalid.text().contains("invalid JSON"), "{invalid}");
    let misfit = post(client, "/json", "application/json", "{\"numbers\": [\"one\"]}").expect(422);
    assert!(misfit.text().contains("does not fit"), "{misfit}");
    post(client, "/form", "application/json", "name=Ada").expect(415);
    post(client, "/form", "application/x-www-form-urlencoded", "nam=Ada").expect(422);
}

fn what_fits_is_handled(variant: &'static Variant) {
    let mut client = variant.server().client();
    let client = &mut client;
    client.get("/users/7").expect_text(200, "user 7");
    client.get("/query?name=Ada%20L%C3%B6we").expect_text(200, "Ada L\u{f6}we");
    post(client, "/json", "application/json; charset=utf-8", "{\"numbers\": [1, 2]}")
        .expect_text(200, "{\"sum\":3}");
    post(client, "/form", "application/x-www-form-urlencoded", "name=Ada+Lovelace")
        .expect_text(200, "Ada Lovelace");
    client.send("GET /header/x-color HTTP/1.1\r\nHost: test\r\nX-Color: blue\r\n\r\n");
    client.read_response().expect_text(200, "blue");
}

fn a_failure_tells_the_log_and_not_the_client(variant: &'static Variant) {
    let response = variant.server().client().get("/fail").expect(500);
    assert!(!response.text().contains("secret"), "{response}");
    variant.server().wait_for_log("a secret");
}

fn an_error_of_the_application_is_answered_as_it_says(variant: &'static Variant) {
    variant.server().client().get("/teapot").expect_text(418, "short and stout");
}

fn a_handler_that_exceeds_its_time_gets_504(variant: &'static Variant) {
    variant.server().client().get("/slow-limit").expect(504);
}

/// RFC 9457 section 3.
fn an_error_is_problem_details_for_who_accepts_them(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.send("GET /teapot HTTP/1.1\r\nHost: test\r\nAccept: application/json\r\n\r\n");
    let response = client.read_response().expect(418);
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{response}");
    let problem: serde_json::Value =
        serde_json::from_slice(&response.body).expect("problem details are JSON");
    assert_eq!((&problem["status"], &problem["detail"]), (&418.into(), &"short and stout".into()));
}

fn errors_do_not_end_the_connection(variant: &'static Variant) {
    let mut client = variant.server().client();
    for target in ["/nowhere", "/users/seven", "/fail", "/teapot", "/slow-limit"] {
        assert!(!client.get(target).closes(), "{target}");
    }
    client.get("/hello").expect(200);
}
