//! `Extension`: what `Sec-WebSocket-Extensions` says (RFC 6455 section 9.1), for either side of the handshake.
//!
//! ```text
//!   extension-list  = 1#extension
//!   extension       = extension-token *( ";" extension-param )
//!   extension-param = token [ "=" (token | quoted-string) ]        what is quoted is a token too, once it is unquoted
//! ```
//!
//! Names are compared without case, as HTTP compares its own.

use std::borrow::Cow;

use crate::h1::{is_blank, is_token};

/// One offer of a client, or one answer of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extension<'a> {
    pub(crate) name: &'a str,
    /// In their order, and as often as they are there: what a name that comes twice means is the extension's to say.
    pub(crate) parameters: Vec<(&'a str, Option<Cow<'a, str>>)>,
}

/// The header is not what the RFC says; the handshake fails (section 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The extensions of one header line, in the order in which the peer would have them.
///
/// A list of nothing but commas and spaces is taken, although the grammar wants one extension in it: nothing is asked for there,
/// and there are libraries that write the header before they know what to put into it.
pub(crate) fn extensions(line: &[u8]) -> impl Iterator<Item = Result<Extension<'_>, Malformed>> {
    let mut cursor = Cursor(line);
    std::iter::from_fn(move || {
        while cursor.take(b',') {}
        if cursor.0.is_empty() {
            return None;
        }
        let extension = cursor.extension();
        if extension.is_none() {
            // Nothing is known of what follows.
            cursor.0 = b"";
        }
        Some(extension.ok_or(Malformed))
    })
}

/// What is left of a line.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// An extension, up to the comma behind it.
    fn extension(&mut self) -> Option<Extension<'a>> {
        let mut extension = Extension { name: self.token()?, parameters: Vec::new() };
        while self.take(b';') {
            let name = self.token()?;
            let value = if self.take(b'=') { Some(self.value()?) } else { None };
            extension.parameters.push((name, value));
        }
        self.skip_space();
        matches!(self.0.first(), None | Some(b',')).then_some(extension)
    }

    /// Whether `wanted` comes next; it is behind the cursor then.
    fn take(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let rest = self.0.strip_prefix(&[wanted]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn skip_space(&mut self) {
        let begin = self.0.iter().position(|byte| !is_blank(*byte)).unwrap_or(self.0.len());
        self.0 = &self.0[begin..];
    }

    fn token(&mut self) -> Option<&'a str> {
        self.skip_space();
        let end = self.0.iter().position(|byte| !is_token(&[*byte])).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        std::str::from_utf8(token).ok().filter(|token| !token.is_empty())
    }

    fn value(&mut self) -> Option<Cow<'a, str>> {
        if !self.take(b'"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut unquoted = String::new();
        loop {
            let (&first, rest) = self.0.split_first()?;
            // A backslash quotes the one behind it (RFC 9110 section 5.6.4).
            let (byte, rest) = if first == b'\\' { rest.split_first()? } else { (&first, rest) };
            self.0 = rest;
            if first == b'"' {
                return (!unquoted.is_empty()).then_some(Cow::Owned(unquoted));
            }
            if !is_token(&[*byte]) {
                return None;
            }
            unquoted.push(char::from(*byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Vec<String>, Malformed> {
        let write = |extension: Extension<'_>| {
            let parameters = extension.parameters.into_iter().map(|(name, value)| match value {
                Some(value) => format!(" {name}={value}"),
                None => format!(" {name}"),
            });
            format!("{}{}", extension.name, parameters.collect::<String>())
        };
        extensions(line.as_bytes()).map(|extension| extension.map(write)).collect()
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 6455 section 9.1.
        assert_eq!(read("foo").unwrap(), ["foo"]);
        assert_eq!(read("bar; baz=2").unwrap(), ["bar baz=2"]);
        assert_eq!(read("foo, bar; baz=2").unwrap(), ["foo", "bar baz=2"]);
        assert_eq!(
            read("deflate-stream,mux; max-channels=4; flow-control,  deflate-stream").unwrap(),
            ["deflate-stream", "mux max-channels=4 flow-control", "deflate-stream"]
        );
        assert_eq!(read("private-extension").unwrap(), ["private-extension"]);
    }

    #[test]
    fn values_may_be_quoted_and_lists_may_have_holes() {
        assert_eq!(read(r#"a;b="1\0";c = d ,, "#).unwrap(), ["a b=10 c=d"]);
        assert_eq!(read(" , ").unwrap(), [""; 0]);
        assert_eq!(read("").unwrap(), [""; 0]);
    }

    #[test]
    fn what_the_grammar_does_not_have_is_malformed() {
        for line in [
            ";",
            "a;",
            "a;b=",
            "a;=b",
            "a b",
            "a;b=c d",
            "a;b==c",
            "a/b",
            r#"a;b="""#,
            r#"a;b="c"#,
            r#"a;b="c d""#,
            r#"a;b="c,d""#,
            r#"a;b="c\"#,
            r#"a;b="c"d"#,
            r#""a""#,
            "a=1",
            "ä",
            "a, b;",
        ] {
            assert_eq!(read(line), Err(Malformed), "{line}");
        }
        // What comes before it has been read already.
        let mut both = extensions(b"a, b c");
        assert!(both.next().unwrap().is_ok() && both.next().unwrap().is_err() && both.next().is_none());
    }
}
