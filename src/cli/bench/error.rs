//! What ends a measurement before its time.

use std::io;
use std::path::PathBuf;

use keygate_protocol::{FrameError, PayloadError};

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The plan cannot be carried out.
    #[error("{what}")]
    Plan {
        /// Which bound it is outside of.
        what: &'static str,
    },
    /// The daemon's socket does not take connections.
    #[error("cannot connect to {}: {source}; is the daemon running? `keygate ping` tells", socket.display())]
    Connect {
        /// The data socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon said no to a connection.
    #[error("the daemon refuses connection {connection}: {name}: {message}")]
    Refused {
        /// Which connection, counted from 0.
        connection: u32,
        /// The error's name, or its number when it is not known here.
        name: String,
        /// What the daemon said.
        message: String,
    },
    /// The daemon ended a connection without a word.
    #[error("the daemon closed connection {connection} with {waiting} requests unanswered")]
    Closed {
        /// Which connection, counted from 0.
        connection: u32,
        /// Requests that had been asked on it.
        waiting: usize,
    },
    /// The daemon went silent.
    #[error("{waiting} requests on connection {connection} were not answered in time")]
    Silent {
        /// Which connection, counted from 0.
        connection: u32,
        /// Requests that had been asked on it.
        waiting: usize,
    },
    /// Bytes came that are not a frame.
    #[error("what came is not keygate's protocol: {0}")]
    Frame(#[from] FrameError),
    /// A reply came that cannot be read.
    #[error("a reply cannot be read: {0}")]
    Payload(#[from] PayloadError),
    /// A reply came that nobody had asked for.
    #[error("a reply came to no request: opcode {opcode:#04x}, correlation {correlation}")]
    Unasked {
        /// The reply's opcode.
        opcode: u8,
        /// The reply's correlation.
        correlation: u32,
    },
    /// Reading or writing failed.
    #[error("connection {connection} broke: {source}")]
    Broken {
        /// Which connection, counted from 0.
        connection: u32,
        /// What the system said.
        source: io::Error,
    },
    /// This machine has no thread, timer or socket left.
    #[error("the load generator cannot run here: {0}")]
    Machine(io::Error),
    /// A defect of the load generator itself.
    #[error("a thread of the load generator panicked; please report this")]
    Panicked,
}
