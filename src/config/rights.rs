//! Who may ask what, and for which tenant: by the user or group of the peer, or by its certificate.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use keygate_protocol::limits::TENANT_BYTES_MAX;
use keygate_protocol::{Role, Roles};
use serde::{Deserialize, Serialize};

use super::bounds::Problems;
use super::{ClientCertificates, Config};
use crate::key::digest;

/// Modes that the admin socket may have: its owner always, its group or everybody as told.
const MODES: [u32; 3] = [0o600, 0o660, 0o666];
/// Longest list of rights.
const RIGHTS_MAX: usize = 1024;

/// One entry of `[[rights]]`: what a user, a group or the holder of a certificate may do, on
/// whatever socket it comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Right {
    /// The peer's effective user id, as the kernel states it; or else `gid`, or `certificate`.
    pub uid: Option<u32>,
    /// The peer's effective group id. Supplementary groups are not seen.
    pub gid: Option<u32>,
    /// The SHA-256 of the certificate that the peer has shown, and that one of the authorities of
    /// `tls.client_ca_file` has signed.
    pub certificate: Option<Fingerprint>,
    /// What it may do.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// The tenant that the peer is bound to: it sees nothing else; or else `all_tenants`.
    pub tenant: Option<String>,
    /// For all tenants. Said in words, so that a forgotten `tenant` is no right to all.
    #[serde(default)]
    pub all_tenants: bool,
}

/// The SHA-256 of a certificate's DER: hexadecimal, with or without colons, or base64url as the
/// `x5t#S256` of RFC 8705.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(pub [u8; 32]);

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let plain = text.replace(':', "");
        let of_base64 = || BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        digest::parse_hex(&plain.to_ascii_lowercase())
            .or_else(|| of_base64()?.try_into().ok())
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "{text:?} is no SHA-256 of a certificate: 64 hexadecimal digits (`openssl x509 \
                     -noout -fingerprint -sha256 -in FILE`), or 43 characters of base64url"
                )
            })
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&digest::hex(&self.0))
    }
}

/// What those may do on the data plane that come by plain TCP, or by TLS without a certificate: no
/// entry of `[[rights]]` can name them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "must be \"auto\", or a list of \"check\", \"report\", \"read\", \
                               \"manage\" and \"own\""
)]
pub enum NetworkRoles {
    /// As it goes with the rights.
    ByRights(Auto),
    /// These.
    Given(Vec<Role>),
}

/// The word `auto`: `check` and `report`, as far as `data_roles_default` has them, while nobody has
/// rights; nothing once anybody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auto {
    /// The word.
    Auto,
}

impl Default for NetworkRoles {
    fn default() -> Self {
        Self::ByRights(Auto::Auto)
    }
}

impl Config {
    /// What peers may do on the data plane that are not told apart. A right that binds a user would
    /// bind nobody if the same user could come by TCP and had more there.
    #[must_use]
    pub fn network_roles(&self) -> Roles {
        match &self.network_roles_default {
            NetworkRoles::Given(roles) => roles.iter().copied().collect(),
            NetworkRoles::ByRights(_) if self.rights.is_empty() => {
                let few = |role: &Role| matches!(role, Role::Check | Role::Report);
                self.data_roles_default.iter().copied().filter(few).collect()
            }
            NetworkRoles::ByRights(_) => Roles::NONE,
        }
    }
}

/// A peer, by what is known of it that it cannot choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Of a Unix socket, as the kernel states it.
    User {
        /// Its effective user id when it connected.
        uid: u32,
        /// Its effective group id.
        gid: u32,
    },
    /// Of TLS: who has the key of this certificate.
    Certificate([u8; 32]),
    /// Of TCP, or of TLS without a certificate.
    Anybody,
}

