//! The demo's data on disk: a directory of its own, which the master makes before it forks and removes at its end.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tenfold::runtime::fs as runtime_fs;

use super::database;

/// Size of what `/download` sends, in bytes.
pub const DOWNLOAD_BYTES: usize = 16 << 20;

/// The directory, owned by the process that has made it.
#[derive(Debug)]
pub struct Store {
    data: Data,
    /// A fork inherits this value, and must not remove what its parent still serves.
    owner: u32,
}

/// Where things are; cheap to clone, for the workers.
#[derive(Clone, Debug)]
pub struct Data(Arc<PathBuf>);

impl Store {
    /// Makes the directory with a fresh database and the file for `/download`.
    pub fn create() -> io::Result<Store> {
        let data = Data(Arc::new(make_directory()?));
        // From here on a failure removes what is there already.
        let store = Store { data, owner: std::process::id() };
        database::create(&store.data.database()).map_err(io::Error::other)?;
        write_download(&store.data.download())?;
        Ok(store)
    }

    pub fn data(&self) -> Data {
        self.data.clone()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.owner == std::process::id()
            && let Err(error) = fs::remove_dir_all(&*self.data.0)
        {
            tracing::warn!("cannot remove {}: {error}", self.data.0.display());
        }
    }
}

impl Data {
    pub fn database(&self) -> PathBuf {
        self.0.join("demo.sqlite")
    }

    pub fn jobs(&self) -> PathBuf {
        self.0.join("jobs.db")
    }

    pub fn download(&self) -> PathBuf {
        self.0.join("download.bin")
    }

    /// A file for one upload. It has no name any more when this returns, so the kernel removes it with its descriptor,
    /// whatever becomes of the request or of the process.
    pub fn scratch(&self) -> io::Result<runtime_fs::File> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.0.join(format!("upload-{}-{number}", std::process::id()));
        let file =
            runtime_fs::File::open_with(File::options().read(true).write(true).create_new(true), &path)?;
        runtime_fs::remove_file(&path)?;
        Ok(file)
    }
}

/// A directory that only this user can look into, under a name that nobody else has.
fn make_directory() -> io::Result<PathBuf> {
    for attempt in 0..100 {
        let path = std::env::temp_dir().join(format!("tenfold-demo-{}-{attempt}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|()| path),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "a hundred directories of the same name are there"))
}

/// The same bytes at every start, so that a test can know their sum: a linear congruential generator's upper bits.
fn write_download(path: &Path) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 16, File::create_new(path)?);
    let mut state: u64 = 10;
    for _ in 0..DOWNLOAD_BYTES / 4 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        file.write_all(&((state >> 32) as u32).to_le_bytes())?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_is_there_until_its_owner_goes() {
        let store = Store::create().unwrap();
        let data = store.data();
        assert_eq!(fs::metadata(data.download()).unwrap().len(), DOWNLOAD_BYTES as u64);
        drop(data.scratch().unwrap());
        assert_eq!(fs::read_dir(&*data.0).unwrap().count(), 2, "an upload leaves no name behind");
        drop(store);
        assert!(!data.0.exists());
    }

    #[test]
    fn a_forked_copy_removes_nothing() {
        let store = Store::create().unwrap();
        let copy = Store { data: store.data(), owner: store.owner + 1 };
        drop(copy);
        assert!(store.data().database().exists());
    }
}
