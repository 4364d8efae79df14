//! Who is at a socket, and what that may do: the kernel or TLS tells the one, and the configuration
//! the other.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use keygate_protocol::{ErrorCode, Opcode, Role, Roles};
use tokio::net::UnixStream;

use super::refusals::Refusals;
use crate::clock::Now;
use crate::config::{Config, Granted, Right, SocketKind, Who};
use crate::engine::Standing;
use crate::event::{Actor, Refusal};
use crate::key::digest;

/// Where a peer came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrance {
    Data,
    Admin,
    Tcp,
    Tls,
    AdminTls,
}

impl Entrance {
    const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Admin => "admin",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::AdminTls => "admin_tls",
        }
    }

    const fn kind(self) -> SocketKind {
        match self {
            Self::Data => SocketKind::Data,
            Self::Admin => SocketKind::Admin,
            Self::Tcp => SocketKind::Tcp,
            Self::Tls | Self::AdminTls => SocketKind::Tls,
        }
    }
}

/// What is known of a peer that it cannot choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// Of a Unix socket.
    User { uid: u32, gid: u32, pid: Option<i32> },
    /// Of TCP, or of TLS without a certificate.
    Address(SocketAddr),
    /// Of TLS: the SHA-256 of its certificate.
    Certificate([u8; 32], SocketAddr),
}

impl Peer {
    /// Who is at the other end of a Unix socket. A process that is not seen from this daemon's PID
    /// namespace, as one of another container, has no number here: the kernel states 0.
    pub(super) fn of_unix(stream: &UnixStream) -> std::io::Result<Self> {
        // Not by rustix, whose process numbers cannot be 0.
        let peer = stream.peer_cred()?;
        let pid = peer.pid().filter(|pid| *pid > 0);
        Ok(Self::User { uid: peer.uid(), gid: peer.gid(), pid })
    }

    const fn who(self) -> Who {
        match self {
            Self::User { uid, gid, .. } => Who::User { uid, gid },
            Self::Address(_) => Who::Anybody,
            Self::Certificate(shown, _) => Who::Certificate(shown),
        }
    }

    /// For messages and the log.
    fn named(self) -> String {
        match self {
            Self::User { uid, gid, .. } => format!("user {uid} or group {gid}"),
            Self::Address(address) => format!("a peer without a certificate ({})", address.ip()),
            Self::Certificate(shown, _) => format!("the certificate {}", digest::hex(&shown)),
        }
    }

    /// For the records of what it does. Its program can be read of a process of the same user, or by
    /// root.
    fn actor(self) -> Actor {
        let nobody = Actor::default();
        match self {
            Self::User { uid, gid, pid } => {
                let exe = pid.and_then(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok());
                let program = exe.map(|path| path.to_string_lossy().into_owned());
                Actor { uid: Some(uid), gid: Some(gid), pid, program, ..nobody }
            }
            Self::Address(address) => Actor { address: Some(address), ..nobody },
            Self::Certificate(shown, address) => {
                let certificate = Some(digest::hex(&shown));
                Actor { certificate, address: Some(address), ..nobody }
            }
        }
    }
}

/// Tenants that a message names.
const TENANTS_NAMED_MAX: usize = 10;

/// Lets peers in. One for the whole daemon.
pub(super) struct Gate {
    rights: Vec<Right>,
    own_uid: u32,
    /// Of the data plane's peers that no right names.
    data_roles_default: Roles,
    /// Of those among them that are not told apart.
    network_roles_default: Roles,
    stated_certificates: Vec<SocketKind>,
    /// Makes numbers of peers, under a secret of this process: nobody can aim at another's number.
    numbers: RandomState,
    pub(super) refusals: Refusals,
}

impl Gate {
    pub(super) fn new(config: &Config, refusals: Refusals) -> Self {
        Self {
            rights: config.rights.clone(),
            own_uid: rustix::process::geteuid().as_raw(),
            data_roles_default: config.data_roles_default.iter().copied().collect(),
            network_roles_default: config.network_roles(),
            stated_certificates: config.stated_certificates.clone(),
            numbers: RandomState::new(),
            refusals,
        }
    }

