//! Import, export, backup and verification. Each has a connection of its own, so that a stream
//! neither delays nor is delayed by other calls, and its back-pressure is the socket's.

use std::future::Future;

use bytes::{BufMut, BytesMut};
use keygate_protocol::admin::{
    BackupFrame, ImportReport, KeyPage, NoFields, VerifyFrame, WatchFrame,
};
use keygate_protocol::frame::{HEADER_BYTES, encode};
use keygate_protocol::limits::ADMIN_FRAME_BYTES_MAX;
use keygate_protocol::{Flags, Frame, Opcode, opcode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::error::{Error, Loss, Refusal, ReplyError};
use super::wire::{Settings, Wire};
use super::{admin, connect_error};

/// Under which a stream is asked for. The daemon speaks of the connection itself under 0.
const CORRELATION: u32 = 2;
/// Bytes of a chunk at which it is sent: large enough that frames cost nothing, small enough that
/// the daemon begins early.
const CHUNK_BYTES: usize = 256 * 1024;
/// Ends the list of a chunk, and the chunk.
const CLOSE: &[u8] = b"]}";

/// One stream's connection.
struct Stream {
    settings: Settings,
    wire: Wire,
    /// Longest frame that the daemon takes, as its length prefix says it.
    frame_bytes_max: usize,
    /// Whether every byte of the request is written, so that the daemon may have executed it.
    written: bool,
}

impl Stream {
    async fn open(settings: Settings) -> Result<Self, Error> {
        match Wire::open(&settings).await {
            Ok((wire, server)) => {
                let frame_bytes_max = server.frame_bytes_max.min(ADMIN_FRAME_BYTES_MAX) as usize;
                Ok(Self { settings, wire, frame_bytes_max, written: false })
            }
            Err(error) => Err(connect_error(&settings.endpoint, error)),
        }
    }

    /// Writes a frame. When the daemon answers before the stream is at its end, that is an error.
    async fn write(&mut self, frame: &[u8], last: bool) -> Result<(), Error> {
        let timeout = self.settings.stream_timeout;
        match timed(timeout, self.wire.write_unless_answered(frame)).await {
            Ok(Ok(true)) => {
                self.written = last;
                Ok(())
            }
            Ok(Ok(false)) => match self.read().await {
                Err(error) => Err(error),
                Ok(frame) => {
                    let is = frame.header.opcode;
                    Err(Error::Protocol(ReplyError::Opcode { is, expected: opcode::ERROR }))
                }
            },
            Ok(Err(loss)) => Err(self.lost(loss)),
            Err(()) => Err(self.timed_out()),
        }
    }

    /// The next frame of the answer; an error reply is an error.
    async fn read(&mut self) -> Result<Frame<'_>, Error> {
        let Self { settings, wire, written, .. } = self;
        let frame = match timed(settings.stream_timeout, wire.frame()).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(loss)) => return Err(lost(settings, loss, *written)),
            Err(()) => return Err(timed_out(settings, *written)),
        };
        if frame.header.opcode == opcode::ERROR {
            return Err(Refusal::decode(frame.payload).map_or_else(Error::reply, Error::Refused));
        }
        if frame.header.correlation != CORRELATION {
            return Err(Error::reply(ReplyError::Correlation(frame.header.correlation)));
        }
        Ok(frame)
    }

    fn lost(&self, loss: Loss) -> Error {
        lost(&self.settings, loss, self.written)
    }

    const fn timed_out(&self) -> Error {
        timed_out(&self.settings, self.written)
    }
}

async fn timed<T>(timeout: std::time::Duration, step: impl Future<Output = T>) -> Result<T, ()> {
    tokio::time::timeout(timeout, step).await.map_err(|_| ())
}

fn lost(settings: &Settings, loss: Loss, written: bool) -> Error {
    Error::Disconnected {
        endpoint: settings.endpoint.clone(),
        may_have_been_executed: written && loss.may_have_been_executed(),
        source: loss.into(),
    }
}

const fn timed_out(settings: &Settings, written: bool) -> Error {
    Error::TimedOut { after: settings.stream_timeout, may_have_been_executed: written }
}

fn expect(frame: &Frame<'_>, request: Opcode) -> Result<(), Error> {
    let (is, expected) = (frame.header.opcode, request.reply());
    if is == expected { Ok(()) } else { Err(Error::reply(ReplyError::Opcode { is, expected })) }
}