impl Right {
    /// Whether it is about this peer.
    #[must_use]
    pub fn names(&self, who: Who) -> bool {
        match who {
            Who::User { uid, gid } => self.uid == Some(uid) || self.gid == Some(gid),
            Who::Certificate(shown) => self.certificate == Some(Fingerprint(shown)),
            Who::Anybody => false,
        }
    }
}

/// What a peer may do, and for which tenants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Granted {
    everywhere: Roles,
    tenants: Vec<(Arc<str>, Roles)>,
}

impl Granted {
    /// The same for all tenants.
    #[must_use]
    pub const fn everywhere(roles: Roles) -> Self {
        Self { everywhere: roles, tenants: Vec::new() }
    }

    /// What entries give to whom: the superuser and the daemon's own user may do everything, those
    /// whom entries name have what all of these give together, and others have `unnamed`.
    #[must_use]
    pub fn to(who: Who, rights: &[Right], own_uid: u32, unnamed: Roles) -> Self {
        if let Who::User { uid, .. } = who
            && (uid == 0 || uid == own_uid)
        {
            return Self::everywhere(Roles::ALL);
        }
        let mut named = rights.iter().filter(|right| right.names(who)).peekable();
        if named.peek().is_none() {
            return Self::everywhere(unnamed);
        }
        let mut granted = Self::default();
        for right in named {
            let roles: Roles = right.roles.iter().copied().collect();
            let Some(tenant) = &right.tenant else {
                granted.everywhere = granted.everywhere.and(roles);
                continue;
            };
            match granted.tenants.iter_mut().find(|(known, _)| **known == **tenant) {
                Some((_, known)) => *known = known.and(roles),
                None => granted.tenants.push((tenant.as_str().into(), roles)),
            }
        }
        granted
    }

    /// Whether it is nothing at all.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.everywhere.is_empty() && self.tenants.is_empty()
    }

    /// The tenant that binds from the beginning: the only one there is a right for.
    #[must_use]
    pub fn only_tenant(&self) -> Option<&Arc<str>> {
        match self.tenants.as_slice() {
            [(tenant, _)] if self.everywhere.is_empty() => Some(tenant),
            _ => None,
        }
    }

    /// Whether a connection may be bound to a tenant.
    #[must_use]
    pub fn may_bind(&self, tenant: &str) -> bool {
        !self.everywhere.is_empty() || self.tenants.iter().any(|(known, _)| **known == *tenant)
    }

    /// The roles of a connection that is bound so.
    #[must_use]
    pub fn roles(&self, tenant: Option<&str>) -> Roles {
        let of_tenant = |tenant: &str| {
            let known = self.tenants.iter().find(|(known, _)| **known == *tenant);
            known.map_or(Roles::NONE, |(_, roles)| *roles)
        };
        self.everywhere.and(tenant.map_or(Roles::NONE, of_tenant))
    }

    /// The tenants that there is a right for beside the one for all.
    pub fn tenants(&self) -> impl Iterator<Item = &str> {
        self.tenants.iter().map(|(tenant, _)| &**tenant)
    }
}

/// Notes where the rights and the mode of the socket make no sense.
pub(super) fn check(config: &Config, problems: &mut Problems) {
    let mode = config.admin_socket_mode;
    let rights = &config.rights;
    if !MODES.contains(&mode) {
        let what = "0o600 (the daemon's user), 0o660 (its group too) or 0o666 (everybody)";
        problems.add(&["admin_socket_mode"], &format!("is 0o{mode:o}; it must be {what}"));
    } else if mode == 0o666 && rights.is_empty() {
        let what = "0o600 or 0o660 while no [[rights]] say who may do what: everybody could \
                    do everything";
        problems.add(&["admin_socket_mode"], &format!("is 0o666; it must be {what}"));
    }
    let of_data = |role: &&Role| matches!(role, Role::Check | Role::Report);
    if let Some(role) = config.data_roles_default.iter().find(|role| !of_data(role)) {
        let why = format!(
            "has {:?}, by which nothing can be asked on the data plane; it takes \"check\" and \
             \"report\"",
            role.name()
        );
        problems.add(&["data_roles_default"], &why);
    }
    if rights.len() > RIGHTS_MAX {
        let why = format!("has {} entries, at most {RIGHTS_MAX} are taken", rights.len());
        problems.add(&["rights"], &why);
    }
    let shown = !config.tls.admin_listen.is_empty()
        || (!config.tls.listen.is_empty()
            && config.tls.client_certificates != ClientCertificates::None);
    for (at, right) in rights.iter().enumerate().take(RIGHTS_MAX) {
        if let Err(reason) = right.check(shown) {
            problems.add(&["rights"], &format!("entry {} {reason}", at + 1));
        }
    }
}

