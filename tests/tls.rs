//! TLS over real sockets: who is let in, what is told to others, and what a reload changes.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use keygate::client::blocking::Client;
use keygate::client::{Endpoint, Error, Tls, ValidateRequest};
use keygate_protocol::VerdictCode;
use support::certs::{Authority, Identity, free_address};
use support::{DEADLINE, Daemon, Home};

/// A daemon's place with an authority, and where TLS is spoken.
struct Place {
    home: Home,
    authority: Authority,
    ca: PathBuf,
    server: Identity,
    address: SocketAddr,
}

impl Place {
    fn new() -> Self {
        let home = Home::new();
        let authority = Authority::new();
        let (ca, server) = (authority.file(&home, "ca.pem"), authority.signs(&home, "server"));
        Self { home, authority, ca, server, address: free_address() }
    }

    fn configure(&self, more: &str) {
        let (address, server, ca) = (self.address, self.server.lines(), self.ca.display());
        self.home.configure(&format!(
            "{more}\n[tls]\nlisten = ['{address}']\n{server}client_ca_file = '{ca}'\n"
        ));
    }

    /// A daemon that asks for certificates so; further lines of `[tls]`.
    fn start(&self, asks: &str, more: &str) -> Daemon {
        self.write(asks, more);
        self.home.start()
    }

    fn write(&self, asks: &str, more: &str) {
        self.configure("");
        let path = self.home.path("keygate.toml");
        let text = fs::read_to_string(&path).expect("it is there");
        let text =
            text.replace("[tls]\n", &format!("[tls]\nclient_certificates = '{asks}'\n{more}"));
        fs::write(path, text).expect("written");
    }

    fn connect(&self, tls: Tls) -> Result<Client, Error> {
        Client::connect(Endpoint::tls(self.address.to_string(), tls))
    }

    /// A client that trusts the authority and shows nothing.
    fn plain(&self) -> Tls {
        Tls::builder().ca_file(&self.ca).build().expect("a good file")
    }

    fn validates(&self, client: &mut Client, token: &str) {
        client.set_timeout(DEADLINE);
        let verdict = client.validate(&ValidateRequest::new(token)).expect("a verdict");
        assert_eq!(verdict.code, VerdictCode::Valid);
    }
}

fn refused(connected: Result<Client, Error>) -> String {
    let error = connected.expect_err("refused");
    assert!(error.is_unreachable(), "{error}");
    error.to_string()
}

#[test]
fn who_must_show_a_certificate_is_let_in_with_a_good_one_alone() {
    let place = Place::new();
    let (good, other) = (place.authority.signs(&place.home, "good"), Authority::new());
    let foreign = other.signs(&place.home, "foreign");
    let old = place.authority.signs_until(&place.home, "old", 2021);
    for (asks, nothing) in [("none", true), ("optional", true), ("required", false)] {
        let daemon = place.start(asks, "");
        let (_, token) = place.home.create(&["--name", "x"]);
        match (place.connect(place.plain()), nothing) {
            (Ok(mut client), true) => place.validates(&mut client, &token),
            (connected, false) => {
                let told = refused(connected);
                assert!(told.contains("asks for a client's certificate"), "{asks}: {told}");
            }
            (Err(error), true) => panic!("{asks}: {error}"),
        }
        let mut client = place.connect(good.tls(&place.ca)).expect("a good certificate");
        place.validates(&mut client, &token);
        if asks != "none" {
            for (identity, says) in [(&foreign, "no authority of its"), (&old, "has expired")] {
                let told = refused(place.connect(identity.tls(&place.ca)));
                assert!(told.contains(says), "{asks}: {told}");
            }
        }
        drop(client);
        daemon.stop();
    }
}

