//! House rules that the compiler does not know. They read the sources as text.

use std::fs;
use std::path::{Path, PathBuf};

/// Which crates of ours a crate may depend on (ARCHITECTURE.md). Test dependencies are free.
const MAY_USE: &[(&str, &[&str])] = &[
    ("reactor", &[]),
    ("fiber", &[]),
    ("http", &[]),
    ("scoreboard", &[]),
    ("testkit", &["http"]),
    ("runtime", &["reactor", "fiber", "scoreboard"]),
    ("supervisor", &["scoreboard"]),
    ("server", &["runtime", "http", "supervisor", "scoreboard"]),
    ("client", &["runtime", "http"]),
    ("hook", &["runtime"]),
    ("jobs", &["runtime", "scoreboard", "client", "server"]),
    ("rooms", &["runtime", "scoreboard", "client", "server", "http"]),
    ("compare", &["runtime", "http", "server", "client", "scoreboard"]),
    ("tenfold", &["server", "client", "compare", "jobs", "rooms", "hook"]),
];

/// Where unsafe code may be.
const UNSAFE: &[&str] = &[
    "crates/reactor/",
    "crates/fiber/",
    "crates/hook/",
    "crates/scoreboard/src/map.rs",
    "crates/scoreboard/src/robust.rs",
    "crates/supervisor/src/sys.rs",
];

/// Where the wall clock may be read: for what people see, and what others say by it. Whatever waits uses the monotonic clock, which does not jump.
const WALL_CLOCK: &[&str] = &[
    "crates/server/src/clock.rs",               // the Date header
    "crates/server/src/access_log",             // when a request came
    "crates/server/src/drive/turn.rs",          // … for the same
    "crates/server/src/guard/request_start.rs", // when a proxy got a request
    "crates/scoreboard/src/slot.rs",            // when a worker has started
    "crates/supervisor/src/crew",               // when a reload or an upgrade was
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Path from the root and text of every Rust file of the crates.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    rust_files(&root.join("crates"), &mut found);
    assert!(found.len() > 100, "the sources were not found");
    let name = |path: &PathBuf| path.strip_prefix(&root).unwrap().display().to_string();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The crates of ours in a manifest's `[dependencies]`.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut ours = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim() == "[dependencies]";
        } else if let (true, Some(rest)) = (inside, line.strip_prefix("tenfold-")) {
            ours.push(rest.split(['.', ' ', '=']).next().unwrap().to_owned());
        }
    }
    ours
}

#[test]
fn crates_depend_on_each_other_only_in_the_drawn_direction() {
    let mut seen = 0;
    for entry in fs::read_dir(root().join("crates")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let Ok(manifest) = fs::read_to_string(entry.path().join("Cargo.toml")) else { continue };
        let (_, allowed) = MAY_USE
            .iter()
            .find(|(known, _)| *known == name)
            .unwrap_or_else(|| panic!("crates/{name} is not in the list of this test"));
        for used in dependencies(&manifest) {
            assert!(allowed.contains(&used.as_str()), "{name} must not depend on {used}");
        }
        seen += 1;
    }
    assert_eq!(seen, MAY_USE.len());
}

#[test]
fn unsafe_code_is_where_the_design_allows_it_and_says_why() {
    // In pieces, so that this file does not find itself.
    let (block, item) = (["unsafe", " {"].concat(), ["unsafe", " impl"].concat());
    for (name, text) in sources() {
        let allowed = UNSAFE.iter().any(|place| name.starts_with(place));
        let lines: Vec<_> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap();
            if code.contains(&block) || code.contains(&item) {
                assert!(allowed, "{name}:{}: unsafe code is not allowed here", number + 1);
                let near = &lines[number.saturating_sub(8)..=number];
                let said = near.iter().any(|line| line.contains("SAFETY"));
                assert!(said, "{name}:{}: no SAFETY reason", number + 1);
            }
        }
    }
}

#[test]
fn crates_outside_of_those_forbid_unsafe_code() {
    for (name, _) in MAY_USE {
        if UNSAFE.iter().any(|place| place.starts_with(&format!("crates/{name}/"))) {
            continue;
        }
        let front = fs::read_to_string(root().join(format!("crates/{name}/src/lib.rs"))).unwrap();
        assert!(front.contains("#![forbid(unsafe_code)]"), "{name} does not forbid unsafe code");
    }
}

#[test]
fn every_source_file_says_what_it_is() {
    for (name, text) in sources() {
        // An attribute of the file may come first.
        let said = text.lines().take(6).any(|line| line.starts_with("//!"));
        assert!(said, "{name} has no front comment");
    }
}

#[test]
fn nothing_is_left_open() {
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    for (name, text) in sources() {
        for word in &words {
            assert!(!text.contains(word.as_str()), "{name} contains {word}");
        }
    }
}

#[test]
fn the_protocol_reads_no_clock_and_does_no_io() {
    for (name, text) in sources() {
        if name.starts_with("crates/http/src/") {
            for banned in ["Instant::now", "SystemTime::now", "std::net", "std::fs", "std::thread"] {
                assert!(!text.contains(banned), "{name} uses {banned}");
            }
        }
    }
}

/// A clock jump (NTP, a suspended machine) must neither end waits nor make them endless.
#[test]
fn whatever_waits_reads_no_clock_that_jumps() {
    let serves = ["reactor", "fiber", "runtime", "http", "scoreboard", "supervisor", "server"];
    for (name, text) in sources() {
        let is_served = serves.iter().any(|one| name.starts_with(&format!("crates/{one}/src/")));
        if is_served && !WALL_CLOCK.iter().any(|allowed| name.starts_with(allowed)) {
            let found =
                ["SystemTime", "Realtime", "CLOCK_REALTIME"].into_iter().find(|word| text.contains(word));
            assert_eq!(found, None, "{name} reads the wall clock");
        }
    }
    // Each exception is one that is needed.
    for allowed in WALL_CLOCK {
        let needed = |(name, text): &(String, String)| {
            name.starts_with(allowed) && (text.contains("SystemTime") || text.contains("Realtime"))
        };
        assert!(sources().iter().any(needed), "{allowed} is no exception any more");
    }
}