impl Right {
    fn check(&self, certificates_are_shown: bool) -> Result<(), String> {
        let named = [self.uid.is_some(), self.gid.is_some(), self.certificate.is_some()];
        if named.into_iter().filter(|named| *named).count() != 1 {
            return Err("needs one of uid, gid and certificate".to_owned());
        }
        if self.certificate.is_some() && !certificates_are_shown {
            let why = "names a certificate, and nobody can show one: set tls.admin_listen, or \
                       tls.listen with tls.client_certificates = \"optional\" or \"required\"";
            return Err(why.to_owned());
        }
        if self.roles.is_empty() {
            let why = "needs roles, of \"check\", \"report\", \"read\", \"manage\" and \"own\"";
            return Err(why.to_owned());
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

    fn user(uid: u32, gid: u32) -> Who {
        Who::User { uid, gid }
    }

    #[test]
    fn a_peer_has_what_all_entries_give_that_name_it() {
        use Role::{Check, Manage, Own, Read, Report};
        let shown = [0xAB; 32];
        let config = config(&format!(
            "[[rights]]\nuid = 1001\nroles = ['manage']\ntenant = 'acme'\n\
             [[rights]]\ngid = 2000\nroles = ['own']\nall_tenants = true\n\
             [[rights]]\ngid = 2001\nroles = ['check']\ntenant = 'acme'\n\
             [[rights]]\ngid = 2002\nroles = ['report']\ntenant = 'globex'\n\
             [[rights]]\ncertificate = '{}'\nroles = ['read']\nall_tenants = true\n\
             [tls]\nadmin_listen = ['127.0.0.1:1']\ncertificate_file = '/c'\nkey_file = '/k'\n\
             client_ca_file = '/a'\n",
            "AB:".repeat(31) + "AB"
        ));
        config.check().expect("they make sense");
        let own_uid = 990;
        let all = vec![Check, Report, Read, Manage, Own];
        let unnamed = || vec![Check];
        for (who, tenant, roles) in [
            (user(0, 0), None, all.clone()),
            (user(own_uid, 2001), None, all.clone()),
            (user(1001, 1), Some("acme"), vec![Read, Manage]),
            (user(1001, 1), Some("globex"), vec![]),
            (user(1001, 1), None, vec![]),
            (user(1001, 2001), Some("acme"), vec![Check, Read, Manage]),
            (user(1001, 2000), None, all),
            (user(1001, 2002), Some("globex"), vec![Report]),
            (user(1001, 2002), Some("acme"), vec![Read, Manage]),
            (user(2000, 1001), None, unnamed()),
            (Who::Certificate(shown), None, vec![Read]),
            (Who::Certificate([0; 32]), None, unnamed()),
            (Who::Anybody, None, unnamed()),
        ] {
            let named = [Check].into_iter().collect();
            let granted = Granted::to(who, &config.rights, own_uid, named);
            assert_eq!(granted.roles(tenant).iter().collect::<Vec<_>>(), roles, "{who:?}");
        }
        let to = |who| Granted::to(who, &config.rights, own_uid, Roles::NONE);
        assert_eq!(to(user(1001, 1)).only_tenant().map(|it| &**it), Some("acme"));
        assert!(!to(user(1001, 1)).may_bind("globex"));
        let two = to(user(1001, 2002));
        assert_eq!((two.only_tenant(), two.tenants().count()), (None, 2));
        assert!(two.may_bind("globex") && !two.may_bind("other") && !two.is_nothing());
        assert!(to(user(1001, 2000)).may_bind("other"), "for all tenants is for any");
        assert!(to(Who::Anybody).is_nothing());
    }

    #[test]
    fn a_fingerprint_is_hexadecimal_or_base64url() {
        let of = |text: &str| Fingerprint::try_from(text.to_owned());
        let bytes: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).expect("small") | 0xF0);
        let hex = digest::hex(&bytes);
        let base64 = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        for text in [hex.clone(), hex.to_uppercase(), base64.clone(), base64 + "="] {
            assert_eq!(of(&text), Ok(Fingerprint(bytes)), "{text}");
        }
        for wrong in ["", "ab", &hex[1..], "sha256//x"] {
            assert!(of(wrong).expect_err(wrong).contains("64 hexadecimal digits"));
        }
    }

