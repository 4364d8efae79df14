//! Signatures that were used, kept over a clean stop: in a file beside the data, which is gone before
//! anything is served. Whoever starts after a crash knows none of them, and takes no signature that
//! could have been used before.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::limit::{Replays, Used};

/// The file, in the data directory.
const NAME: &str = "replays";
/// What it is written as, before it has its name.
const DRAFT: &str = "replays.part";
/// What it begins with: what it is, and its form.
const MAGIC: [u8; 16] = *b"keygate replay 1";
const ENTRY_BYTES: u64 = 32;
const DIGEST_BYTES: usize = 32;
/// The magic, the floor, the number of entries.
const HEAD_BYTES: u64 = 32;

/// How the last run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastRun {
    /// There was none, or none that can have judged a signature.
    None,
    /// By a clean stop.
    Stopped,
    /// Without one.
    Crashed,
}

/// Remembers what the last run had used. Where that is not known, nothing is taken that was made
/// before `unknown_until_s`, seconds since 1970: answers whether that is so.
pub(super) fn restore(
    data_dir: &Path,
    replays: &Replays,
    last: LastRun,
    unknown_until_s: i64,
) -> bool {
    let known = match last {
        LastRun::None => return false,
        LastRun::Crashed => None,
        LastRun::Stopped => match read(&data_dir.join(NAME)) {
            Ok(saved) => Some(saved),
            Err(error) => {
                tracing::warn!(%error, "which signatures of requests were used could not be read");
                None
            }
        },
    };
    match &known {
        Some((floor_s, used)) => replays.restore(*floor_s, used),
        None => replays.raise_floor(unknown_until_s),
    }
    known.is_none()
}

/// Removes the file: from here on it would be old.
///
/// # Errors
/// The system's answer; then nothing may be served.
pub(super) fn remove(data_dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(data_dir.join(NAME)) {
        Ok(()) => File::open(data_dir)?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes the file, durably, when nothing is decided any more.
///
/// # Errors
/// The system's answer; then the next start takes it for a crash.
pub(super) fn save(data_dir: &Path, replays: &Replays) -> io::Result<()> {
    let (floor_s, mut used) = replays.saved();
    // The newest first: should there be less room, the oldest are the ones to forget.
    used.sort_unstable_by_key(|used| std::cmp::Reverse(used.created));
    let draft = data_dir.join(DRAFT);
    let mut out = Hashing { inner: BufWriter::new(File::create(&draft)?), hash: Sha256::new() };
    out.write_all(&MAGIC)?;
    out.write_all(&floor_s.to_le_bytes())?;
    out.write_all(&(used.len() as u64).to_le_bytes())?;
    for Used { key, tag, created } in &used {
        out.write_all(&key.to_le_bytes())?;
        out.write_all(&created.to_le_bytes())?;
        out.write_all(tag)?;
    }
    let Hashing { mut inner, hash } = out;
    inner.write_all(&hash.finalize())?;
    inner.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    std::fs::rename(draft, data_dir.join(NAME))?;
    File::open(data_dir)?.sync_all()
}

fn read(path: &Path) -> io::Result<(i64, Vec<Used>)> {
    let unsound = || io::Error::new(io::ErrorKind::InvalidData, "the file is not whole");
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut from = Hashing { inner: BufReader::new(file), hash: Sha256::new() };
    let (magic, floor_s, count) =
        (from.take::<16>()?, from.take()?, u64::from_le_bytes(from.take()?));
    let expected = count
        .checked_mul(ENTRY_BYTES)
        .and_then(|it| it.checked_add(HEAD_BYTES + DIGEST_BYTES as u64));
    if magic != MAGIC || expected != Some(length) {
        return Err(unsound());
    }
    let mut used = Vec::new();
    for _ in 0..count {
        let (key, created) = (u64::from_le_bytes(from.take()?), i64::from_le_bytes(from.take()?));
        used.push(Used { key, created, tag: from.take()? });
    }
    let Hashing { mut inner, hash } = from;
    let mut digest = [0; DIGEST_BYTES];
    inner.read_exact(&mut digest)?;
    if hash.finalize()[..] != digest {
        return Err(unsound());
    }
    Ok((i64::from_le_bytes(floor_s), used))
}

/// Hashes what passes through.
struct Hashing<T> {
    inner: T,
    hash: Sha256,
}

impl<T: Write> Hashing<T> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.inner.write_all(bytes)
    }
}

impl<T: Read> Hashing<T> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes)?;
        self.hash.update(bytes);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Age, Refusal};

    const NOW_S: i64 = 1_800_000_000;
    const AGE: Age = Age { now_s: NOW_S, max_s: 300 };

    #[test]
    fn a_clean_stop_keeps_what_was_used_and_nothing_else_is_trusted() {
        let dir = tempfile::tempdir().expect("a directory");
        let one = Used::new(7, &[1; 32], NOW_S);
        let other = Used::new(7, &[2; 32], NOW_S);
        let first = Replays::new(100);
        first.reserve(&one, AGE).expect("new");
        save(dir.path(), &first).expect("saved");
        let start = |last| {
            let replays = Replays::new(100);
            let unknown = restore(dir.path(), &replays, last, NOW_S + 30);
            (unknown, replays.look(&one, AGE), replays.look(&other, AGE))
        };
        assert_eq!(start(LastRun::Stopped), (false, Err(Refusal::Replayed), Ok(())));
        let lost = (true, Err(Refusal::Forgotten), Err(Refusal::Forgotten));
        assert_eq!(start(LastRun::Crashed), lost, "the file is older than the crash");
        assert_eq!(start(LastRun::None), (false, Ok(()), Ok(())));
        let path = dir.path().join(NAME);
        let whole = std::fs::read(&path).expect("a file");
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).expect("written");
            assert_eq!(start(LastRun::Stopped), lost, "byte {at}");
            std::fs::write(&path, &whole[..at]).expect("written");
            assert_eq!(start(LastRun::Stopped), lost, "cut at {at}");
        }
        remove(dir.path()).expect("removed");
        remove(dir.path()).expect("there is none");
        assert_eq!(start(LastRun::Stopped), lost);
    }
}
