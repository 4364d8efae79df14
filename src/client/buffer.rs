//! The two buffers of a connection. They are wiped as they are emptied: requests bear tokens, and so
//! do the replies of the admin socket to making and rotating a key.

use std::ops::Deref;

use bytes::BytesMut;
use keygate_protocol::frame::{self, LENGTH_BYTES, PREFIX_BYTES};
use keygate_protocol::limits::REPLY_FRAME_BYTES_MAX;
use keygate_protocol::{Flags, Frame, FrameError, Opcode};
use zeroize::Zeroize;

/// Bytes that an idle buffer keeps; what a larger message needed is given back.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// Bytes that are read at once while frames are small: some 250 verdicts.
const INBOX_BYTES_MIN: usize = 16 * 1024;

/// What was read and not yet understood.
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// `start <= end <= bytes.len()`; what is unread lies between them.
    start: usize,
    end: usize,
    /// Whether what was consumed is wiped.
    secret: bool,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; INBOX_BYTES_MIN], start: 0, end: 0, secret: true }
    }

    /// Says that nothing secret will come: on the data socket replies bear no tokens.
    pub(super) const fn set_public(&mut self) {
        self.secret = false;
    }

    /// Room to read into, never empty.
    pub(super) fn space(&mut self) -> &mut [u8] {
        self.compact();
        if self.end == self.bytes.len() {
            // `next` has refused longer frames, so this doubling is bounded by one frame.
            self.resize((self.bytes.len() * 2).min(REPLY_FRAME_BYTES_MAX as usize + LENGTH_BYTES));
        } else if self.end == 0 && self.bytes.len() > KEPT_BYTES_MAX {
            self.resize(INBOX_BYTES_MIN);
        }
        &mut self.bytes[self.end..]
    }

    /// Says that `count` bytes of [`Inbox::space`] were filled.
    pub(super) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// The next whole frame, which is consumed.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let unread = &self.bytes[self.start..self.end];
        let Some((frame, used)) = frame::decode(unread, REPLY_FRAME_BYTES_MAX)? else {
            return Ok(None);
        };
        self.start += used;
        Ok(Some(frame))
    }

    /// Whether [`Inbox::next`] has something to say.
    pub(super) fn is_ready(&self) -> bool {
        !matches!(frame::decode(&self.bytes[self.start..self.end], REPLY_FRAME_BYTES_MAX), Ok(None))
    }

    fn compact(&mut self) {
        if self.start == 0 {
            return;
        }
        let unread = self.end - self.start;
        self.bytes.copy_within(self.start..self.end, 0);
        if self.secret {
            self.bytes[unread..self.end].zeroize();
        }
        (self.start, self.end) = (0, unread);
    }

    fn resize(&mut self, length: usize) {
        let mut bytes = vec![0; length];
        bytes[..self.end].copy_from_slice(&self.bytes[..self.end]);
        std::mem::replace(&mut self.bytes, bytes).zeroize();
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.bytes[..self.end].zeroize();
    }
}

/// The payload of a reply, owned.
#[derive(Default)]
pub(super) struct Payload {
    bytes: Vec<u8>,
    /// Whether it is wiped when dropped: a reply of the admin socket may show a token.
    secret: bool,
}

impl Payload {
    pub(super) fn of(frame: &Frame<'_>, request: Opcode) -> Self {
        Self { bytes: frame.payload.to_vec(), secret: request.is_admin() }
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        if self.secret {
            self.bytes.zeroize();
        }
    }
}

/// Frames to be written, and whose they are.
#[derive(Default)]
pub(super) struct Outbox {
    bytes: BytesMut,
    /// In the order of their bytes.
    frames: Vec<Queued>,
}

