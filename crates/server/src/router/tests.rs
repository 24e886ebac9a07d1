//! Which route answers, and what the built-in ones say.

use http::Method;
use http::header::CONTENT_TYPE;

use super::*;
use crate::context::testing::{Asked, text_of};
use crate::extract::Path;
use crate::request_id::RequestId;
use crate::respond::Html;
use crate::route::Routes;

fn refused(routes: Routes) -> RouteError {
    Router::new(routes.list, None, None, false).expect_err("a mistake of the app")
}

fn allow(response: &Response) -> &str {
    response.headers()[ALLOW].to_str().expect("methods are ASCII")
}

#[test]
fn the_more_literal_pattern_answers() {
    let router = Router::of(
        Routes::new()
            .get("/users/{id}", |Path(id): Path<String>| id)
            .get("/users/me", || "literal")
            .get("/files/{*rest}", |Path(rest): Path<String>| rest),
    );
    let text = |path| text_of(Asked::get(path).answer(&router));
    assert_eq!(text("/users/me"), "literal");
    assert_eq!(text("/users/7"), "7");
    assert_eq!(text("/files/a/b"), "a/b");
    assert_eq!(text("/users/me/"), "not found");
    assert_eq!(text("/users/"), "not found");
}

#[test]
fn head_is_answered_by_get_unless_it_has_a_route_of_its_own() {
    let router = Router::of(Routes::new().get("/a", || "get").get("/b", || "get").route(
        Method::HEAD,
        "/b",
        || "head",
    ));
    assert_eq!(text_of(Asked::new("HEAD", "/a").answer(&router)), "get");
    assert_eq!(text_of(Asked::new("HEAD", "/b").answer(&router)), "head");
}

#[test]
fn another_method_is_405_and_options_204_both_with_allow() {
    let router = Router::of(Routes::new().get("/a", || ()).post("/a", || ()));
    for method in ["DELETE", "PURGE", "get"] {
        let answer = Asked::new(method, "/a").answer(&router);
        assert_eq!(answer.status(), 405, "{method}");
        assert_eq!(allow(&answer), "GET, HEAD, POST, OPTIONS");
    }
    let options = Asked::new("OPTIONS", "/a").answer(&router);
    assert_eq!((options.status().as_u16(), allow(&options)), (204, "GET, HEAD, POST, OPTIONS"));
    assert_eq!(Asked::new("OPTIONS", "*").answer(&router).status(), 204);
    assert_eq!(Asked::new("OPTIONS", "/nowhere").answer(&router).status(), 404);
}

#[test]
fn any_takes_the_methods_that_have_no_route_of_their_own() {
    let purge = Method::from_bytes(b"PURGE").unwrap();
    let router =
        Router::of(Routes::new().any("/a", || "any").get("/a", || "get").route(purge, "/a", || "purge"));
    let text = |method| text_of(Asked::new(method, "/a").answer(&router));
    assert_eq!(
        ["GET", "HEAD", "POST", "OPTIONS", "PURGE", "LINK"].map(text),
        ["get", "get", "any", "any", "purge", "any"]
    );
}

#[test]
fn mistakes_are_found_when_the_router_is_made_and_name_the_pattern() {
    let get = |path: &str| Routes::new().get(path, || ());
    for invalid in ["a", "", "/a b", "/a?b", "/\u{e9}", "/{}", "/{a", "/{*a}/b", "/{a}-{b}"] {
        let error = refused(get(invalid));
        assert!(
            matches!(&error, RouteError::InvalidPattern { pattern, .. } if pattern == invalid),
            "{error}"
        );
        assert!(error.to_string().contains(&format!("\"{invalid}\"")), "{error}");
    }
    let twice = refused(get("/a").get("/a", || ()));
    assert_eq!(twice.to_string(), "route \"/a\" has two handlers for GET");
    let conflict = refused(get("/{a}").post("/{b}", || ()));
    assert_eq!(conflict.to_string(), "route \"/{b}\" matches the same paths as \"/{a}\"");
}

#[test]
fn built_in_answers_are_exempt_from_lanes() {
    let router = Router::of(Routes::new().get("/a", || ()));
    assert!(router.find("GET", "/nowhere").route.is_exempt());
    assert!(router.find("POST", "/a").route.is_exempt());
    assert!(!router.find("GET", "/a").route.is_exempt());
}

#[test]
fn an_error_is_text_and_problem_details_for_those_who_accept_json() {
    let router = Router::of(Routes::new());
    let plain = Asked::get("/").answer(&router);
    assert_eq!(plain.body().content_type(), Some("text/plain; charset=utf-8"));
    for accept in ["application/json", "text/html, APPLICATION/problem+json;q=0.5"] {
        let json = Asked::get("/").header("Accept", accept).answer(&router);
        assert_eq!(json.status(), 404);
        assert_eq!(json.body().content_type(), Some("application/problem+json"), "{accept}");
    }
    let html = Asked::get("/").header("Accept", "text/html, */*").answer(&router);
    assert_eq!(html.body().content_type(), Some("text/plain; charset=utf-8"));
}

#[test]
fn the_app_s_hook_renders_errors_once_and_keeps_what_the_status_needs() {
    let hook: OnError = Box::new(|failure, _| match failure.status.as_u16() {
        418 => panic!("the hook itself fails"),
        400 => None,
        _ => Some((failure.status, Html(format!("<p>{}", failure.message))).into_response()),
    });
    let routes = Routes::new()
        .get("/400", || Error::bad_request("no"))
        .get("/418", || Error::new(StatusCode::IM_A_TEAPOT, "tea"))
        .get("/own", || StatusCode::CONFLICT);
    let router = Router::new(routes.list, None, Some(hook), false).unwrap();
    let ask = |method, path| Asked::new(method, path).answer(&router);
    assert_eq!(text_of(ask("GET", "/nowhere")), "<p>not found");
    assert_eq!(text_of(ask("GET", "/400")), "no");
    assert_eq!(text_of(ask("GET", "/418")), "tea");
    // A status that is no error's comes as the handler made it.
    assert_eq!(text_of(ask("GET", "/own")), "");
    let not_allowed = ask("POST", "/own");
    assert_eq!((not_allowed.status().as_u16(), allow(&not_allowed)), (405, "GET, HEAD, OPTIONS"));
    assert!(!not_allowed.headers().contains_key(CONTENT_TYPE));
    let refused = router.refuse(Error::new(StatusCode::SERVICE_UNAVAILABLE, "full"), None);
    assert_eq!((refused.status().as_u16(), text_of(refused)), (503, "<p>full".into()));
}

#[test]
fn a_request_id_is_sent_if_the_client_the_handler_or_the_app_wants_one() {
    let routes = || Routes::new().get("/", || ()).get("/id", |id: RequestId| id.to_string());
    let (seldom, always) = (Router::of(routes()), Router::new(routes().list, None, None, true).unwrap());
    let id = |asked: Asked, router| asked.answer(router).headers().get(X_REQUEST_ID).cloned();
    assert_eq!(id(Asked::get("/"), &seldom), None);
    assert_eq!(id(Asked::get("/").header("x-request-id", "abc"), &seldom).unwrap(), "abc");
    assert_eq!(id(Asked::get("/"), &always).unwrap().len(), 32);
    let answer = Asked::get("/id").answer(&seldom);
    let sent = answer.headers()[X_REQUEST_ID].to_str().unwrap().to_owned();
    assert_eq!(text_of(answer), sent);
}