#[test]
fn a_client_says_what_is_wrong_with_the_daemons_certificate() {
    let place = Place::new();
    let daemon = place.start("none", "");
    let stranger = Authority::new().file(&place.home, "stranger.pem");
    let pinned = |pin| Tls::builder().pin(pin).build().expect("no files");
    for (tls, says) in [
        (Tls::builder().ca_file(&stranger).build(), "no authority that is trusted here"),
        (Tls::builder().ca_file(&place.ca).server_name("other.example").build(), "another name"),
        (Ok(pinned([0; 32])), "not the pinned one"),
    ] {
        let told = refused(place.connect(tls.expect("good files")));
        assert!(told.contains(says), "{told}");
    }
    place.connect(pinned(place.server.sha256)).expect("the pinned one");
    let named = Tls::builder().ca_file(&place.ca).server_name("localhost").build();
    place.connect(named.expect("good files")).expect("a name that it bears");
    daemon.stop();
    let expired = place.authority.signs_until(&place.home, "server", 2021);
    assert_eq!(expired.certificate, place.server.certificate, "in the place of the other");
    let daemon = place.home.start();
    let told = refused(place.connect(place.plain()));
    assert!(told.contains("the daemon's certificate has expired"), "{told}");
    daemon.stop();
}

#[test]
fn what_was_revoked_is_refused_and_so_is_everything_under_an_old_list() {
    let place = Place::new();
    let sign = |name: &str| place.authority.signs(&place.home, name);
    let (good, bad) = (sign("good"), sign("bad"));
    let crl = place.authority.revokes(&place.home, "crl.pem", &[], 2100);
    let more = format!("client_crl_file = '{}'\n", crl.display());
    let daemon = place.start("required", &more);
    let try_as = |identity: &Identity| place.connect(identity.tls(&place.ca));
    let mut open = try_as(&bad).expect("not revoked yet");
    try_as(&good).expect("good");
    place.authority.revokes(&place.home, "crl.pem", &[&bad], 2100);
    place.home.run(["reload"]).expect(0);
    let told = refused(try_as(&bad));
    assert!(told.contains("revoked"), "{told}");
    try_as(&good).expect("good");
    open.ping().expect_err("what let it in is over");
    let mut open = try_as(&good).expect("good");
    open.set_timeout(DEADLINE);
    place.authority.revokes(&place.home, "crl.pem", &[&bad], 2022);
    place.home.run(["reload"]).expect(0);
    let told = refused(try_as(&good));
    assert!(told.contains("tls.client_crl_file"), "{told}");
    open.ping().expect("an old list says nothing of who is in");
    drop(open);
    daemon.stop();
}

#[test]
fn a_reload_takes_another_certificate_as_a_whole_or_not_at_all_and_drops_nobody() {
    let place = Place::new();
    let mut daemon = place.start("none", "");
    let (_, token) = place.home.create(&["--name", "x"]);
    let pinned = |identity: &Identity| {
        place.connect(Tls::builder().pin(identity.sha256).build().expect("no files"))
    };
    let mut open = pinned(&place.server).expect("the first");
    place.validates(&mut open, &token);
    // The certificate of one and the key of another.
    let key = fs::read(&place.server.key).expect("it is there");
    let second = place.authority.signs(&place.home, "server");
    let second_key = fs::read(&second.key).expect("it is there");
    fs::write(&second.key, key).expect("written");
    let ran = place.home.run(["reload"]);
    ran.expect(1).says(&["nothing was applied", "tls.key_file", "not the key"]);
    place.validates(&mut open, &token);
    pinned(&place.server).expect("still the first");
    fs::write(&second.key, second_key).expect("written");
    daemon.signal(rustix::process::Signal::HUP);
    daemon.logs(|log| log.contains("the configuration was reloaded"));
    let mut new = pinned(&second).expect("the second");
    refused(pinned(&place.server));
    place.validates(&mut open, &token);
    place.validates(&mut new, &token);
    place.write("required", "");
    let reloaded = place.home.run(["reload"]);
    reloaded.expect(0);
    assert!(reloaded.stdout.contains("tls.client_certificates"), "{reloaded:?}");
    refused(pinned(&second));
    place.validates(&mut new, &token);
    place.home.configure("");
    place.home.run(["reload"]).expect(1).says(&["tls.listen", "restart"]);
    drop((open, new));
    daemon.stop();
}

