//! Watching: a stream that goes on until its reader has gone, or the daemon stops.

use std::time::Duration;

use keygate_protocol::ErrorCode;
use keygate_protocol::admin::{Watch, WatchFrame};
use serde_json::value::RawValue;
use tokio::io::AsyncReadExt as _;
use tokio::time::{MissedTickBehavior, interval};

use super::super::dispatch::Go;
use super::super::watchers::{Told, Watcher};
use super::{Connection, READ_BYTES, Request, parse};
use crate::admin::AdminError;

/// JSON of the events in one frame; one more may stand above it and still fits.
const FRAME_JSON_BYTES: usize = 256 * 1024;
/// After so long without an event a frame says that the daemon is there.
const QUIET: Duration = Duration::from_secs(1);

/// What a watcher goes on with.
enum Next {
    Frame(WatchFrame<Box<RawValue>>),
    Stop,
    Gone,
}

impl Connection {
    /// Sends what happens from now on. It is read only to notice that the peer has gone.
    pub(super) async fn watch(&mut self, request: &Request) -> Go {
        let begun = self.begin_watch(&request.payload);
        let watcher = match begun {
            Ok(watcher) => watcher,
            Err(error) => {
                self.error(request.header, error.code, &error.message);
                return Go::On;
            }
        };
        let mut quiet = interval(QUIET);
        quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = self.next_of(&watcher, &mut quiet).await;
            match next {
                Next::Frame(frame) => self.put_more(request.header, &frame, true),
                Next::Gone => return Go::Close,
                Next::Stop => {
                    let header = request.header;
                    let (code, message) = self.parting();
                    self.error(header, code, message);
                    return Go::Close;
                }
            }
            if self.flush().await.is_err() {
                return Go::Close;
            }
        }
    }

    /// The right to watch, and what of it: a bound caller sees its own tenant and no other.
    fn begin_watch(&self, payload: &[u8]) -> Result<Watcher, AdminError> {
        let asked: Watch = if payload.is_empty() { Watch::default() } else { parse(payload)? };
        let own = self.caller.tenant();
        if let (Some(own), Some(other)) = (own, &asked.tenant)
            && own != other
        {
            let message =
                format!("this caller is bound to the tenant {own:?} and watches no other tenant");
            return Err(AdminError { code: ErrorCode::Forbidden, message });
        }
        let busy = || AdminError {
            code: ErrorCode::Busy,
            message: "as many watch as may: limits.watchers_max says how many".to_owned(),
        };
        let tenant = own.map(str::to_owned).or(asked.tenant);
        self.shared.watchers.watch(tenant, own.is_some()).ok_or_else(busy)
    }

    async fn next_of(&mut self, watcher: &Watcher, quiet: &mut tokio::time::Interval) -> Next {
        let mut gathered = Gathered { frame: WatchFrame::default(), bytes: 0 };
        loop {
            // Whoever always has events must hear of it too.
            if self.is_over() {
                return Next::Stop;
            }
            gathered.rest(watcher);
            if !gathered.is_empty() {
                quiet.reset();
                return Next::Frame(gathered.frame);
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Next::Stop,
                () = watcher.filled() => {}
                // A peer that has more to ask waits, or takes another connection.
                read = self.stream.read_buf(&mut self.input), if self.input.len() < READ_BYTES => {
                    if !matches!(read, Ok(1..)) {
                        return Next::Gone;
                    }
                }
                _ = quiet.tick() => {
                    watcher.count(self.shared.clock.now());
                    gathered.rest(watcher);
                    return Next::Frame(gathered.frame);
                }
            }
        }
    }
}

/// Events on their way into a frame.
struct Gathered {
    frame: WatchFrame<Box<RawValue>>,
    bytes: usize,
}

impl Gathered {
    fn push(&mut self, shown: &str) {
        // It was written as JSON just now.
        if let Ok(json) = RawValue::from_string(shown.to_owned()) {
            self.bytes += shown.len();
            self.frame.events.push(json);
        }
    }

    /// What is there, as far as it fits. What stands behind a gap goes into a frame of its own.
    fn rest(&mut self, watcher: &Watcher) {
        while self.bytes < FRAME_JSON_BYTES {
            let next = match self.frame.events.is_empty() {
                true => watcher.next(),
                false => watcher.next_without_gap(),
            };
            match next {
                Some(Told::Event(shown)) => self.push(&shown),
                Some(Told::Missed(missed)) => self.frame.missed += missed,
                None => return,
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.frame.events.is_empty() && self.frame.missed == 0
    }
}
