//! The units in `systemd/` are what systemd takes them for: `systemd-analyze verify` has nothing to
//! say about them. No unit is started.

use std::fs;
use std::path::Path;
use std::process::Command;

const UNITS: &[&str] = &["keygate.service", "keygate.socket", "keygate-admin.socket"];
const INSTALLED: &str = "/usr/bin/keygate";

fn units() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

/// What `systemd-analyze verify` says about the units once `change` has been made to each.
///
/// It exits 0 on a key that it does not know, so its words are the verdict and its status is not.
fn verify(change: impl Fn(&str) -> String) -> String {
    let place = tempfile::tempdir().expect("a temporary directory");
    for unit in UNITS {
        let text = fs::read_to_string(units().join(unit)).expect("the unit can be read");
        fs::write(place.path().join(unit), change(&text)).expect("the copy can be written");
    }
    let paths = UNITS.iter().map(|unit| place.path().join(unit));
    let ran = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(paths).output();
    let output = ran.unwrap_or_else(|error| {
        panic!("systemd-analyze cannot be run ({error}); on Debian: apt-get install systemd")
    });
    let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        said.push_str(&format!("systemd-analyze: {}", output.status));
    }
    said
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
    assert_eq!(reload, Some("/usr/bin/keygate reload"));
}

/// Two sockets, two rights: what the daemon relies on when it inherits them.
#[test]
fn each_socket_has_its_name_and_its_mode() {
    let cases = [
        ("keygate.socket", "/keygate.sock", "FileDescriptorName=data", "SocketMode=0660"),
        ("keygate-admin.socket", "/admin.sock", "FileDescriptorName=admin", "SocketMode=0600"),
    ];
    for (unit, path, name, mode) in cases {
        let text = fs::read_to_string(units().join(unit)).expect("the unit can be read");
        let stream = format!("ListenStream=%t/keygate{path}");
        for line in [stream.as_str(), name, mode, "Service=keygate.service"] {
            assert!(text.lines().any(|have| have == line), "{unit} lacks `{line}`");
        }
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