#[test]
fn a_handshake_that_stalls_costs_a_connection_and_ends_in_its_time() {
    let place = Place::new();
    place.configure("[limits]\nhandshake_timeout_ms = 100\nhandshakes_max = 2\n");
    let daemon = place.home.start();
    let (_, token) = place.home.create(&["--name", "x"]);
    let mut good = place.connect(place.plain()).expect("in time");
    let mut silent: Vec<_> = (0..4)
        .map(|_| {
            let stream = TcpStream::connect(place.address).expect("accepted by the system");
            stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            stream
        })
        .collect();
    // A trickle of a good beginning does not extend the time.
    silent[0].write_all(&[0x16, 0x03]).expect("written");
    for stream in &mut silent {
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(ended.is_err() || rest.is_empty(), "{rest:?}");
    }
    place.validates(&mut good, &token);
    place.connect(place.plain()).expect("there is room again");
    drop(good);
    daemon.stop();
}

#[test]
fn an_administrator_whose_certificate_is_revoked_is_out_and_may_still_revoke_his_own() {
    let place = Place::new();
    let (admin, own) = (free_address(), place.authority.signs(&place.home, "own"));
    let right =
        format!("[[rights]]\ncertificate = '{}'\nroles = ['own']\nall_tenants = true\n", own.hex);
    place.configure(&right);
    let file = place.home.path("keygate.toml");
    let text = fs::read_to_string(&file).expect("it is there");
    let crl = place.authority.revokes(&place.home, "crl.pem", &[], 2100);
    let listens =
        format!("[tls]\nadmin_listen = ['{admin}']\nclient_crl_file = '{}'\n", crl.display());
    fs::write(&file, text.replace("[tls]\n", &listens)).expect("written");
    let mut daemon = place.home.start();
    let endpoint = Endpoint::tls(admin.to_string(), own.tls(&place.ca));
    let mut open = Client::connect(endpoint.clone()).expect("not revoked yet");
    open.set_timeout(DEADLINE);
    open.ping().expect("served");
    place.authority.revokes(&place.home, "crl.pem", &[&own], 2100);
    let mut command = place.home.command();
    let socket = format!("tls://localhost:{}", admin.port());
    command.args(["--admin-socket", &socket, "--tls-ca"]).arg(&place.ca);
    command.arg("--tls-cert").arg(&own.certificate).arg("--tls-key").arg(&own.key);
    command.arg("reload");
    // What has ended its own connection is carried out and answered.
    support::run(command, b"").expect(0);
    daemon.logs(|log| log.contains("connections were closed"));
    open.ping().expect_err("what let it in is over");
    let told = refused(Client::connect(endpoint));
    assert!(told.contains("revoked"), "{told}");
    daemon.stop();
}

#[test]
fn silent_sockets_at_one_port_keep_nobody_out_of_the_other() {
    let place = Place::new();
    let (admin, own) = (free_address(), place.authority.signs(&place.home, "own"));
    let more = format!(
        "[[rights]]\ncertificate = '{}'\nroles = ['own']\nall_tenants = true\n\
         [limits]\nhandshakes_max = 4\n",
        own.hex
    );
    place.configure(&more);
    let path = place.home.path("keygate.toml");
    let text = fs::read_to_string(&path).expect("it is there");
    let text = text.replace("[tls]\n", &format!("[tls]\nadmin_listen = ['{admin}']\n"));
    fs::write(&path, text).expect("written");
    let mut daemon = place.home.start();
    let silent: Vec<_> = (0..8)
        .map(|_| TcpStream::connect(place.address).expect("accepted by the system"))
        .collect();
    daemon.logs(|log| log.contains("a TLS handshake came to nothing"));
    let mut client = Client::connect(Endpoint::tls(admin.to_string(), own.tls(&place.ca)))
        .expect("places of its own");
    client.ping().expect("served");
    drop((silent, client));
    daemon.stop();
}

#[test]
fn plain_text_at_a_port_of_tls_gets_no_answer_and_harms_nobody() {
    let place = Place::new();
    let daemon = place.start("none", "");
    let (_, token) = place.home.create(&["--name", "x"]);
    let told = refused(Client::connect(Endpoint::tcp(place.address.to_string())));
    assert!(told.contains("cannot connect"), "{told}");
    let mut stream = TcpStream::connect(place.address).expect("accepted");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("written");
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told);
    assert!(told.first().is_none_or(|kind| *kind == 0x15), "an alert or nothing: {told:?}");
    let mut client = place.connect(place.plain()).expect("TLS");
    place.validates(&mut client, &token);
    drop(client);
    daemon.stop();
}

