//! A file that goes on being read after a write to it has failed.
//!
//! An engine that is told of a failed write may refuse reads too, of all that it does not have in
//! memory. So it is not told: the first failure trips the latch, which refuses whoever asked for
//! the write and whoever comes after; and what the engine still writes, to end what it was about, is
//! kept in memory and laid over what is read. Nothing more reaches the disk: what a restart finds is
//! what was there when the write failed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use parking_lot::RwLock;

use super::StoreError;
use super::latch::Latch;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct HeldFile {
    file: File,
    path: PathBuf,
    latch: Latch,
    /// The first failure of a write.
    failure: OnceLock<StoreError>,
    /// What was written since. Bounded by what an engine writes of one batch.
    after: RwLock<Option<After>>,
}

#[derive(Debug)]
struct After {
    len: u64,
    /// Offsets and bytes, oldest first.
    writes: Vec<(u64, Vec<u8>)>,
}

impl HeldFile {
    pub(super) fn new(file: File, path: PathBuf, latch: Latch) -> Self {
        Self { file, path, latch, failure: OnceLock::new(), after: RwLock::default() }
    }

    /// Passes a result on, unless a write has failed meanwhile.
    ///
    /// # Errors
    /// That of the result; the first failure.
    pub(super) fn guard<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.failure.get().map_or(result, |error| Err(error.clone()))
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        match &*self.after.read() {
            Some(after) => Ok(after.len),
            None => Ok(self.file.metadata()?.len()),
        }
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let after = self.after.read();
        let Some(after) = &*after else { return self.file.read_exact_at(out, offset) };
        let end = offset.saturating_add(out.len() as u64);
        if end > after.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The file may be shorter than it is to seem; what it lacks is zero.
        let in_file = self.file.metadata()?.len().saturating_sub(offset);
        let in_file = usize::try_from(in_file).unwrap_or(usize::MAX).min(out.len());
        let (from_file, rest) = out.split_at_mut(in_file);
        self.file.read_exact_at(from_file, offset)?;
        rest.fill(0);
        for (at, bytes) in &after.writes {
            lay(out, offset, bytes, *at);
        }
        Ok(())
    }

    /// Never fails: see [`HeldFile::guard`].
    pub(super) fn write(&self, offset: u64, data: &[u8]) {
        let written = self.unless_failed("write", |file| file.write_all_at(data, offset));
        if !written && let Some(after) = &mut *self.after.write() {
            after.len = after.len.max(offset.saturating_add(data.len() as u64));
            after.writes.push((offset, data.to_vec()));
        }
    }

    /// Never fails: see [`HeldFile::guard`].
    pub(super) fn set_len(&self, len: u64) {
        let done = self.unless_failed("set the length of", |file| file.set_len(len));
        if !done && let Some(after) = &mut *self.after.write() {
            after.len = len;
        }
    }

    /// Never fails: see [`HeldFile::guard`].
    pub(super) fn sync(&self) {
        self.unless_failed("sync", File::sync_data);
    }

    /// Does something to the file, unless something has failed before; whether it was done.
    fn unless_failed(
        &self,
        doing: &'static str,
        act: impl FnOnce(&File) -> io::Result<()>,
    ) -> bool {
        let mut after = self.after.write();
        if after.is_some() {
            return false;
        }
        let Err(error) = act(&self.file) else { return true };
        let error = StoreError::io(doing, &self.path, error);
        self.latch.trip(&error);
        let _ = self.failure.set(error);
        let len = self.file.metadata().map_or(0, |metadata| metadata.len());
        *after = Some(After { len, writes: Vec::new() });
        false
    }
}

/// Copies what two stretches have in common from one to the other.
fn lay(out: &mut [u8], out_at: u64, bytes: &[u8], bytes_at: u64) {
    let start = out_at.max(bytes_at);
    let end = (out_at + out.len() as u64).min(bytes_at + bytes.len() as u64);
    if start >= end {
        return;
    }
    let within = |at: u64| usize::try_from(start - at).ok().zip(usize::try_from(end - at).ok());
    if let (Some((to, to_end)), Some((from, from_end))) = (within(out_at), within(bytes_at)) {
        out[to..to_end].copy_from_slice(&bytes[from..from_end]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of `0123456789` that can be read and not be written, as on a disk that is full.
    fn full() -> (tempfile::TempDir, HeldFile, Latch) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        std::fs::write(&path, b"0123456789").expect("written");
        let file = File::open(&path).expect("readable");
        let latch = Latch::default();
        (dir, HeldFile::new(file, path, latch.clone()), latch)
    }

    fn read(file: &HeldFile, offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![b'?'; len];
        file.read(offset, &mut out).expect("readable");
        out
    }

    #[test]
    fn what_is_written_after_a_failure_is_read_and_not_on_disk() {
        let (dir, file, latch) = full();
        assert!(file.guard(Ok(())).is_ok() && latch.check().is_ok());
        file.write(2, b"ab");
        assert!(matches!(file.guard(Ok(())), Err(StoreError::Io { doing: "write", .. })));
        assert!(latch.check().is_err());
        file.write(3, b"cd");
        assert_eq!(read(&file, 0, 10), b"01acd56789");
        assert_eq!(read(&file, 4, 2), b"d5");
        file.set_len(14);
        file.write(12, b"yz");
        file.sync();
        assert_eq!(file.len().expect("known"), 14);
        assert_eq!(read(&file, 8, 6), b"89\0\0yz");
        assert!(file.read(8, &mut [0; 7]).is_err(), "past the end");
        assert!(matches!(file.guard(Ok(())), Err(StoreError::Io { doing: "write", .. })));
        assert_eq!(std::fs::read(dir.path().join("file")).expect("readable"), b"0123456789");
    }
}
