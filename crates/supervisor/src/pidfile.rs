//! `PidFile`: the master's number in a file, written whole and removed only while it is still the own one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::error::Error;

#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    pid: u32,
}

impl PidFile {
    /// Writes this process's number. A reader sees the old content or the new one, nothing between (rename(2)).
    pub(crate) fn write(path: &Path) -> Result<Self, Error> {
        let pid = std::process::id();
        let beside = path.with_extension(format!("{pid}.new"));
        let write = || -> io::Result<()> {
            fs::write(&beside, format!("{pid}\n"))?;
            fs::rename(&beside, path)
        };
        write().map_err(|source| {
            let _ = fs::remove_file(&beside);
            Error::PidFile { path: path.to_owned(), source }
        })?;
        Ok(Self { path: path.to_owned(), pid })
    }
}

impl Drop for PidFile {
    /// A new master may have written its own number by now, and a worker has only a copy of this.
    fn drop(&mut self) {
        let is_own = self.pid == std::process::id()
            && fs::read_to_string(&self.path).is_ok_and(|text| text.trim() == self.pid.to_string());
        if is_own {
            let _ = fs::remove_file(&self.path);
        }
    }
}
