//! What can go wrong with a call, and whether the daemon may have executed it all the same.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use keygate_protocol::{ErrorCode, ErrorReply, Execution, FrameError, PayloadError};

use super::Endpoint;
use super::tls::explained;

/// Why a call has no answer. A denied key is not among these: it is a [`super::Validation`].
///
/// [`Error::may_have_been_executed`] says whether trying again could do the same thing twice.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There was no connection within the call's timeout. Never executed.
    #[error("cannot connect to {endpoint}: {source}")]
    Connect {
        /// Where to.
        endpoint: Endpoint,
        /// What the last attempt failed with.
        source: Arc<ConnectError>,
    },
    /// No answer came within the call's timeout.
    #[error(
        "no answer within {after:?}; the request {}",
        if *.may_have_been_executed { "may have been executed" } else { "was not sent" }
    )]
    TimedOut {
        /// The timeout.
        after: Duration,
        /// False while the request had not yet been given to the socket; it is withdrawn then.
        may_have_been_executed: bool,
    },
    /// The connection ended before the answer came.
    #[error(
        "the connection to {endpoint} ended: {source}; the request {}",
        if *.may_have_been_executed { "may have been executed" } else { "was not executed" }
    )]
    Disconnected {
        /// Where to.
        endpoint: Endpoint,
        /// How it ended.
        source: Arc<Loss>,
        /// False when the request had not been written to its last byte, and when the daemon
        /// said that it was closing without having read it.
        may_have_been_executed: bool,
    },
    /// The daemon could not judge or carry out the request.
    #[error("the daemon refused the request: {0}")]
    Refused(Refusal),
    /// The daemon answered with something that cannot be read. The request was executed, as far
    /// as one can tell.
    #[error("the daemon's answer cannot be read: {0}")]
    Protocol(#[source] ReplyError),
    /// The request does not fit what the daemon takes. Refused here, never sent.
    #[error("{what}: {is}, and the daemon takes at most {max}")]
    TooLarge {
        /// Which bound.
        what: &'static str,
        /// What the request has.
        is: usize,
        /// What would fit.
        max: usize,
    },
    /// A field of the request is out of its bounds. Refused here, never sent.
    #[error("the request cannot be sent: {0}")]
    Invalid(PayloadError),
    /// As many requests wait as the client is configured to hold. Only what does not wait for
    /// room says so. Never sent.
    #[error("the client already holds as many unanswered requests as it may; try again")]
    Full,
    /// The runtime on which the client was made has ended. Never sent.
    #[error("the client's connection task has ended with its runtime; make a new client")]
    Closed,
}

impl Error {
    /// Whether the daemon may have executed the request although there is no usable answer. If
    /// not, sending it again is safe.
    ///
    /// False for what was never written to the socket in full, and for errors of the daemon, of
    /// the request or of its connection, whose table (SPEC §7) says that nothing was executed.
    /// True for everything that was written and then lost without a word, timed out, or answered
    /// in a way that cannot be read, and for error codes that this release does not know.
    #[must_use]
    pub fn may_have_been_executed(&self) -> bool {
        match self {
            Self::TimedOut { may_have_been_executed, .. }
            | Self::Disconnected { may_have_been_executed, .. } => *may_have_been_executed,
            Self::Refused(refusal) => refusal.may_have_been_executed(),
            Self::Protocol(_) => true,
            Self::Connect { .. }
            | Self::TooLarge { .. }
            | Self::Invalid(_)
            | Self::Full
            | Self::Closed => false,
        }
    }

    /// The daemon's error code, if it is one of version 1 that stands behind this.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::Connect { source, .. } => match &**source {
                ConnectError::Refused(refusal) => refusal.code,
                _ => None,
            },
            Self::Disconnected { source, .. } => match &**source {
                Loss::Refused(refusal) => refusal.code,
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the daemon could not be reached at all.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }

    pub(super) fn reply(error: impl Into<ReplyError>) -> Self {
        Self::Protocol(error.into())
    }
}

