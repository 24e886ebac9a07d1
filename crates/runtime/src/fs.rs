//! Files, without holding the loop.
//!
//! On a fiber over io_uring reads, writes and flushes are operations of the ring; over epoll, which cannot wait for files
//! (epoll_ctl(2), EPERM), and for everything else they go to the thread pool. A plain thread simply does them.

use std::fs::Metadata;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use tenfold_reactor::Op;

use crate::account;
use crate::cause::{Cause, waiting_for};
use crate::offload::offload_scoped;
use crate::{park, scheduler};

/// An open regular file, with a position for `Read`, `Write` and `Seek`.
#[derive(Debug)]
pub struct File {
    file: std::fs::File,
    position: u64,
}

impl File {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// The kernel's; as all calls here, `TimedOut` and `ECANCELED`.
    pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
        File::open_with(std::fs::OpenOptions::new().read(true), path)
    }

    /// Opens a file for writing; makes it if there is none, empties it if there is one.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn create(path: impl AsRef<Path>) -> io::Result<File> {
        File::open_with(std::fs::OpenOptions::new().write(true).create(true).truncate(true), path)
    }

    /// Opens a file as std's options say.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn open_with(options: &std::fs::OpenOptions, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        Ok(File { file: blocking(|| options.open(path))?, position: 0 })
    }

    /// Reads at an offset; 0 is the end of the file. The position stays.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.run(&mut Op::ReadAt { fd: self.file.as_fd(), buf, offset })
    }

    /// Writes some of `buf` at an offset. The position stays.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.run(&mut Op::WriteAt { fd: self.file.as_fd(), buf, offset })
    }

    /// Flushes data and metadata to storage.
    ///
    /// # Errors
    /// As [`File::open`]. After a failed flush the kernel has dropped the data (fsync(2), NOTES): write it again.
    pub fn sync_all(&self) -> io::Result<()> {
        self.run(&mut Op::Fsync { fd: self.file.as_fd(), data_only: false }).map(drop)
    }

    /// Flushes the data, and of the metadata what reading it needs.
    ///
    /// # Errors
    /// As [`File::sync_all`].
    pub fn sync_data(&self) -> io::Result<()> {
        self.run(&mut Op::Fsync { fd: self.file.as_fd(), data_only: true }).map(drop)
    }

    /// Size, times and permissions.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn metadata(&self) -> io::Result<Metadata> {
        blocking(|| self.file.metadata())
    }

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        blocking(|| self.file.set_len(len))
    }

    /// The file as std has it.
    pub fn into_std(self) -> std::fs::File {
        self.file
    }

    fn run(&self, op: &mut Op<'_>) -> io::Result<usize> {
        if park::parks() && !scheduler::with_current(|loop_| loop_.reactor().does_files()).unwrap_or(false) {
            return blocking(|| op.run_blocking(None, None, None));
        }
        park::run(op, None)
    }
}

impl From<std::fs::File> for File {
    /// Takes a std file; the position starts at 0.
    fn from(file: std::fs::File) -> File {
        File { file, position: 0 }
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let taken = self.read_at(buf, self.position)?;
        self.position += taken as u64;
        Ok(taken)
    }
}

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.write_at(buf, self.position)?;
        self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, step) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::Current(step) => (self.position, step),
            SeekFrom::End(step) => (self.metadata()?.len(), step),
        };
        self.position = base.checked_add_signed(step).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a seek to before the start of the file")
        })?;
        Ok(self.position)
    }
}

/// All bytes of a file.
///
/// # Errors
/// As [`File::open`].
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    blocking(|| std::fs::read(path))
}

/// All of a file, which has to be UTF-8.
///
/// # Errors
/// As [`File::open`]; `InvalidData`.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let path = path.as_ref();
    blocking(|| std::fs::read_to_string(path))
}

/// Makes or replaces a file.
///
/// # Errors
/// As [`File::open`].
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let (path, bytes) = (path.as_ref(), bytes.as_ref());
    blocking(|| std::fs::write(path, bytes))
}

/// Renames, replacing what has the new name.
///
/// # Errors
/// As [`File::open`].
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    blocking(|| std::fs::rename(from, to))
}

/// Removes a file.
///
/// # Errors
/// As [`File::open`].
pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| std::fs::remove_file(path))
}

/// Makes a directory and those above it.
///
/// # Errors
/// As [`File::open`].
pub fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| std::fs::create_dir_all(path))
}

/// Removes a directory and what is in it.
///
/// # Errors
/// As [`File::open`].
pub fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| std::fs::remove_dir_all(path))
}

/// Size, times and permissions of what a path names.
///
/// # Errors
/// As [`File::open`].
pub fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = path.as_ref();
    blocking(|| std::fs::metadata(path))
}

/// Does something that blocks without holding the loop.
fn blocking<T: Send>(f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    if park::parks() {
        return waiting_for(Cause::Disk, "", || offload_scoped(f))?;
    }
    account::blocked(Cause::Disk, || offload_scoped(f))?
}
