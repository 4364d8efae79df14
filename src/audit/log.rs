//! The log as it is written: one chain over files that are begun by size and age and removed in time.
//!
//! A failure ends a file: what was not accepted of it is written to a fresh one, and no handle is
//! used again, because a second sync would succeed and mean nothing.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::dir::{self, LogName};
use super::disk::{Disk, LogFile};
use super::frame::{Kind, encode};
use super::head::Head;
use super::mac::{ChainKey, ORIGIN};
use super::payload::{Begin, Cause, Link, Note};
use super::recovery::{Found, recover};

/// Of the format.
const VERSION: u32 = 1;
/// The file whose lock is the right to write.
const LOCK: &str = "LOCK";
const HOUR_US: i64 = 3_600_000_000;

/// How the log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// The directory; made where there is none.
    pub dir: PathBuf,
    /// A file that has as many bytes is the last record's.
    pub file_bytes_max: u64,
    /// A file that is as old takes no more records.
    pub file_age_max_hours: u32,
    /// Files; the oldest is removed when there is one more.
    pub files_max: usize,
}

/// A log that is written to.
pub(super) struct Log {
    options: LogOptions,
    key: ChainKey,
    disk: Box<dyn Disk>,
    files: VecDeque<LogName>,
    current: Option<Current>,
    /// Why the next file is begun.
    cause: Cause,
    /// The last record that was written.
    written: Link,
    /// The last that is known to be on disk.
    sure: Link,
    removed: u64,
    head: Head,
    /// Held for its lock.
    _lock: File,
}

/// The file that is written to.
struct Current {
    file: Box<dyn LogFile>,
    name: LogName,
    bytes: u64,
    begun_us: i64,
    /// The record before its first.
    before: Link,
    /// Whether it has more than its first record.
    has_records: bool,
}

/// Records on their way into a file.
struct Batch {
    out: Vec<u8>,
    records: usize,
    /// The last of them.
    end: Link,
}

