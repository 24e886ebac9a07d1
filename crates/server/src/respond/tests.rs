//! What handlers return, and what becomes of it.

use http::HeaderMap;
use http::header::{CONTENT_TYPE, LOCATION};

use super::*;
use crate::error::{Error, Failure};
use crate::extract::Json;

fn sent(answer: impl IntoResponse) -> (u16, Option<&'static str>, String) {
    let response = answer.into_response();
    let content_type = response.body().content_type();
    let status = response.status().as_u16();
    let body = response.into_body().collect(1 << 16).expect("it is in memory");
    (status, content_type, String::from_utf8(body.to_vec()).expect("the tests answer text"))
}

#[test]
fn every_kind_of_answer_has_its_status_content_type_and_body() {
    let text = Some("text/plain; charset=utf-8");
    let binary = Some("application/octet-stream");
    let json = Some("application/json");
    let html = Some("text/html; charset=utf-8");
    assert_eq!(sent(()), (200, None, String::new()));
    assert_eq!(sent("text"), (200, text, "text".into()));
    assert_eq!(sent(String::from("text")), (200, text, "text".into()));
    assert_eq!(sent(Cow::Borrowed("text")), (200, text, "text".into()));
    assert_eq!(sent(vec![b'v']), (200, binary, "v".into()));
    assert_eq!(sent(Bytes::from_static(b"b")), (200, binary, "b".into()));
    assert_eq!(sent(&b"s"[..]), (200, binary, "s".into()));
    assert_eq!(sent(StatusCode::NO_CONTENT), (204, None, String::new()));
    assert_eq!(sent(Json(vec![1, 2])), (200, json, "[1,2]".into()));
    assert_eq!(sent(Html("<p>")), (200, html, "<p>".into()));
    assert_eq!(sent(Html(String::from("<p>"))), (200, html, "<p>".into()));
    assert_eq!(sent(http::Response::new("text")), (200, text, "text".into()));
    assert_eq!(sent((StatusCode::CREATED, "made")), (201, text, "made".into()));
    assert_eq!(sent(Ok::<_, Error>("fine")), (200, text, "fine".into()));
    assert_eq!(sent(Err::<(), _>(Error::bad_request("no"))), (400, text, "no".into()));
    assert_eq!(sent(Err::<(), _>(StatusCode::IM_A_TEAPOT)), (418, None, String::new()));
}

#[test]
fn redirects_have_a_location() {
    for (redirect, status) in
        [(Redirect::to("/a"), 303), (Redirect::temporary("/a"), 307), (Redirect::permanent("/a"), 308)]
    {
        let response = redirect.into_response();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()[LOCATION], "/a");
    }
    assert_eq!(Redirect::to("/a\r\nset-cookie: x").into_response().status(), 500);
}

#[test]
fn the_parts_of_a_tuple_replace_what_the_answer_had() {
    let inner = ([("x-a", "inner"), ("x-b", "kept")], "body");
    let response = (StatusCode::ACCEPTED, [("x-a", "outer")], inner).into_response();
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers().get_all("x-a").iter().collect::<Vec<_>>(), ["outer"]);
    assert_eq!(response.headers()["x-b"], "kept");
}

#[test]
fn a_repeated_header_of_one_part_is_sent_twice() {
    let response = ([("set-cookie", "a=1"), ("set-cookie", "b=2")], ()).into_response();
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
}

#[test]
fn a_header_map_is_a_part_and_a_content_type_of_the_headers_is_kept() {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("text/csv"));
    let response = (StatusCode::OK, headers, "a,b").into_response();
    assert_eq!(response.headers()[CONTENT_TYPE], "text/csv");
}

#[test]
fn an_invalid_header_is_a_500() {
    let response = ([("x-a", "line\nbreak")], "body").into_response();
    assert_eq!(response.status(), 500);
    assert!(response.extensions().get::<Failure>().is_some_and(|failure| failure.source.is_some()));
}

#[test]
fn json_that_cannot_be_written_is_a_500() {
    let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
    assert_eq!(Json(keys).into_response().status(), 500);
}
