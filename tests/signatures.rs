//! Signed requests, as a library signs them that is not ours (`http-message-signatures` for Python),
//! judged by the real daemon: taken once, and refused when they are altered, repeated or too old.

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bytes::BytesMut;
use keygate_protocol::batch::{Batch, BatchWriter};
use keygate_protocol::validate::{Body, ValidateWriter};
use keygate_protocol::{Flags, Opcode, ValidateFlags, Verdict, VerdictCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

use support::wire::{Wire, request, validate};
use support::{Home, text};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/signatures/signer.py");
/// Where `.ci/run` puts a Python that has the library.
const PLACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/signer/bin/python3");
/// Names a Python that has it.
const PYTHON_ENV: &str = "KEYGATE_SIGNER_PYTHON";

const SAFE: [&str; 5] =
    ["ed25519", "ecdsa-p256-sha256", "ecdsa-p384-sha384", "rsa-pss-sha512", "hmac-sha256"];
const LEGACY: &str = "rsa-v1_5-sha256";

/// The other side; it ends when it is dropped.
struct Signer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// By algorithm, as PEM; that of HMAC is the secret in base64.
    keys: Value,
}

impl Signer {
    fn start() -> Self {
        let mut child = Command::new(python())
            .arg(SCRIPT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a signer");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let input = child.stdin.take().expect("its input");
        let mut signer = Self { child, input, output, keys: Value::Null };
        signer.keys = signer.line();
        signer
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).expect("JSON")
    }

