//! The yardstick: a Unix socket with nothing behind it.

use std::io;
use std::os::unix::net::UnixStream as Socket;
use std::thread::{self, JoinHandle};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime;
use tokio::task::JoinSet;

/// Bytes read at once; more than any depth that is worth measuring has in flight.
const READ_BYTES: usize = 64 * 1024;

/// A running echo; ends when the other ends of its sockets are closed.
pub(super) struct Echo {
    thread: JoinHandle<io::Result<()>>,
}

/// Starts an echo on one thread, as a daemon with one worker would run, and gives the sockets on
/// which it answers.
///
/// # Errors
/// When the system has no descriptor or thread left.
pub(super) fn start(connections: u32) -> io::Result<(Vec<Socket>, Echo)> {
    let pairs = (0..connections).map(|_| Socket::pair()).collect::<io::Result<Vec<_>>>()?;
    let (near, far): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let thread = thread::Builder::new().name("bench-echo".to_owned()).spawn(|| serve(far))?;
    Ok((near, Echo { thread }))
}

impl Echo {
    /// Waits for its end.
    ///
    /// # Errors
    /// When it could not run.
    pub(super) fn join(self) -> io::Result<()> {
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the echo panicked")))
    }
}

fn serve(sockets: Vec<Socket>) -> io::Result<()> {
    runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        let mut running = JoinSet::new();
        for socket in sockets {
            socket.set_nonblocking(true)?;
            running.spawn(echo(UnixStream::from_std(socket)?));
        }
        // A broken connection shows on the side that measures.
        while running.join_next().await.is_some() {}
        Ok(())
    })
}

/// All that is read at once is answered in one write.
async fn echo(mut stream: UnixStream) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read]).await?;
    }
}