/// Records on their way in. Made by [`super::Client::import`].
///
/// Nothing of an import counts before [`Import::finish`] has answered; dropping it before that
/// abandons all of it.
pub struct Import {
    stream: Stream,
    skip_bad: bool,
    /// The chunk that is being packed: JSON without its end.
    chunk: BytesMut,
    /// What the list has that is being packed.
    of: Of,
    chunk_records: usize,
    records: u64,
}

/// What a chunk carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Keys,
    Tenants,
}

impl Import {
    pub(super) async fn begin(settings: Settings, skip_bad: bool) -> Result<Self, Error> {
        let stream = Stream::open(settings).await?;
        let (chunk, of) = (BytesMut::new(), Of::Keys);
        let mut import = Self { stream, skip_bad, chunk, of, chunk_records: 0, records: 0 };
        import.begin_chunk();
        Ok(import)
    }

    /// Adds a record, and sends what has come together when it fills a frame. Waits while the
    /// daemon takes no more.
    ///
    /// # Errors
    /// [`Error::Refused`] as soon as the daemon refuses what it was sent before;
    /// [`Error::TooLarge`] when the record alone does not fit a frame (1 MiB). The import is over
    /// after any error, and nothing of it was taken.
    pub async fn push(&mut self, record: &RawValue) -> Result<(), Error> {
        self.pack(Of::Keys, record).await?;
        self.records += 1;
        Ok(())
    }

    /// Adds the record of a tenant, as [`Import::push`] adds a key's; before its keys or after them.
    ///
    /// # Errors
    /// As [`Import::push`].
    pub async fn push_tenant(&mut self, tenant: &RawValue) -> Result<(), Error> {
        self.pack(Of::Tenants, tenant).await
    }

    async fn pack(&mut self, of: Of, record: &RawValue) -> Result<(), Error> {
        if self.of != of {
            if self.chunk_records > 0 {
                self.send(false).await?;
            }
            self.of = of;
            self.begin_chunk();
        }
        let record = record.get().as_bytes();
        let room = self.room();
        let needed = record.len() + usize::from(self.chunk_records > 0);
        if self.chunk_records > 0 && (needed > room || self.chunk.len() + needed > CHUNK_BYTES) {
            self.send(false).await?;
        }
        if record.len() > self.room() {
            let what = "bytes of one record";
            return Err(Error::TooLarge { what, is: record.len(), max: self.room() });
        }
        if self.chunk_records > 0 {
            self.chunk.put_u8(b',');
        }
        self.chunk.put_slice(record);
        self.chunk_records += 1;
        Ok(())
    }

    /// Keys pushed so far.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Sends the rest and waits until everything is durable.
    ///
    /// # Errors
    /// [`Error`]. Only from here on may an import have been executed although it failed.
    pub async fn finish(mut self) -> Result<ImportReport, Error> {
        self.send(true).await?;
        let frame = self.stream.read().await?;
        expect(&frame, Opcode::Import)?;
        admin::decode(frame.payload)
    }

    /// Bytes that this chunk still takes.
    fn room(&self) -> usize {
        let payload_max = self.stream.frame_bytes_max.saturating_sub(HEADER_BYTES);
        payload_max.saturating_sub(self.chunk.len() + CLOSE.len())
    }

    fn begin_chunk(&mut self) {
        self.chunk.clear();
        self.chunk_records = 0;
        // It counts in the first frame, and is repeated for simplicity's sake.
        let begin: &[u8] = if self.skip_bad { br#"{"skip_bad":true,"# } else { b"{" };
        let list: &[u8] = match self.of {
            Of::Keys => br#""records":["#,
            Of::Tenants => br#""records":[],"tenants":["#,
        };
        self.chunk.put_slice(begin);
        self.chunk.put_slice(list);
    }

    async fn send(&mut self, last: bool) -> Result<(), Error> {
        let flags = if last { Flags::NONE } else { Flags::MORE };
        let mut frame = BytesMut::with_capacity(self.chunk.len() + 32);
        encode(&mut frame, Opcode::Import.byte(), flags, CORRELATION, |out| {
            out.put_slice(&self.chunk);
            out.put_slice(CLOSE);
        });
        self.stream.write(&frame, last).await?;
        self.begin_chunk();
        Ok(())
    }
}

impl std::fmt::Debug for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Import").field("records", &self.records).finish_non_exhaustive()
    }
}

