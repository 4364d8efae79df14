//! Metrics and health over HTTP: the real daemon, read by a small client, by `promtool` and by a real
//! Prometheus.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use keygate_protocol::{Flags, Opcode, VerdictCode};
use serde_json::{Value, json};

use support::http::{Answer, ask, get, rest, tcp, unix};
use support::wire::{increment, request, validate};
use support::{BINARY, DEADLINE, Daemon, Home, Ran, Reaped, finish};

const OPEN: &str = "application/openmetrics-text;version=1.0.0";
/// What makes the two programs of Prometheus without a service that is started.
const INSTALL: &str = "on Debian, as root: apt-get update && apt-get download prometheus && \
     dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x -C /usr/local/bin --strip-components=3 \
     ./usr/bin/prometheus ./usr/bin/promtool";

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A daemon that tells its figures on a Unix socket, and what else its configuration says.
fn watched(more: &str) -> (Home, Daemon) {
    let home = Home::new();
    let socket = home.path("http.sock");
    home.configure(&format!("[http]\nlisten = {:?}\n{more}", socket.to_str().expect("UTF-8")));
    let daemon = home.start();
    (home, daemon)
}

fn scrape(home: &Home, accept: &str) -> Answer {
    let answer = get(unix(&home.path("http.sock")), "/metrics", accept);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// Scrapes until it has what is wanted.
fn scrape_until(home: &Home, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let begun = Instant::now();
    loop {
        let answer = scrape(home, "");
        if wanted(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}:\n{}", answer.body);
        thread::yield_now();
    }
}

/// Runs `promtool` to its end.
fn promtool(args: &[&str], place: &Path, input: &str) -> Ran {
    let mut command = Command::new("promtool");
    command.args(args).current_dir(place);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let there = Command::new("promtool").arg("--version").output();
    if let Err(error) = there {
        panic!("promtool cannot be run ({error}); {INSTALL}");
    }
    finish(command, input.as_bytes())
}

/// Name, kind and help of every family of the older text.
fn families(body: &str) -> BTreeMap<String, (String, String)> {
    let mut families = BTreeMap::new();
    let mut help = "";
    for line in body.lines() {
        if let Some(line) = line.strip_prefix("# HELP ") {
            help = line.split_once(' ').expect("a help").1;
        } else if let Some(line) = line.strip_prefix("# TYPE ") {
            let (name, kind) = line.split_once(' ').expect("a kind");
            let before = families.insert(name.to_owned(), (kind.to_owned(), help.to_owned()));
            assert_eq!(before, None, "{name} comes twice");
        }
    }
    families
}

#[test]
fn it_is_off_unless_it_is_asked_for() {
    let home = Home::new();
    let daemon = home.start();
    assert!(!home.path("http.sock").exists());
    daemon.stop();
}

#[test]
fn what_was_done_is_counted() {
    let (home, daemon) = watched("");
    let (id, token) = home.create(&["--name", "a", "--scope", "a:b"]);
    let mut wire = home.wire();
    let question = validate(&token);
    for _ in 0..3 {
        wire.send(Opcode::Validate, 1, &question);
        assert_eq!(wire.read().verdict().code, VerdictCode::Valid);
    }
    wire.send(Opcode::Validate, 1, &validate("kg_live_nobody"));
    wire.read();
    let report = increment(id.parse().expect("an id"));
    wire.send(Opcode::Increment, 1, &report);
    wire.read();
    wire.send(Opcode::Increment, 1, &increment(1));
    wire.read();
    wire.write(&request(Opcode::Increment, Flags::NO_REPLY, 1, &report));
    wire.send(Opcode::Validate, 1, b"");
    wire.read().error();
    wire.send(Opcode::KeyList, 1, b"{}");
    wire.read().error();
    // The figures of the last batch may come a moment after its replies.
    let answered = |answer: &Answer| answer.sample("keygate_request_duration_seconds_count") >= 9.0;
    let answer = scrape_until(&home, answered);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let malformed = VerdictCode::Malformed.name();
    #[rustfmt::skip]
    let expected = [
        ("keygate_decisions_total{code=\"VALID\"}", 3.0),
        (&format!("keygate_decisions_total{{code=\"{malformed}\"}}"), 1.0),
        ("keygate_decisions_total{code=\"REVOKED\"}", 0.0),
        ("keygate_request_duration_seconds_count", 9.0),
        ("keygate_request_duration_seconds_bucket{le=\"+Inf\"}", 9.0),
        ("keygate_reports_total{outcome=\"counted\"}", 2.0),
        ("keygate_reports_total{outcome=\"not_found\"}", 1.0),
        ("keygate_request_errors_total{plane=\"data\",error=\"BAD_PAYLOAD\"}", 1.0),
        ("keygate_request_errors_total{plane=\"data\",error=\"NOT_ON_THIS_SOCKET\"}", 1.0),
        ("keygate_request_errors_total{plane=\"admin\",error=\"BAD_PAYLOAD\"}", 0.0),
        ("keygate_connections{plane=\"data\"}", 1.0),
        ("keygate_connections_accepted_total{plane=\"data\"}", 1.0),
        ("keygate_connections{plane=\"http\"}", 1.0),
        ("keygate_connections_limit{plane=\"http\"}", 16.0),
        ("keygate_keys", 1.0),
        ("keygate_keys_deleted", 0.0),
        ("keygate_healthy", 1.0),
        ("keygate_store_latched", 0.0),
        ("keygate_store_commit_queue_limit", 4096.0),
        ("keygate_ledger_waiting", 0.0),
    ];
    for (name, value) in expected {
        assert_eq!(answer.sample(name).to_bits(), f64::to_bits(value), "{name}:\n{}", answer.body);
    }
    for name in [
        "keygate_received_bytes_total",
        "keygate_sent_bytes_total",
        "keygate_store_commits_total",
        "keygate_store_commit_duration_seconds_count",
        "keygate_store_size_bytes",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(answer.sample(name) > 0.0 || name == "process_cpu_seconds_total", "{name}");
    }
    home.run(["key", "delete", &id]).expect(0);
    let answer = scrape(&home, "");
    assert_eq!(answer.sample("keygate_keys_deleted").to_bits(), 1f64.to_bits());
    drop(wire);
    daemon.stop();
    assert!(!home.path("http.sock").exists(), "the socket goes with the daemon");
}

#[test]
fn a_request_that_waits_for_the_ledger_has_its_wait_in_its_time() {
    let (home, _daemon) = watched("");
    // One request takes more than the first lease of a month, so it has to wait for a debit.
    let (_, token) = home.create(&["--name", "a", "--monthly-quota", "1000000"]);
    home.verdict(&token, &["--cost", "5000"]);
    let answer = scrape_until(&home, |answer| {
        answer.sample("keygate_requests_deferred_total") > 0.0
            && answer.sample("keygate_requests_waiting") < 1.0
            && answer.sample("keygate_decisions_total{code=\"VALID\"}") > 0.0
    });
    assert!(answer.sample("keygate_ledger_debits_total") > 0.0);
    let all = answer.sample("keygate_request_duration_seconds_count");
    assert!(all >= 1.0, "{all}");
}

/// Neither how many series there are nor what they say depends on keys.
#[test]
fn nothing_is_told_of_a_key() {
    let (home, _daemon) = watched("");
    let names = |answer: &Answer| -> BTreeSet<String> {
        let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
    };
    let before = names(&scrape(&home, OPEN));
    let mut secrets = Vec::new();
    for number in 0..20 {
        let (name, tenant) = (format!("secret-name-{number}"), format!("secret-tenant-{number}"));
        let (id, token) = home.create(&["--name", &name, "--tenant", &tenant]);
        home.verdict(&token, &[]);
        home.run(["increment", &id, "--endpoint", "secret-endpoint"]).expect(0);
        secrets.extend([id, token, name, tenant]);
    }
    secrets.extend(["secret-endpoint".to_owned(), "kg_live".to_owned()]);
    for accept in [OPEN, ""] {
        let after = scrape(&home, accept);
        if accept == OPEN {
            assert_eq!(names(&after), before, "the same series as without keys");
        }
        for secret in &secrets {
            assert!(!after.body.contains(secret.as_str()), "{secret} in:\n{}", after.body);
        }
    }
    let allowed =
        ["code", "outcome", "plane", "error", "lacks", "le", "version", "engine", "protocol"];
    for series in &before {
        let labels = series.split_once('{').map_or("", |(_, labels)| labels).trim_end_matches('}');
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (name, value) = label.split_once("=\"").expect("a label");
            let id =
                value.len() > 9 && value.trim_end_matches('"').bytes().all(|b| b.is_ascii_digit());
            assert!(allowed.contains(&name) && !id, "{series}");
        }
    }
}

