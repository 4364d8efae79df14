//! root at work in a directory of somebody else's, such as the daemon's user.
//!
//! An engine makes files also for whoever only reads its data, and a compaction makes all of them
//! anew. Left to root, they would keep the daemon from its own data; so they are given to the owner of
//! the directory when it is let go of.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Gid, Mode, OFlags, Uid, fchown, fstat, openat};
use rustix::process::geteuid;

/// Gives those files of a directory that are `ours` by name, with all that is in them, to its owner:
/// as far as root has made them, and this is root.
///
/// # Errors
/// The first refusal of the system; what came before it is given.
pub(super) fn hand_back(dir: &Path, ours: impl Fn(&str) -> bool) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, dir, flags, Mode::empty())?;
    let found = fstat(&dir)?;
    let owner = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
    if owner.0.is_root() { Ok(()) } else { give(&dir, owner, &ours) }
}

fn give(dir: &OwnedFd, owner: (Uid, Gid), ours: &dyn Fn(&str) -> bool) -> io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_str().is_ok_and(|name| name != "." && name != ".." && ours(name)) {
            continue;
        }
        // By handles and through no link: the owner may move names about, and must not lead root to
        // what is not in here.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = openat(dir, name, flags, Mode::empty()) else { continue };
        let found = fstat(&file)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        let alone = kind.is_dir() || (kind.is_file() && found.st_nlink == 1);
        if alone && Uid::from_raw(found.st_uid).is_root() {
            fchown(&file, Some(owner.0), Some(owner.1))?;
        }
        if kind.is_dir() {
            give(&file, owner, &|_| true)?;
        }
    }
    Ok(())
}
