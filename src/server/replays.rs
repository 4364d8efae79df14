//! Signatures that were used, kept over a clean stop: in a file beside the data, which is gone before
//! anything is served. Whoever starts after a crash knows none of them, and takes no signature that
//! could have been used before. How far ahead of the clock that may be is kept in the store.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::clock::Now;
use crate::engine::Engine;
use crate::limit::{Replays, Used, lead_for};
use crate::store::rows::{LeadFact, SIGNING_LEAD, SIGNING_LEAD_SCHEMA};
use crate::store::{Committer, Job, StoreError, Write as Row};

mod keep;

pub(super) use keep::{horizon, keep};

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
    engine: &Engine,
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
    let replays = engine.replays();
    let known = known.map(|(floor_s, used)| (floor_s, engine.with_tenants(used)));
    match &known {
        Some((floor_s, used)) => replays.restore(*floor_s, used),
        None => replays.raise_floor(unknown_until_s),
    }
    known.is_none()
}

/// What keeps a lead of so many seconds.
///
/// # Errors
/// None for a number; of the envelope's form.
pub(super) fn lead(seconds: u32) -> Result<Row, StoreError> {
    Row::fact(SIGNING_LEAD, SIGNING_LEAD_SCHEMA, &LeadFact { seconds })
        .map_err(|error| StoreError::corrupt(error.to_string()))
}

/// Has the committer keep what the engine asks for; nobody waits for that.
pub(super) fn keep_lead(engine: &Arc<Engine>, committer: &Arc<Committer>) {
    let (of, committer) = (Arc::downgrade(engine), Arc::downgrade(committer));
    let keeper = move |seconds| {
        let Some((engine, committer)) = of.upgrade().zip(committer.upgrade()) else { return };
        let answered = Arc::clone(&engine);
        let done = Box::new(move |written: Result<(), _>| {
            let lead = answered.replays().lead();
            match written {
                Ok(()) => {
                    lead.kept(seconds);
                    tracing::info!(
                        seconds,
                        "signers' clocks are ahead of this one: so long after a crash no signed \
                         request would pass"
                    );
                }
                // That of the store is told by others.
                Err(_) => lead.not_kept(),
            }
        });
        let job = lead(seconds).map(|row| Job { writes: vec![row], durable: true, done });
        if !job.is_ok_and(|job| committer.submit(job).is_ok()) {
            engine.replays().lead().not_kept();
        }
    };
    engine.keep_lead_by(Box::new(keeper));
}

/// Lowers the lead to what is still ahead, durably, when nothing is decided any more. Where it cannot
/// be, the next start has the higher one.
pub(super) fn lower_lead(engine: &Engine, committer: &Committer, now: Now) {
    let replays = engine.replays();
    let needed_s = lead_for(replays.ahead_s(now.wall_us.div_euclid(1_000_000)));
    if needed_s >= replays.lead().seconds() {
        return;
    }
    let written =
        lead(needed_s).map_err(Into::into).and_then(|row| committer.commit(vec![row], true));
    if let Err(error) = written {
        tracing::warn!(%error, "how far signers' clocks are ahead could not be lowered");
    }
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
    for Used { key, tag, created, .. } in &used {
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
        used.push(Used { key, tenant: 0, created, tag: from.take()? });
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
    use crate::clock::{Clock as _, ManualClock};
    use crate::limit::{Age, Refusal};
    use crate::store::{CommitterOptions, Keys, MemoryStore};

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
            let engine = crate::server::dispatch::tests::engine();
            let replays = engine.replays();
            replays.set_room(100);
            let unknown = restore(dir.path(), &engine, last, NOW_S + 30);
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

    #[test]
    fn a_lead_is_raised_when_it_is_durable_and_lowered_at_a_stop_to_what_is_still_ahead() {
        let keys = Keys::open(Arc::new(MemoryStore::new())).expect("an empty store");
        let committer = Committer::start(&keys, &CommitterOptions::default()).expect("threads");
        let committer = Arc::new(committer);
        let engine = Arc::new(crate::server::dispatch::tests::engine());
        let clock = ManualClock::new(NOW_S * 1_000_000);
        let durable = || {
            let fact = keys.fact::<LeadFact>(SIGNING_LEAD, SIGNING_LEAD_SCHEMA);
            fact.expect("readable").map(|fact| fact.seconds)
        };
        keep_lead(&engine, &committer);
        let replays = engine.replays();
        replays.set_room(1024);
        replays.lead().kept(5);
        let ahead = Used::new(7, &[1; 32], NOW_S + 90);
        assert_eq!(replays.look(&ahead, AGE), Err(Refusal::Ahead));
        let asked = replays.lead().ask(300).expect("it is needed");
        engine.keep_lead(asked);
        // Behind it in the queue, so it is done.
        committer.commit(Vec::new(), true).expect("written");
        assert_eq!((durable(), replays.lead().seconds()), (Some(90), 90));
        assert_eq!(replays.reserve(&ahead, AGE), Ok(()));
        for (later_s, lead_s) in [(0, 90), (29, 65), (2, 60), (1000, 5)] {
            clock.step_wall_us(later_s * 1_000_000);
            lower_lead(&engine, &committer, clock.now());
            assert_eq!(durable(), Some(lead_s), "{later_s} s later");
        }
    }

    #[test]
    fn a_lead_that_cannot_be_kept_is_asked_for_again() {
        let keys = Keys::open(Arc::new(MemoryStore::new())).expect("an empty store");
        let committer = Committer::start(&keys, &CommitterOptions::default()).expect("threads");
        let committer = Arc::new(committer);
        let engine = Arc::new(crate::server::dispatch::tests::engine());
        keep_lead(&engine, &committer);
        committer.stop().expect("stopped");
        let lead = engine.replays().lead();
        for _ in 0..2 {
            let ahead = Used::new(7, &[1; 32], NOW_S + 90);
            assert_eq!(engine.replays().look(&ahead, AGE), Err(Refusal::Ahead));
            engine.keep_lead(lead.ask(300).expect("it is needed"));
            assert_eq!(lead.seconds(), 0);
        }
    }
}