#[test]
fn each_path_has_its_answer() {
    let (home, daemon) = watched("");
    let socket = home.path("http.sock");
    let open = scrape(&home, OPEN);
    assert!(open.head.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(open.body.ends_with("# EOF\n") && open.body.contains("# TYPE keygate_build info\n"));
    let alive = get(unix(&socket), "/healthz", "");
    assert_eq!((alive.status, alive.body.as_str()), (200, "alive\n"));
    let ready = get(unix(&socket), "/readyz", "");
    assert_eq!((ready.status, ready.body.as_str()), (200, "{\"ready\":true,\"reasons\":[]}\n"));
    assert_eq!(get(unix(&socket), "/", "").status, 404);
    let posted = ask(unix(&socket), "POST /metrics HTTP/1.1\r\ncontent-length: 1\r\n\r\nx");
    assert_eq!(posted.status, 405);
    daemon.stop();
}

/// A full disk, as `tests/daemon.rs` makes one: no file may grow.
#[test]
fn a_latched_store_is_alive_and_not_ready() {
    use rustix::process::{Resource, Rlimit, prlimit};
    let home = Home::new();
    let socket = home.path("http.sock");
    home.configure(&format!("[http]\nlisten = {:?}\n", socket.to_str().expect("UTF-8")));
    // A signal would kill it where a disk only refuses.
    let mut shell = home.dress(Command::new("sh"));
    shell.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", BINARY, "serve", "--config"]);
    shell.arg(home.path("keygate.toml")).arg("--data-dir").arg(home.data());
    let daemon = Daemon::start(shell);
    let (_, token) = home.create(&["--name", "a"]);
    let limit = Rlimit { current: Some(0), maximum: None };
    prlimit(Some(daemon.pid()), Resource::Fsize, limit).expect("a child of ours");
    let refused = home.run(["key", "create", "--name", "b"]);
    assert_ne!(refused.code(), 0, "{refused:?}");
    assert_eq!(get(unix(&socket), "/healthz", "").status, 200);
    let ready = get(unix(&socket), "/readyz", "");
    let said: Value = serde_json::from_str(&ready.body).expect("JSON");
    assert_eq!((ready.status, &said["ready"]), (503, &json!(false)));
    let reason = said["reasons"][0].as_str().expect("a reason");
    assert!(reason.contains("restart"), "{reason}");
    let answer = scrape(&home, "");
    assert!(answer.sample("keygate_store_latched") > 0.0 && answer.sample("keygate_healthy") < 1.0);
    assert_eq!(home.code(&token), "VALID", "keys go on being judged");
    assert!(answer.sample("keygate_store_commits_refused_total") > 0.0);
    drop(daemon);
}

#[test]
fn hostile_peers_are_bounded_and_disturb_nobody() {
    let bounds = "connections_max = 4\nheader_timeout_ms = 400\nexchange_timeout_ms = 800\n";
    let (home, daemon) = watched(bounds);
    let socket = home.path("http.sock");
    let (_, token) = home.create(&["--name", "a"]);
    let mut wire = home.wire();
    let mut judged = || {
        wire.send(Opcode::Validate, 1, &validate(&token));
        assert_eq!(wire.read().verdict().code, VerdictCode::Valid);
    };
    // Silent ones, and ones that stop in the middle, take all places; the next is told so.
    let mut held: Vec<_> = (0..4).map(|_| unix(&socket)).collect();
    for (at, stream) in held.iter_mut().enumerate() {
        stream.write_all(&b"GET /metrics HTTP/1.1\r\nx: "[..at * 6]).expect("taken");
    }
    let refused = rest(&mut *unix(&socket));
    assert!(refused.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&refused));
    judged();
    // Each is dropped in time, without an answer that says yes.
    for mut stream in held {
        let said = rest(&mut *stream);
        assert!(!String::from_utf8_lossy(&said).contains(" 200 "));
        judged();
    }
    let answer = scrape_until(&home, |it| it.sample("keygate_connections{plane=\"http\"}") < 2.0);
    assert!(answer.sample("keygate_connections_refused_total{plane=\"http\"}") >= 1.0);
    // Heads that do not end, bodies, another protocol, and requests behind each other.
    let long = format!("GET /metrics HTTP/1.1\r\nx: {}", "y".repeat(200_000));
    let headers = format!("GET /metrics HTTP/1.1\r\n{}", "a: b\r\n".repeat(20_000));
    let body = "GET /metrics HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n".to_owned();
    let pipelined = "GET /healthz HTTP/1.1\r\n\r\n".repeat(1000) + "\0\x01garbage";
    let frames = "\u{8}\0\0\0\u{1}\0\0\0\u{1}\0\0\0".repeat(100);
    for (hostile, answers) in
        [(long, 0), (headers, 0), (body, 0), (pipelined, 1), (frames, 0), ("\r\n".repeat(5000), 0)]
    {
        for _ in 0..8 {
            let mut stream = unix(&socket);
            // It may be closed before all of it is taken.
            let _ = stream.write_all(hostile.as_bytes());
            let mut said = vec![0; 64 * 1024];
            let count = stream.read(&mut said).unwrap_or(0);
            let said = String::from_utf8_lossy(&said[..count]);
            assert!(said.matches(" 200 ").count() <= answers, "{said}");
        }
        judged();
    }
    assert_eq!(get(unix(&socket), "/healthz", "").status, 200, "and who asks rightly is answered");
    // One that does not end does not hold up a stop.
    let mut held = unix(&socket);
    held.write_all(b"GET /met").expect("taken");
    drop(wire);
    daemon.stop();
}

