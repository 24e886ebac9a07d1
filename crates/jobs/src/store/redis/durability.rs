//! What a Redis server promises about what it has answered, read from its settings and compared with what is asked for.
//!
//! With `appendfsync always` a reply leaves after the fsync of the log that its command is in (`beforeSleep` of server.c: the
//! log first, the replies then). With `everysec` it leaves after write(2): the death of the process loses nothing, that of the
//! machine a second or two. What replicas and a failover lose cannot be read from anything.

use std::collections::HashMap;

use tenfold_client::Error;
use tenfold_client::redis::{Command, Connection};

use super::super::engine::EngineError;
use super::gone;
use crate::place::{Durability, EngineSettings};

/// First version that has all that the scripts use (XRANGE with an exclusive start).
const VERSION_MIN: (u32, u32) = (6, 2);

pub(super) fn check(connection: &mut Connection, settings: &EngineSettings) -> Result<(), EngineError> {
    let about: String = connection.query(&Command::new("INFO").arg("server")).map_err(gone)?;
    if let Some(version) = version(&about)
        && version < VERSION_MIN
    {
        let (major, minor) = VERSION_MIN;
        let shown = settings.shown();
        return Err(EngineError::Unfit(format!(
            "{shown} is Redis {}.{}; jobs need {major}.{minor} or later",
            version.0, version.1
        )));
    }
    if settings.durability == Durability::Unchecked {
        return Ok(());
    }
    let mut said = HashMap::new();
    for name in ["appendonly", "appendfsync", "maxmemory-policy"] {
        let read = connection.query::<HashMap<String, String>>(&Command::new("CONFIG").arg("GET").arg(name));
        match read {
            Ok(read) => said.extend(read),
            Err(Error::Rejected { code, message }) => {
                return Err(EngineError::Unfit(format!(
                    "{}: how durable it is cannot be read (CONFIG GET: {code} {message}); `durability=unchecked` in the \
                     jobs' address takes it as it is",
                    settings.shown()
                )));
            }
            Err(error) => return Err(gone(error)),
        }
    }
    match complaint(&said, settings.durability) {
        Some(complaint) => Err(EngineError::Unfit(format!("{} {complaint}", settings.shown()))),
        None => Ok(()),
    }
}

fn version(about: &str) -> Option<(u32, u32)> {
    let text = about.lines().find_map(|line| line.strip_prefix("redis_version:"))?;
    let mut numbers = text.trim().split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// What is less than what was asked for.
fn complaint(said: &HashMap<String, String>, asked: Durability) -> Option<String> {
    let is = |name: &str, value: &str| said.get(name).is_some_and(|said| said == value);
    let word = asked.word();
    let ask_less = |less: &str| format!("or ask for less with `durability={less}` in the jobs' address");
    if matches!(asked, Durability::Memory | Durability::Unchecked) {
        return None;
    }
    if let Some(policy) = said.get("maxmemory-policy").filter(|policy| *policy != "noeviction") {
        return Some(format!(
            "has maxmemory-policy {policy}, which throws jobs away when memory is short, and durability={word} is asked for: set \
             `maxmemory-policy noeviction` there, {}",
            ask_less("memory")
        ));
    }
    if !is("appendonly", "yes") {
        return Some(format!(
            "keeps nothing on disk (appendonly no), and durability={word} is asked for: set `appendonly yes` and \
             `appendfsync always` there, {}",
            ask_less("memory")
        ));
    }
    if asked == Durability::Disk && !is("appendfsync", "always") {
        let lazier = said.get("appendfsync").map_or("?", String::as_str);
        return Some(format!(
            "answers before fsync (appendfsync {lazier}), and durability={word} is asked for: set `appendfsync always` there, {}",
            ask_less("process")
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lazier_server_is_named_with_what_to_do() {
        let said = |append: &str, fsync: &str, policy: &str| {
            let pairs = [("appendonly", append), ("appendfsync", fsync), ("maxmemory-policy", policy)];
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let good: HashMap<_, _> = said("yes", "always", "noeviction");
        assert_eq!(complaint(&good, Durability::Disk), None);
        let lazy = said("yes", "everysec", "noeviction");
        assert_eq!(complaint(&lazy, Durability::Process), None);
        let line = complaint(&lazy, Durability::Disk).unwrap();
        assert!(line.contains("appendfsync everysec") && line.contains("durability=process"), "{line}");
        let off = said("no", "everysec", "noeviction");
        assert!(complaint(&off, Durability::Process).unwrap().contains("appendonly"));
        assert_eq!(complaint(&off, Durability::Memory), None);
        let evicts = said("yes", "always", "allkeys-lru");
        assert!(complaint(&evicts, Durability::Disk).unwrap().contains("noeviction"));
    }

    #[test]
    fn the_version_is_found_in_what_a_server_says_about_itself() {
        assert_eq!(version("# Server\r\nredis_version:7.0.15\r\nredis_git_sha1:0\r\n"), Some((7, 0)));
        assert_eq!(version("nothing"), None);
    }
}
