//! The units in `systemd/` are what systemd takes them for: `systemd-analyze verify` has nothing to
//! say about them, and what it says of their exposure is within bounds. No unit is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const UNITS: &[&str] = &[
    "keygate.service",
    "keygate.socket",
    "keygate-admin.socket",
    "keygate-deliver.service",
    "keygate-deliver.socket",
];
/// Changes of `keygate.service` for those who need them. Of these systemd 252 does not know the last.
const DROP_INS: &[&str] = &["tcp", "own-delivery", "credentials", "notify-reload"];
const INSTALLED: &str = "/usr/bin/keygate";

fn units() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

/// What `systemd-analyze verify` says about the units once `change` has been made to each.
///
/// It exits 0 on a key that it does not know, so its words are the verdict and its status is not.
fn verify(change: impl Fn(&str) -> String) -> String {
    let place = copied(None, change);
    let paths = UNITS.iter().map(|unit| place.path().join(unit));
    let output = analyze(["verify".into(), "--man=no".into()].into_iter().chain(paths));
    let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        said.push_str(&format!("systemd-analyze: {}", output.status));
    }
    said
}

/// The units in a directory of their own, each changed, with one drop-in of `keygate.service` or none.
fn copied(drop_in: Option<&str>, change: impl Fn(&str) -> String) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a temporary directory");
    for unit in UNITS {
        fs::write(place.path().join(unit), change(&read(unit))).expect("the copy can be written");
    }
    if let Some(name) = drop_in {
        let directory = place.path().join("keygate.service.d");
        fs::create_dir(&directory).expect("a directory");
        let text = read(&format!("drop-ins/{name}.conf"));
        fs::write(directory.join(format!("{name}.conf")), text).expect("the copy can be written");
    }
    place
}

fn read(unit: &str) -> String {
    fs::read_to_string(units().join(unit)).expect("the unit can be read")
}

fn analyze(args: impl IntoIterator<Item = PathBuf>) -> Output {
    Command::new("systemd-analyze").args(args).output().unwrap_or_else(|error| {
        panic!("systemd-analyze cannot be run ({error}); on Debian: apt-get install systemd")
    })
}

/// Ten times the exposure of a service, as `systemd-analyze security` judges it, 0 to 100.
fn exposure(service: &str, drop_in: Option<&str>) -> u32 {
    let place = copied(drop_in, with_this_binary);
    let unit = place.path().join(service);
    let args = ["security", "--offline=true", "--no-pager"].map(PathBuf::from);
    let output = analyze(args.into_iter().chain([unit]));
    let said = String::from_utf8_lossy(&output.stdout);
    let level = said.lines().find_map(|line| {
        let (_, level) = line.split_once("Overall exposure level for ")?.1.split_once(": ")?;
        level.split(' ').next()
    });
    let tenths = level.and_then(|level| level.replace('.', "").parse().ok());
    tenths.unwrap_or_else(|| panic!("no exposure of {service} in {said}"))
}

/// The unit with the binary of this build where the installed one would be.
fn with_this_binary(text: &str) -> String {
    text.replace(INSTALLED, env!("CARGO_BIN_EXE_keygate"))
}

#[test]
fn systemd_has_nothing_to_say_about_the_units() {
    let said = verify(with_this_binary);
    assert!(said.is_empty(), "systemd-analyze verify says:\n{said}");
}

#[test]
fn systemd_has_nothing_to_say_about_the_drop_ins_that_it_knows() {
    for name in DROP_INS {
        let place = copied(Some(name), with_this_binary);
        let paths = UNITS.iter().map(|unit| place.path().join(unit));
        let output = analyze(["verify".into(), "--man=no".into()].into_iter().chain(paths));
        let said = String::from_utf8_lossy(&output.stderr);
        // What `Type=notify-reload` is, 252 does not know; what it does not know it ignores.
        let of_later = *name == "notify-reload"
            && said.lines().all(|line| line.contains("service type, ignoring: notify-reload"));
        assert!(said.is_empty() || of_later, "{name}: {said}");
    }
    let later = read("drop-ins/notify-reload.conf");
    let settings: Vec<_> = later.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(settings, ["[Service]", "Type=notify-reload", "ExecReload="]);
}

/// The figures are those that `systemd/README.md` states; 1.2 is the most of a unit as it is installed.
#[test]
fn the_exposure_of_each_service_is_what_is_stated() {
    const MOST: u32 = 12;
    let readme = read("README.md");
    let (_, readme) = readme.split_once("## Confinement").expect("the figures");
    let stated = |what: &str, tenths: u32| {
        let (whole, tenth) = (tenths / 10, tenths % 10);
        let row = readme.lines().find(|line| line.starts_with(&format!("| {what} |")));
        let row = row.unwrap_or_else(|| panic!("README.md has no row of {what}"));
        assert!(
            row.contains(&format!("| {whole}.{tenth} |")),
            "{what}: {whole}.{tenth}, not: {row}"
        );
    };
    for service in ["keygate.service", "keygate-deliver.service"] {
        let tenths = exposure(service, None);
        assert!(tenths <= MOST, "{service}: {tenths} tenths");
        stated(&format!("`{service}`"), tenths);
    }
    for name in DROP_INS {
        stated(&format!("with `{name}.conf`"), exposure("keygate.service", Some(name)));
    }
}

