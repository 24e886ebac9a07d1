//! The configuration file: TOML, with the names of [`Settings`] and no others.

use std::io::Read;
use std::path::Path;

use tenfold_server::Settings;

use super::Error;

/// Most bytes of a configuration file: anything longer is another file given by mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a file.
///
/// # Errors
/// [`Error::Usage`] with the file's name, and the line where one is to blame.
pub(crate) fn load(file: &Path) -> Result<Settings, Error> {
    let name = file.display();
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| Error::Usage(format!("cannot read {name}: {error}")))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::Usage(format!("{name}: a configuration file has at most {FILE_BYTES_MAX} bytes")));
    }
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let place = line.map_or(String::new(), |line| format!(":{line}"));
        let message = error.message().lines().map(str::trim).collect::<Vec<_>>().join(" ");
        Error::Usage(format!("{name}{place}: {message}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Settings, String> {
        let name = format!("tenfold-config-{}-{:x}.toml", std::process::id(), text.len());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, text).unwrap();
        let outcome = load(&file).map_err(|error| error.to_string());
        std::fs::remove_file(&file).unwrap();
        outcome
    }

    #[test]
    fn an_unknown_key_and_a_wrong_type_are_one_line_that_names_the_line() {
        for (text, line, word) in [
            ("model = 'pool'\nmodell = 'fiber'\n", ":2: ", "modell"),
            ("\n\nthreads = 'many'\n", ":3: ", "string"),
            ("[limits]\nno_such_limit = 1\n", ":2: ", "no_such_limit"),
            ("model = \n", ":1: ", "value"),
        ] {
            let error = load_text(text).unwrap_err();
            assert!(error.contains(line) && error.contains(word) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(Path::new("/nonexistent/x.toml")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nonexistent/x.toml: "), "{error}");
    }
}
