//! What a rotation does with the files: the new one is made, and takes the old one's place.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use super::{Bytes, Keyring, id, name};
use crate::admin::SecretFiles;
use crate::secret::{SecretError, SecretFile};
use crate::store::Rotating;

impl Keyring {
    /// Has the file of a rotation that is over be the only one; whether it stays a credential of the
    /// other name. Nothing is moved or removed but by what the files hold: `present` is the id of the
    /// secret in use.
    pub(super) fn settle_files(&self, of: Rotating, present: &str) -> Result<bool, SecretError> {
        let what = of.name();
        let (first, second) = (self.place(of, false)?, self.place(of, true)?);
        let holds = |path: &Path| {
            let read = SecretFile { what, path }.read()?;
            Ok::<_, SecretError>(read.map(|bytes| id(of, &bytes) == present))
        };
        if holds(&second)? != Some(true) {
            return Ok(false);
        }
        let own = self.data_dir.join(name(of, false));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| SecretError::Io { doing: "move or remove", what, path, error }
        };
        let stays = !self.is_own(&second);
        if !stays && self.is_own(&first) {
            std::fs::rename(&second, &own).map_err(failed(&second))?;
        } else if stays && holds(&own)? == Some(false) {
            std::fs::remove_file(&own).map_err(failed(&own))?;
        } else {
            return Ok(stays);
        }
        let directory = std::fs::File::open(&self.data_dir);
        directory.and_then(|it| it.sync_all()).map_err(failed(&self.data_dir))?;
        Ok(stays)
    }

    /// Tells of a file in the data directory that is not the secret in use, which is a credential.
    pub(super) fn warn_of_another(&self, of: Rotating, first: &Path, present: &str) {
        let (what, own) = (of.name(), self.data_dir.join(name(of, false)));
        if self.is_own(first) {
            return;
        }
        if let Ok(Some(bytes)) = (SecretFile { what, path: &own }).read()
            && id(of, &bytes) != present
        {
            tracing::warn!(
                path = %own.display(),
                "the {what} is a credential, and this file holds another that nothing here needs: \
                 keep it with the backups that do, and remove it"
            );
        }
    }
}

impl SecretFiles for Keyring {
    fn next(&self, of: Rotating, present: &str) -> Result<Bytes, String> {
        let words = |error: SecretError| error.to_string();
        let what = of.name();
        let (name, next) = (name(of, false), name(of, true));
        let (first, second) =
            (self.place(of, false).map_err(words)?, self.place(of, true).map_err(words)?);
        let file = SecretFile { what, path: &second };
        if !self.is_own(&second) {
            let bytes = file.read().map_err(words)?;
            let bytes = bytes.ok_or_else(|| format!("{} is gone", second.display()))?;
            if id(of, &bytes) == present {
                return Err(format!(
                    "the credential {next} is the present {what}: pass it as the credential {name} \
                     from now on, and 32 other random bytes as {next}; restart keygate, and rotate \
                     then"
                ));
            }
            return Ok(bytes);
        }
        if !self.is_own(&first) {
            return Err(format!(
                "the {what} comes from a credential, so its successor must too: pass 32 random bytes \
                 as the credential {next}, restart keygate, and rotate then"
            ));
        }
        // After a rotation whose file could not be moved, the present one lies there: it is the only
        // copy, and nothing may be put over it.
        self.settle_files(of, present).map_err(|error| {
            format!(
                "the {what} in use is still {}, and cannot take the place of the old one: {error}; \
                 mend that, and rotate then",
                second.display()
            )
        })?;
        // One that an earlier request had made: perhaps the store knows it already.
        if let Some(bytes) = file.read().map_err(words)? {
            return Ok(bytes);
        }
        if is_mounted(&first) {
            return Err(format!(
                "{} is mounted there by itself, so no other file can take its place: pass it as the \
                 systemd credential {name} and the new one as {next}, or mount the whole directory",
                first.display()
            ));
        }
        file.make().map_err(words)
    }

    fn settle(&self, of: Rotating, present: &str) -> Result<Option<String>, String> {
        let stays = self.settle_files(of, present).map_err(|error| error.to_string())?;
        Ok(stays.then(|| {
            format!(
                "pass what is the credential {next} as the credential {name} from now on, and {next} \
                 no more: then nothing of the old {what} is left",
                next = name(of, true),
                name = name(of, false),
                what = of.name(),
            )
        }))
    }

    fn kept(&self, of: Rotating, present: &str) -> Result<Option<Bytes>, String> {
        let words = |error: SecretError| error.to_string();
        let what = of.name();
        let places = [false, true].map(|next| self.place(of, next));
        let mut unread = None;
        for path in places.iter().flatten() {
            match (SecretFile { what, path }).read() {
                Ok(Some(bytes)) if id(of, &bytes) == present => {
                    return Ok(self.is_own(path).then_some(bytes));
                }
                Ok(_) => {}
                Err(error) => unread = Some(words(error)),
            }
        }
        Err(unread.unwrap_or_else(|| {
            format!(
                "the {what} that the store is written under is in no file, neither {} nor {}: the \
                 daemon has it in memory alone; put it back from a backup before keygate is stopped",
                name(of, false),
                name(of, true),
            )
        }))
    }

    fn is_credential(&self, of: Rotating) -> bool {
        [false, true]
            .into_iter()
            .any(|next| self.place(of, next).is_ok_and(|path| !self.is_own(&path)))
    }
}

/// Whether a file is the root of a mount: rename(2) puts nothing over it.
fn is_mounted(path: &Path) -> bool {
    let found: io::Result<_> =
        statx(CWD, path, AtFlags::empty(), StatxFlags::empty()).map_err(io::Error::from);
    found.is_ok_and(|it| it.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