    #[test]
    fn rights_that_make_no_sense_are_refused_by_name() {
        let right = "uid = 1\nroles = ['own']\ntenant = \"a\"\n";
        let of = |right: &str| format!("[[rights]]\nroles = ['own']\n{right}");
        let hex = "ab".repeat(32);
        for (text, says) in [
            ("admin_socket_mode = 0o600\n".to_owned(), None),
            ("admin_socket_mode = 0o660\n".to_owned(), None),
            (format!("admin_socket_mode = 0o666\n[[rights]]\n{right}"), None),
            ("admin_socket_mode = 0o666\n".to_owned(), Some("[[rights]]")),
            ("admin_socket_mode = 0o606\n".to_owned(), Some("admin_socket_mode is 0o606")),
            ("data_roles_default = ['check', 'report']\n".to_owned(), None),
            ("data_roles_default = []\n".to_owned(), None),
            ("data_roles_default = ['manage']\n".to_owned(), Some("\"manage\"")),
            ("data_roles_default = ['check', 'own']\n".to_owned(), Some("\"own\"")),
            ("admin_socket_mode = 660\n".to_owned(), Some("0o1224")),
            (of("tenant = 'a'\n"), Some("one of uid, gid and certificate")),
            (of("uid = 1\ngid = 1\ntenant = 'a'\n"), Some("one of uid, gid and certificate")),
            (of("uid = 1\n"), Some("all_tenants = true")),
            (of("uid = 1\nall_tenants = true\ntenant = 'a'\n"), Some("either tenant")),
            (of("uid = 1\ntenant = \"a b\"\n"), Some("\"a b\"")),
            (of("uid = 1\ntenant = \"\"\n"), Some("1 to 64")),
            (of(&format!("certificate = '{hex}'\ntenant = 'a'\n")), Some("tls.admin_listen")),
            ("[[rights]]\nuid = 1\ntenant = 'a'\n".to_owned(), Some("needs roles")),
            (format!("[[rights]]\n{right}").repeat(1025), Some("1025 entries")),
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
        for (text, says) in [("user = 1", "uid"), ("uid = 1\nroles = ['admin']", "manage")] {
            let unknown = toml::from_str::<Config>(&format!("[[rights]]\n{text}\n"));
            assert!(unknown.expect_err(text).to_string().contains(says));
        }
    }

    #[test]
    fn the_name_of_before_says_how_it_is_written_now() {
        let text = "[[admin_rights]]\nuid = 1\nall_tenants = true\n";
        let problems = super::super::document::parse(text).expect_err("not taken any more");
        let told = &problems[0];
        assert!(told.reason.contains("[[rights]]") && told.reason.contains("roles"), "{told:?}");
        assert_eq!((problems.len(), told.line), (1, Some(1)));
    }
}
