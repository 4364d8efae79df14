//! `keygate deliver`.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::error::CliError;
use super::serve::{deliver_socket_of_env, log, no_signals, outlive_size_limit, stop_on_signals};
use super::{Exit, Global, connect};
use crate::config::{DELIVER_SOCKET_DEFAULT, Source};
use crate::deliver::{Courier, Helper};
use crate::server::{StartError, forbid_core_dumps, listen, supervisor};

const AFTER_HELP: &str = "\
It reads [alerts] and [sinks] of the daemon's configuration, again at SIGHUP, and keeps nothing. The
daemon is told of it by alerts.deliver_socket or `keygate serve --deliver-socket`.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The daemon's configuration, in TOML
    #[arg(long, env = "KEYGATE_CONFIG", value_name = "FILE", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Where it listens; alerts.deliver_socket if not given, or else /run/keygate/deliver.sock.
    /// A socket that systemd passes comes before [env: KEYGATE_DELIVER_SOCKET]
    #[arg(long, value_name = "PATH")]
    deliver_socket: Option<PathBuf>,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    log(global.json)?;
    // It has the password of the mail server, and the secrets of web hooks that it signs with.
    forbid_core_dumps();
    let source = Source { file: args.config.clone(), ..Source::default() };
    let config = source.read()?;
    let given = args.deliver_socket.clone().or_else(deliver_socket_of_env);
    let set = Some(&config.alerts.deliver_socket).filter(|path| !path.as_os_str().is_empty());
    let path = given.or_else(|| set.cloned()).unwrap_or_else(|| DELIVER_SOCKET_DEFAULT.into());
    // What it makes is its owner's alone, until its mode is widened.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let made = Courier::with_what_is_ready(&config.alerts, &config.sinks);
    let (courier, unready) = made.map_err(StartError::from)?;
    // Web hooks and sinks must not wait for somebody who mends the settings of the mail server.
    if let Some(error) = unready {
        tracing::error!(%error, "no mail is sent until this is mended; all else is");
    }
    let socket = listen::deliver(&path).map_err(StartError::from)?;
    let listening = |error| CliError::File { doing: "listen on", path: path.clone(), error };
    let listener = socket.listener.try_clone().map_err(listening)?;
    let helper = Arc::new(Helper::new(courier));
    let runtime = connect::runtime()?;
    runtime.block_on(serve(helper, source, listener))?;
    // A lookup or a disk that hangs must not hold the end up.
    runtime.shutdown_background();
    // A socket of its own goes with it.
    drop(socket);
    Ok(Exit::Fine)
}

async fn serve(
    helper: Arc<Helper>,
    source: Source,
    listener: UnixListener,
) -> Result<(), CliError> {
    let stop = CancellationToken::new();
    stop_on_signals(&stop)?;
    outlive_size_limit()?;
    let hangups = signal(SignalKind::hangup()).map_err(no_signals)?;
    let listener = tokio::net::UnixListener::from_std(listener)
        .map_err(|error| CliError::System { doing: "cannot listen", error })?;
    tokio::spawn(reload_on(hangups, Arc::clone(&helper), source));
    supervisor::ready();
    tracing::info!("ready to deliver");
    let told = async {
        stop.cancelled().await;
        supervisor::stopping();
    };
    tokio::join!(helper.serve(listener, stop.clone()), told);
    Ok(())
}

/// Reads the settings again at every signal. Those that are refused change nothing.
async fn reload_on(mut hangups: Signal, helper: Arc<Helper>, source: Source) {
    while hangups.recv().await.is_some() {
        let _reloading = supervisor::Reloading::begin();
        let source = source.clone();
        // The files that it names may lie on a slow disk.
        let made = tokio::task::spawn_blocking(move || courier(&source)).await;
        match made {
            Ok(Ok(courier)) => {
                helper.set(courier);
                tracing::info!("the configuration was reloaded");
            }
            Ok(Err(error)) => tracing::error!(%error, "the configuration was not reloaded"),
            // The runtime is ending.
            Err(_) => return,
        }
    }
}

fn courier(source: &Source) -> Result<Courier, CliError> {
    let config = source.read_again()?;
    Ok(Courier::new(&config.alerts, &config.sinks).map_err(StartError::from)?)
}