impl Log {
    /// Opens a log where its last run has left it. A record that was not whole is cut off if it was
    /// not known to be on disk. Nothing is written yet.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub(super) fn open(
        options: LogOptions,
        key: ChainKey,
        disk: Box<dyn Disk>,
    ) -> io::Result<(Self, Found)> {
        make_dir(&options.dir)?;
        let lock = lock(&options.dir)?;
        let found = recover(&options.dir, &key)?;
        let on_disk = found.head.link.unwrap_or(Link { sequence: 0, mac: ORIGIN });
        let mut log = Self {
            _lock: lock,
            head: Head::new(&options.dir, &found.head),
            files: dir::list(&options.dir)?.into(),
            cause: found.cause,
            written: found.end,
            sure: if found.cause == Cause::First { found.end } else { on_disk },
            removed: found.removed,
            current: None,
            options,
            key,
            disk,
        };
        // What cannot be appended to is followed by a fresh file.
        if let Some(last) = &found.append {
            let path = last.name.path(&log.options.dir);
            // What the last run had not synced is not sure before it is.
            let opened = log.disk.append(&path, last.bytes).and_then(|mut file| {
                file.sync()?;
                Ok(file)
            });
            match opened {
                Ok(file) => {
                    log.sure = found.end;
                    log.current = Some(Current {
                        file,
                        name: last.name.clone(),
                        bytes: last.bytes,
                        begun_us: last.begun_us,
                        before: found.end,
                        has_records: true,
                    });
                }
                Err(error) => tracing::warn!(
                    path = %path.display(), %error,
                    "the newest audit file cannot be appended to; a new one is begun"
                ),
            }
        }
        if log.files.is_empty() && !found.head.is_whole {
            // From here on a log without its head is one that somebody has taken it from. Where this
            // fails the first record will too.
            let _ = log.head.write(&log.key, &log.sure, true);
        }
        Ok((log, found))
    }

    /// Whether the file has its age. It is begun anew with the next record.
    fn is_old(&self, now_us: i64) -> bool {
        let age_us = i64::from(self.options.file_age_max_hours) * HOUR_US;
        self.current.as_ref().is_some_and(|current| {
            let age = now_us.saturating_sub(current.begun_us);
            // Begun by a clock that was ahead it would never have its age.
            current.has_records && (age >= age_us || age < -HOUR_US)
        })
    }

    /// Appends records, in order; answers how many of them are in the file, and what has kept the
    /// others out. Nothing is synced. After a failure the next call begins another file.
    pub(super) fn append<'p>(
        &mut self,
        records: impl IntoIterator<Item = (Kind, &'p [u8])>,
        now_us: i64,
    ) -> (usize, io::Result<()>) {
        let mut accepted = 0;
        let appended = self.try_append(records, now_us, &mut accepted);
        if appended.is_err() {
            self.give_up();
        }
        (accepted, appended)
    }

    fn try_append<'p>(
        &mut self,
        records: impl IntoIterator<Item = (Kind, &'p [u8])>,
        now_us: i64,
        accepted: &mut usize,
    ) -> io::Result<()> {
        if self.is_old(now_us) {
            self.end_file(Cause::Age)?;
        }
        let mut batch = Batch { out: Vec::new(), records: 0, end: self.written };
        for (kind, payload) in records {
            let full = self.current.as_ref().is_some_and(|current| {
                current.bytes + batch.out.len() as u64 >= self.options.file_bytes_max
            });
            if full {
                *accepted += self.write(&mut batch)?;
                self.end_file(Cause::Size)?;
            }
            if self.current.is_none() {
                self.begin_file(now_us)?;
                batch.end = self.written;
            }
            let sequence = batch.end.sequence + 1;
            let mac = encode(&self.key, &batch.end.mac, kind, sequence, payload, &mut batch.out);
            batch.end = Link { sequence, mac };
            batch.records += 1;
        }
        *accepted += self.write(&mut batch)?;
        Ok(())
    }

    fn write(&mut self, batch: &mut Batch) -> io::Result<usize> {
        if batch.records == 0 {
            return Ok(0);
        }
        let current = self.current.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        current.file.write(&batch.out)?;
        current.bytes += batch.out.len() as u64;
        current.has_records = true;
        self.written = batch.end;
        batch.out.clear();
        Ok(std::mem::take(&mut batch.records))
    }

    /// Makes everything that was appended durable, and says in the head that it is; durably too where
    /// `head` asks for it.
    ///
    /// # Errors
    /// The file's: what was appended since the last time may be lost. The next call of
    /// [`Log::append`] begins another.
    pub(super) fn sync(&mut self, head: bool) -> io::Result<()> {
        if self.sure == self.written {
            return Ok(());
        }
        let synced = match &mut self.current {
            Some(current) => current.file.sync(),
            // It was given up.
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        let said = synced.and_then(|()| {
            self.sure = self.written;
            self.head.write(&self.key, &self.sure, head)
        });
        if said.is_err() {
            self.give_up();
        }
        said
    }

    /// Nothing more goes to this file. What it has behind the last record that was accepted is cut
    /// off if the disk lets us; one without a record is removed, so that a disk that stays full does
    /// not fill the directory with beginnings.
    fn give_up(&mut self) {
        self.cause = Cause::Failure;
        let Some(failed) = self.current.take() else { return };
        let path = failed.name.path(&self.options.dir);
        if failed.has_records {
            drop(failed.file);
            let _ = self.disk.append(&path, failed.bytes);
        } else {
            let _ = std::fs::remove_file(&path);
            self.files.retain(|name| *name != failed.name);
            self.written = failed.before;
        }
    }

    fn end_file(&mut self, cause: Cause) -> io::Result<()> {
        self.sync(true)?;
        self.current = None;
        self.cause = cause;
        Ok(())
    }

    fn begin_file(&mut self, now_us: i64) -> io::Result<()> {
        let sequence = self.written.sequence + 1;
        let name = LogName::of(sequence);
        let path = name.path(&self.options.dir);
        // Left by an attempt that failed: nothing of it counts.
        if let Some(aside) = dir::clear(&path)? {
            let aside = aside.display();
            tracing::error!(%aside, "an audit file stood where the next one belongs: it was put aside");
        }
        self.files.retain(|file| *file != name);
        let keep = self.options.files_max.saturating_sub(1).max(1);
        let over = self.files.len().saturating_sub(keep);
        let removed =
            self.files.get(over).filter(|_| over > 0).map_or(self.removed, |file| file.first - 1);
        let begin = Begin {
            version: VERSION,
            cause: self.cause,
            at_us: now_us,
            previous: self.written,
            sure: self.sure.sequence,
            removed,
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let payload = serde_json::to_vec(&begin).map_err(io::Error::other)?;
        let mut out = Vec::new();
        let mac = encode(&self.key, &self.written.mac, Kind::Begin, sequence, &payload, &mut out);
        let mut file = self.disk.create(&path)?;
        let begun = file.write(&out).and_then(|()| file.sync());
        if let Err(error) = begun {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        let before = std::mem::replace(&mut self.written, Link { sequence, mac });
        self.removed = removed;
        let (bytes, begun_us) = (out.len() as u64, now_us);
        let has_records = false;
        let name_kept = name.clone();
        self.current =
            Some(Current { file, name: name_kept, bytes, begun_us, before, has_records });
        self.files.push_back(name);
        self.remove_old(over);
        Ok(())
    }

    /// Removes the oldest files. The newest has said so durably.
    fn remove_old(&mut self, count: usize) {
        for _ in 0..count {
            let Some(oldest) = self.files.pop_front() else { return };
            let path = oldest.path(&self.options.dir);
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "an old audit file stays");
            }
        }
    }

    /// Whether all that was written is known to be on disk.
    pub(super) fn is_sure(&self) -> bool {
        self.sure == self.written
    }

    /// Where it lies.
    pub(super) fn dir(&self) -> &Path {
        &self.options.dir
    }
}

/// The right to write the log: two daemons would break each other's chain. The system drops the lock
/// with the process, however that ends.
fn lock(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(dir.join(LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process writes it"))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A note as the payload of a record.
pub(super) fn note(note: &Note) -> Vec<u8> {
    // Numbers and flags.
    serde_json::to_vec(note).unwrap_or_default()
}

/// Makes the directory, private, and its name durable.
fn make_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    if let Ok(found) = path.metadata()
        && found.is_dir()
    {
        let mode = found.mode() & 0o777;
        if mode & 0o077 != 0 {
            let (path, mode) = (path.display(), format!("{mode:03o}"));
            tracing::warn!(%path, mode, "other users may look into the audit log; chmod 700 mends it");
        }
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    super::disk::sync_parent(path)
}
