//! Tenants through the real binary: their life, connections that are bound to one, and users who
//! are.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use bytes::BytesMut;
use keygate::client::blocking::Client;
use keygate::client::{Endpoint, Report, ValidateRequest};
use keygate_protocol::batch::BatchWriter;
use keygate_protocol::hello::Hello;
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{ErrorCode, IncrementOutcome, Opcode, ValidateFlags, VerdictCode};
use serde_json::{Value, json};

use support::wire::{Wire, increment, validate};
use support::{DEADLINE, Home, Ran, run, text};

/// A token of the right form that no key has.
const UNKNOWN: &str = "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm";

/// A key of a tenant: its id and its token.
fn key_of(home: &Home, tenant: &str) -> (String, String) {
    home.create(&["--name", "x", "--tenant", tenant, "--scope", "a:b"])
}

fn hello(tenant: Option<&str>) -> Vec<u8> {
    let mut out = BytesMut::new();
    Hello { version_min: 1, version_max: 1, name: None, tenant }.encode(&mut out);
    out.to_vec()
}

fn bound(home: &Home, tenant: &str) -> Wire {
    let mut wire = home.wire();
    wire.send(Opcode::Hello, 1, &hello(Some(tenant)));
    assert_eq!(wire.read().opcode, Opcode::Hello.reply());
    wire
}

fn batch(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut batch = BatchWriter::new(&mut out);
    items.iter().for_each(|item| batch.item(|out| out.extend_from_slice(item)));
    batch.finish();
    out.to_vec()
}

fn id_of(id: &str) -> u64 {
    id.parse().expect("an id")
}

#[test]
fn the_life_of_a_tenant_is_obeyed_by_the_next_call_and_survives_a_restart() {
    let home = Home::new();
    let daemon = home.start();
    let (_, token) = key_of(&home, "acme");
    let (_, spared) = key_of(&home, "globex");
    let made = home.json(["tenant", "create", "acme", "--name", "Acme Ltd"]);
    assert_eq!((&made["tenant"]["keys"], &made["tenant"]["revision"]), (&json!(1), &json!(1)));
    let codes = || (home.code(&token), home.code(&spared));
    let both = |acme: &str| (acme.to_owned(), "VALID".to_owned());
    assert_eq!(codes(), both("VALID"));

    home.run(["tenant", "suspend", "acme", "--reason", "unpaid"]).expect(0);
    assert_eq!(codes(), both("TENANT_SUSPENDED"));
    let verdict = home.verdict(&token, &[]);
    assert_eq!((&verdict["tenant_id"], verdict["key_id"].is_null()), (&json!("acme"), false));
    daemon.stop();
    let daemon = home.start();
    assert_eq!(codes(), both("TENANT_SUSPENDED"), "after a restart too");
    key_of(&home, "acme");
    home.run(["tenant", "resume", "acme"]).expect(0);
    assert_eq!(codes(), both("VALID"));

    let ran = home.run(["tenant", "delete", "acme"]);
    ran.expect(0);
    assert!(ran.stdout.contains("its keys are unknown"), "{ran:?}");
    assert_eq!(codes(), both("NOT_FOUND"));
    let ran = home.run(["key", "create", "--name", "x", "--tenant", "acme"]);
    ran.expect(1).says(&["acme is deleted", "keygate tenant restore acme"]);
    daemon.kill();
    let daemon = home.start();
    assert_eq!(codes(), both("NOT_FOUND"), "after a crash too");
    let shown = home.run(["tenant", "list"]);
    assert!(!shown.stdout.contains("acme") && shown.stdout.contains("globex"), "{shown:?}");
    let shown = home.run(["tenant", "list", "--deleted"]);
    assert!(shown.stdout.contains("ACTIVE (deleted)"), "{shown:?}");
    home.run(["tenant", "restore", "acme"]).expect(0);
    assert_eq!(codes(), both("VALID"));

    let purged = home.json(["tenant", "purge", "acme"]);
    assert_eq!(purged["keys_purged"], 2);
    assert_eq!(codes(), both("NOT_FOUND"));
    for args in [&["get", "acme"][..], &["restore", "acme"], &["suspend", "nobody"]] {
        let ran = home.run(["tenant"].iter().chain(args));
        ran.expect(5).says(&["keygate tenant list"]);
    }
    assert_eq!(home.json(["key", "list", "--tenant", "acme", "--deleted"])["keys"], json!([]));
    daemon.stop();
}