    /// What a peer may do here; or, for one that may do nothing, why.
    pub(super) fn admit(
        self: &Arc<Self>,
        entrance: Entrance,
        peer: Peer,
        now: Now,
    ) -> Result<Login, String> {
        let unnamed = match (entrance, peer) {
            // Whoever is bound on one socket must not come by another as nobody.
            (Entrance::Tcp | Entrance::Tls, Peer::Address(_)) => self.network_roles_default,
            (Entrance::Data | Entrance::Tcp | Entrance::Tls, _) => self.data_roles_default,
            // The mode of the socket is the guard.
            (Entrance::Admin, _) if self.rights.is_empty() => Roles::ALL,
            (Entrance::Admin | Entrance::AdminTls, _) => Roles::NONE,
        };
        let granted = Granted::to(peer.who(), &self.rights, self.own_uid, unnamed);
        if granted.is_nothing() {
            return Err(self.turn_away(entrance, peer, now));
        }
        let certificate = match peer {
            Peer::Certificate(shown, _) => Some(shown),
            Peer::User { .. } | Peer::Address(_) => None,
        };
        let states_certificates = self.stated_certificates.contains(&entrance.kind());
        let is_foreign = matches!(entrance, Entrance::Tcp | Entrance::Tls)
            && !self.rights.iter().any(|right| right.names(peer.who()));
        let answers_for_itself = is_foreign || granted.roles(None).is_empty();
        let peer_number = self.number(peer);
        let standing =
            Standing { certificate, states_certificates, peer: peer_number, answers_for_itself };
        Ok(Login { entrance, peer, standing, granted, gate: Arc::clone(self) })
    }

    fn turn_away(&self, entrance: Entrance, peer: Peer, now: Now) -> String {
        // Logged where it is recorded: whoever knocks again and again must not fill the log.
        let refusal = || {
            let refusal = refusal(entrance, peer, Roles::NONE);
            let Actor { uid, gid, pid, certificate, address, .. } = &refusal.actor;
            let address = address.map(tracing::field::display);
            let socket = entrance.name();
            tracing::warn!(
                uid,
                gid,
                pid,
                certificate,
                address,
                socket,
                "a peer was refused: no right names it"
            );
            refusal
        };
        self.refusals.note(None, now, refusal);
        let named = peer.named();
        let groups = match peer {
            Peer::User { .. } => " (supplementary groups are not seen)",
            Peer::Address(_) | Peer::Certificate(..) => "",
        };
        format!(
            "no right names {named}: a [[rights]] entry of the daemon's configuration gives one{groups}"
        )
    }

    /// What a peer's failed lookups are counted under; never 0. Whoever has an IPv6 network has all
    /// its addresses.
    fn number(&self, peer: Peer) -> u64 {
        let number = match peer {
            Peer::User { uid, .. } => self.numbers.hash_one((0_u8, uid)),
            Peer::Certificate(shown, _) => self.numbers.hash_one((1_u8, shown)),
            Peer::Address(address) => match address.ip().to_canonical() {
                IpAddr::V4(address) => self.numbers.hash_one((2_u8, address.octets())),
                IpAddr::V6(address) => self.numbers.hash_one((3_u8, &address.octets()[..8])),
            },
        };
        number.max(1)
    }
}

/// A peer that was let in, for as long as its connection stands.
#[derive(Clone)]
pub(super) struct Login {
    entrance: Entrance,
    peer: Peer,
    /// What its connection is, for decisions.
    pub(super) standing: Standing,
    granted: Granted,
    gate: Arc<Gate>,
}

impl Login {
    /// The tenant that it is bound to from the beginning.
    pub(super) fn tenant(&self) -> Option<Arc<str>> {
        self.granted.only_tenant().cloned()
    }

    /// What it may do while it is bound so.
    pub(super) fn roles(&self, tenant: Option<&str>) -> Roles {
        self.granted.roles(tenant)
    }

    /// Whether it may do something for all tenants.
    pub(super) fn is_unbound(&self) -> bool {
        !self.granted.roles(None).is_empty()
    }

    /// Who it is, for the records of what it does.
    pub(super) fn actor(&self) -> Actor {
        self.peer.actor()
    }

    /// Whether it may be bound to a tenant; or why not. Once bound it stays so: whoever is handed the
    /// connection cannot undo what binds it.
    pub(super) fn may_bind(&self, bound: Option<&str>, to: &str) -> Result<(), String> {
        if bound.is_some_and(|bound| bound != to) {
            let why = "tenant: the connection is bound to another tenant already, and stays so";
            return Err(why.to_owned());
        }
        if !self.granted.may_bind(to) {
            let known = self.known();
            return Err(format!("tenant: this peer has rights for {known}, and for no other"));
        }
        Ok(())
    }

    /// The tenants that it has rights for, as a message names them.
    fn known(&self) -> String {
        let mut tenants = self.granted.tenants();
        let named = tenants.by_ref().take(TENANTS_NAMED_MAX).collect::<Vec<_>>().join(", ");
        match tenants.count() {
            0 => named,
            more => format!("{named} and {more} more"),
        }
    }

    /// Takes note of a request that is refused for another reason than a role that it lacks.
    pub(super) fn note_refused(&self, opcode: Opcode, tenant: Option<&str>, now: Now) {
        let roles = self.roles(tenant);
        self.gate.refusals.note(None, now, || {
            let refusal = refusal(self.entrance, self.peer, roles);
            let tenant = tenant.map(str::to_owned);
            let actor = Actor { tenant, ..refusal.actor };
            Refusal { actor, request: Some(opcode.name().to_owned()), ..refusal }
        });
    }

