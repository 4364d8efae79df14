//! What concerns the store as a whole, and so every tenant in it: backup and verification.
//!
//! Both wait for the disk all the time, so they run on a thread of their own and hand frames over as
//! they are made; whoever takes them sets the pace.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keygate_protocol::ErrorCode;
use keygate_protocol::admin as wire;
use serde_json::json;
use tokio::sync::MutexGuard;
use zeroize::{Zeroize, Zeroizing};

use super::{Admin, AdminError, Caller};
use crate::key::Time;
use crate::store::copy::{Rows, Walked};
use crate::store::tap::TapError;
use crate::store::verify::Report;
use crate::store::{Op, Rotating, StoreEngine};

/// Bytes of keys and values in a frame of a backup, and of one part of a long value: in base64 and
/// JSON they fit a frame with room to spare.
const FRAME_BYTES: usize = 256 * 1024;
/// What a row costs in a frame beside its key and value.
const ROW_OVERHEAD: usize = 64;
/// Rows that a key has, about: to tell how far a walk has come.
const ROWS_OF_A_KEY: u64 = 6;
/// Chunks of a verification between two frames.
const CHUNKS_A_FRAME: u32 = 8;
/// JSON of all problems of a report: it must fit a frame, whatever the rows say.
const PROBLEMS_BYTES_MAX: usize = 512 * 1024;

const _: () = assert!(
    (FRAME_BYTES + crate::store::KEY_BYTES_MAX) * 4 / 3 + 4096
        < keygate_protocol::limits::ADMIN_FRAME_BYTES_MAX as usize
);

/// What a backup says of the daemon that it is of.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The engine of its store.
    pub engine: StoreEngine,
}

/// Takes a frame's JSON, and whether more follow; says whether anybody wants them.
pub type EachFrame<'a> = dyn FnMut(Zeroizing<Vec<u8>>, bool) -> ControlFlow<()> + 'a;

