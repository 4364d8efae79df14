//! Who may ask what: each request with each role, on a real daemon.

mod support;

use std::net::TcpStream;

use keygate::client::ValidateRequest;
use keygate_protocol::hello::Hello;
use keygate_protocol::{ErrorCode, Opcode, Role, Roles, VerdictCode};
use rustls::StreamOwned;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use support::certs::{Authority, Identity, free_address};
use support::wire::Wire;
use support::{DEADLINE, Daemon, Home};

/// A raw connection by TLS that shows a certificate.
fn wire(address: std::net::SocketAddr, ca: &std::path::Path, identity: &Identity) -> Wire {
    let read = |path: &std::path::Path| std::fs::read(path).expect("a file");
    let certificates = |path: &std::path::Path| -> Vec<CertificateDer<'static>> {
        let pem = read(path);
        CertificateDer::pem_slice_iter(&pem).map(|it| it.expect("PEM")).collect()
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(certificates(ca));
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(
            certificates(&identity.certificate),
            PrivateKeyDer::from_pem_slice(&read(&identity.key)).expect("a key"),
        )
        .expect("a good certificate");
    let name = "localhost".try_into().expect("a name");
    let connection = rustls::ClientConnection::new(config.into(), name).expect("set up");
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
    Wire::over(StreamOwned::new(connection, stream))
}

struct Place {
    home: Home,
    ca: std::path::PathBuf,
    admin: std::net::SocketAddr,
    data: std::net::SocketAddr,
    server: Identity,
}

impl Place {
    fn new(authority: &Authority) -> Self {
        let home = Home::new();
        let (ca, server) = (authority.file(&home, "ca.pem"), authority.signs(&home, "server"));
        let (admin, data) = (free_address(), free_address());
        Self { home, ca, admin, data, server }
    }

    fn configure(&self, before: &str) {
        self.home.configure(&format!(
            "{before}\n[tls]\nlisten = ['{}']\nadmin_listen = ['{}']\n{}client_ca_file = '{}'\n\
             client_certificates = 'optional'\n",
            self.data,
            self.admin,
            self.server.lines(),
            self.ca.display()
        ));
    }
}

fn right(identity: &Identity, roles: &str, rest: &str) -> String {
    format!("[[rights]]\ncertificate = '{}'\nroles = [{roles}]\n{rest}\n", identity.hex)
}

#[test]
fn each_request_takes_its_role_and_no_other() {
    let authority = Authority::new();
    let place = Place::new(&authority);
    let holders: Vec<_> =
        Role::ALL.iter().map(|role| (*role, authority.signs(&place.home, role.name()))).collect();
    let of = |(role, identity): &(Role, Identity)| {
        right(identity, &format!("'{}'", role.name()), "all_tenants = true")
    };
    place.configure(&holders.iter().map(of).collect::<String>());
    let daemon = place.home.start();
    for (role, identity) in &holders {
        let roles: Roles = [*role].into_iter().collect();
        for (address, admin) in [(place.admin, true), (place.data, false)] {
            for opcode in Opcode::ALL {
                // Each on a connection of its own: some begin a stream.
                let mut wire = wire(address, &place.ca, identity);
                // A list is not what any of them takes, so nothing is carried out.
                wire.send(*opcode, 9, b"[]");
                let reply = wire.read();
                let what = format!("{} with {}", opcode.name(), role.name());
                if opcode.is_admin() && !admin {
                    assert_eq!(reply.error().0, ErrorCode::NotOnThisSocket, "{what}");
                } else if opcode.role().is_none_or(|role| roles.has(role)) {
                    let refused = reply.opcode == keygate_protocol::opcode::ERROR;
                    assert!(!refused || reply.error().0 != ErrorCode::Forbidden, "{what}");
                } else {
                    let (code, message) = reply.error();
                    assert_eq!(code, ErrorCode::Forbidden, "{what}: {message}");
                    let takes = opcode.role().expect("one").name();
                    for says in [&*format!("the role {takes}"), role.name(), "[[rights]]"] {
                        assert!(message.contains(says), "{what}: {message}");
                    }
                    // Nothing but the request is refused.
                    wire.answers();
                }
            }
        }
    }
    daemon.stop();
}