#[test]
fn arguments_of_tenants_are_refused_in_words() {
    let home = Home::new();
    let _daemon = home.start();
    home.run(["tenant", "create", "a b"]).expect(1).says(&["id", "not a name"]);
    home.run(["tenant", "update", "acme"]).expect(2).says(&["--name"]);
    home.run(["tenant", "create", "acme"]).expect(0);
    home.run(["tenant", "create", "acme"]).expect(0).says(&["was there already"]);
    let lost = ["tenant", "update", "acme", "--name", "x", "--expected-revision", "7"];
    home.run(lost).expect(1).says(&["revision 1, not 7"]);
    home.run(["tenant", "update", "acme", "--clear", "colour"]).expect(1).says(&["colour"]);
    home.run(["tenant", "list", "--status", "REVOKED"]).expect(1).says(&["ACTIVE or SUSPENDED"]);
    home.run(["serve", "--as-tenant", "acme"]).expect(2).says(&["--as-tenant"]);
    home.run(["bench", "--as-tenant", "acme"]).expect(2).says(&["--as-tenant"]);
    home.run(["ping", "--as-tenant", ""]).expect(1).says(&["tenant", "1 to 64 bytes"]);
}

/// What a bound connection gets for another tenant's key is, byte for byte, what it gets for none.
#[test]
fn another_tenants_key_is_no_key_to_a_bound_connection() {
    let home = Home::new();
    let _daemon = home.start();
    let (own, own_token) = key_of(&home, "acme");
    let (other, other_token) = key_of(&home, "globex");
    // A warning must not show through either.
    home.run(["key", "update", &other, "--expires", "1h"]).expect(0);
    let details = |token: &str| {
        let mut out = BytesMut::new();
        ValidateWriter::new(&mut out, ValidateFlags::DETAILS, 1, token.as_bytes()).scope_all("z:z");
        out.to_vec()
    };
    for mut wire in [bound(&home, "acme"), bound(&home, "nobody")] {
        let mut ask = |opcode, payload: &[u8]| {
            wire.send(opcode, 8, payload);
            wire.read().payload
        };
        for question in [validate, details] {
            let nothing = ask(Opcode::Validate, &question(UNKNOWN));
            assert_eq!(ask(Opcode::Validate, &question(&other_token)), nothing);
        }
        let nothing = ask(Opcode::ValidateBatch, &batch(&[validate(UNKNOWN), validate(UNKNOWN)]));
        let others =
            ask(Opcode::ValidateBatch, &batch(&[validate(&other_token), validate(UNKNOWN)]));
        assert_eq!(others, nothing);
        assert_eq!(ask(Opcode::Increment, &increment(id_of(&other))), [2]);
        let reports = batch(&[increment(id_of(&other)), increment(1)]);
        let outcomes = ask(Opcode::IncrementBatch, &reports);
        assert_eq!(outcomes, batch(&[vec![2], vec![2]]));
    }
    let mut wire = bound(&home, "acme");
    wire.send(Opcode::Validate, 8, &validate(&own_token));
    assert_eq!(wire.read().verdict().code, VerdictCode::Valid);
    wire.send(Opcode::Increment, 8, &increment(id_of(&own)));
    assert_eq!(wire.read().payload, [0]);
    assert_eq!(home.json(["usage", &other])["reported_requests"], 0);
    assert_eq!(home.json(["usage", &own])["reported_requests"], 1);
}

