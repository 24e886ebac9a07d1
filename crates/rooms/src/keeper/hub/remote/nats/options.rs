//! `Options`: what the address of a NATS server says, and the names that follow from it.

use std::fmt::Write;

use tenfold_client::nats::Login;

/// `nats://…?prefix=main&stream_mib=256&replicas=1`
#[derive(Clone)]
pub(super) struct Options {
    pub(super) login: Login,
    /// Services with different prefixes have different rooms.
    prefix: String,
    /// Most of all histories together; the oldest messages of all rooms go first.
    pub(super) stream_mib: u32,
    pub(super) replicas: u8,
}

impl Options {
    pub(super) fn parse(url: &str) -> Result<Options, String> {
        let login = Login::parse(url).map_err(|error| format!("rooms: {error}"))?;
        let mut options = Options { login, prefix: "main".into(), stream_mib: 256, replicas: 1 };
        let query = url.split_once('?').map_or("", |(_, query)| query);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let wrong = || format!("rooms: {name} = {value:?} in the address of NATS");
            match name {
                "prefix" if is_prefix(value) => options.prefix = value.into(),
                "stream_mib" => {
                    options.stream_mib =
                        value.parse().ok().filter(|mib| (1..=1 << 20).contains(mib)).ok_or_else(wrong)?;
                }
                "replicas" => {
                    options.replicas =
                        value.parse().ok().filter(|count| (1..=5).contains(count)).ok_or_else(wrong)?;
                }
                _ => return Err(wrong()),
            }
        }
        Ok(options)
    }

    pub(super) fn history(&self) -> String {
        format!("TENFOLD_ROOMS_{}", self.prefix)
    }

    pub(super) fn present(&self) -> String {
        format!("TENFOLD_ROOMS_{}_PRESENT", self.prefix)
    }

    pub(super) fn alive(&self) -> String {
        format!("TENFOLD_ROOMS_{}_ALIVE", self.prefix)
    }

    pub(super) fn subject(&self, rest: &str) -> String {
        format!("tenfold.rooms.{}.{rest}", self.prefix)
    }

    /// A room's subject. Names have dots, blanks and stars, which mean something in subjects: they are written in hexadecimal.
    pub(super) fn room(&self, what: &str, room: &str) -> String {
        let mut subject = self.subject(what);
        subject.push('.');
        for byte in room.bytes() {
            let _ = write!(subject, "{byte:02x}");
        }
        subject
    }
}

fn is_prefix(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_more_than_where_the_server_is() {
        let options = Options::parse("nats://db?prefix=shop&stream_mib=64&replicas=3").unwrap();
        assert_eq!(
            (&*options.history(), options.stream_mib, options.replicas),
            ("TENFOLD_ROOMS_shop", 64, 3)
        );
        assert_eq!(options.room("in", "a.*"), "tenfold.rooms.shop.in.612e2a");
        for bad in ["prefix=a.b", "prefix=", "stream_mib=0", "replicas=9", "durability=disk"] {
            assert!(Options::parse(&format!("nats://db?{bad}")).is_err(), "{bad}");
        }
    }
}