/// Without a network of its own the daemon is handed what it serves, and hands on what it sends.
#[test]
fn the_daemon_has_no_network_and_the_helper_no_state() {
    let (daemon, helper) = (read("keygate.service"), read("keygate-deliver.service"));
    let has = |text: &str, line: &str| text.lines().any(|have| have == line);
    for line in [
        "PrivateNetwork=yes",
        "IPAddressDeny=any",
        "RestrictAddressFamilies=AF_UNIX",
        "DynamicUser=yes",
        "LimitCORE=0",
        "Environment=KEYGATE_DELIVER_SOCKET=%t/keygate/deliver.sock",
    ] {
        assert!(has(&daemon, line), "keygate.service lacks `{line}`");
    }
    assert!(has(&helper, "DynamicUser=yes") && has(&helper, "LimitCORE=0"));
    assert!(
        has(&helper, "PartOf=keygate.service"),
        "a restart must reach what reads the same file"
    );
    assert!(!helper.contains("StateDirectory=") && !helper.contains("User=keygated"));
}

#[test]
fn a_mistake_in_a_unit_is_noticed() {
    let cases = [
        ("an unknown key", "Type=notify", "Tpye=notify"),
        ("a bad value", "LimitNOFILE=65536", "LimitNOFILE=many"),
        ("no such binary", INSTALLED, "/nowhere/keygate"),
        ("a bad mode", "SocketMode=0600", "SocketMode=rw"),
    ];
    for (name, from, to) in cases {
        let said = verify(|text| with_this_binary(&text.replace(from, to)));
        assert!(!said.is_empty(), "{name}: systemd-analyze said nothing");
    }
}

/// A reload that was refused must fail where the operator sees it.
#[test]
fn a_reload_is_a_command_whose_exit_code_counts() {
    let text = fs::read_to_string(units().join("keygate.service")).expect("the unit can be read");
    let reload = text.lines().find_map(|line| line.strip_prefix("ExecReload="));
    // As root: the admin socket is not for the daemon's own user.
    assert_eq!(reload, Some("+/usr/bin/keygate reload"));
}

/// Three sockets, three rights: what the daemon relies on when it inherits them.
#[test]
fn each_socket_has_its_name_and_its_mode() {
    let cases = [
        ("keygate.socket", "/keygate.sock", "FileDescriptorName=data", "SocketMode=0660"),
        ("keygate-admin.socket", "/admin.sock", "FileDescriptorName=admin", "SocketMode=0600"),
        (
            "keygate-deliver.socket",
            "/deliver.sock",
            "FileDescriptorName=deliver",
            "SocketMode=0660",
        ),
    ];
    for (unit, path, name, mode) in cases {
        let text = fs::read_to_string(units().join(unit)).expect("the unit can be read");
        let stream = format!("ListenStream=%t/keygate{path}");
        let of = if unit.contains("deliver") { "keygate-deliver" } else { "keygate" };
        let service = format!("Service={of}.service");
        for line in [stream.as_str(), name, mode, &service] {
            assert!(text.lines().any(|have| have == line), "{unit} lacks `{line}`");
        }
    }
}

/// A limit of starts that is met fails the sockets too, and callers are refused instead of kept waiting.
#[test]
fn no_number_of_starts_that_fail_takes_the_sockets_away() {
    for unit in ["keygate.service", "keygate-deliver.service"] {
        let text = read(unit);
        let (head, _) = text.split_once("[Service]").expect("a service");
        let unlimited = head.lines().any(|line| line == "StartLimitIntervalSec=0");
        assert!(unlimited, "{unit} lacks StartLimitIntervalSec=0 in [Unit]");
        // By default a socket gives up after 20 starts in 2 s.
        let rest =
            text.lines().find_map(|line| line.strip_prefix("RestartSec=")?.strip_suffix('s'));
        let rest: u64 = rest.and_then(|rest| rest.parse().ok()).expect("RestartSec in seconds");
        assert!(rest >= 1, "{unit} is started again too soon");
    }
}

#[test]
fn systemd_waits_longer_than_the_daemon_takes_to_stop() {
    const DAEMON_STOP_S: u64 = 10;
    let text = fs::read_to_string(units().join("keygate.service")).expect("the unit can be read");
    let stop =
        text.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.strip_suffix('s'));
    let seconds: u64 = stop.and_then(|stop| stop.parse().ok()).expect("TimeoutStopSec in seconds");
    assert!(seconds > DAEMON_STOP_S, "{seconds} s is not above the daemon's {DAEMON_STOP_S} s");
}
