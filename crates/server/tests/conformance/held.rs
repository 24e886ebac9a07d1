//! A request whose handler runs until the test lets it go.

use tenfold_testkit::{Client, ServerProcess, TestResponse};

/// A request that is being handled: its handler has asked for the body and got nothing yet.
///
/// That it runs is known from the 100 that the client got (RFC 9110 section 10.1.1), so no test has to sleep for it.
#[derive(Debug)]
pub(crate) struct Held {
    client: Client,
}

impl Held {
    /// Sends a POST to a route that reads its body, and waits until its handler does.
    #[track_caller]
    pub(crate) fn begin(server: &ServerProcess, target: &str) -> Held {
        let mut held = Held::send(server, target);
        held.wait_until_it_runs();
        held
    }

    /// Sends the POST only.
    #[track_caller]
    pub(crate) fn send(server: &ServerProcess, target: &str) -> Held {
        let mut client = server.client();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        ));
        Held { client }
    }

    #[track_caller]
    pub(crate) fn wait_until_it_runs(&mut self) {
        self.client.read_exactly("HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// Lets the handler finish; its answer.
    #[track_caller]
    pub(crate) fn release(mut self) -> (Client, TestResponse) {
        let response = self.client.send("go").read_response().expect_text(200, "held go");
        (self.client, response)
    }

    pub(crate) fn into_client(self) -> Client {
        self.client
    }

    /// The connection, for what a test does to it instead.
    pub(crate) fn client(&mut self) -> &mut Client {
        &mut self.client
    }
}
