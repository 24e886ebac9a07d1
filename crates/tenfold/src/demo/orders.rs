//! Registration and orders: what a visitor has to wait for is the disk, and nothing else.
//!
//! The stock service is a row of the demo's database that says whether it is down: an order's job fails then, as it would
//! over a network, and is tried again. Orders are one ordered line, so they are delivered as they came.

use serde::{Deserialize, Serialize};
use tenfold::Result;
use tenfold::jobs::{Ask, Backoff};
use tenfold::prelude::*;

use super::database::Database;
use super::pages::render;
use super::site::Facts;

/// Messages that the page shows.
const SHOWN: usize = 20;

#[derive(Deserialize)]
struct Registration {
    name: String,
}

#[derive(Deserialize)]
struct Order {
    item: String,
}

/// Adds the routes and the jobs.
pub fn add(app: App) -> App {
    app.get("/orders", page)
        .post("/orders", order)
        .post("/registrations", register)
        .post("/stock/{state}", switch)
        .jobs_page("/jobs")
        .queue(Queue::new("orders").ordered().capacity(100_000))
        .job("mail", |cx: &JobCx, name: String| say(cx, "mail", &format!("Welcome, {name}!")))
        .job("text message", |cx: &JobCx, name: String| say(cx, "text message", &format!("{name}: hello")))
        .job("deliver", deliver.queue("orders").retries(u32::MAX).backoff(Backoff::new(ms(200), secs(2))))
}

/// `POST /registrations`: two jobs, kept together.
fn register(jobs: Jobs, Form(Registration { name }): Form<Registration>) -> Result<Redirect> {
    jobs.batch().add("mail", &name)?.add("text message", &name)?.send()?;
    Ok(Redirect::to("/orders"))
}

/// `POST /orders`
fn order(jobs: Jobs, rooms: Rooms, Form(Order { item }): Form<Order>) -> Result<Redirect> {
    super::live::count_order(&rooms, &item)?;
    jobs.with("deliver", &item)?.key("stock").send()?;
    Ok(Redirect::to("/orders"))
}

/// `POST /stock/{state}`: `up` or `down`.
fn switch(Path(state): Path<String>, State(database): State<Database>) -> Result<Redirect> {
    let down = state == "down";
    database.write(move |tx| tx.execute("UPDATE stock_service SET down = ?1", [down]).map(drop))?;
    Ok(Redirect::to("/orders"))
}

fn deliver(cx: &JobCx, item: String) -> JobResult {
    let database: Database = cx.state()?;
    let down: bool = database
        .read(|one| one.query_row("SELECT down FROM stock_service", [], |row| row.get(0)))
        .map_err(JobError::retry)?;
    if down {
        return Err(JobError::retry("the stock service is down"));
    }
    say(cx, "delivered", &item)
}

/// A message, once for each job.
fn say(cx: &JobCx, kind: &str, text: &str) -> JobResult {
    let database: Database = cx.state()?;
    database.write_in_job(|tx| {
        cx.once(tx)?;
        tx.execute("INSERT INTO messages (job, kind, text) VALUES (?1, ?2, ?3)", (cx.id(), kind, text))?;
        Ok(())
    })
}

/// `GET /orders`
fn page(
    State(templates): State<Templates>,
    State(facts): State<Facts>,
    State(database): State<Database>,
    jobs: Jobs,
) -> Result<Response> {
    #[derive(Serialize)]
    struct Message {
        kind: String,
        text: String,
        at: String,
    }
    #[derive(Serialize)]
    struct Orders {
        down: bool,
        waiting: u64,
        messages: Vec<Message>,
    }
    let (down, messages) = database.read(|connection| {
        let down = connection.query_row("SELECT down FROM stock_service", [], |row| row.get(0))?;
        let sql = "SELECT kind, text, at FROM messages ORDER BY id DESC LIMIT ?1";
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map([SHOWN as i64], |row| {
            Ok(Message { kind: row.get(0)?, text: row.get(1)?, at: row.get(2)? })
        })?;
        Ok((down, rows.collect::<rusqlite::Result<Vec<_>>>()?))
    })?;
    let all = jobs.ask(&Ask::Queues)?;
    let queues = all["queues"].as_array();
    let queue = queues.and_then(|queues| queues.iter().find(|one| one["name"] == "orders"));
    let waiting = queue.and_then(|queue| queue["live"].as_u64()).unwrap_or(0);
    render(&templates, "orders.html", Some(&facts), Orders { down, waiting, messages })
}