/// One frame of an [`Outbox`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Queued {
    /// The slot that awaits the reply; `None` when no reply is asked for.
    pub(super) slot: Option<u16>,
    /// Where the frame ends in the buffer.
    pub(super) end: usize,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn frames(&self) -> &[Queued] {
        &self.frames
    }

    /// Frames without a reply among the first `written` bytes.
    pub(super) fn detached(&self, written: usize) -> usize {
        let ours = |frame: &&Queued| frame.slot.is_none() && frame.end <= written;
        self.frames.iter().filter(ours).count()
    }

    /// Appends one frame and answers its length as its prefix says it.
    ///
    /// `payload_bytes_max` bounds what `write` appends, so that the buffer is never moved by
    /// anybody who would not wipe the place that it leaves.
    pub(super) fn push(
        &mut self,
        request: (Opcode, Flags, u32),
        slot: Option<u16>,
        payload_bytes_max: usize,
        write: impl FnOnce(&mut BytesMut),
    ) -> usize {
        let (opcode, flags, correlation) = request;
        self.reserve(PREFIX_BYTES + payload_bytes_max);
        let start = self.bytes.len();
        frame::encode(&mut self.bytes, opcode.byte(), flags, correlation, write);
        debug_assert!(self.bytes.len() - start <= PREFIX_BYTES + payload_bytes_max);
        self.frames.push(Queued { slot, end: self.bytes.len() });
        self.bytes.len() - start - LENGTH_BYTES
    }

    /// Takes out every frame that `keep` does not keep.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(Queued, usize) -> bool) {
        let (mut read, mut write) = (0, 0);
        let bytes = &mut self.bytes;
        self.frames.retain_mut(|frame| {
            let length = frame.end - read;
            let kept = keep(*frame, length - LENGTH_BYTES);
            if kept {
                bytes.copy_within(read..frame.end, write);
                write += length;
            }
            read = frame.end;
            frame.end = write;
            kept
        });
        self.bytes[write..].zeroize();
        self.bytes.truncate(write);
    }

    /// Puts the frames of `other` behind these.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.reserve(other.bytes.len());
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        let moved = other.frames.iter().map(|frame| Queued { end: frame.end + start, ..*frame });
        self.frames.extend(moved);
        other.clear();
    }

    /// Wipes and empties.
    pub(super) fn clear(&mut self) {
        self.bytes.zeroize();
        self.bytes.clear();
        self.frames.clear();
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = BytesMut::new();
        }
    }

    fn reserve(&mut self, more: usize) {
        let needed = self.bytes.len() + more;
        if needed <= self.bytes.capacity() {
            return;
        }
        let mut grown = BytesMut::with_capacity(needed.max(self.bytes.capacity() * 2).max(1024));
        grown.extend_from_slice(&self.bytes);
        std::mem::replace(&mut self.bytes, grown).zeroize();
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use keygate_protocol::limits::REPLY_FRAME_BYTES_MAX;
    use keygate_protocol::{Flags, Opcode, frame};

    use super::{INBOX_BYTES_MIN, Inbox, KEPT_BYTES_MAX, Outbox};

    fn pings(lengths: &[usize]) -> Outbox {
        let mut out = Outbox::default();
        for (correlation, &length) in (0..).zip(lengths) {
            let slot = Some(correlation);
            let header = (Opcode::Ping, Flags::NONE, u32::from(correlation));
            out.push(header, slot, length, |out| out.resize(out.len() + length, 7));
        }
        out
    }

    fn correlations(mut bytes: &[u8]) -> Vec<u32> {
        let mut found = Vec::new();
        while let Some((frame, used)) =
            frame::decode(bytes, REPLY_FRAME_BYTES_MAX).expect("frames stay whole")
        {
            found.push(frame.header.correlation);
            bytes = &bytes[used..];
        }
        assert!(bytes.is_empty(), "nothing is left between frames");
        found
    }

    #[test]
    fn frames_can_be_taken_back_from_anywhere_in_the_queue() {
        for taken in [&[][..], &[0], &[1], &[3], &[0, 1], &[1, 2], &[0, 1, 2, 3]] {
            let mut out = pings(&[8, 0, 300, 20]);
            out.retain(|frame, _| !frame.slot.is_some_and(|slot| taken.contains(&slot)));
            let left: Vec<u32> =
                (0..4).filter(|&one| !taken.contains(&one)).map(u32::from).collect();
            assert_eq!(correlations(out.bytes()), left);
            assert_eq!(out.frames().last().map_or(0, |frame| frame.end), out.bytes().len());
        }
    }

    #[test]
    fn what_was_not_written_goes_before_what_was_queued_since() {
        let (mut first, mut second) = (pings(&[8, 9]), pings(&[10, 11, 12]));
        first.append(&mut second);
        assert!(second.is_empty());
        assert_eq!(correlations(first.bytes()), [0, 1, 0, 1, 2]);
        assert_eq!(first.frames().last().map(|frame| frame.end), Some(first.bytes().len()));
    }

    #[test]
    fn frames_of_every_size_come_through_in_pieces_of_any_size() {
        let largest = REPLY_FRAME_BYTES_MAX as usize - frame::HEADER_BYTES;
        let lengths = [0, INBOX_BYTES_MIN, 5, KEPT_BYTES_MAX + 1, largest, 40, 40];
        let sent = pings(&lengths);
        for piece in [1000, 4096, usize::MAX] {
            let (mut inbox, mut unread, mut seen) = (Inbox::new(), sent.bytes(), 0);
            while seen < lengths.len() {
                let space = inbox.space();
                let count = space.len().min(piece).min(unread.len());
                space[..count].copy_from_slice(&unread[..count]);
                inbox.filled(count);
                unread = &unread[count..];
                while let Some(frame) = inbox.next().expect("frames stay whole") {
                    assert_eq!(frame.payload.len(), lengths[seen]);
                    seen += 1;
                }
                assert!(!inbox.is_ready());
            }
            assert!(inbox.space().len() <= KEPT_BYTES_MAX, "what a large frame took is given back");
        }
    }
}
