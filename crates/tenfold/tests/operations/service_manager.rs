//! A service manager as systemd: sockets that it passes, and what it is told.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tenfold_testkit::Signal;

use super::site::Site;

struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Manager {
    fn new(name: &str) -> Manager {
        let path = std::env::temp_dir().join(format!("tenfold-notify-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Manager { socket, path }
    }

    /// Waits for a message with this line in it.
    #[track_caller]
    fn hear(&self, line: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let count = self.socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no {line}: {error}"));
            let message = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if message.lines().any(|said| said == line) {
                return message;
            }
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[test]
fn every_change_is_told() {
    let manager = Manager::new("told");
    let mut site = Site::start_with("notify", "", |command| {
        let _ = command.env("NOTIFY_SOCKET", &manager.path);
    });
    assert!(manager.hear("READY=1").contains(&format!("MAINPID={}", site.child.id())));
    site.signal(Signal::HUP);
    assert!(manager.hear("RELOADING=1").contains("MONOTONIC_USEC="));
    manager.hear("READY=1");
    site.ok(&["upgrade"]);
    let master = site.status()["pid"].to_string();
    manager.hear("RELOADING=1");
    manager.hear(&format!("MAINPID={master}"));
    assert_eq!(site.wait(), Some(0));
    site.ok(&["stop"]);
    manager.hear("STOPPING=1");
}

#[test]
fn a_passed_socket_is_served() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // A shell plays the manager: it knows the process number that will be the server's, and passes descriptor 3.
    let site = Site::start_with("activation", "listen = ['systemd:web']", |command| {
        let program = command.get_program().to_owned();
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut shell = std::process::Command::new("bash");
        shell
            .arg("-c")
            .arg("exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec \"$@\"");
        shell.arg("manager").arg(program).args(arguments);
        shell.stdin(std::os::fd::OwnedFd::from(listener.try_clone().unwrap()));
        shell.stdout(std::process::Stdio::piped());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                shell.env(name, value);
            }
        }
        *command = shell;
    });
    assert_eq!(site.address, address);
    site.get("/hello").expect(200);
    site.ok(&["reload"]);
    site.get("/hello").expect(200);
}
