//! Pieces of HTML: texts that are no markup, tables, buttons.

use std::fmt::Write;

use serde_json::Value;
use tenfold_server::Html;

const STYLE: &str = include_str!("style.css");

/// A whole page. `more` is for its head.
pub(super) fn whole(title: &str, more: &str, body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">{more}<title>{}</title>\
         <style>{STYLE}</style></head><body>{body}</body></html>",
        escape(title)
    ))
}

/// A table of these columns; those that begin with `#` are numbers. The cells are HTML.
pub(super) fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let class = |column: &str| if column.starts_with('#') { " class=\"number\"" } else { "" };
    let mut html = String::from("<div class=\"table\"><table><tr>");
    for column in columns {
        let _ = write!(html, "<th{}>{}</th>", class(column), escape(column.trim_start_matches('#')));
    }
    html.push_str("</tr>");
    for row in rows {
        html.push_str("<tr>");
        for (column, cell) in columns.iter().zip(row) {
            let _ = write!(html, "<td{}>{cell}</td>", class(column));
        }
        html.push_str("</tr>");
    }
    html + "</table></div>"
}

/// Buttons that take one step each, of the job or the queue of this name.
pub(super) fn buttons(path: &str, steps: &[&str], field: &str, name: &Value) -> String {
    let name = encode(name);
    let button = |what: &&str| {
        format!(
            "<form method=\"post\" action=\"{path}/step?what={what}&amp;{field}={name}\"><button>{what}</button></form>"
        )
    };
    steps.iter().map(button).collect()
}

/// A number, which is quiet where it is 0; `class` for one that is not.
pub(super) fn number(value: &Value, class: &str) -> String {
    match value.as_i64() {
        Some(0) | None => format!("<span class=\"zero\">{}</span>", text(value)),
        Some(number) if class.is_empty() => number.to_string(),
        Some(number) => format!("<span class=\"{class}\">{number}</span>"),
    }
}

/// A value as text of a page.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => escape(text),
        other => escape(&other.to_string()),
    }
}

pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A text as part of an address: everything but letters, digits, `-` and `_` as `%XX`.
pub(super) fn encode(value: &Value) -> String {
    let mut safe = String::new();
    for byte in value.as_str().unwrap_or_default().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => safe.push(char::from(byte)),
            other => drop(write!(safe, "%{other:02X}")),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_job_is_markup() {
        assert_eq!(text(&"<b a='1'>&\"".into()), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;");
        assert_eq!(encode(&"a b/ä&".into()), "a%20b%2F%C3%A4%26");
    }
}
