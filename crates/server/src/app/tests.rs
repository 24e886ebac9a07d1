//! What an app refuses to start with, and what it opens.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::context::testing::{Asked, text_of};
use crate::extract::{Path, State};

#[test]
fn a_missing_or_doubled_state_is_found_when_the_app_is_built() {
    let missing = App::new().get("/a", |_: State<u32>| ()).build().unwrap_err();
    let text = "the handler of \"/a\" takes State<u32>, but the app has no state of this type";
    assert_eq!(missing.to_string(), text);
    let fallback = App::new().fallback(|_: State<u32>| ()).build();
    assert!(matches!(fallback, Err(BuildError::MissingState { .. })));
    let doubled = App::new().state(1_u32).state_with(|| Ok(2_u32)).build().unwrap_err();
    assert!(matches!(doubled, BuildError::DuplicateState { type_name: "u32" }));
}

#[test]
fn lanes_have_names_of_their_own_and_a_bound() {
    let lane = |app: App, name: &str| app.lane(name, Lane::default(), |r| r);
    for (first, second) in [("a", "a"), ("a", "default")] {
        let doubled = lane(lane(App::new(), first), second).build();
        assert!(matches!(doubled, Err(BuildError::DuplicateLane { name }) if name == second));
    }
    let many = (1..LANES_MAX).fold(App::new(), |app, number| lane(app, &number.to_string()));
    assert!(matches!(lane(many, "one more").build(), Err(BuildError::TooManyLanes)));
}

#[test]
fn routes_know_their_lane_and_health_is_exempt() {
    let blueprint = App::new()
        .get("/a", || ())
        .lane("reports", Lane::pool(2), |r| r.get("/r", || ()))
        .lane("uploads", Lane::fiber(), |r| r.post("/u", || ()))
        .get("/b", || ())
        .health("/health", || "up")
        .build()
        .unwrap();
    let opened = blueprint.open().unwrap();
    let names: Vec<&str> = opened.lanes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["default", "reports", "uploads"]);
    let lane = |method, path| opened.router.find(method, path).route.lane();
    assert_eq!([lane("GET", "/a"), lane("GET", "/r"), lane("POST", "/u"), lane("GET", "/b")], [0, 1, 2, 0]);
    assert!(opened.router.find("GET", "/health").route.is_exempt());
}

#[test]
fn state_is_made_per_worker_and_its_error_names_the_type() {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let app = App::new().state_with(|| Ok(MADE.fetch_add(1, Ordering::Relaxed)));
    let blueprint = app.get("/", |State(number): State<u32>| number.to_string()).build().unwrap();
    assert_eq!(MADE.load(Ordering::Relaxed), 0, "the master makes no state");
    for worker in ["0", "1"] {
        let opened = blueprint.open().unwrap();
        let mut asked = Asked::get("/");
        asked.state = opened.state;
        assert_eq!(text_of(asked.answer(&opened.router)), worker);
    }
    let failing =
        App::new().state_with(|| -> Result<u32> { Ok(std::fs::read("/no such file")?.len() as u32) });
    let text = failing.build().unwrap().open().unwrap_err().to_string();
    assert!(text.starts_with("cannot make the state of type u32: No such file"), "{text}");
}

#[test]
fn the_fallback_answers_what_nothing_matches() {
    let blueprint = App::new().get("/a", || "a").fallback(|| "fallback").build().unwrap();
    let text = |path| text_of(Asked::get(path).answer(blueprint.router()));
    assert_eq!((text("/a"), text("/b")), ("a".into(), "fallback".into()));
}

#[test]
fn the_example_of_the_design_is_an_app() {
    fn show(Path(id): Path<u64>, State(greeting): State<&'static str>) -> Result<String> {
        Ok(format!("{greeting} {id}"))
    }
    let app = App::new().state_with(|| Ok("user")).get("/users/{id}", show);
    let opened = app.build().unwrap().open().unwrap();
    let mut asked = Asked::get("/users/7");
    asked.state = opened.state;
    assert_eq!(text_of(asked.answer(&opened.router)), "user 7");
}
