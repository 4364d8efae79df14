//! The client against a daemon that does as it is told.

mod blocking;
mod calls;
mod fake;
mod limits;
mod loss;
mod streams;

use std::time::Duration;

use super::{Builder, Client, Endpoint};
use fake::FakeDaemon;

/// Longer than any test may take, so that no timeout fires unless the test lets time pass.
const LONG: Duration = Duration::from_secs(3600);

fn builder(daemon: &FakeDaemon) -> Builder {
    Client::builder(Endpoint::unix(daemon.path())).timeout(LONG).silence_max(LONG)
}

/// Lets the clock run on to whatever timer is next until `future` is done. Nothing that waits for
/// a socket may be among what is waited for.
async fn let_time_pass<T>(future: impl Future<Output = T>) -> T {
    tokio::time::pause();
    let output = future.await;
    tokio::time::resume();
    output
}
