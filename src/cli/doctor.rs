//! `keygate doctor`: looks at the daemon and at its data directory, and says what mends what is wrong.

mod findings;
mod secrets;

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keygate_protocol::admin::{Health, Stats, VerifyReport};
use serde_json::json;

use super::error::CliError;
use super::output::{print, print_json};
use super::{Exit, Global, verify};
use crate::client::{self, ServerInfo};
use crate::clock::{Clock as _, SystemClock};
use crate::config::DATA_DIR_DEFAULT;
use crate::server::secret_files;
use crate::store::{
    Keys, RECORD_SCHEMA, Rotating, StoreError, StoreOptions, found_in, open_existing, secret_ids,
};
use findings::{Finding, Guarded, Space, State};
use secrets::Wanted;

const AFTER_HELP: &str = "\
All of the data is read; a daemon that runs does that beside its work. Exit code 1 means that
something is wrong. The data directory is looked at where this user may.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The data directory; /var/lib/keygate if not given and there
    #[arg(long, env = "KEYGATE_DATA_DIR", value_name = "DIR", hide_env_values = true)]
    data_dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let dir = match &args.data_dir {
        Some(dir) => Some(dir.clone()),
        None => Some(PathBuf::from(DATA_DIR_DEFAULT)).filter(|dir| dir.is_dir()),
    };
    let mut found = Vec::new();
    let daemon = ask(global, args.data_dir.is_some(), &mut found)?;
    let (report, on_disk, wanted) = look_at_data(daemon, dir.as_deref(), &mut found);
    let now = SystemClock::default().now().wall_us;
    if let Some(report) = &report {
        found.extend(findings::data(report, dir.as_deref()));
        found.push(findings::clock(now, report.newest_at.as_deref()));
        if let Some(on_disk) = on_disk {
            found.push(findings::disk(on_disk, report.bytes, dir.as_deref()));
        }
    }
    if let Some(dir) = &dir {
        look_at_directory(dir, on_disk, &wanted, &mut found);
    }
    found.extend(findings::permissions(&guarded(dir.as_deref(), global)));
    tell(&found, global)
}

/// What a daemon that runs says.
struct Told {
    health: Health,
    stats: Stats,
    server: Option<ServerInfo>,
    report: Result<VerifyReport, CliError>,
    /// Its pepper and its master key, of a release that tells them.
    secrets: [Wanted; 2],
}