/// A stream of frames downward. The daemon is read only as fast as frames are asked for.
struct Down {
    stream: Stream,
    opcode: Opcode,
    request: Zeroizing<Vec<u8>>,
    asked: bool,
    ended: bool,
}

impl Down {
    async fn begin(
        settings: Settings,
        opcode: Opcode,
        request: &impl Serialize,
    ) -> Result<Self, Error> {
        let stream = Stream::open(settings).await?;
        let request = admin::encode(request);
        Ok(Self { stream, opcode, request, asked: false, ended: false })
    }

    /// The next frame's payload; `None` after the last.
    async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        if self.ended {
            return Ok(None);
        }
        // Whatever goes wrong from here on, there is nothing more.
        self.ended = true;
        if !self.asked {
            self.asked = true;
            let mut frame = BytesMut::new();
            encode(&mut frame, self.opcode.byte(), Flags::NONE, CORRELATION, |out| {
                out.put_slice(&self.request);
            });
            self.stream.write(&frame, true).await?;
        }
        let frame = self.stream.read().await?;
        expect(&frame, self.opcode)?;
        let more = frame.header.flags.has(Flags::MORE);
        let page = admin::decode(frame.payload)?;
        self.ended = !more;
        Ok(Some(page))
    }
}

impl std::fmt::Debug for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Down").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// Records on their way out. Made by [`super::Client::export`].
///
/// The daemon is read only as fast as pages are asked for.
#[derive(Debug)]
pub struct Export(Down);

/// Records as the daemon wrote them: tenants, or keys. All tenants come before the first key.
pub type ExportPage = KeyPage<Box<RawValue>>;

impl Export {
    pub(super) async fn begin(settings: Settings) -> Result<Self, Error> {
        Ok(Self(Down::begin(settings, Opcode::Export, &NoFields {}).await?))
    }

    /// The next records, each as the daemon wrote it: tenants by ascending id, then keys by
    /// ascending id; `None` after the last.
    ///
    /// # Errors
    /// [`Error`]. The export is over after any, and what came before it is not all there is.
    pub async fn next_page(&mut self) -> Result<Option<ExportPage>, Error> {
        self.0.next().await
    }
}

/// The whole store on its way out. Made by [`super::Client::backup`].
///
/// The daemon is read only as fast as frames are asked for. It holds what is written meanwhile, up
/// to a bound: a reader that is too slow is told so.
#[derive(Debug)]
pub struct Backup(Down);

impl Backup {
    pub(super) async fn begin(
        settings: Settings,
        request: &keygate_protocol::admin::Backup,
    ) -> Result<Self, Error> {
        Ok(Self(Down::begin(settings, Opcode::Backup, request).await?))
    }

    /// The next rows; `None` after the last.
    ///
    /// # Errors
    /// [`Error`]. What came before it is then no backup.
    pub async fn next_frame(&mut self) -> Result<Option<BackupFrame>, Error> {
        self.0.next().await
    }
}

/// What happens, as it happens. Made by [`super::Client::watch`].
#[derive(Debug)]
pub struct Watching(Down);

impl Watching {
    pub(super) async fn begin(
        settings: Settings,
        request: &keygate_protocol::admin::Watch,
    ) -> Result<Self, Error> {
        Ok(Self(Down::begin(settings, Opcode::Watch, request).await?))
    }

    /// The next events, or none: once a second at the least the daemon says that it is there.
    ///
    /// # Errors
    /// [`Error`], with `STOPPING` when the daemon stops. There is nothing more behind any.
    pub async fn next_frame(&mut self) -> Result<Option<WatchFrame>, Error> {
        self.0.next().await
    }
}

/// A verification that is under way. Made by [`super::Client::verify`].
#[derive(Debug)]
pub struct Verification(Down);

impl Verification {
    pub(super) async fn begin(settings: Settings) -> Result<Self, Error> {
        Ok(Self(Down::begin(settings, Opcode::Verify, &NoFields {}).await?))
    }

    /// How far it has come, and at last the report; `None` after that.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn next_frame(&mut self) -> Result<Option<VerifyFrame>, Error> {
        self.0.next().await
    }
}
