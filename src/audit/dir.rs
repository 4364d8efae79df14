//! The files of a log: named for the sequence of their first record.

use std::io;
use std::path::{Path, PathBuf};

use super::frame::SEQUENCE_MAX;
use super::pieces::{Piece, pieces};

/// Longest file that is read: as long as one may be configured to become, and a record more.
pub(super) const FILE_BYTES_MAX: u64 = (1 << 30) + (1 << 20);

/// A file of a log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogName {
    /// The sequence of its first record.
    pub(super) first: u64,
    /// Its name in the directory.
    pub(super) name: String,
}

impl LogName {
    /// That of a file which begins with this record.
    #[must_use]
    pub(super) fn of(first: u64) -> Self {
        Self { first, name: format!("audit-{first:020}.log") }
    }

    fn parse(name: &str) -> Option<Self> {
        let first = name.strip_prefix("audit-")?.strip_suffix(".log")?;
        let digits = first.len() == 20 && first.bytes().all(|byte| byte.is_ascii_digit());
        let first: u64 = first.parse().ok().filter(|_| digits)?;
        if !(1..=SEQUENCE_MAX).contains(&first) {
            return None;
        }
        Some(Self { first, name: name.to_owned() })
    }

    /// Where it lies.
    #[must_use]
    pub(super) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(&self.name)
    }
}

/// The files of a log, oldest first.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn list(dir: &Path) -> io::Result<Vec<LogName>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        names.extend(entry?.file_name().to_str().and_then(LogName::parse));
    }
    names.sort_unstable();
    Ok(names)
}

/// A file's bytes.
///
/// # Errors
/// It cannot be read, or is longer than any that is written.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = path.metadata()?.len();
    if bytes > FILE_BYTES_MAX {
        let what = format!("it has {bytes} bytes, more than any that keygate writes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    std::fs::read(path)
}

/// Makes room for a file of this name. One that has more than its beginning is put aside under
/// another name, which is answered: no record is ever removed but in its time.
///
/// # Errors
/// It can be neither removed nor renamed.
pub(super) fn clear(path: &Path) -> io::Result<Option<PathBuf>> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    if read(path).is_ok_and(|bytes| has_no_record(&bytes)) {
        return std::fs::remove_file(path).map(|()| None);
    }
    let aside = (1_u32..=u32::MAX).map(|number| path.with_extension(format!("aside-{number}")));
    let aside = aside.into_iter().find(|aside| aside.symlink_metadata().is_err());
    let aside = aside.ok_or(io::ErrorKind::AlreadyExists)?;
    std::fs::rename(path, &aside)?;
    Ok(Some(aside))
}

/// Whether a file has no more than its beginning.
fn has_no_record(bytes: &[u8]) -> bool {
    let records = pieces(bytes).into_iter().filter(|piece| matches!(piece, Piece::Record { .. }));
    let begins = super::verify::begin_of(bytes).is_some();
    records.count() <= usize::from(begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_log_are_its_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let zero = "audit-00000000000000000000.log";
        let beyond = "audit-18446744073709551615.log";
        let other =
            ["head", zero, beyond, "audit-1.log", "audit-0000000000000000000x.log", "audit-+0.log"];
        let own = [LogName::of(300), LogName::of(2)];
        for name in own.iter().map(|it| it.name.as_str()).chain(other) {
            std::fs::write(dir.path().join(name), "").expect("written");
        }
        assert_eq!(list(dir.path()).expect("read"), [LogName::of(2), LogName::of(300)]);
    }
}
