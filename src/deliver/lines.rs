//! A file of JSON lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Appends one line, in one write, and waits until it is on the disk. The file is opened anew each
/// time, so that whoever rotates it need tell nobody; it is made with mode 0600.
///
/// A line that a full disk or a crash has cut short is ended first, so that it spoils itself and not
/// the next.
pub(super) fn append(path: &Path, mut line: Vec<u8>) -> io::Result<()> {
    let mut file = open(path)?;
    if !is_ended(&mut file)? {
        line.insert(0, b'\n');
    }
    let written = file.write(&line)?;
    if written < line.len() {
        let what = format!("{written} bytes of {} were written; is the disk full?", line.len());
        return Err(io::Error::other(what));
    }
    file.sync_data()
}

/// Opens a regular file, not what a link leads to, and waits for nobody as a pipe would have it.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    let file =
        options.read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

/// Whether the file is empty or its last line is whole.
fn is_ended(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn lines_are_appended_and_a_torn_one_spoils_itself_alone() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("alerts.jsonl");
        append(&path, b"1\n".to_vec()).expect("made");
        append(&path, b"2\n".to_vec()).expect("appended");
        let mode = path.metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let torn = OpenOptions::new().append(true).open(&path).expect("there").write(b"tor");
        assert_eq!(torn.expect("written"), 3);
        append(&path, b"3\n".to_vec()).expect("appended");
        assert_eq!(std::fs::read(&path).expect("there"), b"1\n2\ntor\n3\n");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let place = tempfile::tempdir().expect("a directory");
        let link = place.path().join("link");
        symlink(place.path().join("elsewhere"), &link).expect("a link");
        let pipe = place.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).expect("a pipe");
        let missing = place.path().join("missing/alerts.jsonl");
        for path in [&link, &pipe, place.path(), &missing] as [&Path; 4] {
            append(path, b"1\n".to_vec()).expect_err("no file");
        }
        assert!(!place.path().join("elsewhere").exists());
    }
}
