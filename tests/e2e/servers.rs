//! Servers of files that share a mount, and programs that send to them: a second file of a name is
//! a second message, and what only changes a part of a sent one fails clearly.

use std::net::{TcpListener, TcpStream};

use super::delivery::Delivery;
use crate::common::{
    BOB, Running, need_root, program, random_bytes, run, temp_dir, tool, wait_until, write,
};

/// Several requests of each program, and several chunks.
const LONG: usize = 3_000_001;
const SHORT: usize = 200_003;

fn in_both_deliveries(test: impl Fn(Delivery)) {
    for delivery in ["sync", "queued"] {
        let delivery = format!("delivery = \"{delivery}\"");
        test(Delivery::with_settings(&[&delivery, "chunk_bytes = \"256KiB\""]));
    }
}

/// Sends four contents of one name by `send`, each after the one before was sent, and checks that
/// bob has four messages.
#[track_caller]
fn sends_each(delivery: Delivery, send: impl Fn(&Delivery, &str)) {
    let contents: [(&str, Vec<u8>); 4] = [
        ("new", random_bytes(21, SHORT)),
        ("longer", random_bytes(22, LONG)),
        ("as long", random_bytes(23, LONG)),
        ("shorter", random_bytes(24, SHORT)),
    ];
    let path = delivery.outbox().join("f");
    let mut digests = Vec::new();
    for (what, bytes) in &contents {
        delivery.source("f", bytes);
        send(&delivery, "f");
        delivery.mount.wait_for_state(&path, "sent");
        assert!(crate::common::read(&path) == *bytes, "{what}");
        digests.push(delivery.mount.attribute(&path, "digest"));
    }
    let mut distinct = digests.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), contents.len(), "{digests:?}");

    let mut delivery = delivery;
    assert_eq!(delivery.mount.wait_until_all_sent(BOB), ["f"]);
    delivery.mount.unmount();
    let mut received: Vec<_> = delivery.bob.receive().into_iter().map(|(_, one)| one).collect();
    let mut expected: Vec<_> = contents.into_iter().map(|(_, bytes)| bytes).collect();
    received.sort();
    expected.sort();
    assert!(received == expected, "{} messages", received.len());
}

/// Sends by `scp` to an `sftp-server` that it starts without a connection.
const SCP: &str = "scp -q -D \"$(command -v sftp-server)\"";

/// The same by `sftp`, with its commands on standard input.
const SFTP: &str = "sftp -q -b - -D \"$(command -v sftp-server)\"";

fn has_openssh() -> bool {
    ["scp", "sftp", "sftp-server"].iter().all(|name| tool(name).is_some())
}

#[test]
fn scp_over_a_sent_file_is_a_message_each_time() {
    if has_openssh() {
        in_both_deliveries(|delivery| {
            sends_each(delivery, |delivery, name| {
                delivery.sh(&format!("{SCP} {name} host:\"$OUT/{name}\""));
            });
        });
    }
}

#[test]
fn scp_p_of_several_files_twice_sends_each_twice_with_its_time_and_mode() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    if !has_openssh() {
        return;
    }
    in_both_deliveries(|mut delivery| {
        for content in ["first", "second!"] {
            for name in ["a", "b"] {
                delivery.source(name, format!("{content} {name}"));
            }
            delivery.sh(&format!(
                "touch -d 2020-02-02T02:02:02Z a b; chmod 640 a b; {SCP} -p a b host:\"$OUT/\""
            ));
            for name in ["a", "b"] {
                let path = delivery.outbox().join(name);
                delivery.mount.wait_for_state(&path, "sent");
                let metadata = path.metadata().unwrap();
                let mode = metadata.permissions().mode() & 0o7777;
                assert_eq!((metadata.mtime(), mode), (1_580_608_922, 0o640), "{content} {name}");
            }
        }
        delivery.mount.unmount();
        let mut received: Vec<_> = delivery.bob.receive().into_iter().map(|(_, one)| one).collect();
        received.sort();
        let expected: [&[u8]; 4] = [b"first a", b"first b", b"second! a", b"second! b"];
        assert_eq!(received, expected);
    });
}

#[test]
fn sftp_put_over_a_sent_file_is_a_message_each_time() {
    if has_openssh() {
        in_both_deliveries(|delivery| {
            sends_each(delivery, |delivery, name| {
                delivery.sh(&format!("echo \"put {name} $OUT/{name}\" | {SFTP} host"));
            });
        });
    }
}

#[test]
fn sftp_put_that_resumes_over_a_sent_file_fails_and_changes_nothing() {
    if !has_openssh() {
        return;
    }
    in_both_deliveries(|delivery| {
        let bytes = random_bytes(25, SHORT);
        delivery.source("f", &bytes[..100_000]);
        delivery.sh(&format!("echo \"put f $OUT/f\" | {SFTP} host"));
        let path = delivery.outbox().join("f");
        delivery.mount.wait_for_state(&path, "sent");
        delivery.source("f", &bytes);

        for command in ["reput", "put -a"] {
            let ran = delivery.try_sh(&format!("echo \"{command} f $OUT/f\" | {SFTP} host"));

            assert_ne!(ran.code(), 0, "{command}: {ran:?}");
            assert!(ran.stderr.contains("Permission denied"), "{command}: {ran:?}");
        }
        delivery.expect(&[("f", &bytes[..100_000])]);
    });
}

