//! A registry that requires a login, over HTTPS with a certificate that no other program trusts.

use std::os::unix::fs::PermissionsExt;

use crate::common::{
    ALICE, BOB, Home, LOGIN, Registry, alice_and_bob, random_bytes, read, run, shell, write,
};

/// Writes what `docker login` writes.
fn log_in(home: &Home, registry: &Registry) {
    let auth = data_encoding::BASE64.encode(format!("{}:{}", LOGIN.0, LOGIN.1).as_bytes());
    let config = serde_json::json!({"auths": {registry.address(): {"auth": auth}}});
    std::fs::create_dir(home.dir().join(".docker")).unwrap();
    write(home.dir().join(".docker/config.json"), config.to_string());
}

/// Makes alice and bob, who speak TLS with a registry that is on this machine.
fn strangers(registry: &Registry) -> (Home, Home) {
    let (alice, bob) = alice_and_bob(&registry.reference("team/mail"));
    for home in [&alice, &bob] {
        home.set("loopback_tls = true");
    }
    (alice, bob)
}

/// As [`strangers`], knowing the registry's authority.
fn people(registry: &Registry) -> (Home, Home) {
    let (alice, bob) = strangers(registry);
    for home in [&alice, &bob] {
        home.set(&format!("ca_file = \"{}\"", registry.ca_file().display()));
    }
    (alice, bob)
}

#[test]
fn a_file_and_its_receipt_travel_over_https_with_docker_logins_credentials() {
    let Some(registry) = Registry::docker_private() else { return };
    let (alice, bob) = people(&registry);
    log_in(&alice, &registry);
    log_in(&bob, &registry);
    let (sending, receiving) = (alice.mount(), bob.mount());
    let source = write(alice.dir().join("report.pdf"), random_bytes(1, 300_000));

    run(shell("cp \"$1\" \"$2\"", &[source.as_path(), &sending.outbox(BOB)])).ok();
    let message = receiving.message(ALICE, "report.pdf");

    assert!(read(message) == random_bytes(1, 300_000));
    let receipt = sending.wait_for_file(format!("receipts/sent/{BOB}/report.pdf.accepted.json"));
    assert!(String::from_utf8(receipt).unwrap().contains("accepted"));
    let config = std::fs::read_to_string(alice.path().join("config/config.toml")).unwrap();
    assert!(!config.contains(LOGIN.1), "no password in files of ours");
}

#[test]
fn without_a_login_mount_and_send_are_denied_and_say_what_to_do() {
    let Some(registry) = Registry::docker_private() else { return };
    let (alice, _bob) = people(&registry);
    let source = write(alice.dir().join("report.pdf"), b"report");
    let place = alice.dir().join("mail");
    std::fs::create_dir(&place).unwrap();

    let mounted = alice.run(["mount".as_ref(), place.as_os_str()]);
    let sent = alice.run(["send".as_ref(), "--to".as_ref(), BOB.as_ref(), source.as_os_str()]);

    let login = format!("docker login {}", registry.address());
    for ran in [mounted, sent] {
        assert_eq!(ran.code(), 3, "{ran:?}");
        assert!(ran.stderr.contains(&login), "{ran:?}");
    }
}

#[test]
fn a_login_that_cannot_be_read_is_said_to_be_that_and_not_to_be_missing() {
    let Some(registry) = Registry::docker_private() else { return };
    let (alice, _bob) = people(&registry);
    let source = write(alice.dir().join("report.pdf"), b"report");
    let helper = write(alice.dir().join("docker-credential-locked"), "#!/bin/sh\nexit 1\n");
    std::fs::set_permissions(&helper, PermissionsExt::from_mode(0o755)).unwrap();
    log_in(&alice, &registry);
    let file = alice.dir().join(".docker/config.json");
    let send = || {
        let mut command = alice.command();
        let mut path = alice.dir().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        command.env("PATH", path).args(["send", "--to", BOB]).arg(&source);
        run(command)
    };
    send().ok();

    for (content, expected) in [
        ("{\"auths\": {", "line 1"),
        (r#"{"credsStore": "not-installed"}"#, "docker-credential-not-installed"),
        (r#"{"credsStore": "locked"}"#, "docker-credential-locked"),
    ] {
        write(&file, content);

        let ran = send();

        assert_eq!(ran.code(), 3, "{ran:?}");
        for part in [file.to_str().unwrap(), expected, "hint: repair"] {
            assert!(ran.stderr.contains(part), "{part}: {ran:?}");
        }
    }
}

#[test]
fn an_unknown_authority_is_refused_before_the_password_is_sent() {
    let Some(registry) = Registry::docker_private() else { return };
    let (alice, _bob) = strangers(&registry);
    alice.set("deadline = \"3s\"");
    log_in(&alice, &registry);
    let source = write(alice.dir().join("report.pdf"), b"report");

    let mut send = alice.command();
    send.args(["send", "--to", BOB]).arg(source);
    let ran = run(send);

    assert_eq!(ran.code(), 7, "{ran:?}");
    assert!(ran.stderr.contains("certificate"), "{ran:?}");
}
