//! Whether the pepper and the master key in a data directory are those that its store was written
//! under.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use keygate_protocol::admin::{SecretFrom, SecretStatus};

use super::findings::{self, Finding};
use crate::cli::backup::{MASTER_KEY, PEPPER};
use crate::server::SecretError;
use crate::store::Rotating;

/// What a store says of a secret.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// The ids of those that it needs, or their beginnings; none where it could not be asked.
    pub(super) ids: Vec<String>,
    /// Whether the daemon that holds it has it from a credential, where one runs.
    pub(super) credential: Option<bool>,
    /// Whether nothing would be lost with it.
    pub(super) spare: bool,
}

impl From<&SecretStatus> for Wanted {
    fn from(status: &SecretStatus) -> Self {
        let credential = Some(status.from == SecretFrom::Credential);
        Self { ids: vec![status.id.clone()], credential, spare: false }
    }
}

/// Judges the files of a secret.
pub(super) fn judge(
    of: Rotating,
    dir: &Path,
    found: Result<[Option<String>; 2], SecretError>,
    wanted: &Wanted,
) -> Finding {
    let (check, path, without) = named(of, dir);
    let (what, shown) = (of.name(), path.display());
    let files = match found {
        Ok(files) => files,
        Err(SecretError::Io { path, error, .. }) if error.kind() == ErrorKind::PermissionDenied => {
            return findings::hidden(check, &path);
        }
        Err(error) => {
            let mend = format!("restore the {what} from a backup: without it {without}");
            return Finding::wrong(check, error.to_string(), mend);
        }
    };
    let is_there = |id: &&String| files.iter().flatten().any(|file| file.starts_with(id.as_str()));
    let missing: Vec<&str> =
        wanted.ids.iter().filter(|id| !is_there(id)).map(|id| short(id)).collect();
    match (&files[0], missing.as_slice()) {
        (Some(_), []) if wanted.ids.is_empty() => {
            Finding::fine(check, format!("{shown} is there; the store was not asked for its own"))
        }
        (_, []) if !wanted.ids.is_empty() => {
            let ids = wanted.ids.iter().map(|id| short(id)).collect::<Vec<_>>().join(" and ");
            Finding::fine(check, format!("{shown} is the {what} of the store, {ids}"))
        }
        (_, _) if wanted.credential == Some(true) => {
            Finding::fine(check, format!("the daemon has the {what} from a credential"))
        }
        (_, _) if wanted.spare => {
            let fine = format!("the {what} of the store is not there, and nothing needs it");
            Finding::fine(check, fine)
        }
        (Some(file), missing) => Finding::wrong(
            check,
            format!(
                "{shown} is the {what} {}, and the store was written under {}",
                short(file),
                missing.join(" and ")
            ),
            format!(
                "put the {what} that belongs to the store there, from a backup of its time, or pass \
                 it as the credential: without it {without}"
            ),
        ),
        (None, missing) => {
            let which = missing.first().map_or_else(String::new, |id| format!(", {id} is wanted"));
            let found = format!("{shown} is not there{which}");
            let mend = "fine where the daemon has it from a credential; otherwise it does not start: \
                        restore that one from a backup";
            if wanted.credential == Some(false) {
                return Finding::wrong(check, found, "restore it from a backup before a restart");
            }
            Finding::advice(check, found, mend)
        }
    }
}

/// The name of the check, the file, and what is lost without it.
fn named(of: Rotating, dir: &Path) -> (&'static str, PathBuf, &'static str) {
    match of {
        Rotating::Pepper => ("pepper", dir.join(PEPPER), "no token is found"),
        Rotating::Master => ("master_key", dir.join(MASTER_KEY), "nothing opens that is encrypted"),
    }
}

/// The beginning of an id, as `keygate pepper status` shows it.
fn short(id: &str) -> &str {
    id.get(..16).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::super::findings::State;
    use super::*;

    #[test]
    fn a_secret_is_judged_by_its_id_and_not_by_its_name() {
        let some = |id: &str| Some(id.to_owned());
        let wanted = |ids: &[&str], credential, spare| Wanted {
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            credential,
            spare,
        };
        let io = |kind| SecretError::Io {
            doing: "read",
            what: "pepper",
            path: "/data/pepper".into(),
            error: std::io::Error::from(kind),
        };
        let length =
            || SecretError::Length { what: "pepper", path: "/data/pepper".into(), found: 5 };
        #[rustfmt::skip]
        let cases = [
            (Ok([some("ab"), None]), wanted(&["ab"], None, false), State::Fine, "the pepper of the store, ab"),
            (Ok([some("abcd"), None]), wanted(&["ab"], Some(false), false), State::Fine, "of the store, ab"),
            (Ok([some("cd"), some("ab")]), wanted(&["ab"], None, false), State::Fine, "of the store"),
            (Ok([some("ab"), some("cd")]), wanted(&["ab", "cd"], None, false), State::Fine, "ab and cd"),
            (Ok([some("ab"), None]), wanted(&["ab", "cd"], None, false), State::Wrong, "written under cd"),
            (Ok([some("cd"), None]), wanted(&["ab"], None, false), State::Wrong, "written under ab"),
            (Ok([some("cd"), None]), wanted(&["ab"], None, true), State::Fine, "nothing needs it"),
            (Ok([some("cd"), None]), wanted(&[], None, false), State::Fine, "was not asked"),
            (Ok([None, None]), wanted(&["ab"], None, false), State::Advice, "ab is wanted"),
            (Ok([None, None]), wanted(&["ab"], Some(false), false), State::Wrong, "ab is wanted"),
            (Ok([None, None]), wanted(&["ab"], Some(true), false), State::Fine, "credential"),
            (Ok([None, None]), wanted(&[], None, false), State::Advice, "is not there"),
            (Err(io(ErrorKind::PermissionDenied)), wanted(&["ab"], None, false), State::Advice, "permission denied"),
            (Err(io(ErrorKind::IsADirectory)), wanted(&["ab"], None, false), State::Wrong, "cannot read"),
            (Err(length()), wanted(&["ab"], None, false), State::Wrong, "has 5 bytes"),
        ];
        for (files, wanted, state, words) in cases {
            let finding = judge(Rotating::Pepper, Path::new("/data"), files, &wanted);
            assert_eq!(finding.state, state, "{finding:?}");
            assert!(finding.found.contains(words), "{words}: {finding:?}");
        }
    }
}
