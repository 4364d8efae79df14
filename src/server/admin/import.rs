//! Imports: streams upward, whose frames may stand between other requests.

use std::sync::Arc;

use keygate_protocol::admin::ImportChunk;
use keygate_protocol::{ErrorCode, Flags};

use super::{Connection, Request, parse};
use crate::admin::{Admin, AdminError, Caller, Import};

/// Streams of imports that one connection may have begun; all but one of the daemon's are refused.
const STREAMS_MAX: usize = 64;

/// An import on its way in.
pub(super) enum Stream {
    Taking(Box<Import>),
    /// It was answered with an error; what still comes of it is passed over.
    Refused,
}

impl Connection {
    /// Takes one frame of an import. Its stream is answered once: after its last frame, or as soon
    /// as something is wrong; the rest is then passed over. Other requests may stand in between.
    pub(super) async fn import(&mut self, request: &Request) {
        let header = request.header;
        let last = !header.flags.has(Flags::MORE);
        let taken = match self.imports.remove(&header.correlation) {
            Some(Stream::Refused) => Ok(Stream::Refused),
            Some(Stream::Taking(import)) => take(*import, &request.payload).await,
            None if self.imports.len() < STREAMS_MAX => {
                begin(Arc::clone(&self.shared.admin), self.caller.clone(), request).await
            }
            None => {
                let message = "too many imports are begun on this connection".to_owned();
                Err(AdminError { code: ErrorCode::Busy, message })
            }
        };
        let taken = match taken {
            Ok(Stream::Taking(import)) if last => match import.finish().await {
                Ok(report) => return self.put(request, &report),
                Err(error) => Err(error),
            },
            taken => taken,
        };
        let stream = taken.unwrap_or_else(|error| {
            self.error(header, error.code, &error.message);
            Stream::Refused
        });
        if !last && self.imports.len() < STREAMS_MAX {
            self.imports.insert(header.correlation, stream);
        }
    }

    /// An import whose connection has ended is not executed.
    pub(super) async fn abandon_imports(&mut self) {
        for (_, stream) in self.imports.drain() {
            if let Stream::Taking(import) = stream
                && let Err(error) = import.roll_back().await
            {
                tracing::error!(%error, "a broken-off import could not be rolled back");
            }
        }
    }
}

fn taking(import: Import) -> Stream {
    Stream::Taking(Box::new(import))
}

async fn begin(admin: Arc<Admin>, caller: Caller, first: &Request) -> Result<Stream, AdminError> {
    let chunk: ImportChunk = parse(&first.payload)?;
    let import = Import::begin(admin, caller, chunk.skip_bad).await?;
    import.take(chunk).await.map(taking)
}

async fn take(import: Import, payload: &[u8]) -> Result<Stream, AdminError> {
    match parse(payload) {
        Ok(chunk) => import.take(chunk).await.map(taking),
        Err(error) => {
            import.roll_back().await?;
            Err(error)
        }
    }
}