#[test]
fn an_address_that_others_reach_is_refused_unless_it_is_said_in_words() {
    let home = Home::with("[http]\nlisten = \"0.0.0.0:9465\"\n");
    let config = home.path("keygate.toml");
    let config = config.to_str().expect("UTF-8");
    home.run(["config", "check", config]).expect(1);
    let mut serve = home.serve();
    serve.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(serve, b"").expect(1).says(&["http.listen is 0.0.0.0:9465", "allow_other_hosts"]);
    home.configure("[http]\nlisten = \"0.0.0.0:0\"\nallow_other_hosts = true\n");
    let log = home.start().stop();
    assert!(log.contains("other machines reach them, in plain text"), "{log}");
}

#[test]
fn promtool_has_nothing_to_say_about_the_metrics() {
    let (home, _daemon) = watched("");
    let answer = scrape(&home, "");
    let place = home.path("");
    let ran = promtool(&["check", "metrics"], &place, &answer.body);
    ran.expect(0);
    assert!(ran.stdout.is_empty() && ran.stderr.is_empty(), "{ran:#?}");
    let wrong = promtool(&["check", "metrics"], &home.path(""), "# TYPE a counter\na{b=c} x\n");
    assert_ne!(wrong.code(), 0, "a mistake is noticed");
}

