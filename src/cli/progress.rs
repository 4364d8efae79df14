//! How far a long command has come: a bar on a terminal, nothing elsewhere.

use std::io::IsTerminal;
use std::path::Path;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use keygate_protocol::admin::Progress;

use super::error::CliError;
use super::records::is_stdin;
use crate::store::copy::Walked;

/// A bar over rows.
pub(super) struct Rows(ProgressBar);

impl Rows {
    /// Hidden off a terminal.
    pub(super) fn new(doing: &'static str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        // Until somebody knows how many there are.
        let style = ProgressStyle::with_template("{msg} {pos} rows {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        Self(ProgressBar::no_length().with_style(style).with_message(doing))
    }

    /// As the daemon tells it.
    pub(super) fn at(&self, progress: &Progress) {
        if self.0.length().is_none() {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} rows {eta}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            self.0.set_style(style);
        }
        self.0.set_length(progress.rows_estimate);
        self.0.set_position(progress.rows);
    }

    /// As it is seen here, where nobody knows how many there are.
    pub(super) fn walked(&self, walked: Walked) {
        self.0.set_position(walked.rows);
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Bytes for people.
pub(super) fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

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
