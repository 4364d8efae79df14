//! No core dump of a process that holds secrets.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// From here on this process leaves no core dump, and no other process of its user may read its
/// memory or attach to it (prctl(2), `PR_SET_DUMPABLE`). What the system does not allow is logged: a
/// daemon that serves is worth more than one that does not start.
pub fn forbid() {
    // By the limit alone a dump that is piped to a program would still be made (core(5)); by the
    // other alone one is made where `fs.suid_dumpable` says so.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    if let Err(error) = limited.and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable))
    {
        tracing::warn!(%error, "core dumps could not be forbidden: one would hold secrets");
    }
}