impl Admin {
    /// Streams the store out as it is when this ends. Waits for the disk.
    ///
    /// # Errors
    /// `FORBIDDEN` for a caller that is bound to a tenant; `INVALID` where the store lives in memory;
    /// `BUSY` while another runs, while a rotation stands still, and when too much was written while
    /// frames waited to be taken; `STORAGE`, also where the pepper or the master key that the store is
    /// under is in no file. What was streamed is then no backup.
    pub fn backup(
        &self,
        caller: &Caller,
        request: wire::Backup,
        each: &mut EachFrame<'_>,
    ) -> Result<(), AdminError> {
        let _alone = self.whole_store(caller, "Backup")?;
        let origin = self.origin.as_ref().ok_or_else(|| {
            AdminError::invalid("this daemon keeps its keys in memory: there is nothing to back up")
        })?;
        // Its turn is held, so none begins.
        self.check_no_rotation()?;
        let mut out = Outgoing { admin: self, frame: wire::BackupFrame::default(), bytes: 0, each };
        out.frame.engine = Some(origin.engine.name().to_owned());
        (out.frame.pepper_from, out.frame.pepper) =
            self.secret_of_backup(Rotating::Pepper, request.without_pepper)?;
        (out.frame.master_key_from, out.frame.master_key) =
            self.secret_of_backup(Rotating::Master, request.without_master_key)?;
        let (pepper, master_key) = (out.frame.pepper.is_some(), out.frame.master_key.is_some());
        // At its beginning: who breaks it off has what came until then.
        self.note_whole(caller, "backup", json!({"pepper": pepper, "master_key": master_key}));
        let streamed = if pepper || master_key {
            // In a frame of their own: a buffer that rows outgrow is left behind with what is in it.
            out.send(Walked::default(), true).and_then(|()| self.stream_rows(&mut out))
        } else {
            self.stream_rows(&mut out)
        };
        match streamed {
            // Nobody wants the rest.
            Err(Ended::Untaken) => Ok(()),
            Err(Ended::Failed(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// Every row as it is found, and behind it every change since the beginning: see
    /// [`crate::store::tap`].
    fn stream_rows(&self, out: &mut Outgoing<'_, '_>) -> Result<(), Ended> {
        let tap = self.committer.tap();
        let mut rows = Rows::default();
        loop {
            let chunk = self.keys.next_chunk(&mut rows)?;
            let walked = rows.walked();
            if chunk.is_empty() {
                // From here on nothing is gathered: this is the instant that comes out.
                out.push_all(tap.end()?, walked)?;
                return out.finish(walked);
            }
            let found = chunk.into_iter().map(|(key, value)| Op::Put { key, value });
            out.push_all(found, walked)?;
            out.push_all(tap.take()?, walked)?;
        }
    }

    /// Judges every row of the store. Waits for the disk.
    ///
    /// # Errors
    /// `FORBIDDEN` for a caller that is bound to a tenant; `BUSY` while another runs; `STORAGE`.
    pub fn verify(&self, caller: &Caller, each: &mut EachFrame<'_>) -> Result<(), AdminError> {
        let _alone = self.whole_store(caller, "Verify")?;
        let mut chunks = 0;
        let mut untaken = false;
        let report = self.keys.verify(&*self.committer, |walked| {
            chunks += 1;
            if chunks % CHUNKS_A_FRAME != 0 {
                return ControlFlow::Continue(());
            }
            let frame = wire::VerifyFrame { progress: self.progress(walked), report: None };
            let taken = each(json(&frame), true);
            untaken = taken.is_break();
            taken
        })?;
        if !untaken {
            let mut progress = self.progress(report.walked);
            progress.rows_estimate = progress.rows;
            let frame = wire::VerifyFrame { progress, report: Some(verify_report(report)) };
            // Whoever has gone does not want the report either.
            let _ = each(json(&frame), false);
        }
        Ok(())
    }

    /// Where a secret is from, and the secret that the store is written under, where it is kept in the
    /// data directory and wanted.
    fn secret_of_backup(
        &self,
        of: Rotating,
        left_out: bool,
    ) -> Result<(Option<wire::SecretFrom>, Option<String>), AdminError> {
        let (Some(files), Some(present)) =
            (self.rotations.files.as_ref(), self.keys.secret_id(of)?)
        else {
            return Ok((Some(wire::SecretFrom::Credential), None));
        };
        if left_out {
            let from = if files.is_credential(of) {
                wire::SecretFrom::Credential
            } else {
                wire::SecretFrom::DataDir
            };
            return Ok((Some(from), None));
        }
        let kept = files.kept(of, &present);
        let kept = kept.map_err(|why| AdminError::new(ErrorCode::Storage, why))?;
        Ok(match kept {
            Some(secret) => (Some(wire::SecretFrom::DataDir), Some(STANDARD.encode(*secret))),
            None => (Some(wire::SecretFrom::Credential), None),
        })
    }

    /// The right to the whole store, and the turn: each reads all of it, and a backup may hold much.
    fn whole_store(&self, caller: &Caller, what: &str) -> Result<MutexGuard<'_, ()>, AdminError> {
        caller.check_unbound(what)?;
        self.whole.try_lock().map_err(|_| {
            let message = "a backup, a verification or a rotation is under way; wait for its end";
            AdminError::new(ErrorCode::Busy, message)
        })
    }

    fn progress(&self, walked: Walked) -> wire::Progress {
        let estimate = (self.engine.key_count() as u64).saturating_mul(ROWS_OF_A_KEY);
        let Walked { rows, bytes } = walked;
        wire::Progress { rows, bytes, rows_estimate: estimate.max(rows) }
    }
}

/// Why a stream came to no end.
enum Ended {
    /// Nobody takes its frames.
    Untaken,
    Failed(AdminError),
}

impl<E: Into<AdminError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl From<TapError> for AdminError {
    fn from(error: TapError) -> Self {
        let code = match error {
            TapError::Behind => ErrorCode::Busy,
            TapError::WriteFailed => ErrorCode::Storage,
        };
        Self::new(code, error.to_string())
    }
}

/// Rows on their way into frames.
struct Outgoing<'a, 'e> {
    admin: &'a Admin,
    frame: wire::BackupFrame,
    /// What the frame's rows take, about.
    bytes: usize,
    each: &'a mut EachFrame<'e>,
}

impl Outgoing<'_, '_> {
    fn push_all(&mut self, ops: impl IntoIterator<Item = Op>, walked: Walked) -> Result<(), Ended> {
        for op in ops {
            for row in parts(&op) {
                self.bytes += row.k.len() + row.v.as_ref().map_or(0, String::len) + ROW_OVERHEAD;
                self.frame.rows.push(row);
                if self.bytes >= FRAME_BYTES {
                    self.send(walked, true)?;
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, walked: Walked) -> Result<(), Ended> {
        self.send(walked, false)
    }

    fn send(&mut self, walked: Walked, more: bool) -> Result<(), Ended> {
        let mut frame = std::mem::take(&mut self.frame);
        frame.progress = self.admin.progress(walked);
        if !more {
            frame.progress.rows_estimate = frame.progress.rows;
        }
        self.bytes = 0;
        let taken = (self.each)(json(&frame), more);
        frame.pepper.zeroize();
        frame.master_key.zeroize();
        match taken {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Ended::Untaken),
        }
    }
}

/// An operation as rows, a long value cut into parts that fit a frame.
fn parts(op: &Op) -> impl Iterator<Item = wire::BackupRow> {
    let key = STANDARD.encode(op.key());
    let mut left: VecDeque<Option<&[u8]>> = match op {
        Op::Put { value, .. } if value.is_empty() => [Some(&[][..])].into(),
        Op::Put { value, .. } => value.chunks(FRAME_BYTES).map(Some).collect(),
        Op::Remove { .. } => [None].into(),
    };
    std::iter::from_fn(move || {
        let part = left.pop_front()?;
        let v = part.map(|part| STANDARD.encode(part));
        Some(wire::BackupRow { k: key.clone(), v, more: !left.is_empty() })
    })
}

/// A report as it is told, here and on the command line.
#[must_use]
pub fn verify_report(report: Report) -> wire::VerifyReport {
    let clean = report.is_clean();
    let (schema, written_by) = report.format.unzip();
    let mut bytes = 0;
    let problems = report.problems.into_iter().map(|problem| wire::VerifyProblem {
        kind: problem.kind.name().to_owned(),
        row: problem.row,
        what: problem.what,
    });
    let fits = |problem: &wire::VerifyProblem| {
        bytes += json(problem).len();
        bytes <= PROBLEMS_BYTES_MAX
    };
    let counts = report.problem_counts.into_iter();
    wire::VerifyReport {
        clean,
        rows: report.walked.rows,
        bytes: report.walked.bytes,
        records: report.records,
        records_encrypted: Some(report.records_encrypted),
        records_by_schema: report
            .records_by_schema
            .into_iter()
            .map(|(schema, records)| (schema.to_string(), records))
            .collect(),
        index_rows: report.index_rows,
        usage_rows: report.usage_rows,
        ledger_rows: Some(report.ledger_rows),
        increment_chunks: report.increment_chunks,
        schema,
        written_by,
        pending_import: report.pending_import,
        newest_at: report.newest_us.map(|at| Time::from_micros(at).to_string()),
        problems: problems.take_while(fits).collect(),
        problem_counts: counts.map(|(kind, count)| (kind.name().to_owned(), count)).collect(),
    }
}

/// A frame as JSON. It may hold secrets: it is wiped.
fn json(body: &impl serde::Serialize) -> Zeroizing<Vec<u8>> {
    let mut json = Zeroizing::new(Vec::with_capacity(2 * FRAME_BYTES));
    // Frames are plain data: texts, numbers and maps with text keys.
    if serde_json::to_writer(&mut *json as &mut dyn io::Write, body).is_err() {
        json.clear();
    }
    json
}