#[test]
fn a_bound_connection_stays_bound_and_what_it_asked_before_is_not() {
    let home = Home::new();
    let _daemon = home.start();
    let (_, token) = key_of(&home, "globex");
    for socket in [home.socket(), home.admin_socket()] {
        let mut wire = Wire::unix(&socket);
        wire.send(Opcode::Validate, 1, &validate(&token));
        wire.send(Opcode::Hello, 2, &hello(Some("acme")));
        wire.send(Opcode::Validate, 3, &validate(&token));
        assert_eq!(wire.read().verdict().code, VerdictCode::Valid);
        assert_eq!(wire.read().opcode, Opcode::Hello.reply());
        assert_eq!(wire.read().verdict().code, VerdictCode::NotFound);
        for (tenant, taken) in [(Some("globex"), false), (Some("acme"), true), (None, true)] {
            wire.send(Opcode::Hello, 4, &hello(tenant));
            let reply = wire.read();
            if taken {
                assert_eq!(reply.opcode, Opcode::Hello.reply());
            } else {
                let (code, words) = reply.error();
                assert_eq!(code, ErrorCode::BadPayload);
                assert!(words.contains("another tenant"), "{words}");
            }
            wire.send(Opcode::Validate, 5, &validate(&token));
            assert_eq!(wire.read().verdict().code, VerdictCode::NotFound, "{tenant:?}");
        }
    }
}

#[test]
fn a_bound_client_stays_bound_when_it_connects_anew() {
    let home = Home::new();
    let daemon = home.start();
    let (own, own_token) = key_of(&home, "acme");
    let (other, other_token) = key_of(&home, "globex");
    let endpoint = Endpoint::unix(home.socket());
    let mut client = Client::connect_for_tenant(endpoint.clone(), "acme").expect("it is bound");
    client.set_timeout(DEADLINE);
    let judge = |client: &mut Client| {
        let codes = [&own_token, &other_token].map(|token| {
            client.validate(&ValidateRequest::new(token.as_str())).expect("a verdict").code
        });
        assert_eq!(codes, [VerdictCode::Valid, VerdictCode::NotFound]);
        let outcomes =
            [&own, &other].map(|id| client.increment(&Report::new(id_of(id))).expect("an outcome"));
        assert_eq!(outcomes, [IncrementOutcome::Counted, IncrementOutcome::NotFound]);
    };
    judge(&mut client);
    daemon.stop();
    let daemon = home.start();
    // The call that finds the old connection ended tells so.
    if client.ping().is_err() {
        client.ping().expect("connected anew");
    }
    judge(&mut client);
    drop(daemon);

    let _daemon = home.start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let client = keygate::client::Client::builder(endpoint).tenant("acme");
        let client = client.timeout(DEADLINE).connect().await.expect("it is bound");
        let request = ValidateRequest::new(other_token.as_str());
        let verdict = client.validate(request).await.expect("a verdict");
        assert_eq!((verdict.code, verdict.key_id), (VerdictCode::NotFound, 0));
    });
    let refused = Client::connect_for_tenant(Endpoint::unix(home.socket()), &"x".repeat(65));
    assert_eq!(refused.expect_err("too long").code(), Some(ErrorCode::BadPayload));
}

