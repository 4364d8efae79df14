//! `keygate export`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::error::CliError;
use super::records::is_stdin;
use super::{Exit, Global};
use crate::client::Client;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to, in the place of what is there; standard output if not given
    file: Option<PathBuf>,
}

/// Records that were written.
#[derive(Default)]
struct Count {
    tenants: u64,
    keys: u64,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let path = args.file.as_deref().filter(|path| !is_stdin(path));
    let count = match path {
        Some(path) => to_file(path, global)?,
        None => match global.with_admin(|client| write(client, io::stdout(), Path::new("-"))) {
            // A reader that has gone away (`| head`) has what it wanted.
            Err(CliError::File { error, .. }) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(Exit::Fine);
            }
            outcome => outcome?,
        },
    };
    let tenants = match count.tenants {
        0 => String::new(),
        tenants => format!("tenants exported: {tenants}, "),
    };
    eprintln!("{tenants}keys exported: {}", count.keys);
    Ok(Exit::Fine)
}

/// Writes beside the file first, so that a broken-off export replaces nothing. Its digests are for
/// its owner alone.
fn to_file(path: &Path, global: &Global) -> Result<Count, CliError> {
    let draft = path.with_added_extension("part");
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |error| CliError::File { doing, path, error }
    };
    let file: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed("write", &draft))?;
    let synced = file.try_clone().map_err(failed("write", &draft))?;
    let count = global.with_admin(|client| write(client, file, &draft))?;
    synced.sync_all().map_err(failed("write", &draft))?;
    std::fs::rename(&draft, path).map_err(failed("replace", path))?;
    Ok(count)
}

/// One document, one record a line, in constant memory: tenants, if there are any, then keys.
async fn write(client: Client, out: impl Write, path: &Path) -> Result<Count, CliError> {
    let failed = |error| CliError::File { doing: "write", path: path.to_owned(), error };
    let mut out = BufWriter::new(out);
    let mut export = client.export().await?;
    let mut count = Count::default();
    out.write_all(b"{").map_err(failed)?;
    let mut list = None;
    while let Some(page) = export.next_page().await? {
        if !page.tenants.is_empty() {
            count.tenants += page.tenants.len() as u64;
            put(&mut out, &mut list, "tenants", &page.tenants).map_err(failed)?;
        }
        if !page.keys.is_empty() {
            count.keys += page.keys.len() as u64;
            put(&mut out, &mut list, "api_keys", &page.keys).map_err(failed)?;
        }
    }
    // There is one, also of no keys.
    put(&mut out, &mut list, "api_keys", &[]).map_err(failed)?;
    out.write_all(b"\n]}\n").and_then(|()| out.flush()).map_err(failed)?;
    Ok(count)
}

/// Adds records to the list that was begun, or ends that one and begins another.
fn put(
    out: &mut impl Write,
    list: &mut Option<&'static str>,
    name: &'static str,
    records: &[Box<RawValue>],
) -> io::Result<()> {
    let mut between: &[u8] = b",\n";
    if *list != Some(name) {
        if list.replace(name).is_some() {
            out.write_all(b"\n],")?;
        }
        write!(out, "\"{name}\":[")?;
        between = b"\n";
    }
    for record in records {
        out.write_all(between)?;
        out.write_all(record.get().as_bytes())?;
        between = b",\n";
    }
    Ok(())
}
