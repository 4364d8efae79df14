//! Who may use the admin socket, and for which tenant: by the user or group of the peer.

use serde::{Deserialize, Serialize};

use super::Config;
use super::bounds::Problems;

/// Modes that the admin socket may have: its owner always, its group or everybody as told.
const MODES: [u32; 3] = [0o600, 0o660, 0o666];
/// Longest list of rights.
const RIGHTS_MAX: usize = 1024;
/// Longest id of a tenant.
const TENANT_BYTES_MAX: usize = 64;

/// One entry of `[[admin_rights]]`: what a user or a group may do on the admin socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminRight {
    /// The peer's effective user id, as the kernel states it; or else `gid`.
    pub uid: Option<u32>,
    /// The peer's effective group id. Supplementary groups are not seen.
    pub gid: Option<u32>,
    /// The tenant that the peer is bound to: it sees nothing else; or else `all_tenants`.
    pub tenant: Option<String>,
    /// The peer may do everything. Said in words, so that a forgotten `tenant` is no right to all.
    #[serde(default)]
    pub all_tenants: bool,
}

/// A peer of the admin socket, as the kernel states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its effective user id when it connected.
    pub uid: u32,
    /// Its effective group id.
    pub gid: u32,
}

/// What a peer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right<'a> {
    /// Everything.
    All,
    /// Everything that concerns one tenant alone.
    Tenant(&'a str),
    /// Nothing.
    None,
}

impl AdminRight {
    fn names(&self, peer: Peer) -> bool {
        self.uid.is_some_and(|uid| uid == peer.uid) || self.gid.is_some_and(|gid| gid == peer.gid)
    }
}

/// The right of a peer: the superuser and the daemon's own user may do everything; of the others,
/// the first entry that names them counts. Without any entry the mode of the socket is the guard,
/// and whoever can connect may do everything.
#[must_use]
pub fn right_of(rights: &[AdminRight], peer: Peer, own_uid: u32) -> Right<'_> {
    if peer.uid == 0 || peer.uid == own_uid || rights.is_empty() {
        return Right::All;
    }
    match rights.iter().find(|right| right.names(peer)) {
        None => Right::None,
        Some(AdminRight { tenant: Some(tenant), .. }) => Right::Tenant(tenant),
        Some(_) => Right::All,
    }
}

/// Notes where the rights and the mode of the socket make no sense.
pub(super) fn check(config: &Config, problems: &mut Problems) {
    let mode = config.admin_socket_mode;
    let rights = &config.admin_rights;
    if !MODES.contains(&mode) {
        let what = "0o600 (the daemon's user), 0o660 (its group too) or 0o666 (everybody)";
        problems.add(&["admin_socket_mode"], &format!("is 0o{mode:o}; it must be {what}"));
    } else if mode == 0o666 && rights.is_empty() {
        let what = "0o600 or 0o660 while no [[admin_rights]] say who may do what: everybody could \
                    do everything";
        problems.add(&["admin_socket_mode"], &format!("is 0o666; it must be {what}"));
    }
    if rights.len() > RIGHTS_MAX {
        let why = format!("has {} entries, at most {RIGHTS_MAX} are taken", rights.len());
        problems.add(&["admin_rights"], &why);
    }
    for (at, right) in rights.iter().enumerate().take(RIGHTS_MAX) {
        if let Err(reason) = right.check() {
            problems.add(&["admin_rights"], &format!("entry {} {reason}", at + 1));
        }
    }
}

impl AdminRight {
    fn check(&self) -> Result<(), String> {
        if self.uid.is_some() == self.gid.is_some() {
            return Err("needs one of uid and gid".to_owned());
        }
        if self.tenant.is_some() == self.all_tenants {
            return Err("needs either tenant = \"NAME\" or all_tenants = true".to_owned());
        }
        match self.tenant.as_ref().filter(|tenant| !is_name(tenant)) {
            Some(tenant) => Err(format!(
                "has tenant = {tenant:?}; it must be the id of a tenant: 1 to 64 letters, digits, \
                 '.', '_', '-'"
            )),
            None => Ok(()),
        }
    }
}

fn is_name(tenant: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=TENANT_BYTES_MAX).contains(&tenant.len()) && tenant.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).expect("a configuration")
    }

    #[test]
    fn the_first_entry_that_names_a_peer_is_its_right() {
        let config = config(
            "[[admin_rights]]\nuid = 1001\ntenant = \"acme\"\n\
             [[admin_rights]]\ngid = 2000\nall_tenants = true\n\
             [[admin_rights]]\nuid = 1001\ntenant = \"other\"\n\
             [[admin_rights]]\ngid = 2001\ntenant = \"globex\"\n",
        );
        config.check().expect("they make sense");
        let own_uid = 990;
        for (uid, gid, right) in [
            (0, 0, Right::All),
            (0, 2001, Right::All),
            (own_uid, 2001, Right::All),
            (1001, 1, Right::Tenant("acme")),
            (1001, 2000, Right::Tenant("acme")),
            (1002, 2000, Right::All),
            (1002, 2001, Right::Tenant("globex")),
            (1002, 1002, Right::None),
            (2000, 1001, Right::None),
        ] {
            let peer = Peer { uid, gid };
            assert_eq!(right_of(&config.admin_rights, peer, own_uid), right, "{peer:?}");
            assert_eq!(right_of(&[], peer, own_uid), Right::All, "{peer:?}");
        }
    }

    #[test]
    fn rights_that_make_no_sense_are_refused_by_name() {
        let right = "uid = 1\ntenant = \"a\"\n";
        for (text, says) in [
            ("admin_socket_mode = 0o600\n".to_owned(), None),
            ("admin_socket_mode = 0o660\n".to_owned(), None),
            (format!("admin_socket_mode = 0o666\n[[admin_rights]]\n{right}"), None),
            ("admin_socket_mode = 0o666\n".to_owned(), Some("[[admin_rights]]")),
            ("admin_socket_mode = 0o606\n".to_owned(), Some("admin_socket_mode is 0o606")),
            ("admin_socket_mode = 660\n".to_owned(), Some("0o1224")),
            ("[[admin_rights]]\ntenant = \"a\"\n".to_owned(), Some("one of uid and gid")),
            (format!("[[admin_rights]]\ngid = 1\n{right}"), Some("one of uid and gid")),
            ("[[admin_rights]]\nuid = 1\n".to_owned(), Some("all_tenants = true")),
            (format!("[[admin_rights]]\nall_tenants = true\n{right}"), Some("either tenant")),
            ("[[admin_rights]]\nuid = 1\ntenant = \"a b\"\n".to_owned(), Some("\"a b\"")),
            ("[[admin_rights]]\nuid = 1\ntenant = \"\"\n".to_owned(), Some("1 to 64")),
            (format!("[[admin_rights]]\n{right}").repeat(1025), Some("1025 entries")),
        ] {
            let checked = config(&text).check();
            match says {
                None => checked.expect(&text),
                Some(says) => {
                    let refused = checked.expect_err(&text).to_string();
                    assert!(refused.contains(says), "{text}: {refused}");
                }
            }
        }
        let unknown = toml::from_str::<Config>("[[admin_rights]]\nuser = 1\n");
        assert!(unknown.expect_err("unknown").to_string().contains("uid"));
    }
}