#[test]
fn a_bound_admin_sees_lists_exports_imports_and_changes_its_tenant_alone() {
    let home = Home::new();
    let _daemon = home.start();
    let (own, token) = key_of(&home, "acme");
    let (other, other_token) = key_of(&home, "globex");
    let as_acme = |args: &[&str]| home.run(["--as-tenant", "acme"].iter().chain(args));
    as_acme(&["key", "get", &own]).expect(0);
    for args in [
        &["key", "get", &other][..],
        &["key", "suspend", &other],
        &["key", "delete", &other, "--purge"],
        &["usage", &other],
        &["tenant", "get", "globex"],
    ] {
        as_acme(args).expect(5);
    }
    assert_eq!(home.code(&other_token), "VALID");
    let listed = as_acme(&["key", "list", "--json"]).json();
    assert_eq!(listed["keys"].as_array().map(Vec::len), Some(1));
    let exported = as_acme(&["export"]);
    assert!(exported.stdout.contains(&own) && !exported.stdout.contains(&other), "{exported:?}");
    let tenants = as_acme(&["tenant", "list", "--json"]).json();
    assert_eq!(tenants["tenants"][0]["id"], "acme");
    assert_eq!(tenants["tenants"].as_array().map(Vec::len), Some(1));
    for args in [
        &["tenant", "create", "new"][..],
        &["tenant", "suspend", "acme"],
        &["tenant", "delete", "globex"],
        &["tenant", "purge", "acme"],
    ] {
        as_acme(args).expect(1).says(&["bound to \"acme\""]);
    }
    let status = as_acme(&["status", "--json"]);
    assert_eq!(status.expect(0).json()["stats"], json!({}), "the figures are those of all");

    let record = |id: u64, tenant: &str| json!({"id": id.to_string(), "key_hash": format!("{id:064x}"), "tenant_id": tenant});
    let file = |records: &[Value]| {
        let path = home.file("records.json", &json!({ "api_keys": records }).to_string());
        path.to_str().expect("UTF-8").to_owned()
    };
    let mixed = file(&[record(1, "acme"), record(2, "globex")]);
    as_acme(&["import", &mixed]).expect(1).says(&["tenant_id", "bound to the tenant"]);
    let imported = as_acme(&["import", &mixed, "--skip-bad", "--json"]).json();
    assert_eq!((&imported["imported"], &imported["skipped"]), (&json!(1), &json!(1)));
    let made = as_acme(&["key", "create", "--name", "y", "--json"]).json();
    assert_eq!(made["key"]["tenant_id"], "acme", "its own tenant's");
    let verdict = |token: &str| {
        let mut command = home.command();
        command.args(["validate", "--as-tenant", "acme", "--json"]).env("KEYGATE_TOKEN", token);
        text(&run(command, b"").json()["code"])
    };
    assert_eq!((verdict(&token), verdict(&other_token)), ("VALID".into(), "NOT_FOUND".into()));
}

fn run_as(home: &Home, uid: u32, gid: u32, args: &[&str]) -> Ran {
    home.run_as(uid, gid, args, &[])
}

#[test]
fn users_of_the_admin_socket_have_the_rights_that_the_configuration_gives_them() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can run commands as other users");
        return;
    }
    let home = Home::with(
        "admin_socket_mode = 0o666\n\
         [[rights]]\nuid = 65501\nroles = ['own']\ntenant = \"acme\"\n\
         [[rights]]\ngid = 65502\nroles = ['own']\nall_tenants = true\n",
    );
    let mut daemon = home.start();
    let mode = fs::metadata(home.admin_socket()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    let (own, _) = key_of(&home, "acme");
    let (other, _) = key_of(&home, "globex");
    let get = |uid, gid, id: &str| run_as(&home, uid, gid, &["key", "get", id]);
    get(65501, 65501, &own).expect(0);
    get(65501, 65501, &other).expect(5);
    // What all entries give that name a peer counts together.
    get(65501, 65502, &other).expect(0);
    get(65503, 65502, &other).expect(0);
    get(0, 0, &other).expect(0);
    let bound = run_as(&home, 65501, 65501, &["tenant", "delete", "acme"]);
    bound.expect(1).says(&["TenantDelete", "bound to \"acme\""]);
    // A right can be narrowed and not changed.
    let as_other = run_as(&home, 65501, 65501, &["--as-tenant", "globex", "key", "list"]);
    as_other.expect(1).says(&["another tenant"]);
    run_as(&home, 65501, 65501, &["--as-tenant", "acme", "key", "get", &own]).expect(0);
    run_as(&home, 65503, 65502, &["--as-tenant", "acme", "key", "get", &other]).expect(5);

    let stranger = get(65504, 65504, &own);
    stranger.expect(1).says(&["no right names user 65504 or group 65504", "[[rights]]"]);
    assert!(!stranger.stderr.contains("keygate serve"), "the daemon is there: {stranger:?}");
    daemon.logs(|log| log.contains("uid=65504") && log.contains("pid="));
}

