//! Bytes ↔ packets' contents. No I/O. "MySQL Client/Server Protocol", protocol version 10 with PROTOCOL_41.

use bytes::Bytes;

use crate::error::Error;

use super::value::Value;

/// Capabilities that are asked for (`CLIENT_…`).
const CAPABILITIES: u32 = LONG_PASSWORD | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
const LONG_PASSWORD: u32 = 1;
const CONNECT_WITH_DB: u32 = 8;
const PROTOCOL_41: u32 = 0x200;
const TRANSACTIONS: u32 = 0x2000;
const SECURE_CONNECTION: u32 = 0x8000;
const PLUGIN_AUTH: u32 = 0x8_0000;

/// utf8mb4_general_ci.
const CHARSET: u8 = 45;
/// `SERVER_STATUS_IN_TRANS`.
const IN_TRANSACTION: u16 = 1;
/// `UNSIGNED_FLAG` of a column, and the same of a parameter's type.
const UNSIGNED: u16 = 0x20;
const UNSIGNED_PARAMETER: u8 = 0x80;

/// Reads from the front of a packet.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

/// What the server says first.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) connection: u32,
    pub(crate) salt: Vec<u8>,
    /// The login that it prefers; empty when it says none.
    pub(crate) plugin: Vec<u8>,
}

/// A column's name and type.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    kind: u8,
    unsigned: bool,
}

/// The end of a statement without rows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) changed: u64,
    pub(crate) last_id: u64,
    pub(crate) in_transaction: bool,
}

fn short() -> Error {
    Error::Unexpected("a packet is shorter than its contents")
}

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (front, rest) = self.0.split_at_checked(count).ok_or_else(short)?;
        self.0 = rest;
        Ok(front)
    }

    pub(crate) fn number(&mut self, bytes: usize) -> Result<u64, Error> {
        Ok(self.bytes(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A number of variable length.
    pub(crate) fn length(&mut self) -> Result<u64, Error> {
        match self.number(1)? {
            0xfc => self.number(2),
            0xfd => self.number(3),
            0xfe => self.number(8),
            small => Ok(small),
        }
    }

    fn string(&mut self) -> Result<&'a [u8], Error> {
        let length = usize::try_from(self.length()?).map_err(|_| short())?;
        self.bytes(length)
    }

    fn until_zero(&mut self) -> Result<&'a [u8], Error> {
        let end = memchr::memchr(0, self.0).ok_or_else(short)?;
        let text = self.bytes(end)?;
        self.bytes(1)?;
        Ok(text)
    }
}

impl Greeting {
    pub(crate) fn parse(packet: &[u8]) -> Result<Greeting, Error> {
        let mut reader = Reader(packet);
        if reader.number(1)? != 10 {
            return Err(Error::Unexpected("the server speaks another version of the protocol"));
        }
        reader.until_zero()?;
        let connection = reader.number(4)? as u32;
        let mut salt = reader.bytes(8)?.to_vec();
        // Filler, capabilities, character set, status, capabilities, length of the salt, reserved.
        reader.bytes(1 + 2 + 1 + 2 + 2 + 1 + 10)?;
        salt.extend_from_slice(reader.bytes(12)?);
        // The salt's end, and a name that older servers do not say and some do not end.
        let rest = reader.0.get(1..).unwrap_or_default();
        let plugin = rest.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        Ok(Greeting { connection, salt, plugin })
    }
}

/// The answer to a greeting.
pub(crate) fn login(user: &str, (plugin, proof): (&str, &[u8]), database: Option<&str>) -> Vec<u8> {
    let capabilities = CAPABILITIES | if database.is_some() { CONNECT_WITH_DB } else { 0 };
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(&capabilities.to_le_bytes());
    out.extend_from_slice(&(1u32 << 24).to_le_bytes());
    out.push(CHARSET);
    out.extend_from_slice(&[0; 23]);
    out.extend_from_slice(user.as_bytes());
    out.extend_from_slice(&[0, proof.len() as u8]);
    out.extend_from_slice(proof);
    if let Some(database) = database {
        out.extend_from_slice(database.as_bytes());
        out.push(0);
    }
    out.extend_from_slice(plugin.as_bytes());
    out.push(0);
    out
}

/// What a plugin of the server's choice asks for: its name and a new salt.
pub(crate) fn switch(packet: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let mut reader = Reader(packet);
    reader.bytes(1)?;
    let plugin = reader.until_zero()?;
    Ok((plugin, reader.0.strip_suffix(&[0]).unwrap_or(reader.0)))
}

/// A packet that begins with 0xff.
pub(crate) fn refusal(packet: &[u8]) -> Error {
    let mut reader = Reader(packet);
    let (Ok(_), Ok(number)) = (reader.number(1), reader.number(2)) else { return short() };
    match reader.0.strip_prefix(b"#").and_then(|rest| rest.split_at_checked(5)) {
        Some((state, message)) => {
            Error::Rejected { code: text(state), message: format!("{} ({number})", text(message)) }
        }
        None => Error::Rejected { code: number.to_string(), message: text(reader.0) },
    }
}

/// A packet that begins with 0x00.
pub(crate) fn done(packet: &[u8]) -> Result<Done, Error> {
    let mut reader = Reader(packet);
    reader.number(1)?;
    let (changed, last_id) = (reader.length()?, reader.length()?);
    Ok(Done { changed, last_id, in_transaction: reader.number(2)? as u16 & IN_TRANSACTION != 0 })
}

/// Whether a packet ends a list; then, whether a transaction is open.
pub(crate) fn end_of_list(packet: &[u8]) -> Option<bool> {
    match packet {
        [0xfe, _, _, low, high] => Some(u16::from_le_bytes([*low, *high]) & IN_TRANSACTION != 0),
        _ => None,
    }
}