const MONITORING: &str = "systemd/monitoring";

#[test]
fn the_alerts_are_rules_that_fire_when_they_should() {
    let place = tempfile::tempdir().expect("a directory");
    let rules = file(&format!("{MONITORING}/keygate-alerts.yml"));
    fs::write(place.path().join("keygate-alerts.yml"), rules).expect("written");
    let cases = file("tests/data/alerts.test.yml");
    fs::write(place.path().join("cases.yml"), cases).expect("written");
    let config = file(&format!("{MONITORING}/prometheus.yml"));
    fs::write(place.path().join("prometheus.yml"), config).expect("written");
    promtool(&["check", "rules", "keygate-alerts.yml"], place.path(), "").expect(0);
    promtool(&["test", "rules", "cases.yml"], place.path(), "").expect(0);
    promtool(&["check", "config", "prometheus.yml"], place.path(), "").expect(0);
}

/// Every expression of the dashboard.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("expr").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|value| expressions(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = |word: &&str| word.starts_with("keygate_") || word.starts_with("process_");
    words.filter(ours).map(str::to_owned).collect()
}

#[test]
fn dashboard_and_alerts_name_metrics_that_there_are() {
    let (home, _daemon) = watched("");
    let told: BTreeSet<String> = scrape(&home, "")
        .body
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next().map(str::to_owned))
        .collect();
    let dashboard = file(&format!("{MONITORING}/keygate-dashboard.json"));
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut queries = Vec::new();
    expressions(&dashboard, &mut queries);
    assert!(queries.len() > 30, "{queries:?}");
    let rules = file(&format!("{MONITORING}/keygate-alerts.yml"));
    let rules: String = rules.lines().filter(|line| !line.starts_with('#')).collect();
    for name in names(&(queries.join("\n") + &rules)) {
        assert!(told.contains(&name), "{name} is not told");
    }
    // Grafana fills its variables in; what comes of it is PromQL.
    let rule = |(at, query): (usize, &String)| {
        let query = query.replace("$__rate_interval", "5m").replace("$instance", ".*");
        json!({"record": format!("r:{at}"), "expr": query})
    };
    let records: Vec<Value> = queries.iter().enumerate().map(rule).collect();
    let group = json!({"groups": [{"name": "dashboard", "rules": records}]});
    fs::write(home.path("dashboard.yml"), group.to_string()).expect("written");
    promtool(&["check", "rules", "dashboard.yml"], &home.path(""), "").expect(0);
}