#[test]
fn large_answers_and_pipelines_come_whole() {
    let place = Place::new();
    let daemon = place.start("none", "");
    let (_, token) = place.home.create(&["--name", "x"]);
    let mut client = place.connect(place.plain()).expect("connected");
    client.set_timeout(DEADLINE);
    let questions: Vec<_> = (0..512).map(|_| ValidateRequest::new(&token).details()).collect();
    for _ in 0..20 {
        let verdicts = client.validate_pipelined(&questions).expect("all are answered");
        assert!(verdicts.iter().all(|verdict| verdict.code == VerdictCode::Valid));
    }
    drop(client);
    daemon.stop();
}

#[test]
fn the_async_client_speaks_tls_too() {
    let place = Place::new();
    let daemon = place.start("none", "");
    let (_, token) = place.home.create(&["--name", "x"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let endpoint = Endpoint::tls(place.address.to_string(), place.plain());
        let client = keygate::client::Client::connect(endpoint).await.expect("connected");
        let client = client.with_timeout(DEADLINE);
        let asked = (0..2000).map(|_| {
            let (client, token) = (client.clone(), token.clone());
            tokio::spawn(async move { client.validate(ValidateRequest::new(&token)).await })
        });
        for asked in asked.collect::<Vec<_>>() {
            let verdict = asked.await.expect("no panic").expect("a verdict");
            assert_eq!(verdict.code, VerdictCode::Valid);
        }
        let stranger = Authority::new().file(&place.home, "stranger.pem");
        let tls = Tls::builder().ca_file(stranger).build().expect("a good file");
        let endpoint = Endpoint::tls(place.address.to_string(), tls);
        let refused = keygate::client::Client::connect(endpoint).await.expect_err("refused");
        assert!(refused.to_string().contains("no authority that is trusted"), "{refused}");
    });
    daemon.stop();
}

#[test]
fn commands_connect_by_tls() {
    let place = Place::new();
    let admin = free_address();
    let (own, stranger) =
        (place.authority.signs(&place.home, "own"), place.authority.signs(&place.home, "stranger"));
    place.home.configure(&format!(
        "[[rights]]\ncertificate = '{}'\nroles = ['own']\nall_tenants = true\n\
         [tls]\nadmin_listen = ['{admin}']\n{}client_ca_file = '{}'\n",
        own.hex,
        place.server.lines(),
        place.ca.display()
    ));
    let mut daemon = place.home.start();
    let socket = format!("tls://localhost:{}", admin.port());
    let run = |identity: Option<&Identity>, args: &[&str]| {
        let mut command = place.home.command();
        command.args(["--admin-socket", &socket, "--tls-ca"]).arg(&place.ca);
        if let Some(Identity { certificate, key, .. }) = identity {
            command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
        }
        command.args(args);
        support::run(command, b"")
    };
    let made = run(Some(&own), &["key", "create", "--name", "by tls", "--json"]);
    made.expect(0);
    let listed = run(Some(&own), &["key", "list"]);
    listed.expect(0);
    assert!(listed.stdout.contains("by tls"), "{listed:?}");
    run(Some(&own), &["status"]).expect(0);
    run(None, &["key", "list"]).expect(1).says(&["asks for a client's certificate"]);
    let told = run(Some(&stranger), &["key", "list"]);
    told.expect(1).says(&["NOT_ADMITTED", &stranger.hex, "[[rights]]"]);
    daemon.logs(|log| log.contains("no right names it"));
    let bad = run(Some(&own), &["--tls-name", "other.example", "key", "list"]);
    bad.expect(1).says(&["another name"]);
    daemon.stop();
    let changes = place.home.run(["audit", "export", "--data-dir", path(&place.home.data())]);
    assert!(changes.stdout.contains(&own.hex), "the actor is the certificate: {changes:?}");
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
