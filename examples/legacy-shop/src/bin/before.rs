//! Serves the shop as it always was: `before ADDRESS PROCESSES`.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::{env, io};

use legacy_shop::{Config, Request, Response, Stores, handle};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["worker"] => serve(),
        [address, processes] => spawn(&TcpListener::bind(address)?, processes.parse()?),
        _ => Err("usage: before ADDRESS PROCESSES".into()),
    }
}

/// The parent: so many processes that share its listener, which they find where others have their standard input.
fn spawn(listener: &TcpListener, processes: usize) -> Result<(), Box<dyn std::error::Error>> {
    Stores::connect(&Config::from_env())?.install()?;
    let worker = || {
        let listener = OwnedFd::from(listener.try_clone()?);
        Command::new(env::current_exe()?).arg("worker").stdin(Stdio::from(listener)).spawn()
    };
    let workers: Vec<_> = (0..processes).map(|_| worker()).collect::<io::Result<_>>()?;
    println!("http://{} ({} processes)", listener.local_addr()?, workers.len());
    for mut worker in workers {
        worker.wait()?;
    }
    Ok(())
}

/// A worker: one request after another.
fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::from(std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned()?);
    let mut stores = Stores::connect(&Config::from_env())?;
    loop {
        let (stream, _) = listener.accept()?;
        if let Err(error) = answer(&mut stores, &stream) {
            eprintln!("shop: a connection broke: {error}");
        }
    }
}

fn answer(stores: &mut Stores, stream: &TcpStream) -> io::Result<()> {
    let request = Request::read(stream)?;
    let response: Response = handle(stores, &request);
    response.write(stream)
}