pub(crate) fn column(packet: &[u8]) -> Result<Column, Error> {
    let mut reader = Reader(packet);
    for _ in 0..4 {
        reader.string()?;
    }
    let name = text(reader.string()?);
    reader.string()?;
    // Length of what follows, character set, display length.
    reader.bytes(1 + 2 + 4)?;
    let (kind, flags) = (reader.number(1)? as u8, reader.number(2)? as u16);
    Ok(Column { name, kind, unsigned: flags & UNSIGNED != 0 })
}

/// A row of a prepared statement.
pub(crate) fn row(packet: &[u8], columns: &[Column]) -> Result<Vec<Value>, Error> {
    let mut reader = Reader(packet);
    reader.bytes(1)?;
    let nulls = reader.bytes((columns.len() + 9) / 8)?;
    let is_null = |index: usize| nulls[(index + 2) / 8] >> ((index + 2) % 8) & 1 == 1;
    columns
        .iter()
        .enumerate()
        .map(|(index, column)| if is_null(index) { Ok(Value::Null) } else { value(&mut reader, column) })
        .collect()
}

fn value(reader: &mut Reader<'_>, column: &Column) -> Result<Value, Error> {
    let mut integer = |bytes: usize| -> Result<Value, Error> {
        let number = reader.number(bytes)?;
        let spare = 64 - 8 * bytes as u32;
        Ok(match column.unsigned {
            true => Value::Unsigned(number),
            // The sign is in the highest bit of those that came.
            false => Value::Int((number << spare) as i64 >> spare),
        })
    };
    match column.kind {
        1 => integer(1),
        2 | 13 => integer(2),
        3 | 9 => integer(4),
        8 => integer(8),
        4 => Ok(Value::Float(f32::from_bits(reader.number(4)? as u32).into())),
        5 => Ok(Value::Float(f64::from_bits(reader.number(8)?))),
        6 => Ok(Value::Null),
        7 | 10 | 12 => date(reader, column.kind == 10),
        11 => time(reader),
        _ => Ok(Value::Bytes(Bytes::copy_from_slice(reader.string()?))),
    }
}

/// A date or a point in time, as the text that the server itself would write.
fn date(reader: &mut Reader<'_>, only_date: bool) -> Result<Value, Error> {
    let mut parts = Reader(reader.string()?);
    let mut part = |bytes| if parts.0.is_empty() { Ok(0) } else { parts.number(bytes) };
    let (year, month, day) = (part(2)?, part(1)?, part(1)?);
    let (hour, minute, second, micros) = (part(1)?, part(1)?, part(1)?, part(4)?);
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    if !only_date {
        text += &format!(" {hour:02}:{minute:02}:{second:02}");
    }
    if micros > 0 {
        text += &format!(".{micros:06}");
    }
    Ok(Value::Bytes(text.into()))
}

fn time(reader: &mut Reader<'_>) -> Result<Value, Error> {
    let mut parts = Reader(reader.string()?);
    let mut part = |bytes| if parts.0.is_empty() { Ok(0) } else { parts.number(bytes) };
    let (negative, days) = (part(1)?, part(4)?);
    let (hours, minutes, seconds, micros) = (part(1)?, part(1)?, part(1)?, part(4)?);
    let sign = if negative == 1 { "-" } else { "" };
    let mut text = format!("{sign}{:02}:{minutes:02}:{seconds:02}", days * 24 + hours);
    if micros > 0 {
        text += &format!(".{micros:06}");
    }
    Ok(Value::Bytes(text.into()))
}

/// The command that runs a prepared statement.
pub(crate) fn execute(statement: u32, parameters: &[Value]) -> Vec<u8> {
    let mut out = vec![0x17];
    out.extend_from_slice(&statement.to_le_bytes());
    // No cursor, one iteration.
    out.extend_from_slice(&[0, 1, 0, 0, 0]);
    if parameters.is_empty() {
        return out;
    }
    let mut nulls = vec![0u8; parameters.len().div_ceil(8)];
    let (mut kinds, mut values) = (Vec::new(), Vec::new());
    for (index, parameter) in parameters.iter().enumerate() {
        let (kind, flag) = match parameter {
            Value::Null => {
                nulls[index / 8] |= 1 << (index % 8);
                (6, 0)
            }
            Value::Int(number) => {
                values.extend_from_slice(&number.to_le_bytes());
                (8, 0)
            }
            Value::Unsigned(number) => {
                values.extend_from_slice(&number.to_le_bytes());
                (8, UNSIGNED_PARAMETER)
            }
            Value::Float(number) => {
                values.extend_from_slice(&number.to_le_bytes());
                (5, 0)
            }
            Value::Bytes(bytes) => {
                put_length(&mut values, bytes.len() as u64);
                values.extend_from_slice(bytes);
                (0xfe, 0)
            }
        };
        kinds.extend_from_slice(&[kind, flag]);
    }
    out.extend_from_slice(&nulls);
    out.push(1);
    out.extend_from_slice(&kinds);
    out.extend_from_slice(&values);
    out
}

fn put_length(out: &mut Vec<u8>, length: u64) {
    let bytes = length.to_le_bytes();
    match length {
        0..=250 => out.push(bytes[0]),
        251..=0xffff => {
            out.push(0xfc);
            out.extend_from_slice(&bytes[..2]);
        }
        0x1_0000..=0xff_ffff => {
            out.push(0xfd);
            out.extend_from_slice(&bytes[..3]);
        }
        _ => {
            out.push(0xfe);
            out.extend_from_slice(&bytes);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
