//! Sockets that systemd makes and hands over: both are served by their names, and both outlive the
//! daemon, because they are not its own.

mod support;

use std::process::Command;

use support::{BINARY, Daemon, Home};

/// `systemd-socket-activate` with these sockets and names, about to start the daemon.
fn activate(home: &Home, listen: &[&str], names: &str) -> Command {
    let tool = Command::new("systemd-socket-activate").arg("--version").output();
    if let Err(error) = tool {
        panic!(
            "systemd-socket-activate cannot be run ({error}); on Debian: apt-get install systemd"
        );
    }
    let mut command = home.dress(Command::new("systemd-socket-activate"));
    for socket in listen {
        command.arg("--listen").arg(home.path(socket));
    }
    command.arg(format!("--fdname={names}"));
    // It hands on no more of its environment than it is told to.
    command.args(["--setenv=NOTIFY_SOCKET", "--setenv=KEYGATE_ADMIN_SOCKET"]);
    command.args([BINARY, "serve", "--data-dir"]).arg(home.data());
    command
}

/// Waits until the tool listens: it says so before it waits for the first connection.
fn listening(daemon: &mut Daemon, sockets: usize) {
    daemon.logs(|log| log.matches("Listening on").count() >= sockets);
}

#[test]
fn both_sockets_are_taken_over_by_their_names_and_left_behind() {
    let home = Home::new();
    // The other order than the daemon's own: the names count.
    let tool = activate(&home, &["admin.sock", "keygate.sock"], "admin:data");
    let mut daemon = Daemon::launch(tool);
    listening(&mut daemon, 2);
    // The first caller starts the daemon, and waits in the socket's queue meanwhile.
    assert_eq!(home.json(["ping"])["protocol_version"], 1);
    let (id, token) = home.create(&["--name", "activated"]);
    assert_eq!(home.code(&token), "VALID");
    assert_eq!(home.json(["increment", &id])["outcome"], "COUNTED");
    // Each socket is what its name says.
    home.run(["--admin-socket".as_ref(), home.socket().as_os_str(), "status".as_ref()])
        .expect(1)
        .says(&["NOT_ON_THIS_SOCKET"]);
    daemon.stop();
    assert!(home.socket().exists() && home.admin_socket().exists(), "systemd's sockets stay");
}

#[test]
fn a_socket_that_is_not_handed_over_is_made() {
    let home = Home::new();
    let mut daemon = Daemon::launch(activate(&home, &["keygate.sock"], "data"));
    listening(&mut daemon, 1);
    assert_eq!(home.json(["ping"])["protocol_version"], 1);
    daemon.ready();
    home.create(&["--name", "made here"]);
    daemon.stop();
    assert!(home.socket().exists(), "systemd's socket stays");
    assert!(!home.admin_socket().exists(), "the daemon's own goes with it");
}

#[test]
fn a_socket_of_an_unknown_name_is_refused_by_its_name() {
    let home = Home::new();
    let mut daemon = Daemon::launch(activate(&home, &["keygate.sock"], "metrics"));
    listening(&mut daemon, 1);
    let _knock = home.wire();
    assert_eq!(daemon.wait().code(), Some(1));
    let log = daemon.log();
    assert!(log.contains("\"metrics\"") && log.contains("FileDescriptorName=data"), "{log}");
}
