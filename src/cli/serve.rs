//! `keygate serve`.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::error::CliError;
use super::{Exit, Global, connect, demo};
use crate::admin::Caller;
use crate::config::{Overrides, Source};
use crate::server::{Daemon, Reload, forbid_core_dumps};

const DATA_DIR_ENV: &str = "KEYGATE_DATA_DIR";

const AFTER_HELP: &str = "\
The log goes to standard error. KEYGATE_LOG chooses how much, such as warn or keygate=debug.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The configuration, in TOML
    #[arg(long, env = "KEYGATE_CONFIG", value_name = "FILE", hide_env_values = true)]
    config: Option<PathBuf>,
    // clap would take the environment for a contradiction to --demo, so it is read below.
    /// Where keys are kept; /var/lib/keygate if not given [env: KEYGATE_DATA_DIR]
    #[arg(long, value_name = "DIR", conflicts_with = "demo")]
    data_dir: Option<PathBuf>,
    /// Serve the data plane on a loopback TCP address too
    #[arg(long, env = "KEYGATE_TCP", value_name = "ADDR", hide_env_values = true)]
    #[arg(value_delimiter = ',')]
    tcp: Vec<SocketAddr>,
    // An empty variable names none, where clap would miss a value.
    /// Hand alerts to the `keygate deliver` behind this socket; without one they are sent from here
    /// [env: KEYGATE_DELIVER_SOCKET]
    #[arg(long, value_name = "PATH")]
    deliver_socket: Option<PathBuf>,
    /// Try it out: a throw-away directory (whatever KEYGATE_DATA_DIR says), a tenant, a key, and
    /// three commands to paste
    #[arg(long)]
    demo: bool,
}

impl Args {
    fn source(&self, global: &Global) -> Source {
        let from_env = || std::env::var_os(DATA_DIR_ENV).filter(|dir| !dir.is_empty());
        // Of a flag a path may begin where the daemon is started; the setting is a whole one.
        let deliver_socket = self.deliver_socket.clone().or_else(deliver_socket_of_env);
        let overrides = Overrides {
            data_dir: self.data_dir.clone().or_else(|| from_env().map(PathBuf::from)),
            socket: global.socket.clone(),
            admin_socket: global.admin_socket.clone(),
            deliver_socket: deliver_socket.map(|path| std::path::absolute(&path).unwrap_or(path)),
            tcp: self.tcp.clone(),
        };
        Source { file: self.config.clone(), overrides }
    }
}

/// The socket of `keygate deliver` that the environment names, if it names one.
pub(super) fn deliver_socket_of_env() -> Option<PathBuf> {
    let path = std::env::var_os("KEYGATE_DELIVER_SOCKET").filter(|path| !path.is_empty());
    path.map(PathBuf::from)
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    log(global.json)?;
    forbid_core_dumps();
    let mut source = args.source(global);
    // Removed when the daemon has ended.
    let scratch = args.demo.then(|| demo::directory(&mut source.overrides)).transpose()?;
    let config = source.read()?;
    let runtime = connect::runtime()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        stop_on_signals(&stop)?;
        outlive_size_limit()?;
        // Before it is handled, this signal would end the process.
        let hangups = signal(SignalKind::hangup()).map_err(no_signals)?;
        // Loading waits for the disk. Nothing was promised to anybody yet, so a stop need not wait
        // for its end: what it writes is whole or not there.
        let opened = tokio::task::spawn_blocking(|| Daemon::open(config, source));
        let Some(opened) = stop.run_until_cancelled(opened).await else {
            tracing::info!("stopped before everything was loaded");
            return Ok(());
        };
        let crashed = |error: tokio::task::JoinError| CliError::System {
            doing: "cannot load",
            error: error.into(),
        };
        let daemon = opened.map_err(crashed)??;
        let admin = daemon.admin();
        let reload = daemon.reload(&admin);
        match &scratch {
            // Its terminal was closed: nobody else would end it.
            Some(_) => drop(tokio::spawn(stop_on(hangups, stop.clone()))),
            None => drop(tokio::spawn(reload_on(hangups, Arc::clone(&reload)))),
        }
        let (socket, admin_socket) = daemon.sockets();
        let demo_key = match &scratch {
            Some(_) => Some(demo::make_key(&admin).await?),
            None => None,
        };
        let ready = move || match demo_key {
            Some(key) => demo::greet(&key, &socket, &admin_socket),
            None => tracing::info!(
                socket = %socket.display(),
                admin_socket = %admin_socket.display(),
                "ready"
            ),
        };
        Ok::<(), CliError>(daemon.run(admin, reload, stop, ready).await?)
    })?;
    // A thread that hangs in the disk must not hold the end up.
    runtime.shutdown_background();
    drop(scratch);
    Ok(Exit::Fine)
}