    /// Takes note that a request was refused, and tells why.
    pub(super) fn refuse(&self, opcode: Opcode, tenant: Option<&str>, now: Now) -> String {
        let roles = self.roles(tenant);
        let refusal = || {
            let refusal = refusal(self.entrance, self.peer, roles).of_request(opcode);
            let tenant = tenant.map(str::to_owned);
            Refusal { actor: Actor { tenant, ..refusal.actor }, ..refusal }
        };
        self.gate.refusals.note(opcode.role(), now, refusal);
        let name = opcode.name();
        if tenant.is_none() && roles.is_empty() {
            let known = self.known();
            return format!(
                "{name}: this peer has rights for several tenants: say in Hello for which of them it \
                 asks ({known})"
            );
        }
        let takes = opcode.role().map_or("any", Role::name);
        let has = roles.iter().map(Role::name).collect::<Vec<_>>().join(", ");
        let has = if has.is_empty() { "none" } else { &has };
        let of_tenant = tenant.map(|tenant| format!(" for the tenant {tenant:?}"));
        format!(
            "{name} takes the role {takes}, and this caller has {has}{}: a [[rights]] entry of the \
             daemon's configuration gives roles",
            of_tenant.unwrap_or_default()
        )
    }
}

fn refusal(entrance: Entrance, peer: Peer, has: Roles) -> Refusal {
    Refusal {
        actor: peer.actor(),
        socket: entrance.name().to_owned(),
        request: None,
        lacks: None,
        has: has.iter().collect(),
        count: 1,
    }
}

/// Whether roles are enough for a request.
pub(super) const fn allows(roles: Roles, opcode: Opcode) -> bool {
    match opcode.role() {
        None => true,
        Some(role) => roles.has(role),
    }
}