/// Asks the daemon, if there is one. Without one, and without a directory that was named, something
/// is wrong.
fn ask(global: &Global, named: bool, found: &mut Vec<Finding>) -> Result<Option<Told>, CliError> {
    let told = global.with_admin(async |client| {
        let (health, stats) = (client.health().await?, client.stats().await?);
        let server = client.hello().await.ok();
        let mut secrets = [Wanted::default(), Wanted::default()];
        for (wanted, pepper) in secrets.iter_mut().zip([true, false]) {
            *wanted =
                client.secret_status(pepper).await.as_ref().map(Wanted::from).unwrap_or_default();
        }
        Ok(Told { health, stats, server, report: verify::of_daemon(client).await, secrets })
    });
    match told {
        Ok(told) => {
            found.extend(findings::health(&told.health));
            let name = told.server.as_ref().and_then(|server| server.name.as_deref());
            found.push(findings::versions(name, env!("CARGO_PKG_VERSION")));
            Ok(Some(told))
        }
        Err(CliError::Client(error @ client::Error::Connect { .. })) => {
            let mend = "`keygate serve` or `systemctl start keygate` starts it; --admin-socket says \
                        where it listens";
            let finding = if named { Finding::advice } else { Finding::wrong };
            found.push(finding("daemon", error.to_string().as_str(), mend));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The report on the data, its bytes on disk, and the secrets that it needs: from the daemon, or from
/// the directory itself.
fn look_at_data(
    daemon: Option<Told>,
    dir: Option<&Path>,
    found: &mut Vec<Finding>,
) -> (Option<VerifyReport>, Option<u64>, [Wanted; 2]) {
    let own = |read| match read {
        Ok((report, on_disk, wanted)) => (Ok(report), Some(on_disk), wanted),
        Err(error) => (Err(error), None, Default::default()),
    };
    let of_daemon =
        |told: Told| (told.report, told.stats.get("store_bytes").copied(), told.secrets);
    let (report, on_disk, wanted) = match (daemon, dir) {
        (None, None) => {
            let mend = "--data-dir DIR has it look at the data";
            found.push(Finding::advice("data", "no data was looked at", mend));
            return (None, None, Default::default());
        }
        (None, Some(dir)) => own(of_directory(dir)),
        (Some(told), None) => of_daemon(told),
        (Some(told), Some(dir)) => match of_directory(dir) {
            // A daemon holds its directory: what can be read here is not the data of this one.
            Ok(read) => {
                let words = format!("the daemon that answers does not use {}", dir.display());
                let mend = "what follows is about the directory; --admin-socket says which daemon \
                            is asked, --data-dir which directory is looked at";
                found.push(Finding::advice("daemon", &words, mend));
                own(Ok(read))
            }
            Err(CliError::InUse { .. } | CliError::Store(StoreError::Io { .. })) => of_daemon(told),
            Err(error) => own(Err(error)),
        },
    };
    match report {
        Ok(report) => (Some(report), on_disk, wanted),
        Err(error) => {
            let mend = "mend what it says, then `keygate verify`";
            found.push(Finding::wrong("data", error.to_string(), mend));
            (None, on_disk, wanted)
        }
    }
}

fn of_directory(dir: &Path) -> Result<(VerifyReport, u64, [Wanted; 2]), CliError> {
    let report = verify::of_directory(dir)?;
    let (_, store) = open_existing(dir, &StoreOptions::default())?;
    let mut wanted = [Wanted::default(), Wanted::default()];
    for (wanted, of) in wanted.iter_mut().zip(Rotating::ALL) {
        wanted.ids = secret_ids(store.as_ref(), of)?;
    }
    // A store of an older schema would be brought to this one.
    if report.schema == Some(RECORD_SCHEMA) {
        let needs = Keys::begin(Arc::clone(&store))?.needs_master_key()?;
        wanted[Rotating::Master as usize].spare = !needs;
    }
    Ok((report, store.bytes_on_disk()?, wanted))
}

fn look_at_directory(
    dir: &Path,
    on_disk: Option<u64>,
    wanted: &[Wanted; 2],
    found: &mut Vec<Finding>,
) {
    match rustix::fs::statvfs(dir) {
        Ok(stat) => {
            let of = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
            let space = Space { free: of(stat.f_bavail), total: of(stat.f_blocks) };
            found.push(findings::free(space, on_disk.unwrap_or(0)));
        }
        Err(error) => {
            let words =
                format!("the file system of {} cannot be looked at: {error}", dir.display());
            found.push(Finding::wrong("free_space", words, "check the path of --data-dir"));
            return;
        }
    }
    if let Some(engine) = found_in(dir) {
        let words = format!("{} holds data of the engine {engine}", dir.display());
        found.push(Finding::fine("engine", words));
    }
    for (of, wanted) in Rotating::ALL.into_iter().zip(wanted) {
        found.push(secrets::judge(of, dir, secret_files(dir, of), wanted));
    }
    if let Err(error) = dir.read_dir()
        && error.kind() == ErrorKind::PermissionDenied
    {
        found.push(findings::hidden("permissions", dir));
    }
}

/// What must be private: the directory with its files, and the sockets.
fn guarded(dir: Option<&Path>, global: &Global) -> Vec<Guarded> {
    let look = |path: PathBuf, forbidden| {
        let mode = path.symlink_metadata().ok()?.permissions().mode();
        Some(Guarded { path, mode, forbidden, by_rights: false })
    };
    let mut guarded = Vec::new();
    if let Some(dir) = dir {
        guarded.extend(look(dir.to_owned(), 0o077));
        let entries = dir.read_dir().into_iter().flatten().filter_map(Result::ok);
        let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        guarded.extend(files.filter_map(|entry| look(entry.path(), 0o077)));
    }
    // Whether the admin socket may be open to everybody, only the daemon's configuration tells.
    for (socket, by_rights) in [(global.data_socket(), false), (global.admin_socket(), true)] {
        let is_socket = socket.metadata().is_ok_and(|found| found.file_type().is_socket());
        let found = is_socket.then(|| look(socket, 0o007)).flatten();
        guarded.extend(found.map(|found| Guarded { by_rights, ..found }));
    }
    guarded
}

fn tell(found: &[Finding], global: &Global) -> Result<Exit, CliError> {
    let wrong = found.iter().any(|finding| finding.state == State::Wrong);
    if global.json {
        print_json(&json!({ "wrong": wrong, "findings": found }))?;
    } else {
        let mut text = String::new();
        for finding in found {
            let state = match finding.state {
                State::Fine => "fine",
                State::Advice => "advice",
                State::Wrong => "WRONG",
            };
            text += &format!("{state:7} {:12} {}\n", finding.check, finding.found);
            if let Some(mend) = &finding.mend {
                text += &format!("{:7} {:12} {mend}\n", "", "");
            }
        }
        print(&text)?;
    }
    Ok(if wrong { Exit::Error } else { Exit::Fine })
}