#[test]
fn rights_for_several_tenants_wait_for_hello() {
    let authority = Authority::new();
    let place = Place::new(&authority);
    let holder = authority.signs(&place.home, "holder");
    let [acme, globex] = [("'own'", "acme"), ("'read'", "globex")]
        .map(|(roles, tenant)| right(&holder, roles, &format!("tenant = '{tenant}'")));
    place.configure(&(acme + &globex));
    let daemon = place.home.start();
    place.home.create(&["--name", "theirs", "--tenant", "globex"]);
    place.home.create(&["--name", "ours", "--tenant", "acme"]);
    let list = |wire: &mut Wire| wire.ask(Opcode::KeyList, &serde_json::json!({}));
    let hello = |wire: &mut Wire, tenant: &str| {
        let mut payload = bytes::BytesMut::new();
        let hello = Hello { version_min: 1, version_max: 1, name: None, tenant: Some(tenant) };
        hello.encode(&mut payload);
        wire.send(Opcode::Hello, 5, &payload);
        wire.read()
    };
    let mut wire = wire(place.admin, &place.ca, &holder);
    let (code, message) = list(&mut wire).error();
    assert_eq!(code, ErrorCode::Forbidden);
    assert!(message.contains("Hello") && message.contains("acme, globex"), "{message}");
    let (code, message) = hello(&mut wire, "other").error();
    assert_eq!(code, ErrorCode::BadPayload, "{message}");
    assert_eq!(hello(&mut wire, "globex").opcode, Opcode::Hello.reply());
    let listed = list(&mut wire).json().to_string();
    assert!(listed.contains("theirs") && !listed.contains("ours"), "{listed}");
    let (code, message) = wire.ask(Opcode::KeyCreate, &serde_json::json!({})).error();
    assert_eq!(code, ErrorCode::Forbidden);
    assert!(message.contains("manage") && message.contains("\"globex\""), "{message}");
    hello(&mut wire, "acme").error();
    daemon.stop();
}

#[test]
fn a_peer_of_the_data_plane_is_bound_from_the_beginning() {
    let authority = Authority::new();
    let place = Place::new(&authority);
    let holder = authority.signs(&place.home, "holder");
    place.configure(&right(&holder, "'check'", "tenant = 'acme'"));
    let mut daemon = place.home.start();
    let (_, ours) = place.home.create(&["--name", "ours", "--tenant", "acme"]);
    let (_, theirs) = place.home.create(&["--name", "theirs", "--tenant", "globex"]);
    let tls = keygate::client::Tls::builder().ca_file(&place.ca);
    let tls = holder.shown_by(tls).build().expect("good files");
    let endpoint = keygate::client::Endpoint::tls(place.data.to_string(), tls);
    let mut client = keygate::client::blocking::Client::connect(endpoint.clone()).expect("let in");
    client.set_timeout(DEADLINE);
    for (token, code) in [(&ours, VerdictCode::Valid), (&theirs, VerdictCode::NotFound)] {
        let verdict = client.validate(&ValidateRequest::new(token)).expect("a verdict");
        assert_eq!(verdict.code, code);
    }
    let refused = keygate::client::blocking::Client::connect_for_tenant(endpoint, "globex");
    let refused = refused.expect_err("another tenant").to_string();
    assert!(refused.contains("another tenant"), "{refused}");
    drop(client);
    // Without its certificate it is nobody.
    let tls = keygate::client::Tls::builder().ca_file(&place.ca).build().expect("a good file");
    let endpoint = keygate::client::Endpoint::tls(place.data.to_string(), tls);
    keygate::client::blocking::Client::connect(endpoint).expect_err("nobody");
    daemon.logs(|log| log.contains("no right names it"));
    daemon.stop();
}