    /// A request of this method, signed so: what is told beside what all of them have.
    fn sign(&mut self, algorithm: &str, method: &'static str, told: &Value) -> Signed {
        let mut order = json!({
            "algorithm": algorithm,
            "method": method,
            "url": "https://API.example.com:443/leads/7?sort=up&q=%20",
            "headers": [["X-Trace", " a"], ["Content-Type", "application/json"]],
            "components": ["@method", "@authority", "@path", "@query", "content-type"],
        });
        let members = told.as_object().expect("an object");
        members.iter().for_each(|(name, value)| order[name] = value.clone());
        writeln!(self.input, "{order}").expect("it reads");
        let headers = self.line();
        let pair = |pair: &Value| (text(&pair[0]), text(&pair[1]));
        Signed {
            method,
            path: "/leads/7".to_owned(),
            query: Some("sort=up&q=%20".to_owned()),
            headers: headers.as_array().expect("fields").iter().map(pair).collect(),
            body: told.get("body").and_then(Value::as_str).map(str::to_owned),
        }
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Python that has the library.
fn python() -> String {
    let named = std::env::var(PYTHON_ENV).ok();
    let has = |python: &String| {
        let ran = Command::new(python).args(["-c", "import http_message_signatures"]).output();
        ran.is_ok_and(|ran| ran.status.success())
    };
    let known = [PLACE.to_owned(), "python3".to_owned()];
    named.into_iter().chain(known).find(has).unwrap_or_else(|| {
        panic!(
            "no Python has http-message-signatures: python3 -m venv target/signer && \
             target/signer/bin/pip install -r tests/signatures/requirements.txt (or name one in \
             {PYTHON_ENV})"
        )
    })
}

/// A request, as a service gets it.
#[derive(Clone)]
struct Signed {
    method: &'static str,
    path: String,
    query: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl Signed {
    fn change(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        change(&mut changed);
        changed
    }

    fn field(&mut self, name: &str) -> &mut String {
        let mut fields = self.headers.iter_mut();
        let field = fields.find(|(own, _)| own.eq_ignore_ascii_case(name));
        &mut field.expect("it has it").1
    }

    /// What asks about a token that comes with the request.
    fn payload(&self, token: &str, flags: ValidateFlags) -> BytesMut {
        let mut payload = BytesMut::new();
        let mut writer = ValidateWriter::new(&mut payload, flags, 1, token.as_bytes());
        writer.method(self.method);
        writer.scheme("https");
        writer.authority("api.example.com");
        writer.path(&self.path);
        self.query.iter().for_each(|query| writer.query(query));
        self.headers.iter().for_each(|(name, value)| writer.header(name, value.as_bytes()));
        if let Some(body) = &self.body {
            // Either digest will do, as long as the signer has stated it.
            let longer = self.headers.iter().any(|(_, value)| value.starts_with("sha-512"));
            if longer {
                writer.body(Body::Sha512(&Sha512::digest(body).into()));
            } else {
                writer.body(Body::Sha256(&Sha256::digest(body).into()));
            }
        }
        payload
    }

    fn verdict(&self, wire: &mut Wire, token: &str, flags: ValidateFlags) -> VerdictCode {
        wire.send(Opcode::Validate, 1, &self.payload(token, flags));
        wire.read().verdict().code
    }

    fn code(&self, wire: &mut Wire, token: &str) -> VerdictCode {
        self.verdict(wire, token, ValidateFlags::NONE)
    }
}

/// A key that demands signatures, with all of the signer's keys; its id and its token.
fn key(home: &Home, signer: &Signer, more: &[&str]) -> (String, String) {
    let (id, token) = home.create(&[&["--name", "signed", "--enforce-signing"], more].concat());
    for algorithm in SAFE.into_iter().chain([LEGACY]) {
        let key = text(&signer.keys[algorithm]);
        let add = ["key", "signing", "add", &id, "--key-id", algorithm];
        let ran = if algorithm == "hmac-sha256" {
            home.run_with(&[&add[..], &["--shared-secret-stdin"]].concat(), &key)
        } else {
            home.run_with(&[&add[..], &["--public-key", "-"]].concat(), &key)
        };
        ran.expect(0);
    }
    (id, token)
}

#[test]
fn each_algorithm_of_the_other_side_is_taken_and_nothing_altered() {
    use VerdictCode::{
        SignatureExpired, SignatureInvalid, SignatureReplayed, SignatureRequired, Valid,
    };
    let home = Home::new();
    let _daemon = home.start();
    let mut signer = Signer::start();
    let all: Vec<&str> =
        SAFE.iter().chain(&[LEGACY]).flat_map(|name| ["--signature-algorithm", *name]).collect();
    let (_, token) = key(&home, &signer, &all);
    let mut wire = home.wire();
    for algorithm in SAFE.into_iter().chain([LEGACY]) {
        // An RSA key without a word of the algorithm is taken at the better padding.
        let alg = algorithm == LEGACY;
        for told in [json!({"nonce": "n-1"}), json!({"alg": alg, "nonce": "n-2"}), json!({})] {
            let get = signer.sign(algorithm, "GET", &told);
            assert_eq!(get.code(&mut wire, &token), Valid, "{algorithm} {told}");
            assert_eq!(get.code(&mut wire, &token), SignatureReplayed, "{algorithm} {told}");
        }
        let post = signer.sign(algorithm, "POST", &json!({"body": "{\"a\": 1}", "nonce": "n-3"}));
        let altered: [(&str, Signed); 8] = [
            ("method", post.change(|it| it.method = "PUT")),
            ("path", post.change(|it| it.path.push('/'))),
            ("query", post.change(|it| it.query = None)),
            ("body", post.change(|it| it.body = Some("{\"a\": 2}".to_owned()))),
            ("no body", post.change(|it| it.body = None)),
            ("field", post.change(|it| it.field("Content-Type").push('x'))),
            (
                "nonce",
                post.change(|it| {
                    let input = it.field("Signature-Input");
                    *input = input.replace("n-3", "n-4");
                }),
            ),
            (
                "keyid",
                post.change(|it| {
                    let input = it.field("Signature-Input");
                    *input = input.replace(&format!("keyid=\"{algorithm}\""), "keyid=\"another\"");
                }),
            ),
        ];
        for (what, request) in altered {
            assert_eq!(request.code(&mut wire, &token), SignatureInvalid, "{algorithm}: {what}");
        }
        let bare = post.change(|it| {
            it.headers.retain(|(name, _)| !name.to_ascii_lowercase().starts_with("signature"));
        });
        assert_eq!(bare.code(&mut wire, &token), SignatureRequired, "{algorithm}");
        // What was denied has used nothing up, and a peek uses nothing up either.
        assert_eq!(post.verdict(&mut wire, &token, ValidateFlags::PEEK), Valid, "{algorithm}");
        assert_eq!(post.code(&mut wire, &token), Valid, "{algorithm}");
        assert_eq!(post.code(&mut wire, &token), SignatureReplayed, "{algorithm}");
        for seconds in [-3600, 3600] {
            let untimely = signer.sign(algorithm, "GET", &json!({"seconds": seconds}));
            assert_eq!(untimely.code(&mut wire, &token), SignatureExpired, "{algorithm}");
        }
    }
}

#[test]
fn what_a_signature_does_not_cover_and_who_may_not_sign() {
    use VerdictCode::{SignatureAlgorithmNotAllowed, SignatureInvalid, Valid};
    let home = Home::new();
    let _daemon = home.start();
    let mut signer = Signer::start();
    let (id, token) = key(&home, &signer, &[]);
    let mut wire = home.wire();
    // Each of the demanded components, left out.
    let demanded = ["@method", "@authority", "@path", "@query"];
    for left_out in demanded {
        let covered: Vec<_> = demanded.into_iter().filter(|name| *name != left_out).collect();
        let told = json!({"components": covered, "nonce": left_out});
        let request = signer.sign("ed25519", "GET", &told);
        assert_eq!(request.code(&mut wire, &token), SignatureInvalid, "without {left_out}");
    }
    // A body that the signature says nothing of.
    let request = signer.sign("ed25519", "POST", &json!({"nonce": "no digest"}));
    let request = request.change(|it| it.body = Some("smuggled".to_owned()));
    assert_eq!(request.code(&mut wire, &token), SignatureInvalid);
    // The old padding passes only where a key lists it.
    let legacy = signer.sign(LEGACY, "GET", &json!({"nonce": "legacy"}));
    assert_eq!(legacy.code(&mut wire, &token), SignatureAlgorithmNotAllowed);

    // An exchange of verification keys: the old one goes, and the next question obeys it.
    let signed = |signer: &mut Signer, nonce: &str| {
        signer.sign("ecdsa-p256-sha256", "GET", &json!({"nonce": nonce}))
    };
    assert_eq!(signed(&mut signer, "before").code(&mut wire, &token), Valid);
    home.json(["key", "signing", "remove", &id, "--key-id", "ecdsa-p256-sha256"]);
    assert_eq!(signed(&mut signer, "after").code(&mut wire, &token), SignatureInvalid);
    let listed = home.json(["key", "signing", "list", &id]);
    let names = listed["signing_keys"].as_array().expect("a list").iter();
    let names: Vec<String> = names.map(|key| text(&key["key_id"])).collect();
    assert_eq!(names, ["ed25519", "ecdsa-p384-sha384", "rsa-pss-sha512", "hmac-sha256", LEGACY]);
}

#[test]
fn the_command_line_states_a_signed_request() {
    let home = Home::new();
    let _daemon = home.start();
    let mut signer = Signer::start();
    let (_, token) = key(&home, &signer, &[]);
    let request = signer.sign("ecdsa-p384-sha384", "POST", &json!({"body": "{}", "nonce": "n"}));
    let ask = |body: &str| {
        let file = home.file("body", body);
        let mut args: Vec<String> = ["--method=POST", "--scheme=https"].map(str::to_owned).into();
        args.push("--authority=api.example.com".to_owned());
        args.push(format!("--path={}", request.path));
        args.extend(request.query.iter().map(|query| format!("--query={query}")));
        let headers = request.headers.iter();
        args.extend(headers.map(|(name, value)| format!("--header={name}: {}", value.trim())));
        args.push(format!("--body-file={}", file.display()));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        text(&home.verdict(&token, &args)["code"])
    };
    assert_eq!(ask("{1}"), "SIGNATURE_INVALID");
    assert_eq!(ask("{}"), "VALID");
    assert_eq!(ask("{}"), "SIGNATURE_REPLAYED");
}

#[test]
fn a_clean_stop_forgets_no_signature_and_a_crash_trusts_none_from_before() {
    use VerdictCode::{SignatureReplayed, SignatureUnchecked, Valid};
    let home = Home::new();
    let daemon = home.start();
    let mut signer = Signer::start();
    let (_, token) = key(&home, &signer, &[]);
    let request = signer.sign("ed25519", "GET", &json!({"nonce": "kept"}));
    let unused = signer.sign("hmac-sha256", "GET", &json!({"nonce": "unused", "seconds": -5}));
    assert_eq!(request.code(&mut home.wire(), &token), Valid);
    daemon.stop();
    let daemon = home.start();
    assert_eq!(request.code(&mut home.wire(), &token), SignatureReplayed);
    daemon.kill();
    let _daemon = home.start();
    // Nobody knows any more which of these were used.
    for request in [request, unused] {
        assert_eq!(request.code(&mut home.wire(), &token), SignatureUnchecked);
    }
}

/// Asks again as long as the answer is that it cannot be told yet.
fn settled(request: &Signed, wire: &mut Wire, token: &str) -> (usize, VerdictCode) {
    (0..100_000)
        .map(|asked| (asked, request.code(wire, token)))
        .find(|(_, code)| *code != VerdictCode::SignatureUnchecked)
        .expect("it passes once the lead is kept")
}

#[test]
fn a_crash_costs_as_long_as_signers_are_ahead_and_not_what_they_are_granted() {
    use VerdictCode::{SignatureExpired, SignatureReplayed, SignatureUnchecked, Valid};
    let home = Home::new();
    let daemon = home.start();
    let mut signer = Signer::start();
    let (_, token) = key(&home, &signer, &[]);
    let mut signed = |seconds: i64, nonce: &str| {
        signer.sign("hmac-sha256", "GET", &json!({"seconds": seconds, "nonce": nonce}))
    };
    let mut wire = home.wire();
    // Whose clock is ahead by more than was ever needed is told to try again, and then passes.
    let (slightly, far) = (signed(3, "slightly"), signed(90, "far"));
    assert_eq!(slightly.code(&mut wire, &token), Valid);
    let (refused, code) = settled(&far, &mut wire, &token);
    assert!(refused > 0 && code == Valid, "{refused} {code:?}");
    assert_eq!(far.code(&mut wire, &token), SignatureReplayed);
    assert_eq!(signed(400, "granted to nobody").code(&mut wire, &token), SignatureExpired);
    daemon.kill();
    let daemon = home.start();
    let mut wire = home.wire();
    for request in [&slightly, &far, &signed(0, "new"), &signed(80, "new")] {
        assert_eq!(request.code(&mut wire, &token), SignatureUnchecked);
    }
    assert_eq!(settled(&signed(120, "beyond"), &mut wire, &token).1, Valid);
    // The next crash knows of it, too.
    daemon.kill();
    let _daemon = home.start();
    let mut wire = home.wire();
    assert_eq!(signed(115, "new").code(&mut wire, &token), SignatureUnchecked);
    assert_eq!(settled(&signed(200, "new"), &mut wire, &token).1, Valid);
}

#[test]
fn a_crash_of_a_daemon_whose_signers_have_its_time_costs_seconds() {
    let home = Home::new();
    let daemon = home.start();
    let mut signer = Signer::start();
    let (_, token) = key(&home, &signer, &[]);
    let used = signer.sign("hmac-sha256", "GET", &json!({"nonce": "used"}));
    assert_eq!(used.code(&mut home.wire(), &token), VerdictCode::Valid);
    daemon.kill();
    let _daemon = home.start();
    let mut wire = home.wire();
    assert_eq!(used.code(&mut wire, &token), VerdictCode::SignatureUnchecked);
    // As one that is made when the horizon and the lead have passed.
    let later = signer.sign("hmac-sha256", "GET", &json!({"nonce": "later", "seconds": 27}));
    assert_eq!(settled(&later, &mut wire, &token).1, VerdictCode::Valid);
    assert_eq!(used.code(&mut wire, &token), VerdictCode::SignatureUnchecked);
}

#[test]
fn signed_requests_are_judged_in_batches_in_pipelines_and_on_the_admin_socket() {
    use VerdictCode::{SignatureInvalid, SignatureReplayed, SignatureRequired, Valid};
    let home = Home::new();
    let _daemon = home.start();
    let mut signer = Signer::start();
    let (_, token) = key(&home, &signer, &[]);
    let mut ask = |nonce: &str| {
        let request = signer.sign("ed25519", "GET", &json!({"nonce": nonce}));
        request.payload(&token, ValidateFlags::NONE)
    };
    let (first, second, third) = (ask("1"), ask("2"), ask("3"));
    let mut wire = home.wire();

    let mut batch = BytesMut::new();
    let mut writer = BatchWriter::new(&mut batch);
    for item in [&first, &first, &BytesMut::from(&validate(&token)[..]), &second] {
        writer.item(|out| out.extend_from_slice(item));
    }
    writer.finish();
    wire.send(Opcode::ValidateBatch, 1, &batch);
    let reply = wire.read();
    assert_eq!(reply.opcode, Opcode::ValidateBatch.reply());
    let items = Batch::decode(&reply.payload).expect("a batch");
    let codes: Vec<_> =
        items.map(|item| Verdict::decode(item).expect("a verdict").0.code).collect();
    assert_eq!(codes, [Valid, SignatureReplayed, SignatureRequired, Valid]);

    // More in one write than are verified in one turn, with other questions between them.
    let many: Vec<_> = (0..100).map(|number| ask(&format!("many {number}"))).collect();
    let mut frames = Vec::new();
    for (correlation, payload) in (1..).zip(&many) {
        frames.extend(request(Opcode::Validate, Flags::NONE, correlation, payload));
        frames.extend(request(Opcode::Ping, Flags::NONE, 1000 + correlation, b""));
    }
    wire.write(&frames);
    for correlation in 1..=100 {
        let (verdict, pong) = (wire.read(), wire.read());
        assert_eq!((verdict.correlation, verdict.verdict().code), (correlation, Valid));
        assert_eq!(pong.correlation, 1000 + correlation);
    }

    let mut admin = home.admin_wire();
    let mut on_admin = |payload: &[u8]| {
        admin.send(Opcode::Validate, 1, payload);
        admin.read().verdict().code
    };
    assert_eq!(on_admin(&third), Valid);
    assert_eq!(on_admin(&third), SignatureReplayed);
    assert_eq!(on_admin(&first), SignatureReplayed, "both sockets remember the same");
    assert_eq!(on_admin(&validate(&token)), SignatureRequired);
    let mut altered = ask("4");
    let at = altered.windows(8).position(|bytes| bytes == b"/leads/7").expect("its path");
    altered[at + 7] = b'8';
    assert_eq!(on_admin(&altered), SignatureInvalid);
}

#[test]
fn a_signed_request_that_waits_for_the_ledger_is_answered_once_it_is_debited() {
    let home = Home::new();
    let _daemon = home.start();
    let mut signer = Signer::start();
    let (_, token) = key(&home, &signer, &["--max-uses", "5"]);
    let mut wire = home.wire();
    let mut ask = |nonce: u32| {
        let request = signer.sign("hmac-sha256", "GET", &json!({"nonce": nonce.to_string()}));
        (request.code(&mut wire, &token), request.code(&mut wire, &token))
    };
    for nonce in 0..5 {
        assert_eq!(ask(nonce), (VerdictCode::Valid, VerdictCode::SignatureReplayed), "{nonce}");
    }
    let (spent, again) = ask(5);
    assert!(!spent.is_valid() && spent == again, "what a limit denies used nothing: {again:?}");
}

#[test]
fn restored_data_trust_no_signature_that_may_have_been_used_since_the_backup() {
    let (home, other) = (Home::new(), Home::new());
    let daemon = home.start();
    let mut signer = Signer::start();
    let (_, token) = key(&home, &signer, &[]);
    let backup = home.path("backup");
    home.run(["backup".as_ref(), backup.as_os_str()]).expect(0);
    let later = signer.sign("hmac-sha256", "GET", &json!({"nonce": "later", "seconds": 200}));
    assert_eq!(settled(&later, &mut home.wire(), &token).1, VerdictCode::Valid);
    daemon.stop();
    let data = other.data();
    let restore = ["restore".as_ref(), backup.as_os_str(), "--data-dir".as_ref(), data.as_os_str()];
    other.run(restore).expect(0);
    let _daemon = other.start();
    assert_eq!(later.code(&mut other.wire(), &token), VerdictCode::SignatureUnchecked);
    // Not for being further ahead than is kept: it does not pass either when whatever was to be
    // written is.
    other.create(&["--name", "written behind it"]);
    let again = later.code(&mut other.wire(), &token);
    assert_eq!(again, VerdictCode::SignatureUnchecked);
}