/// The directories of smbd: no two tests share one.
const PLACES: [&str; 6] = [
    "lock directory",
    "state directory",
    "cache directory",
    "private dir",
    "pid directory",
    "ncalrpc dir",
];

/// Its other settings, up to the path that it shares.
const SETTINGS: &str = "
server role = standalone server
interfaces = lo
bind interfaces only = yes
map to guest = bad user
guest account = root
disable spoolss = yes
load printers = no
disable netbios = yes
[out]
guest ok = yes
read only = no";

/// An smbd that shares a mount's outbox with anyone on this machine.
struct Smbd {
    server: Running,
    dir: tempfile::TempDir,
    port: u16,
}

impl Smbd {
    /// Starts it as root; `None` without one of the programs.
    #[track_caller]
    fn start(delivery: &Delivery) -> Option<Self> {
        tool("smbclient")?;
        let mut command = program("smbd")?;
        if !need_root() {
            return None;
        }
        let dir = temp_dir();
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).unwrap().port();
        let mut lines = vec!["[global]".to_owned()];
        for place in PLACES {
            let path = dir.path().join(place.replace(' ', "-"));
            std::fs::create_dir(&path).unwrap();
            lines.push(format!("{place} = {}", path.display()));
        }
        lines.push(format!("log file = {}/log", dir.path().display()));
        lines.push(format!("smb ports = {port}"));
        lines.push(SETTINGS.to_owned());
        lines.push(format!("path = {}", delivery.outbox().display()));
        let settings = write(dir.path().join("smb.conf"), lines.join("\n"));
        command.args(["-F", "--no-process-group", "-s"]).arg(settings);
        let server = Running::start(command);
        wait_until("smbd answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(Self { server, dir, port })
    }

    /// Runs commands of smbclient in alice's directory.
    #[track_caller]
    fn client(&self, delivery: &Delivery, commands: &str) {
        let mut command = program("smbclient").expect("it was there");
        command.arg("-s").arg(self.dir.path().join("smb.conf"));
        command.args(["-N", "-p", &self.port.to_string(), "//127.0.0.1/out", "-c", commands]);
        command.current_dir(delivery.alice.dir()).env("HOME", delivery.alice.dir());
        let ran = run(command);
        assert!(ran.status.success(), "{ran:?}\nsmbd: {}", self.server.errors());
    }
}

#[test]
fn smbclient_put_over_a_sent_file_is_a_message_each_time() {
    in_both_deliveries(|delivery| {
        let Some(smbd) = Smbd::start(&delivery) else { return };
        sends_each(delivery, |delivery, name| {
            smbd.client(delivery, &format!("put {name} {name}; ls; get {name} back"));
            let back = crate::common::read(delivery.alice.dir().join("back"));
            assert!(back == crate::common::read(delivery.alice.dir().join(name)));
        });
    });
}

#[test]
fn after_an_scp_over_a_sent_file_rsync_finds_nothing_to_do_and_cp_sends_again() {
    if !has_openssh() || tool("rsync").is_none() {
        return;
    }
    in_both_deliveries(|mut delivery| {
        let path = delivery.outbox().join("f");
        for content in ["one", "three"] {
            delivery.source("f", content);
            delivery.sh(&format!("{SCP} -p f host:\"$OUT/f\""));
            delivery.mount.wait_for_state(&path, "sent");
        }
        let said = delivery.sh("rsync -a --itemize-changes f $OUT/");
        assert_eq!(said, "");

        delivery.source("f", "by cp");
        delivery.sh("cp f $OUT/f");
        delivery.mount.wait_for_state(&path, "sent");
        delivery.sh("printf shell > $OUT/f");
        delivery.mount.wait_for_state(&path, "sent");

        delivery.mount.unmount();
        let mut received: Vec<_> = delivery.bob.receive().into_iter().map(|(_, one)| one).collect();
        received.sort();
        let expected: [&[u8]; 4] = [b"by cp", b"one", b"shell", b"three"];
        assert_eq!(received, expected);
    });
}

#[test]
fn the_owner_needs_no_right_of_root_to_copy_over_a_sent_file() {
    if tool("setpriv").is_none() || !need_root() {
        return;
    }
    // As an ordinary user with `--allow-other`: the kernel checks the mode of the owner.
    let plain = "setpriv --bounding-set=-dac_override,-dac_read_search \
                 --inh-caps=-dac_override,-dac_read_search";
    in_both_deliveries(|delivery| {
        sends_each(delivery, |delivery, name| {
            delivery.sh(&format!("{plain} cp {name} $OUT/{name}"));
        });
    });
}