/// The first signal asks for an orderly stop, the second ends the process where it stands: it is as
/// safe as a crash.
pub(super) fn stop_on_signals(stop: &CancellationToken) -> Result<(), CliError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let stop = stop.clone();
    tokio::spawn(async move {
        for last in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if last {
                tracing::warn!("a second signal: ending at once, without the last flush");
                std::process::exit(Exit::Error as i32);
            }
            stop.cancel();
        }
    });
    Ok(())
}

/// A write beyond the limit of a file's size (`LimitFSIZE=`, `ulimit -f`) fails like any other,
/// where the signal of it would end the process. It is handled until the process ends, whether or
/// not somebody waits for it.
pub(super) fn outlive_size_limit() -> Result<(), CliError> {
    let beyond = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    signal(beyond).map(drop).map_err(no_signals)
}

pub(super) const fn no_signals(error: std::io::Error) -> CliError {
    CliError::System { doing: "cannot handle signals", error }
}

/// Reads the configuration again at every signal. What comes of it is in the log.
async fn reload_on(mut hangups: Signal, reload: Arc<Reload>) {
    while hangups.recv().await.is_some() {
        let _ = reload.reload(&Caller::daemon("signal")).await;
    }
}

async fn stop_on(mut hangups: Signal, stop: CancellationToken) {
    if hangups.recv().await.is_some() {
        stop.cancel();
    }
}

/// Logs go to standard error; `KEYGATE_LOG` chooses how much, as in `keygate=debug`.
pub(super) fn log(json: bool) -> Result<(), CliError> {
    use std::io::IsTerminal;
    let filter = filter(std::env::var_os("KEYGATE_LOG").as_deref())?;
    let colour = std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would say on standard error that standard error cannot be written, and panic.
        .log_internal_errors(false)
        .with_ansi(colour);
    if json {
        log.json().init();
    } else {
        log.init();
    }
    Ok(())
}

/// What to log. A word alone is a level: that of a mistyped one must not be taken for the name of a
/// module, of which nothing else would then be logged.
fn filter(chosen: Option<&OsStr>) -> Result<EnvFilter, CliError> {
    let chosen = match chosen {
        None => "info",
        Some(chosen) => chosen.to_str().ok_or_else(|| unknown_log(chosen))?,
    };
    let level_or_target = |directive: &str| {
        let directive = directive.trim();
        directive.contains(['=', '[']) || directive.parse::<LevelFilter>().is_ok()
    };
    if chosen.trim().is_empty() {
        return Ok(EnvFilter::new("info"));
    }
    if !chosen.split(',').all(level_or_target) {
        return Err(unknown_log(chosen.as_ref()));
    }
    EnvFilter::try_new(chosen).map_err(|_| unknown_log(chosen.as_ref()))
}

fn unknown_log(chosen: &OsStr) -> CliError {
    CliError::Usage(format!(
        "KEYGATE_LOG is {chosen:?}; it must be off, error, warn, info, debug or trace, or \
         module=level pairs joined by commas, such as keygate=debug"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_log_is_understood_or_refused() {
        for (chosen, filters) in [
            (None, "info"),
            (Some(""), "info"),
            (Some("warn"), "warn"),
            (Some("DEBUG"), "debug"),
            (Some("off"), "off"),
            (Some("keygate=debug"), "keygate=debug"),
            (Some("info,keygate::server=trace"), "keygate::server=trace,info"),
        ] {
            let filter = filter(chosen.map(OsStr::new)).expect("understood");
            assert_eq!(filter.to_string(), filters);
        }
        for bad in ["inof", "keygate=loud", "keygate", "="] {
            let error = filter(Some(OsStr::new(bad))).expect_err(bad).to_string();
            assert!(error.contains(bad) && error.contains("keygate=debug"), "{error}");
        }
    }
}
