//! HTML pages from minijinja templates.
//!
//! Templates are loaded at the start and live as long as the worker: a page never waits for a disk, and a broken template
//! keeps the server from starting instead of breaking a page.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::respond::Html;

/// Most files that are loaded from a directory, and the most bytes of one.
const FILES_MAX: usize = 4096;
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The app's templates, as `State<Templates>`. Cheap to clone.
///
/// Values are escaped for HTML in templates of every name: what is rendered here is sent as a page.
///
/// ```
/// use tenfold_server::{App, Html, Path, Result, State, Templates};
///
/// let templates = Templates::new([("hello.html", "<h1>Hello, {{ name }}!</h1>")])?;
/// assert_eq!(
///     templates.render("hello.html", [("name", "<you>")].into_iter().collect::<std::collections::HashMap<_, _>>())?.0,
///     "<h1>Hello, &lt;you&gt;!</h1>"
/// );
/// # Ok::<(), tenfold_server::Error>(())
/// ```
#[derive(Clone)]
pub struct Templates(Arc<Environment<'static>>);

impl Templates {
    /// Templates of the program, by name.
    ///
    /// # Errors
    /// The first template that cannot be parsed, with its name and line.
    pub fn new<N, S>(templates: impl IntoIterator<Item = (N, S)>) -> Result<Templates>
    where
        N: Into<String>,
        S: Into<String>,
    {
        let mut environment = environment();
        for (name, source) in templates {
            environment.add_template_owned(name.into(), source.into())?;
        }
        Ok(Templates(Arc::new(environment)))
    }

    /// All files under a directory, named by their path in it; at most 4,096 of 1 MiB each. Names that begin with a dot are
    /// left out, links are not followed.
    ///
    /// # Errors
    /// When the directory or a file cannot be read, is too large, is no UTF-8 or no template.
    pub fn from_dir(directory: impl AsRef<Path>) -> Result<Templates> {
        let directory = directory.as_ref();
        let mut environment = environment();
        for path in files_under(directory)? {
            let name = path.strip_prefix(directory)?.to_string_lossy().into_owned();
            let source = std::fs::read_to_string(&path)
                .map_err(|error| Error::internal(format!("template {}: {error}", path.display())))?;
            environment.add_template_owned(name, source)?;
        }
        Ok(Templates(Arc::new(environment)))
    }

    /// An environment of the caller's, with its own filters and functions.
    pub fn from_environment(environment: Environment<'static>) -> Templates {
        Templates(Arc::new(environment))
    }

    /// Renders a page.
    ///
    /// # Errors
    /// A 500 if there is no template of this name or it fails.
    pub fn render(&self, name: &str, context: impl Serialize) -> Result<Html<String>> {
        Ok(Html(self.0.get_template(name)?.render(Serde(context))?))
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment
}

fn files_under(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(&directory)
            .map_err(|error| Error::internal(format!("templates in {}: {error}", directory.display())))?;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                if files.len() == FILES_MAX || entry.metadata()?.len() > FILE_BYTES_MAX {
                    let text = format!("template {}: too many or too large", entry.path().display());
                    return Err(Error::internal(text));
                }
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.templates().map(|(name, _)| name).collect();
        f.debug_tuple("Templates").field(&names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_whatever_the_template_is_called() {
        let templates = Templates::new([("page", "{{ value }}")]).unwrap();
        let page = templates.render("page", serde_json::json!({ "value": "<b>" })).unwrap();
        assert_eq!(page.0, "&lt;b&gt;");
    }

    #[test]
    fn a_broken_template_is_found_at_the_start_and_a_missing_one_is_a_500() {
        assert!(Templates::new([("broken", "{% if %}")]).unwrap_err().to_string().contains("broken"));
        let templates = Templates::new([("page", "")]).unwrap();
        assert_eq!(templates.render("other", ()).unwrap_err().status(), 500);
    }

    #[test]
    fn a_directory_is_loaded_with_names_relative_to_it() {
        let directory = std::env::temp_dir().join(format!("tenfold-templates-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("parts")).unwrap();
        std::fs::write(directory.join("page.html"), "{% include 'parts/head.html' %}!").unwrap();
        std::fs::write(directory.join("parts/head.html"), "head").unwrap();
        std::fs::write(directory.join(".page.html.swp"), [0xFF]).unwrap();
        let templates = Templates::from_dir(&directory);
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(templates.unwrap().render("page.html", ()).unwrap().0, "head!");
    }
}
