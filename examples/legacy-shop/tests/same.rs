//! The shop before and after: the same pages, and waits that overlap on one thread.

use std::process::Command;
use std::time::{Duration, Instant};

use tenfold_testkit::services::{MariaDb, Redis};
use tenfold_testkit::{Client, ServerProcess, TestResponse};

fn start(program: &str, words: &[&str], environment: &[(&str, &str)]) -> ServerProcess {
    ServerProcess::start(Command::new(program).args(words).envs(environment.iter().copied()))
}

/// One request a connection, as `before` serves them.
fn send(shop: &ServerProcess, request: &str) -> TestResponse {
    let mut client = shop.client();
    client.send(request);
    client.read_response()
}

fn get(shop: &ServerProcess, target: &str, cookie: &str) -> TestResponse {
    send(shop, &format!("GET {target} HTTP/1.1\r\nHost: shop\r\nCookie: {cookie}\r\n\r\n"))
}

fn post(shop: &ServerProcess, target: &str, cookie: &str, form: &str) -> TestResponse {
    let (kind, length) = ("application/x-www-form-urlencoded", form.len());
    send(
        shop,
        &format!(
            "POST {target} HTTP/1.1\r\nHost: shop\r\nCookie: {cookie}\r\nContent-Type: {kind}\r\n\
             Content-Length: {length}\r\n\r\n{form}"
        ),
    )
}

/// Everything that the shop needs, private to this test. `None` where a service is not installed.
fn surroundings(partner_ms: &str) -> Option<(MariaDb, Redis, ServerProcess)> {
    let (database, cache) = (MariaDb::start()?, Redis::start()?);
    let words = ["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--control", "off"];
    let partner = start(env!("CARGO_BIN_EXE_partner"), &words, &[("SHOP_PARTNER_MS", partner_ms)]);
    Some((database, cache, partner))
}

#[test]
fn every_page_is_the_same_and_waits_overlap() {
    let Some((database, cache, partner)) = surroundings("50") else {
        println!("left out: MariaDB or Redis is not installed");
        return;
    };
    let partner_url = format!("http://{}", partner.address());
    let environment =
        [("SHOP_DATABASE", &*database.url()), ("SHOP_CACHE", &*cache.url()), ("SHOP_PARTNER", &*partner_url)];
    let before = start(env!("CARGO_BIN_EXE_before"), &["127.0.0.1:0", "1"], &environment);
    for model in ["fiber", "pool", "serial"] {
        let words =
            ["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--control", "off", "--model", model];
        let after = start(env!("CARGO_BIN_EXE_after"), &words, &environment);
        same_pages(&before, &after, model);
        if model == "fiber" {
            waits_overlap(&before, &after);
        }
    }
}

fn same_pages(before: &ServerProcess, after: &ServerProcess, model: &str) {
    // Each has a cart of its own.
    let cookies = [&format!("session={:032x}", 1), &format!("session={:032x}", model.len())];
    let both = |ask: &dyn Fn(&ServerProcess, &str) -> TestResponse| {
        [ask(before, cookies[0]), ask(after, cookies[1])]
    };
    for target in
        ["/", "/?page=3", "/search?words=lamp", "/cart", "/cart?country=US", "/nothing", "/product/100000"]
    {
        let [old, new] = both(&|shop, cookie| get(shop, target, cookie));
        assert_eq!((old.status, old.text()), (new.status, new.text()), "{model} {target}");
        assert_eq!(old.header("content-type"), new.header("content-type"), "{model} {target}");
    }
    // A product's page counts how often it was looked at.
    let [old, new] = both(&|shop, cookie| get(shop, "/product/7", cookie));
    assert_eq!((old.status, new.status), (200, 200), "{model}: {}", new.text());

    for (form, status) in [("product=7&quantity=2", 303), ("product=9&quantity=1", 303), ("product=x", 400)] {
        let [old, new] = both(&|shop, cookie| post(shop, "/cart", cookie, form));
        assert_eq!((old.status, new.status), (status, status), "{model} {form}: {}", new.text());
        assert_eq!(old.header("location"), new.header("location"), "{model} {form}");
    }
    let [old, new] = both(&|shop, cookie| get(shop, "/cart", cookie));
    assert_eq!(old.text(), new.text(), "{model}: what is in the cart");
    let [old, new] = both(&|shop, cookie| post(shop, "/order", cookie, "country=DE"));
    assert_eq!((old.status, new.status), (200, 200), "{model}: {}", new.text());
    let [old, new] = both(&|shop, cookie| get(shop, "/cart", cookie));
    assert_eq!(old.text(), new.text(), "{model}: the cart is empty again");
    let new = get(after, "/", "");
    assert!(new.header("set-cookie").is_some_and(|cookie| cookie.starts_with("session=")), "{new}");
}

/// Twelve product pages at once: one process takes them one after another, one thread with fibers all together.
fn waits_overlap(before: &ServerProcess, after: &ServerProcess) {
    let twelve = |shop: &ServerProcess| -> Duration {
        let started = Instant::now();
        let mut clients: Vec<Client> = (0..12).map(|_| shop.client()).collect();
        for client in &mut clients {
            client.send("GET /product/11 HTTP/1.1\r\nHost: shop\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.read_response().status, 200);
        }
        started.elapsed()
    };
    twelve(after); // opens the connections
    let (old, new) = (twelve(before), twelve(after));
    assert!(old > 3 * new, "{old:?} before, {new:?} after");
}
