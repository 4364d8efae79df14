//! The command line: one file per command.
//!
//! Data goes to standard output, everything else to standard error. Every command takes `--json`
//! and ends with one of the codes of [`Exit`].

/// Says something to people on standard error. Unlike the one of the standard library it does not
/// panic when nobody reads: `keygate import … 2>&1 | head` is no failure.
macro_rules! eprintln {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

mod alert;
mod audit;
mod backup;
pub mod bench;
mod bench_command;
mod compact;
mod config;
mod connect;
mod deliver;
mod demo;
mod doctor;
mod error;
mod event_line;
mod export;
#[doc(hidden)]
pub mod fuzzing;
mod import;
mod increment;
mod key;
mod limits;
mod output;
mod ping;
mod progress;
mod records;
mod reload;
mod remote;
mod renew;
mod restore;
mod rotate;
mod secret;
mod serve;
mod signed;
mod simulate;
mod spent;
mod status;
mod tenant;
mod usage;
mod validate;
mod verdict;
mod verify;
mod watch;
mod when;
mod whole;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::CliError;

use crate::store::Rotating;

/// How a command ends. Scripts rely on these figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked; for `validate`: valid.
    Fine = 0,
    /// It failed.
    Error = 1,
    /// The arguments are wrong.
    Usage = 2,
    /// The key may not do this now.
    Denied = 3,
    /// No daemon answers.
    Unreachable = 4,
    /// There is no such key or tenant.
    NotFound = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// May this API key do this, now? A daemon that answers in microseconds, and its command line.
#[derive(Debug, Parser)]
#[command(name = "keygate", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done (for validate: valid), 1 error, 2 wrong arguments, 3 denied, 4 no daemon answers,
5 no such key or tenant.";

/// What every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
struct Global {
    // clap would show what the environment has as if every command demanded it, so that is read
    // when the arguments are.
    /// The daemon's data socket; /run/keygate/keygate.sock if not given [env: KEYGATE_SOCKET]. For
    /// commands also tls://HOST:PORT, or tcp://HOST:PORT
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The daemon's admin socket; /run/keygate/admin.sock if not given [env: KEYGATE_ADMIN_SOCKET].
    /// For commands also tls://HOST:PORT
    #[arg(long, global = true, value_name = "PATH")]
    admin_socket: Option<PathBuf>,
    /// See no other tenant's keys: whatever the command asks, it asks as one that is bound to this
    /// tenant. Not for serve, deliver, bench and simulate
    #[arg(long, global = true, value_name = "TENANT")]
    as_tenant: Option<String>,
    #[command(flatten)]
    tls: remote::TlsArgs,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

impl Global {
    /// Takes the sockets that no argument names from the environment; an empty variable names none.
    fn complete_from(&mut self, variable: impl Fn(&str) -> Option<OsString>) {
        self.tls.complete_from(&variable);
        let path = |name| variable(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        self.socket = self.socket.take().or_else(|| path("KEYGATE_SOCKET"));
        self.admin_socket = self.admin_socket.take().or_else(|| path("KEYGATE_ADMIN_SOCKET"));
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Serve(serve::Args),
    /// Send alerts for the daemon, which then needs no network
    Deliver(deliver::Args),
    /// Ask whether the daemon answers, and how fast
    Ping,
    /// Show the daemon's health and figures
    Status,
    /// Have the daemon read its configuration again
    Reload,
    /// Check a configuration, or show what is in force by it
    #[command(subcommand)]
    Config(config::Command),
    /// Create, show and change keys
    #[command(subcommand)]
    Key(key::Command),
    /// Create, show and change tenants
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Test alerts, show what became of them, and the secrets of web hooks
    #[command(subcommand)]
    Alert(alert::Command),
    /// Ask whether a token may do something now
    Validate(Box<validate::Args>),
    /// Report what became of a request
    Increment(increment::Args),
    /// Hold a slot for its whole time again
    Renew(renew::Args),
    /// Show what a key was used for and how its limits stand
    Usage(usage::Args),
    /// Take records of the source system, all or none
    Import(import::Args),
    /// Write all records as the source system would
    Export(export::Args),
    /// Copy the running daemon's whole store into a new data directory
    Backup(backup::Args),
    /// Make a data directory from a backup, of either engine
    Restore(restore::Args),
    /// Read every row and say what is wrong
    Verify(verify::Args),
    /// Exchange the secret of the digests of tokens, or show how it stands
    #[command(subcommand)]
    Pepper(rotate::Command),
    /// Exchange the key that records and secrets are encrypted under, or show how it stands
    #[command(subcommand)]
    Master(rotate::Command),
    /// Rewrite a stopped daemon's store, which gives unused room back
    Compact(compact::Args),
    /// Read the audit log, and say whether it is as it was written: without the daemon
    #[command(subcommand)]
    Audit(audit::Command),
    /// Show changes, denials and alerts as they happen
    Watch(watch::Args),
    /// Look at daemon and data, and say what mends what is wrong
    Doctor(doctor::Args),
    /// Say what limits would have done to traffic that is over: no daemon, no disk
    Simulate(simulate::Args),
    /// Put load on the daemon and measure it beside a bare echo
    Bench(bench_command::Args),
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => redacted(error).exit(),
    };
    cli.global.complete_from(|name| std::env::var_os(name));
    match run(&cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("keygate: {error}");
            error.exit().into()
        }
    }
}

/// A token in the place of another argument must not be repeated into somebody's log. No value that
/// an argument takes and that can be mistaken is as long as a token.
fn redacted(mut error: clap::Error) -> clap::Error {
    use clap::error::{ContextKind, ContextValue};
    const SHOWN_CHARS: usize = 30;
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidArg, ContextKind::InvalidSubcommand]
    {
        let Some(ContextValue::String(given)) = error.get(kind) else { continue };
        if given.chars().count() > SHOWN_CHARS {
            let begin: String = given.chars().take(8).collect();
            error.insert(kind, ContextValue::String(format!("{begin}…")));
        }
    }
    error
}

fn run(cli: &Cli) -> Result<Exit, CliError> {
    let global = &cli.global;
    if global.as_tenant.is_some()
        && matches!(
            cli.command,
            Command::Serve(_) | Command::Deliver(_) | Command::Bench(_) | Command::Simulate(_)
        )
    {
        let what = "--as-tenant binds what a command asks; serve and deliver ask nothing, bench makes a \
                    tenant of its own, and in a simulation each line says its \"tenant\"";
        return Err(CliError::Usage(what.to_owned()));
    }
    let remote = [&global.socket, &global.admin_socket].into_iter().flatten();
    if remote.into_iter().any(|socket| remote::is_remote(socket))
        && matches!(cli.command, Command::Serve(_) | Command::Bench(_))
    {
        let what = "serve and bench take paths of Unix sockets; where the daemon speaks TLS, its \
                    configuration says ([tls])";
        return Err(CliError::Usage(what.to_owned()));
    }
    match &cli.command {
        Command::Serve(args) => serve::run(args, global),
        Command::Deliver(args) => deliver::run(args, global),
        Command::Ping => ping::run(global),
        Command::Status => status::run(global),
        Command::Reload => reload::run(global),
        Command::Config(command) => config::run(command, global),
        Command::Key(command) => key::run(command, global),
        Command::Tenant(command) => tenant::run(command, global),
        Command::Alert(command) => alert::run(command, global),
        Command::Validate(args) => validate::run(args, global),
        Command::Increment(args) => increment::run(args, global),
        Command::Renew(args) => renew::run(args, global),
        Command::Usage(args) => usage::run(args, global),
        Command::Import(args) => import::run(args, global),
        Command::Export(args) => export::run(args, global),
        Command::Backup(args) => backup::run(args, global),
        Command::Restore(args) => restore::run(args, global),
        Command::Verify(args) => verify::run(args, global),
        Command::Pepper(command) => rotate::run(command, Rotating::Pepper, global),
        Command::Master(command) => rotate::run(command, Rotating::Master, global),
        Command::Compact(args) => compact::run(args, global),
        Command::Audit(command) => audit::run(command, global),
        Command::Watch(args) => watch::run(args, global),
        Command::Doctor(args) => doctor::run(args, global),
        Command::Simulate(args) => simulate::run(args, global),
        Command::Bench(args) => bench_command::run(args, global),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_arguments_contradict_nothing() {
        Cli::command().debug_assert();
    }
}
