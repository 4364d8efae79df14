//! `keygate export`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::CliError;
use super::records::is_stdin;
use super::{Exit, Global};
use crate::client::Client;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to, in the place of what is there; standard output if not given
    file: Option<PathBuf>,
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
    eprintln!("keys exported: {count}");
    Ok(Exit::Fine)
}

/// Writes beside the file first, so that a broken-off export replaces nothing. Its digests are for
/// its owner alone.
fn to_file(path: &Path, global: &Global) -> Result<u64, CliError> {
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

/// One document, one record a line, in constant memory.
async fn write(client: Client, out: impl Write, path: &Path) -> Result<u64, CliError> {
    let failed = |error| CliError::File { doing: "write", path: path.to_owned(), error };
    let mut out = BufWriter::new(out);
    let mut export = client.export().await?;
    let mut count = 0;
    out.write_all(b"{\"api_keys\":[").map_err(failed)?;
    while let Some(page) = export.next_page().await? {
        for record in page {
            let before: &[u8] = if count == 0 { b"\n" } else { b",\n" };
            out.write_all(before).map_err(failed)?;
            out.write_all(record.get().as_bytes()).map_err(failed)?;
            count += 1;
        }
    }
    out.write_all(b"\n]}\n").and_then(|()| out.flush()).map_err(failed)?;
    Ok(count)
}
