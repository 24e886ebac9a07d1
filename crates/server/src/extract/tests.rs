//! What each extractor makes of a request, and how it refuses one.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri, Version};
use serde::Deserialize;

use super::*;
use crate::body::Body;
use crate::context::testing::Asked;
use crate::error::Rejection;
use crate::peer::Peer;

#[derive(Debug, Deserialize, PartialEq)]
struct Comment {
    article: u64,
    author: String,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Colour {
    Red,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Id(u64);

fn comment() -> Comment {
    Comment { article: 7, author: "ann".into() }
}

#[test]
fn a_path_becomes_single_values_tuples_structs_maps_lists_and_enums() {
    let one = Asked::get("/7").pattern("/{id}");
    assert_eq!(one.extract::<Path<u64>>().unwrap().0, 7);
    assert_eq!(one.extract::<Path<String>>().unwrap().0, "7");
    assert_eq!(one.extract::<Path<(f32,)>>().unwrap().0, (7.0,));
    assert_eq!(one.extract::<Path<Id>>().unwrap().0, Id(7));
    assert_eq!(one.extract::<Path<Option<u8>>>().unwrap().0, Some(7));
    assert_eq!(Asked::get("/red").pattern("/{c}").extract::<Path<Colour>>().unwrap().0, Colour::Red);

    let two = Asked::get("/7/ann").pattern("/{article}/{author}");
    assert_eq!(two.extract::<Path<(u64, String)>>().unwrap().0, (7, "ann".into()));
    assert_eq!(two.extract::<Path<Comment>>().unwrap().0, comment());
    assert_eq!(two.extract::<Path<Vec<String>>>().unwrap().0, ["7", "ann"]);
    assert_eq!(two.extract::<Path<HashMap<String, String>>>().unwrap().0["author"], "ann");
}

#[test]
fn path_parameters_are_percent_decoded_after_matching() {
    let asked = Asked::get("/a%2Fb%20c/x").pattern("/{name}/x");
    assert_eq!(asked.extract::<Path<String>>().unwrap().0, "a/b c");
    assert_eq!(Asked::get("/a/b").pattern("/{*rest}").extract::<Path<String>>().unwrap().0, "a/b");
    let broken = Asked::get("/%ff").pattern("/{name}").refused::<Path<String>>();
    assert_eq!(broken, (400, "invalid path: \"name\" is not percent-encoded UTF-8".into()));
}

#[test]
fn a_path_that_does_not_fit_is_400_and_a_type_that_cannot_fit_is_500() {
    let one = Asked::get("/x").pattern("/{id}");
    assert_eq!(one.refused::<Path<u64>>(), (400, "invalid path: \"id\" is no u64: \"x\"".into()));
    assert_eq!(one.refused::<Path<Colour>>().0, 400);
    assert_eq!(Asked::get("/256").pattern("/{id}").refused::<Path<u8>>().0, 400);
    let two = Asked::get("/x/ann").pattern("/{article}/{author}");
    assert_eq!(two.refused::<Path<Comment>>().0, 400);
    assert_eq!(two.refused::<Path<u64>>().0, 500);
    assert_eq!(two.refused::<Path<(u64, String, u8)>>().0, 500);
    assert_eq!(one.refused::<Path<Comment>>().0, 500);
    assert_eq!(Asked::get("/").refused::<Path<u64>>().0, 500);
}

#[test]
fn a_query_becomes_a_struct_or_a_map() {
    let asked = Asked::get("/?article=7&author=a%6En");
    assert_eq!(asked.extract::<Query<Comment>>().unwrap().0, comment());
    assert!(Asked::get("/").extract::<Query<HashMap<String, String>>>().unwrap().0.is_empty());
    let plus = Asked::get("/?q=a+b").extract::<Query<HashMap<String, String>>>().unwrap().0;
    assert_eq!(plus["q"], "a b");
    assert_eq!(Asked::get("/?article=x&author=a").refused::<Query<Comment>>().0, 400);
    assert_eq!(Asked::get("/?article=7").refused::<Query<Comment>>().0, 400);
}

#[test]
fn json_is_refused_by_type_syntax_shape_and_size() {
    let json = |content_type, text: &str| Asked::post("/", content_type, text);
    let good = r#"{"article":7,"author":"ann"}"#;
    for accepted in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/problem+json",
    ] {
        assert_eq!(json(accepted, good).extract::<Json<Comment>>().unwrap().0, comment(), "{accepted}");
    }
    for refused in ["text/json", "application/jsonx", "application/+jso", "application", "text/plain"] {
        assert_eq!(json(refused, good).refused::<Json<Comment>>().0, 415, "{refused}");
    }
    assert_eq!(Asked::new("POST", "/").refused::<Json<Comment>>().0, 415);
    assert_eq!(json("application/json", "{").refused::<Json<Comment>>().0, 400);
    assert_eq!(json("application/json", "").refused::<Json<Comment>>().0, 400);
    assert_eq!(json("application/json", &format!("{good} x")).refused::<Json<Comment>>().0, 400);
    assert_eq!(json("application/json", r#"{"article":"x"}"#).refused::<Json<Comment>>().0, 422);
    let large = format!("\"{}\"", "x".repeat(2 << 20));
    assert_eq!(json("application/json", &large).refused::<Json<String>>().0, 413);
}

#[test]
fn a_form_is_in_the_query_or_in_the_body() {
    let form = "application/x-www-form-urlencoded";
    let fields = "article=7&author=ann";
    assert_eq!(Asked::get(&format!("/?{fields}")).extract::<Form<Comment>>().unwrap().0, comment());
    assert_eq!(Asked::post("/", form, fields).extract::<Form<Comment>>().unwrap().0, comment());
    assert_eq!(Asked::post("/", "text/plain", fields).refused::<Form<Comment>>().0, 415);
    assert_eq!(Asked::post("/", form, "article=x").refused::<Form<Comment>>().0, 422);
    assert_eq!(Asked::get("/?article=x").refused::<Form<Comment>>().0, 400);
}

#[test]
fn the_body_comes_as_stream_bytes_or_text() {
    let asked = Asked::post("/", "text/plain", "text");
    assert_eq!(asked.extract::<Bytes>().unwrap(), "text");
    assert_eq!(asked.extract::<Vec<u8>>().unwrap(), b"text");
    assert_eq!(asked.extract::<String>().unwrap(), "text");
    assert_eq!(asked.extract::<Body>().unwrap().length(), Some(4));
    assert_eq!(Asked::post("/", "text/plain", [0xFF]).refused::<String>().0, 400);
    let exact = Asked::post("/", "text/plain", vec![b'x'; 2 << 20]);
    assert_eq!(exact.extract::<Bytes>().unwrap().len(), 2 << 20);
    assert_eq!(Asked::post("/", "text/plain", vec![b'x'; (2 << 20) + 1]).refused::<Bytes>().0, 413);
}

#[test]
fn the_parts_of_the_head_are_what_was_sent() {
    let asked = Asked::new("PATCH", "/a%20b?q=1").header("X-One", "1").header("X-One", "2");
    assert_eq!(asked.extract::<Method>().unwrap(), Method::PATCH);
    assert_eq!(asked.extract::<Version>().unwrap(), Version::HTTP_11);
    assert_eq!(asked.extract::<Uri>().unwrap(), "/a%20b?q=1");
    let headers = asked.extract::<HeaderMap>().unwrap();
    assert_eq!(headers.get_all("x-one").iter().collect::<Vec<_>>(), ["1", "2"]);
    let request = asked.extract::<http::Request<Body>>().unwrap();
    assert_eq!((request.method(), request.uri().path()), (&Method::PATCH, "/a%20b"));
    assert_eq!(request.headers()["host"], "example.org");
    assert_eq!(asked.pattern("/{name}").extract::<MatchedPath>().unwrap(), MatchedPath("/{name}"));
}

#[test]
fn a_client_has_an_address_unless_it_came_over_a_unix_socket() {
    let mut asked = Asked::get("/");
    let address: SocketAddr = "192.0.2.1:4711".parse().unwrap();
    assert_eq!(asked.extract::<ClientAddr>().unwrap(), ClientAddr(address));
    assert_eq!(asked.extract::<Peer>().unwrap(), Peer::tcp(address));
    asked.peer = Peer::unix();
    assert_eq!(asked.refused::<ClientAddr>().0, 500);
    assert_eq!(asked.extract::<Option<ClientAddr>>().unwrap(), None);
}

#[test]
fn state_is_found_by_its_type() {
    let mut asked = Asked::get("/");
    asked.state.insert(7_u32);
    assert_eq!(asked.extract::<State<u32>>().unwrap().0, 7);
    assert_eq!(asked.refused::<State<u64>>(), (500, "internal server error".into()));
}

#[test]
fn a_rejection_can_be_ignored_or_looked_at() {
    let asked = Asked::get("/x").pattern("/{id}");
    assert_eq!(asked.extract::<Option<Path<u8>>>().unwrap(), None);
    let result = asked.extract::<Result<Path<u8>, Rejection>>().unwrap();
    assert!(matches!(result, Err(Rejection::InvalidPath(_))));
    let good = Asked::get("/7").pattern("/{id}");
    assert_eq!(good.extract::<Option<Path<u8>>>().unwrap(), Some(Path(7)));
}
