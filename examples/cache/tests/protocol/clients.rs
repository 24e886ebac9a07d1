//! Client libraries drive it: our own, Python's, and libmemcached's conformance program.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tenfold::client::memcached;

use crate::{Named, Plain, Target};

/// The cases.
pub(crate) fn cases() -> impl Iterator<Item = Named> {
    let cases: [(&'static str, Plain); 3] = [
        ("client::memcached", own_client),
        ("pymemcache", pymemcache),
        ("memccapable of libmemcached", memcapable),
    ];
    cases.into_iter().map(|(name, case)| -> Named { (name, Box::new(case)) })
}

fn own_client(target: &'static Target) {
    let client = memcached::Client::new(&target.address()).expect("an address");
    client.set("own1", "one", None).expect("stored");
    assert_eq!(client.get("own1").expect("asked").as_deref(), Some(&b"one"[..]));
    assert!(!client.add("own1", "two", None).expect("asked"));
    let seen = client.get_versioned("own1").expect("asked").expect("it is there");
    client.set("own1", "changed", Some(Duration::from_secs(100))).expect("stored");
    let many = client.get_many(["own1", "nothing"]).expect("asked");
    assert_eq!(many.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    drop(seen);
    client.set("own2", "5", None).expect("stored");
    assert_eq!(client.count("own2", 3).expect("counted"), Some(8));
    assert_eq!(client.count("own2", -10).expect("counted"), Some(0));
    assert!(client.touch("own1", None).expect("asked") && client.remove("own1").expect("asked"));
    assert!(!client.remove("own1").expect("asked"));
}

fn pymemcache(target: &'static Target) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pymemcache_cases.py");
    let has_it = |python: &&str| {
        Command::new(python)
            .args(["-c", "import pymemcache"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has_it) else {
        assert!(!is_wanted("pymemcache"), "pymemcache is not installed");
        return eprintln!("left out: pymemcache is not installed");
    };
    let output = Command::new(python).arg(script).arg(target.address()).output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}

/// Whether the test command has installed it, so that it must be there.
fn is_wanted(name: &str) -> bool {
    std::env::var("TENFOLD_SERVICES").unwrap_or_default().split_whitespace().any(|wanted| wanted == name)
}

fn memcapable(target: &'static Target) {
    let program =
        ["memccapable", "memcapable"].into_iter().find(|name| Command::new(name).arg("-h").output().is_ok());
    let Some(program) = program else { return eprintln!("left out: memcapable is not installed") };
    let address = target.address();
    let (host, port) = address.split_once(':').expect("an address has a port");
    let output = Command::new(program).args(["-a", "-h", host, "-p", port]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && !text.contains("[FAIL]"), "{text}");
}