#[test]
fn who_is_bound_to_a_tenant_cannot_take_the_last_places_of_the_admin_socket() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can run commands as other users");
        return;
    }
    let home = Home::with(
        "admin_socket_mode = 0o666\n\
         [[rights]]\nuid = 65501\nroles = ['own']\ntenant = \"acme\"\n\
         [limits]\nadmin_connections_max = 4\n",
    );
    let _daemon = home.start();
    let mut held: Vec<_> = (0..2).map(|_| home.admin_wire()).collect();
    held.iter_mut().for_each(support::wire::Wire::answers);
    let bound = || run_as(&home, 65501, 65501, &["key", "list"]);
    bound().expect(0);
    held.push(home.admin_wire());
    held.iter_mut().for_each(support::wire::Wire::answers);
    // The place of the command before is free once the daemon has seen it go.
    let refused = loop {
        let ran = bound();
        if ran.code() != 0 {
            break ran;
        }
    };
    refused.says(&["TOO_MANY_CONNECTIONS"]);
    home.run(["key", "list"]).expect(0);
}

#[test]
fn without_rights_the_mode_of_the_socket_is_the_guard() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can run commands as other users");
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    run_as(&home, 65501, 65501, &["status"]).expect(4).says(&["Permission denied"]);
    daemon.stop();
    home.configure("admin_socket_mode = 0o660\n");
    let _daemon = home.start();
    run_as(&home, 65501, 65501, &["status"]).expect(4);
    // The socket's group is root's.
    run_as(&home, 65501, 0, &["status"]).expect(0);
}

#[test]
fn a_purge_that_a_kill_cuts_short_goes_on_at_the_next_start() {
    let home = Home::new();
    let daemon = home.start();
    let record = |id: u64| json!({"id": id.to_string(), "key_hash": format!("{id:064x}"), "tenant_id": "doomed"});
    let keys = 5000;
    home.import(&(1..=keys).map(record).collect::<Vec<_>>());
    let (_, spared) = key_of(&home, "spared");
    let mut purge = home.admin_wire();
    let request = json!({"id": "doomed", "purge": true}).to_string();
    purge.send(Opcode::TenantDelete, 1, request.as_bytes());
    let mut watch = home.admin_wire();
    // How many keys are left; `None` when the tenant is gone.
    let left = |watch: &mut Wire| {
        let reply = watch.ask(Opcode::TenantGet, &json!({"id": "doomed"}));
        let is_there = reply.opcode == Opcode::TenantGet.reply();
        is_there.then(|| reply.json()["keys"].as_u64().expect("a number"))
    };
    while left(&mut watch).is_some_and(|left| left >= keys) {}
    daemon.kill();
    let mut daemon = home.start();
    let mut watch = home.admin_wire();
    if left(&mut watch).is_some() {
        daemon.logs(|log| log.contains("purge was cut short") && log.contains("tenants=1"));
    }
    let reply = watch.ask(Opcode::TenantGet, &json!({"id": "doomed"}));
    assert_eq!(reply.error().0, ErrorCode::NotFound);
    let exported = home.run(["export"]);
    assert!(!exported.stdout.contains("doomed"), "nothing of it is left");
    assert_eq!(home.code(&spared), "VALID");
    daemon.stop();
    let daemon = home.start();
    assert_eq!(home.json(["status"])["stats"]["keys"], 1);
    daemon.stop();
}
