//! Who is at the admin socket: the kernel tells, and the configuration says what that may do.

use tokio::net::UnixStream;

use crate::admin::Caller;
use crate::config::AdminRight;
use crate::config::rights::{Peer, Right, right_of};
use crate::event::Actor;

/// Whether the peer is one that sees everything; one that cannot be told is not.
pub(super) fn sees_everything(stream: &UnixStream, rights: &[AdminRight]) -> bool {
    let own_uid = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| {
        let peer = Peer { uid: peer.uid(), gid: peer.gid() };
        right_of(rights, peer, own_uid) == Right::All
    })
}

/// What the peer may see, by what the kernel says of it; or why it may not be here.
pub(super) fn admit(stream: &UnixStream, rights: &[AdminRight]) -> Result<Caller, String> {
    let peer = stream.peer_cred().map_err(|error| {
        tracing::warn!(%error, "a peer of the admin socket could not be told");
        format!("the kernel does not say who you are: {error}")
    })?;
    let (uid, gid, pid) = (peer.uid(), peer.gid(), peer.pid());
    let own_uid = rustix::process::geteuid().as_raw();
    match right_of(rights, Peer { uid, gid }, own_uid) {
        Right::All => Ok(Caller::unbound().acting_as(actor(uid, gid, pid))),
        Right::Tenant(tenant) => Ok(Caller::of_tenant(tenant).acting_as(actor(uid, gid, pid))),
        Right::None => {
            tracing::warn!(
                uid,
                gid,
                pid,
                "a peer of the admin socket was refused: no right names it"
            );
            Err(format!(
                "no right names user {uid} or group {gid}: an [[admin_rights]] entry of the daemon's \
                 configuration gives one (supplementary groups are not seen)"
            ))
        }
    }
}

/// The peer, for the records of what it does. Its program can be read of a process of the same user,
/// or by root.
fn actor(uid: u32, gid: u32, pid: Option<i32>) -> Actor {
    let program = pid.and_then(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok());
    let program = program.map(|path| path.to_string_lossy().into_owned());
    Actor { uid: Some(uid), gid: Some(gid), pid, program, tenant: None, daemon: None }
}
