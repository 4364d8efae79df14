//! One call in flight: where it stands, and what came back.

use std::sync::Arc;
use std::task::Waker;

use keygate_protocol::{Flags, Header, Opcode, opcode};
use tokio::time::Instant;

use super::buffer::Payload;
use super::error::{ConnectError, Loss, ReplyError};

/// Most bytes of one answer that comes as many frames. A list's page is at most 1,000 records.
const PAGES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What came back.
pub(super) enum Reply {
    /// The payload of the reply.
    Payload(Payload),
    /// The payloads of a reply of many frames.
    Pages(Vec<Payload>),
    /// The payload of an error reply.
    Refused(Payload),
}

/// Why nothing came back.
#[derive(Clone)]
pub(super) enum Failure {
    /// It was written, and then the connection ended.
    Lost(Arc<Loss>),
    /// It was never written, and trying to connect is without hope.
    Connect(Arc<ConnectError>),
    /// It was never written: a frame of `is` bytes is longer than the daemon takes.
    TooLarge { is: usize, max: usize },
    /// It was never written, and nobody is left to write it.
    Closed,
}

pub(super) type Outcome = Result<Reply, Failure>;

/// Where a slot's call stands.
pub(super) enum State {
    Free,
    /// In the table's queue; nothing of it was handed to the connection.
    Queued,
    /// Handed to the connection.
    Sent,
    Settled(Outcome),
}

/// A place for one call.
pub(super) struct Slot {
    pub(super) state: State,
    /// The high half of the correlation; another one for each call in this slot. Never 0, so that
    /// no call has the correlation 0, under which the daemon speaks of the connection itself.
    pub(super) generation: u16,
    pub(super) opcode: Opcode,
    pub(super) waker: Option<Waker>,
    /// When the caller stops waiting; `None` when it waits for ever.
    pub(super) deadline: Option<Instant>,
    /// The caller has given up. Only while `Sent`.
    pub(super) abandoned: bool,
    /// The frames so far of a reply of many, and their bytes.
    pages: Vec<Payload>,
    pages_bytes: usize,
}

impl Slot {
    pub(super) const fn new(opcode: Opcode) -> Self {
        Self {
            state: State::Free,
            generation: 0,
            opcode,
            waker: None,
            deadline: None,
            abandoned: false,
            pages: Vec::new(),
            pages_bytes: 0,
        }
    }

    /// Forgets its call, all but the generation.
    pub(super) fn clear(&mut self) {
        let generation = self.generation;
        *self = Self { generation, ..Self::new(self.opcode) };
    }

    /// What the request of a slot at this index is told by.
    pub(super) const fn correlation(&self, index: u16) -> u32 {
        (self.generation as u32) << 16 | index as u32
    }

    /// The reply, once its last frame is here.
    pub(super) fn receive(
        &mut self,
        header: Header,
        payload: Payload,
    ) -> Result<Option<Reply>, ReplyError> {
        let expected = self.opcode.reply();
        if header.opcode == opcode::ERROR {
            return Ok(Some(Reply::Refused(payload)));
        }
        if header.opcode != expected {
            return Err(ReplyError::Opcode { is: header.opcode, expected });
        }
        let more = header.flags.has(Flags::MORE);
        if self.opcode != Opcode::KeyList {
            return if more { Err(ReplyError::More) } else { Ok(Some(Reply::Payload(payload))) };
        }
        self.pages_bytes += payload.len();
        if self.pages_bytes > PAGES_BYTES_MAX {
            return Err(ReplyError::TooLong { max: PAGES_BYTES_MAX });
        }
        // Nobody will read the pages of a call that was given up.
        if !self.abandoned {
            self.pages.push(payload);
        }
        Ok(if more { None } else { Some(Reply::Pages(std::mem::take(&mut self.pages))) })
    }
}
