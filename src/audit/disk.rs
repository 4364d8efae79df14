//! The files that a log is written to: behind a seam, so that tests can have a disk that fails.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Where files are made.
pub trait Disk: Send {
    /// Makes a file, which must not be there, and makes its name durable.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>>;

    /// Opens a file to append to, cut to a length.
    ///
    /// # Errors
    /// The system's.
    fn append(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn LogFile>>;
}

/// A file that is appended to.
pub trait LogFile: Send {
    /// Appends all of it.
    ///
    /// # Errors
    /// The system's; a part may be written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// The system's. The file is not used again then: the next sync would succeed and mean nothing.
    fn sync(&mut self) -> io::Result<()>;
}

/// The machine's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        sync_parent(path)?;
        Ok(Box::new(file))
    }

    fn append(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new().append(true).open(path)?;
        let there = file.metadata()?.len();
        if there < bytes {
            let what = format!("it has {there} bytes of {bytes}: somebody has cut it");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        if there > bytes {
            file.set_len(bytes)?;
            file.sync_all()?;
        }
        Ok(Box::new(file))
    }
}

impl LogFile for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Makes the names in a file's directory durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
