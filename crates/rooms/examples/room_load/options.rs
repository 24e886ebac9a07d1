//! `Options`: what is asked for on the command line.

use std::net::SocketAddrV4;

pub(crate) struct Options {
    pub(crate) address: SocketAddrV4,
    pub(crate) path: String,
    pub(crate) say: Vec<String>,
    pub(crate) clients: usize,
    pub(crate) stalled: usize,
    pub(crate) publish: String,
    pub(crate) rate: u64,
    pub(crate) seconds: u64,
    pub(crate) bytes: usize,
    pub(crate) idle: bool,
    pub(crate) on_word: bool,
    pub(crate) stamps: usize,
}

pub(crate) fn options() -> Result<Options, String> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("which ADDRESS?")?;
    let mut options = Options {
        address: address.parse().map_err(|_| format!("{address}: expected an address with a port"))?,
        path: "/rooms/ws".into(),
        say: Vec::new(),
        clients: 1_000,
        stalled: 0,
        publish: "/publish/bench".into(),
        rate: 10,
        seconds: 10,
        bytes: 100,
        idle: false,
        on_word: false,
        stamps: 0,
    };
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--idle" => options.idle = true,
            "--on-word" => options.on_word = true,
            _ => {}
        }
        if matches!(name.as_str(), "--idle" | "--on-word") {
            continue;
        }
        let value = arguments.next().ok_or(format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{name} {value}: expected a number"));
        match name.as_str() {
            "--path" => options.path = value,
            "--say" => options.say.push(value),
            "--publish" => options.publish = value,
            "--clients" => options.clients = number()? as usize,
            "--stalled" => options.stalled = number()? as usize,
            "--stamps" => options.stamps = number()? as usize,
            "--rate" => options.rate = number()?,
            "--seconds" => options.seconds = number()?,
            "--bytes" => options.bytes = number()? as usize,
            _ => return Err(format!("unknown argument {name}")),
        }
    }
    Ok(options)
}
