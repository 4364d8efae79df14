//! Why a command failed, in words that mend it, and the code it ends with.

use std::io;
use std::path::PathBuf;

use keygate_protocol::ErrorCode;

use super::Exit;
use super::bench::BenchError;
use crate::client;
use crate::config::ConfigError;
use crate::server::StartError;
use crate::store::StoreError;

/// What a command can fail with.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The arguments do not make sense together.
    #[error("{0}")]
    Usage(String),
    /// The daemon did not answer, or refused.
    #[error("{0}{hint}", hint = hint(.0))]
    Client(#[from] client::Error),
    /// The daemon does not start.
    #[error("{0}")]
    Start(#[from] StartError),
    /// The configuration is refused.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// A data directory or a backup cannot be used.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A daemon has the data directory, which the error names.
    #[error("{error}. {instead}")]
    InUse {
        /// Who has it.
        error: StoreError,
        /// What to do.
        instead: &'static str,
    },
    /// The key of the audit log cannot be had.
    #[error("{0}")]
    AuditKey(#[from] crate::audit::key::KeyError),
    /// The load generator failed.
    #[error("{0}")]
    Bench(#[from] BenchError),
    /// A signal ended the measurement.
    #[error("interrupted: there are no figures, and the keys are removed")]
    Interrupted,
    /// A file cannot be read or written.
    #[error("cannot {doing} {}: {error}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// The input is not what it should be.
    #[error("{from}: {reason}")]
    Input {
        /// The file, or "standard input".
        from: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refused.
    #[error("{doing}: {error}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The system's answer.
        error: io::Error,
    },
}

impl CliError {
    /// The code that the command ends with.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Bench(BenchError::Plan { .. }) => Exit::Usage,
            // An argument that the client did not even send.
            Self::Client(client::Error::Invalid(_) | client::Error::TooLarge { .. }) => Exit::Usage,
            Self::Client(error) if error.code() == Some(ErrorCode::NotFound) => Exit::NotFound,
            // It answers, and does not want this caller or what it asks for.
            Self::Client(error) if unwanted(error) => Exit::Error,
            Self::Client(error) if unreachable(error) => Exit::Unreachable,
            Self::Bench(BenchError::Connect { .. }) => Exit::Unreachable,
            _ => Exit::Error,
        }
    }
}

fn unwanted(error: &client::Error) -> bool {
    use ErrorCode::{BadPayload, NotAdmitted, UnknownDemand};
    // Whoever is there, and however it is mended, it is no matter of starting a daemon.
    let is_tls = matches!(
        error,
        client::Error::Connect { source, .. } if matches!(**source, client::ConnectError::Tls(_))
    );
    is_tls || matches!(error.code(), Some(NotAdmitted | BadPayload | UnknownDemand))
}

const fn unreachable(error: &client::Error) -> bool {
    use client::Error::{Connect, Disconnected, TimedOut};
    matches!(error, Connect { .. } | Disconnected { .. } | TimedOut { .. })
}

fn hint(error: &client::Error) -> &'static str {
    match error {
        client::Error::Connect { .. } if error.code() == Some(ErrorCode::UnknownDemand) => {
            "\nthis daemon is older than --as-tenant"
        }
        client::Error::Connect { .. } if unwanted(error) => "",
        client::Error::Connect { .. } => {
            "\n`keygate serve` starts it; --socket and --admin-socket (or KEYGATE_SOCKET and \
             KEYGATE_ADMIN_SOCKET) say where it listens"
        }
        client::Error::Refused(refusal) if error.code() == Some(ErrorCode::NotOnThisSocket) => {
            let _ = refusal;
            "\nthe admin socket takes this: see --admin-socket"
        }
        _ => "",
    }
}