#[test]
fn a_service_of_another_container_is_served() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can make a PID namespace");
        return;
    }
    let home = Home::new();
    let serve = home.serve();
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg(serve.get_program()).args(serve.get_args());
    for (name, value) in serve.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // The daemon does not see this process: the kernel states 0 as its number.
    let daemon = Daemon::start(command);
    let (_, token) = home.create(&["--name", "x"]);
    let mut validate = home.command();
    validate.arg("validate").env("KEYGATE_TOKEN", token);
    support::run(validate, b"").expect(0);
    home.run(["status"]).expect(0);
    // Whoever is told to end is the one before it.
    drop(daemon);
}

#[test]
fn users_have_their_roles_on_either_socket_and_refusals_are_recorded() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can run commands as other users");
        return;
    }
    let home = Home::with(
        "admin_socket_mode = 0o666\ndata_roles_default = ['report']\n\
         [[rights]]\nuid = 65501\nroles = ['read', 'check']\nall_tenants = true\n\
         [[rights]]\nuid = 65502\nroles = ['manage']\nall_tenants = true\n",
    );
    let daemon = home.start();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(home.socket(), everybody).expect("its mode");
    let (id, token) = home.create(&["--name", "x"]);
    let run = |uid, args: &[&str]| home.run_as(uid, uid, args, &[("KEYGATE_TOKEN", &token)]);
    run(65501, &["key", "get", &id]).expect(0);
    run(65501, &["validate"]).expect(0);
    let refused = run(65501, &["key", "suspend", &id, "--reason", "x"]);
    refused.expect(1).says(&["FORBIDDEN", "the role manage", "has check, read"]);
    run(65501, &["increment", &id]).expect(1).says(&["the role report"]);
    run(65502, &["key", "get", &id]).expect(0);
    run(65502, &["key", "suspend", &id, "--reason", "x"]).expect(0);
    run(65502, &["export"]).expect(1).says(&["the role own", "has read, manage"]);
    run(65502, &["validate"]).expect(1).says(&["the role check"]);
    // Whom no entry names: the default on the data socket, nothing on the other.
    run(65503, &["increment", &id]).expect(0);
    run(65503, &["validate"]).expect(1).says(&["the role check", "has report"]);
    run(65503, &["status"]).expect(1).says(&["NOT_ADMITTED", "no right names user 65503"]);
    daemon.stop();
    let data = home.data();
    let exported = home.run(["audit", "export", "--data-dir", path(&data)]);
    let records =
        exported.stdout.lines().map(|line| -> Value { serde_json::from_str(line).expect("JSON") });
    let refusals: Vec<Value> = records.filter(|it| it["event"] == "refusal").collect();
    let told = |uid: u64, request: &str| {
        let found = refusals.iter().find(|it| {
            it["actor"]["uid"] == uid && it["request"].as_str().unwrap_or("") == request
        });
        found.unwrap_or_else(|| panic!("{request} by {uid}: {refusals:#?}")).clone()
    };
    let one = told(65501, "KeySetStatus");
    assert_eq!((&one["lacks"], &one["socket"]), (&"manage".into(), &"admin".into()), "{one}");
    assert_eq!(one["has"], serde_json::json!(["check", "read"]));
    assert_eq!(told(65502, "Validate")["socket"], "data");
    assert_eq!(told(65503, "")["lacks"], Value::Null);
    let text = home.run(["audit", "search", "--event", "refusal", "--data-dir", path(&data)]);
    text.expect(0);
    for says in ["refusal", "KeySetStatus on admin by uid 65501", "lacks manage"] {
        assert!(text.stdout.contains(says), "{says}: {text:?}");
    }
}

fn path(path: &std::path::Path) -> &str {
    path.to_str().expect("UTF-8")
}
