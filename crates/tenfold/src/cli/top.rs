//! `tenfold top`: a screen of what goes on, from the control socket, once a second.
//!
//! The master answers whatever its workers are doing, so this works best when it is needed most. `--once` prints the same as
//! text.

mod fitting;
mod sample;
mod screen;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use self::sample::History;
use super::arguments::Server;
use super::{Error, control};

/// Requests in flight that `--once` lists.
const ONCE_REQUESTS_MAX: usize = 50;

#[derive(Args)]
pub(crate) struct TopOptions {
    #[command(flatten)]
    server: Server,
    /// Print one page of text instead.
    #[arg(long)]
    once: bool,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    every: f64,
}

pub(crate) fn run(options: &TopOptions) -> Result<ExitCode, Error> {
    let socket = control::find(options.server.control.as_deref(), options.server.config.as_deref())?;
    if options.once {
        let status = control::ask(&socket, "status")?;
        return super::print(&tenfold_server::sight::text(&status, ONCE_REQUESTS_MAX));
    }
    if !(0.1..=3_600.0).contains(&options.every) {
        return Err(Error::Usage("--every: expected 0.1 to 3600".into()));
    }
    if !std::io::stdout().is_terminal() {
        return Err(Error::Usage("this is no terminal: `top --once` prints text".into()));
    }
    // Said before the screen is taken, and with the reason.
    control::ask(&socket, "status")?;
    let mut terminal = ratatui::try_init().map_err(|error| Error::System(error.to_string()))?;
    let outcome = watch(&mut terminal, &socket, Duration::from_secs_f64(options.every));
    ratatui::restore();
    let _ = std::io::stdout().flush();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Until the user has seen enough. A server that is gone is shown as such, and looked for again.
fn watch(terminal: &mut ratatui::DefaultTerminal, socket: &Path, every: Duration) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::System(error.to_string());
    let mut history = History::default();
    let (mut skip, mut paused) = (0_usize, false);
    loop {
        if !paused {
            match control::ask(socket, "status") {
                Ok(status) => history.add(status, Instant::now()),
                Err(error) => history.lost(error.to_string()),
            }
        }
        let next = Instant::now() + every;
        loop {
            terminal.draw(|frame| screen::draw(frame, &history, skip, paused)).map_err(failed)?;
            let left = next.saturating_duration_since(Instant::now());
            if !event::poll(left).map_err(failed)? {
                break;
            }
            let Event::Key(key) = event::read().map_err(failed)? else { continue };
            if key.kind != KeyEventKind::Press {
                continue;
            }
            match key.code {
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                KeyCode::Char('p') | KeyCode::Char(' ') => paused = !paused,
                KeyCode::Down | KeyCode::Char('j') => skip = (skip + 1).min(history.requests_max()),
                KeyCode::Up | KeyCode::Char('k') => skip = skip.saturating_sub(1),
                KeyCode::Home => skip = 0,
                _ => {}
            }
        }
    }
}