/// An error reply of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", .code.map_or("an error of a later release", ErrorCode::name), self.text())]
pub struct Refusal {
    /// Which error; `None` for one that a later release has added.
    pub code: Option<ErrorCode>,
    /// The code's byte.
    pub byte: u8,
    /// What happened and what mends it, as the daemon says it.
    pub message: String,
}

impl Refusal {
    pub(super) fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let ErrorReply { code, byte, message } = ErrorReply::decode(payload)?;
        Ok(Self { code, byte, message: message.to_owned() })
    }

    fn text(&self) -> &str {
        match self.code {
            Some(code) if self.message.is_empty() => code.text(),
            _ => &self.message,
        }
    }

    fn may_have_been_executed(&self) -> bool {
        self.code.is_none_or(|code| code.execution() == Execution::Maybe)
    }

    /// Whether the daemon closes the connection after this. Of a code that is not known, the end
    /// of the connection itself will tell.
    pub(super) fn closes(&self) -> bool {
        self.code.is_some_and(ErrorCode::closes)
    }
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The system refused.
    #[error("{0}; is the daemon running, and may this user open its socket?")]
    Io(io::Error),
    /// TLS could not be agreed on: what is wrong, and what mends it.
    #[error("{0}")]
    Tls(String),
    /// It took too long.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// The daemon refused the connection: too many, stopping, or no common protocol version.
    #[error("{0}")]
    Refused(Refusal),
    /// What answered does not speak keygate's protocol.
    #[error("what listens there does not answer as keygate does: {0}")]
    Handshake(ReplyError),
    /// The connection ended before the greeting was answered.
    #[error("the connection ended before the daemon had answered")]
    Ended,
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        explained(&error).map_or(Self::Io(error), Self::Tls)
    }
}

impl ConnectError {
    /// Whether trying again can only lead to the same end, so that nobody should wait for it.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.code == Some(ErrorCode::UnsupportedVersion),
            Self::Handshake(_) => true,
            Self::Io(_) | Self::Tls(_) | Self::TimedOut(_) | Self::Ended => false,
        }
    }
}

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// The daemon closed it.
    #[error("the daemon closed it")]
    Closed,
    /// The system reported an error.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The daemon said why. It had answered everything that it had read by then (SPEC §1), so
    /// what has no answer was not executed, as far as the code says so.
    #[error("{0}")]
    Refused(Refusal),
    /// The daemon broke the protocol; nothing more of this connection is believed.
    #[error("the daemon broke the protocol: {0}")]
    Protocol(#[from] ReplyError),
    /// Calls had timed out and nothing came for this long.
    #[error("calls timed out and the daemon was silent for {0:?}")]
    Silent(Duration),
}

impl Loss {
    /// Whether a request that was written and not answered may have been executed.
    pub(super) fn may_have_been_executed(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.may_have_been_executed(),
            _ => true,
        }
    }
}

/// Why bytes of the daemon are not an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// Not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Not the payload of its opcode.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// Not the JSON of its opcode.
    #[error("the JSON is not what was asked for: {0}")]
    Json(#[from] serde_json::Error),
    /// An answer to nothing that was asked.
    #[error("a reply bears the correlation {0:#010x}, under which nothing was asked")]
    Correlation(u32),
    /// An answer of another kind than the question.
    #[error("a reply of opcode {is:#04x} came where {expected:#04x} was due")]
    Opcode {
        /// What came.
        is: u8,
        /// What was due.
        expected: u8,
    },
    /// More frames were announced where one is the whole answer.
    #[error("a reply announces more frames where one is the whole answer")]
    More,
    /// A batch was answered with another number of items.
    #[error("a batch of {asked} was answered with {answered} items")]
    Count {
        /// Items of the question.
        asked: usize,
        /// Items of the answer.
        answered: usize,
    },
    /// A ping came back changed.
    #[error("a ping came back changed")]
    Echo,
    /// One answer goes on without end.
    #[error("an answer of more than {max} bytes")]
    TooLong {
        /// The bound, bytes.
        max: usize,
    },
}
