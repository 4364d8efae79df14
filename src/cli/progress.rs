//! Progress on a terminal; nothing elsewhere.

use std::io::IsTerminal;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use super::error::CliError;
use super::records::is_stdin;

/// A bar over the bytes of a file that is read.
pub(super) fn over_bytes_of(path: &Path) -> Result<ProgressBar, CliError> {
    if is_stdin(path) || !std::io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let failed = |error| CliError::File { doing: "read", path: path.to_owned(), error };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    Ok(ProgressBar::new(bytes).with_style(style))
}