#[test]
fn every_metric_is_listed_and_no_other() {
    let (home, _daemon) = watched("");
    let table = file(&format!("{MONITORING}/README.md"));
    let rows = table
        .lines()
        .filter(|line| line.starts_with("| `keygate_") || line.starts_with("| `process_"));
    let cell = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let row = |line: &str| {
        let cells: Vec<String> = line.split('|').map(cell).collect();
        (cells[1].clone(), (cells[2].clone(), cells[4].clone() + "."))
    };
    let listed: BTreeMap<_, _> = rows.map(row).collect();
    let told = families(&scrape(&home, "").body);
    for (name, (kind, help)) in &told {
        let said = listed.get(name);
        assert_eq!(said, Some(&(kind.clone(), help.clone())), "| `{name}` | {kind} | | {help} |");
    }
    assert_eq!(listed.keys().collect::<Vec<_>>(), told.keys().collect::<Vec<_>>());
}

/// A port that nobody has now.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}

/// Asks Prometheus until the answer is what is wanted.
fn query(prometheus: SocketAddr, query: &str, wanted: impl Fn(f64) -> bool) {
    let begun = Instant::now();
    let path = format!("/api/v1/query?query={query}");
    let mut said = String::new();
    while begun.elapsed() < DEADLINE {
        // It may not listen yet.
        if std::net::TcpStream::connect(prometheus).is_ok() {
            let request = format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n");
            let answer = ask(tcp(prometheus), &request);
            let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let value = body["data"]["result"][0]["value"][1].as_str();
            if value.and_then(|value| value.parse().ok()).is_some_and(&wanted) {
                return;
            }
            said = answer.body;
        }
        thread::park_timeout(Duration::from_millis(50));
    }
    panic!("Prometheus does not say {query} within {DEADLINE:?}: {said}");
}

#[test]
fn a_real_prometheus_scrapes_it() {
    let home = Home::new();
    let (listen, prometheus) = (free_port(), free_port());
    home.configure(&format!("[http]\nlisten = \"{listen}\"\n"));
    let _daemon = home.start();
    let (_, token) = home.create(&["--name", "a"]);
    home.verdict(&token, &[]);
    let config = file(&format!("{MONITORING}/prometheus.yml"));
    let config = config.replace("127.0.0.1:9465", &listen.to_string()).replace("15s", "1s");
    home.file("prometheus.yml", &config);
    home.file("keygate-alerts.yml", &file(&format!("{MONITORING}/keygate-alerts.yml")));
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", home.path("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", home.path("tsdb").display()));
    command.arg(format!("--web.listen-address={prometheus}"));
    if let Err(error) = Command::new("prometheus").arg("--version").output() {
        panic!("prometheus cannot be run ({error}); {INSTALL}");
    }
    let _prometheus = Reaped::spawn(command);
    query(prometheus, "up{job=\"keygate\"}", |up| up > 0.0);
    query(prometheus, "keygate_decisions_total{code=\"VALID\"}", |valid| valid >= 1.0);
    query(prometheus, "keygate_build_info", |info| info > 0.0);
    // It asks for OpenMetrics, and takes the whole of it.
    query(prometheus, "scrape_samples_scraped", |samples| samples > 100.0);
    // The rules are loaded, and none of them fires.
    query(prometheus, "count(ALERTS)%20or%20vector(0)", |alerts| alerts < 1.0);
}
