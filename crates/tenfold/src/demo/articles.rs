//! Articles and the comments on them: reading, and the one thing on this site that a visitor can write.

use serde::{Deserialize, Serialize};
use tenfold::prelude::*;
use tenfold::{Error, Result};

use super::database::{Article, Database};
use super::pages::render;
use super::site::Facts;

/// Most bytes of the form: its fields at their longest, with every character percent-encoded.
pub const FORM_BYTES_MAX: u64 = 64 << 10;

/// Most characters of a name and of a comment.
const NAME_CHARS_MAX: usize = 60;
const TEXT_CHARS_MAX: usize = 2_000;

/// What the form sends.
#[derive(Debug, Deserialize, Serialize)]
pub struct NewComment {
    name: String,
    text: String,
}

/// `/articles`
pub fn list(
    State(templates): State<Templates>,
    State(facts): State<Facts>,
    State(database): State<Database>,
) -> Result<Response> {
    render(&templates, "articles.html", Some(&facts), database.articles()?)
}

/// `/articles/{id}`
pub fn show(
    State(templates): State<Templates>,
    State(facts): State<Facts>,
    State(database): State<Database>,
    Path(id): Path<i64>,
) -> Result<Response> {
    let article = find(&database, id)?;
    page(&templates, &facts, &article, None)
}

/// `POST /articles/{id}`: writes a comment and shows the article again; or shows what is wrong beside what was typed.
pub fn comment(
    State(templates): State<Templates>,
    State(facts): State<Facts>,
    State(database): State<Database>,
    Path(id): Path<i64>,
    Form(new): Form<NewComment>,
) -> Result<Response> {
    let new = match check(new) {
        Ok(new) => new,
        Err(refused) => {
            let shown = page(&templates, &facts, &find(&database, id)?, Some(&refused))?;
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, shown).into_response());
        }
    };
    match database.comment(id, new.name, new.text)? {
        // See other (303): going back or reloading does not post it again.
        true => Ok(Redirect::to(format!("/articles/{id}#comments")).into_response()),
        false => Err(no_such_article()),
    }
}

/// A comment that was not taken.
#[derive(Debug, Serialize)]
struct Refused {
    problem: String,
    name: String,
    text: String,
}

fn check(new: NewComment) -> Result<NewComment, Refused> {
    let name = new.name.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = new.text.replace("\r\n", "\n").trim().to_owned();
    let printable = |text: &str| text.chars().all(|char| char == '\n' || !char.is_control());
    let problem = if name.is_empty() {
        "Please give a name.".to_owned()
    } else if name.chars().count() > NAME_CHARS_MAX {
        format!("A name has at most {NAME_CHARS_MAX} characters.")
    } else if text.is_empty() {
        "Please write something.".to_owned()
    } else if text.chars().count() > TEXT_CHARS_MAX {
        format!("A comment has at most {TEXT_CHARS_MAX} characters.")
    } else if !printable(&name) || !printable(&text) {
        "Control characters cannot be shown.".to_owned()
    } else {
        return Ok(NewComment { name, text });
    };
    Err(Refused { problem, name, text })
}

fn find(database: &Database, id: i64) -> Result<Article> {
    database.article(id)?.ok_or_else(no_such_article)
}

fn no_such_article() -> Error {
    Error::not_found("There is no such article.")
}

fn page(
    templates: &Templates,
    facts: &Facts,
    article: &Article,
    refused: Option<&Refused>,
) -> Result<Response> {
    #[derive(Serialize)]
    struct Shown<'a> {
        article: &'a Article,
        refused: Option<&'a Refused>,
        name_max: usize,
        text_max: usize,
    }
    let shown = Shown { article, refused, name_max: NAME_CHARS_MAX, text_max: TEXT_CHARS_MAX };
    render(templates, "article.html", Some(facts), shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, text: &str) -> Result<(String, String), String> {
        let new = NewComment { name: name.into(), text: text.into() };
        check(new).map(|new| (new.name, new.text)).map_err(|refused| refused.problem)
    }

    #[test]
    fn a_comment_is_trimmed_and_bounded() {
        assert_eq!(checked("  Ada \n L. ", "one\r\ntwo\n"), Ok(("Ada L.".into(), "one\ntwo".into())));
        assert!(checked(&"x".repeat(60), &"\u{e9}".repeat(2_000)).is_ok());
        for (name, text) in
            [("", "x"), (" ", "x"), ("x", " \n"), (&*"x".repeat(61), "x"), ("x", &*"x".repeat(2_001))]
        {
            assert!(checked(name, text).is_err(), "{name} {text}");
        }
        assert_eq!(checked("x", "bell \u{7}").unwrap_err(), "Control characters cannot be shown.");
    }

    #[test]
    fn what_a_visitor_writes_is_escaped() {
        let comment = super::super::database::Comment {
            name: "<b>".into(),
            text: "<script>alert(1)</script>".into(),
            at: "now".into(),
        };
        let article = Article { id: 1, title: "T".into(), paragraphs: vec![], comments: vec![comment] };
        let facts = Facts { model: "fiber".into(), workers: 1, threads: None, backend: None };
        let response = page(&super::super::pages::templates().unwrap(), &facts, &article, None).unwrap();
        let html = response.into_body().collect(1 << 20).unwrap();
        let html = String::from_utf8_lossy(&html);
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script>alert"), "{html}");
    }
}
