//! may_minihttp with one worker: stackful coroutines, the nearest relative.

use std::{io, time::Duration};

use may_minihttp::{HttpServer, HttpService, Request, Response};

#[derive(Clone)]
struct Service;

impl HttpService for Service {
    fn call(&mut self, request: Request<'_, '_, '_>, response: &mut Response<'_>) -> io::Result<()> {
        match request.path() {
            "/hello" => {}
            "/sleep/10" => may::coroutine::sleep(Duration::from_millis(10)),
            _ => {
                response.status_code(404, "Not Found");
                return Ok(());
            }
        }
        response.header("Content-Type: text/plain").body(peers::HELLO);
        Ok(())
    }
}

fn main() {
    may::config().set_workers(1);
    HttpServer(Service)
        .start(("127.0.0.1", peers::port()))
        .expect("the port is free")
        .join()
        .expect("it serves");
}