/// The code of what [`Gate::admit`] refuses.
pub(super) const TURNED_AWAY: ErrorCode = ErrorCode::NotAdmitted;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A gate of a configuration.
    pub(in crate::server) fn gate(text: &str) -> Arc<Gate> {
        let config: Config = toml::from_str(text).expect("a configuration");
        let refusals = Refusals::new(100, Arc::new(Vec::new()));
        // Tests may run as root, who may do everything.
        Arc::new(Gate { own_uid: 990, ..Gate::new(&config, refusals) })
    }

    /// A peer that may do everything.
    pub(in crate::server) fn trusted() -> Login {
        let root = Peer::User { uid: 0, gid: 0, pid: None };
        gate("").admit(Entrance::Data, root, NOW).expect("root may do everything")
    }

    const NOW: Now = Now { mono_ns: 0, wall_us: 0 };

    fn user(uid: u32) -> Peer {
        Peer::User { uid, gid: uid, pid: None }
    }

    #[test]
    fn each_entrance_has_its_own_rule_for_peers_that_nobody_names() {
        use Role::{Check, Read, Report};
        let address = "192.0.2.1:5".parse().expect("an address");
        let right = "[[rights]]\nuid = 7\nroles = ['read']\nall_tenants = true\n";
        let none = "data_roles_default = []\n";
        let both = [none, right].concat();
        let said = ["network_roles_default = ['check']\n", right].concat();
        let all = Role::ALL;
        for (config, entrance, peer, roles) in [
            ("", Entrance::Data, user(1), &[Check, Report][..]),
            ("", Entrance::Admin, user(1), all),
            ("", Entrance::Tcp, Peer::Address(address), &[Check, Report]),
            ("", Entrance::AdminTls, Peer::Certificate([1; 32], address), &[]),
            (right, Entrance::Data, user(1), &[Check, Report]),
            (right, Entrance::Data, user(7), &[Read]),
            (right, Entrance::Admin, user(7), &[Read]),
            (right, Entrance::Admin, user(1), &[]),
            (right, Entrance::Admin, user(0), all),
            (right, Entrance::Admin, user(990), all),
            // Whoever is bound by his number must not come as nobody.
            (right, Entrance::Tcp, Peer::Address(address), &[]),
            (right, Entrance::Tls, Peer::Address(address), &[]),
            (right, Entrance::Tls, Peer::Certificate([1; 32], address), &[Check, Report]),
            (&said, Entrance::Tcp, Peer::Address(address), &[Check]),
            (
                "data_roles_default = ['check', 'read']\n",
                Entrance::Tcp,
                Peer::Address(address),
                &[Check],
            ),
            (none, Entrance::Data, user(1), &[]),
            (none, Entrance::Data, user(0), all),
            (none, Entrance::Tls, Peer::Address(address), &[]),
            (&both, Entrance::Data, user(7), &[Read]),
        ] {
            let login = gate(config).admit(entrance, peer, NOW);
            let has = login.map_or(Vec::new(), |login| login.roles(None).iter().collect());
            assert_eq!(has, roles, "{config} {entrance:?} {peer:?}");
        }
    }

    #[test]
    fn peers_are_told_apart_by_what_they_cannot_choose() {
        let gate = gate("");
        let of = |text: &str| gate.number(Peer::Address(text.parse().expect("an address")));
        assert_eq!(of("192.0.2.1:1"), of("192.0.2.1:2"));
        assert_eq!(of("192.0.2.1:1"), of("[::ffff:192.0.2.1]:1"));
        assert_ne!(of("192.0.2.1:1"), of("192.0.2.2:1"));
        assert_eq!(of("[2001:db8:0:1::1]:1"), of("[2001:db8:0:1:ffff::2]:1"), "one network");
        assert_ne!(of("[2001:db8:0:1::1]:1"), of("[2001:db8:0:2::1]:1"));
        assert_ne!(gate.number(user(1)), gate.number(user(2)));
        let shown = |byte| {
            let address = "192.0.2.1:1".parse().expect("an address");
            gate.number(Peer::Certificate([byte; 32], address))
        };
        assert_ne!(shown(1), shown(2));
    }

    #[test]
    fn a_certificate_is_stated_where_the_configuration_trusts_the_socket() {
        let address = Peer::Address("127.0.0.1:5".parse().expect("an address"));
        for (config, data, tcp) in
            [("", true, false), ("stated_certificates = ['tcp']\n", false, true)]
        {
            let gate = gate(config);
            let states = |entrance, peer| {
                let login = gate.admit(entrance, peer, NOW).expect("it may check");
                login.standing.states_certificates
            };
            assert_eq!(states(Entrance::Data, user(1)), data, "{config}");
            assert_eq!(states(Entrance::Tcp, address), tcp, "{config}");
        }
    }

    #[test]
    fn whoever_is_bound_or_unknown_answers_for_itself() {
        let gate = gate(
            "network_roles_default = ['check']\n\
             [[rights]]\nuid = 7\nroles = ['check']\ntenant = 'acme'\n\
             [[rights]]\nuid = 8\nroles = ['check']\nall_tenants = true\n",
        );
        let address = Peer::Address("192.0.2.1:5".parse().expect("an address"));
        for (entrance, peer, itself) in [
            (Entrance::Data, user(1), false),
            (Entrance::Data, user(7), true),
            (Entrance::Admin, user(8), false),
            (Entrance::Tcp, address, true),
            (Entrance::Tls, address, true),
        ] {
            let login = gate.admit(entrance, peer, NOW).expect("it may check");
            assert_eq!(login.standing.answers_for_itself, itself, "{entrance:?} {peer:?}");
        }
    }

    #[test]
    fn a_message_names_few_of_many_tenants() {
        let right =
            |number| format!("[[rights]]\nuid = 7\nroles = ['check']\ntenant = 't{number}'\n");
        let gate = gate(&(0..12).map(right).collect::<String>());
        let login = gate.admit(Entrance::Data, user(7), NOW).expect("named");
        let told = login.refuse(Opcode::Validate, None, NOW);
        assert!(told.contains("t9 and 2 more") && !told.contains("t10"), "{told}");
    }

    #[test]
    fn a_refusal_names_what_is_lacking_and_what_there_is() {
        let gate = gate(
            "[[rights]]\nuid = 7\nroles = ['read', 'check']\ntenant = 'acme'\n\
             [[rights]]\nuid = 8\nroles = ['own']\ntenant = 'acme'\n\
             [[rights]]\nuid = 8\nroles = ['read']\ntenant = 'globex'\n",
        );
        let login = gate.admit(Entrance::Admin, user(7), NOW).expect("named");
        assert_eq!(login.tenant().as_deref(), Some("acme"));
        let told = login.refuse(Opcode::KeyCreate, Some("acme"), NOW);
        assert!(told.contains("the role manage") && told.contains("check, read"), "{told}");
        let login = gate.admit(Entrance::Admin, user(8), NOW).expect("named");
        assert_eq!(login.tenant(), None);
        let told = login.refuse(Opcode::KeyGet, None, NOW);
        assert!(told.contains("Hello") && told.contains("acme, globex"), "{told}");
        assert!(login.may_bind(None, "globex").is_ok());
        assert!(login.may_bind(None, "other").expect_err("no right").contains("acme, globex"));
        assert!(login.may_bind(Some("acme"), "globex").expect_err("bound").contains("another"));
        assert!(!allows(login.roles(Some("globex")), Opcode::KeyCreate));
        assert!(allows(login.roles(Some("acme")), Opcode::Backup));
    }
}
