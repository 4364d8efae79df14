//! Backup and verification: streams whose frames a thread makes that waits for the disk.

use std::ops::ControlFlow;
use std::sync::Arc;

use keygate_protocol::admin::Backup;
use keygate_protocol::{ErrorCode, Opcode};
use tokio::sync::mpsc;

use super::super::dispatch::Go;
use super::{Connection, Request, parse, parse_none};

impl Connection {
    /// What concerns every tenant. Its frames are made on a thread that may wait for the disk, one
    /// ahead of the reader, who sets the pace.
    pub(super) async fn whole_store(&mut self, opcode: Opcode, request: &Request) -> Go {
        let header = request.header;
        let backup = match opcode {
            Opcode::Backup if request.payload.is_empty() => Ok(Some(Backup::default())),
            Opcode::Backup => parse(&request.payload).map(Some),
            _ => parse_none(&request.payload).map(|_| None),
        };
        let backup = match backup {
            Ok(backup) => backup,
            Err(error) => {
                self.error(header, error.code, &error.message);
                return Go::On;
            }
        };
        let (admin, caller) = (Arc::clone(&self.shared.admin), self.caller.clone());
        let (frames, mut made) = mpsc::channel(1);
        let work = tokio::task::spawn_blocking(move || {
            let mut each = |json, more| match frames.blocking_send((json, more)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            };
            match backup {
                Some(backup) => admin.backup(&caller, backup, &mut each),
                None => admin.verify(&caller, &mut each),
            }
        });
        let stop = self.stop.clone();
        loop {
            // A stop waits for no walk over everything; it changes nothing that could be torn.
            let Some(frame) = stop.run_until_cancelled(made.recv()).await else {
                let (code, message) = self.parting();
                self.error(header, code, &format!("{message}; this is not whole"));
                return Go::Close;
            };
            let Some((json, more)) = frame else { break };
            self.put_json(header, &json, more);
            if self.flush().await.is_err() {
                return Go::Close;
            }
        }
        match work.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.error(header, error.code, &error.message),
            Err(_) => {
                self.error(header, ErrorCode::Internal, "it failed inside; the log says where");
            }
        }
        Go::On
    }
}
