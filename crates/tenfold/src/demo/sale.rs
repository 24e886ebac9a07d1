//! The flash sale: a thousand items, many more buyers, one bounded line.
//!
//! A purchase is a job. The line's bound turns away who has no chance while the line is long, with a page that says so; the
//! job takes one item and writes the ticket in one transaction, once for each ticket.

use rusqlite::OptionalExtension;
use serde::Serialize;
use tenfold::Result;
use tenfold::jobs::{Ask, Error, OnFull};
use tenfold::prelude::*;

use super::database::Database;
use super::pages::render;
use super::site::Facts;

/// Tickets that may wait.
pub const CAPACITY: u64 = 10_000;

/// What who finds the line full is told.
const FULL: &str = "<!doctype html><title>Sold out for now</title><h1>The line is full</h1>\
    <p>Nothing was taken from you. Come again in two seconds.</p>";

/// Adds the sale's routes and its job.
pub fn add(app: App) -> App {
    let full = OnFull::Page { html: FULL.into(), retry_after: secs(2) };
    app.get("/sale", page)
        .post("/sale", buy)
        .get("/sale/{ticket}", ticket)
        .queue(Queue::new("sale").capacity(CAPACITY).on_full(full).fibers(2))
        .job("sell", sell.queue("sale"))
}

/// `GET /sale`
fn page(
    State(templates): State<Templates>,
    State(facts): State<Facts>,
    State(database): State<Database>,
    jobs: Jobs,
) -> Result<Response> {
    #[derive(Serialize)]
    struct Sale {
        capacity: u64,
        left: i64,
        sold: i64,
        live: u64,
        refused: u64,
    }
    let (left, sold) = database.read(|connection| {
        let left = connection.query_row("SELECT left FROM sale", [], |row| row.get(0))?;
        let sold = connection.query_row("SELECT count(*) FROM tickets WHERE won", [], |row| row.get(0))?;
        Ok((left, sold))
    })?;
    let all = jobs.ask(&Ask::Queues)?;
    let queue = all["queues"].as_array().and_then(|queues| queues.iter().find(|one| one["name"] == "sale"));
    let number = |name: &str| queue.and_then(|queue| queue[name].as_u64()).unwrap_or(0);
    let page = Sale { capacity: CAPACITY, left, sold, live: number("live"), refused: number("refused") };
    render(&templates, "sale.html", Some(&facts), page)
}

/// `POST /sale`
fn buy(jobs: Jobs) -> Result<Redirect> {
    let ticket = jobs.enqueue("sell", &())?;
    Ok(Redirect::to(format!("/sale/{ticket}")))
}

/// One item for one ticket, or none when all are gone.
fn sell(cx: &JobCx, (): ()) -> JobResult {
    let database: Database = cx.state()?;
    database.write_in_job(|tx| {
        cx.once(tx)?;
        let won = tx.execute("UPDATE sale SET left = left - 1 WHERE left > 0", [])? == 1;
        tx.execute("INSERT INTO tickets (id, won) VALUES (?1, ?2)", (cx.id(), won))?;
        Ok(())
    })
}

/// `GET /sale/{ticket}`
fn ticket(
    Path(id): Path<String>,
    State(templates): State<Templates>,
    State(facts): State<Facts>,
    State(database): State<Database>,
    jobs: Jobs,
) -> Result<Response> {
    #[derive(Serialize)]
    struct Ticket {
        title: &'static str,
        text: &'static str,
        id: String,
    }
    let won: Option<bool> = database.read(|connection| {
        let mut statement = connection.prepare_cached("SELECT won FROM tickets WHERE id = ?1")?;
        statement.query_row([&id], |row| row.get(0)).optional()
    })?;
    let (title, text) = match won {
        Some(true) => ("It is yours", "one of the thousand items."),
        Some(false) => ("Sold out", "all items were gone when it was your turn."),
        None => match jobs.look_up(&id) {
            Ok(_) => ("You are in line", "it is on disk, and nobody can take your place."),
            Err(Error::Refused(_)) => return Err(tenfold::Error::not_found("there is no such ticket")),
            Err(error) => return Err(error.into()),
        },
    };
    render(&templates, "ticket.html", Some(&facts), Ticket { title, text, id })
}
