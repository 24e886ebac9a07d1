//! From a request to a page.

use minijinja::context;

use crate::http::{Request, Response};
use crate::pages::value;
use crate::stores::Stores;
use crate::{Error, cart, catalogue, checkout, pages, partner, pricing, session};

/// Answers one request.
pub fn handle(stores: &mut Stores, request: &Request) -> Response {
    let (session, is_new) = session::of(request);
    let mut response = route(stores, request, &session).unwrap_or_else(Error::into_response);
    if is_new {
        response.cookie = Some(session);
    }
    response
}

fn route(stores: &mut Stores, request: &Request, session: &str) -> Result<Response, Error> {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/") => list(stores, request, session),
        ("GET", "/search") => search(stores, request, session),
        ("GET", "/cart") => show_cart(stores, request, session),
        ("POST", "/cart") => put_into_cart(stores, request, session),
        ("POST", "/order") => order(stores, request, session),
        ("GET", path) => match path.strip_prefix("/product/").and_then(|id| id.parse().ok()) {
            Some(id) => product(stores, id, session),
            None => Err(Error::NotFound),
        },
        _ => Err(Error::NotFound),
    }
}

fn list(stores: &mut Stores, request: &Request, session: &str) -> Result<Response, Error> {
    let page = request.query.get("page").and_then(|page| page.parse().ok()).unwrap_or(1);
    let pages = catalogue::pages(stores)?;
    let products = catalogue::page(stores, page)?;
    let pieces = cart::pieces(stores, session)?;
    pages::render(
        "list.html",
        context! { title => "All articles", products => value(products), page, pages, pieces },
    )
}

fn search(stores: &mut Stores, request: &Request, session: &str) -> Result<Response, Error> {
    let words = request.query.get("words").map_or("", String::as_str);
    let products = catalogue::search(stores, words)?;
    let pieces = cart::pieces(stores, session)?;
    let title = format!("Articles with “{words}”");
    pages::render("list.html", context! { title, products => value(products), page => 1, pages => 1, pieces })
}

fn product(stores: &mut Stores, id: u32, session: &str) -> Result<Response, Error> {
    let product = catalogue::find(stores, id)?;
    let looks = catalogue::look(stores, id)?;
    let also = partner::recommendations(stores, id);
    let also = catalogue::several(stores, &also)?;
    let pieces = cart::pieces(stores, session)?;
    pages::render("product.html", context! { product => value(product), looks, also => value(also), pieces })
}

fn show_cart(stores: &mut Stores, request: &Request, session: &str) -> Result<Response, Error> {
    let country = request.query.get("country").map_or("DE", String::as_str);
    let lines = cart::lines(stores, session)?;
    let quote = pricing::quote(&lines, pricing::destination(country)?);
    let pieces: u32 = lines.iter().map(|line| line.quantity).sum();
    pages::render("cart.html", context! { lines => value(lines), quote => value(quote), country, pieces })
}

fn put_into_cart(stores: &mut Stores, request: &Request, session: &str) -> Result<Response, Error> {
    let product = request.number("product").ok_or(Error::Invalid("which article?"))?;
    let quantity = request.number("quantity").ok_or(Error::Invalid("how many?"))?;
    cart::put(stores, session, product, quantity)?;
    Ok(Response::see_other("/cart".to_owned()))
}

fn order(stores: &mut Stores, request: &Request, session: &str) -> Result<Response, Error> {
    let country = request.form.get("country").map_or("DE", String::as_str);
    let order = checkout::place(stores, session, country)?;
    let (id, quote, receipt) = (order.id, value(order.quote), order.receipt);
    pages::render("order.html", context! { id, quote, receipt, pieces => 0 })
}
