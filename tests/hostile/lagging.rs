//! A registry that denies for a while what it has confirmed, and one whose last answer is lost.

use super::forge::payload;
use super::registry::{Answer, Class, Fault, Registry};
use crate::common::{BOB, Home, Ran, alice_and_bob, run, shell, wait_until, write};

/// More requests than anything here makes for one name.
const LONG: u64 = 10_000;

/// Two people with the real program.
struct Pair {
    registry: Registry,
    alice: Home,
    bob: Home,
}

impl Pair {
    fn on(registry: Registry) -> Self {
        let (alice, bob) = alice_and_bob(&registry.reference());
        alice.set("deadline = \"2s\"");
        Self { registry, alice, bob }
    }

    fn send(&self) -> Ran {
        let file = write(self.alice.dir().join("plan.bin"), payload(200_000));
        let file = file.display().to_string();
        self.alice.run(["send", file.as_str(), "--to", BOB, "--chunk-bytes", "64KiB"])
    }

    /// Asserts that bob gets the file once, some time later.
    #[track_caller]
    fn assert_arrives_once(&self, id: &str) {
        self.registry.catch_up();
        assert!(self.bob.receive() == [("plan.bin".to_owned(), payload(200_000))], "{id}");
        assert_eq!(self.registry.tags("inbox-").len(), 1, "{id}");
    }
}

#[test]
fn a_send_to_a_registry_that_lags_says_sent_and_arrives_once() {
    for has_referrers in [true, false] {
        for lag in [1, 3, LONG] {
            let pair = Pair::on(Registry::start_with(has_referrers, 100));
            pair.registry.lag(lag);

            let ran = pair.send();

            let id = format!("{has_referrers} {lag}");
            assert_eq!(ran.code(), 0, "{id}: {ran:?}");
            pair.assert_arrives_once(&id);
        }
    }
}

#[test]
fn where_there_is_no_referrers_api_a_lag_costs_no_storm_of_requests() {
    let pair = Pair::on(Registry::start_with(false, 100));
    pair.registry.lag(LONG);

    pair.send().ok();

    let indexes = pair.registry.seen(Class::ManifestPut);
    let indexes = indexes.iter().filter(|put| put.name().starts_with("sha256-")).count();
    assert_eq!(indexes, 1);
}

#[test]
fn a_copy_to_a_registry_that_lags_is_sent_in_both_deliveries() {
    for delivery in ["sync", "queued"] {
        let pair = Pair::on(Registry::start());
        pair.alice.set(&format!("delivery = \"{delivery}\""));
        pair.registry.lag(LONG);
        let mount = pair.alice.mount();
        let outbox = mount.outbox(BOB);
        let source = write(pair.alice.dir().join("plan.bin"), payload(200_000));

        run(shell("cp \"$1\" \"$2\" && sync \"$2\"/plan.bin", &[&source, &outbox])).ok();

        mount.wait_for_state(outbox.join("plan.bin"), "sent");
        pair.assert_arrives_once(delivery);
    }
}

#[test]
fn a_send_whose_tag_is_not_confirmed_says_so_and_its_repetition_arrives_once() {
    let denied = Fault::Answer(Answer::error(403, "DENIED"));
    for (fault, exit) in
        [(Fault::CommitThenClose, 7), (denied, 3), (Fault::Close, 7), (Fault::status(500), 7)]
    {
        let pair = Pair::on(Registry::start());
        pair.registry.lag(LONG);
        pair.registry.fail_on(Class::ManifestPut, "/manifests/inbox-", u64::MAX, fault);

        let first = pair.send();
        pair.registry.heal();
        let again = pair.send();

        assert_eq!(first.code(), exit, "{first:?}");
        for part in ["perhaps not sent yet", "run the same command again", "arrives once"] {
            assert!(first.stderr.contains(part), "{part}: {first:?}");
        }
        assert!(!first.stderr.contains("was not sent"), "{first:?}");
        assert_eq!(again.code(), 0, "{again:?}");
        pair.assert_arrives_once(&first.stderr);
        // Nor does a mount find anything that is left to send.
        let mut mount = pair.alice.mount();
        wait_until("it has polled", || mount.status()["registry"] == "ok");
        mount.unmount();
        assert_eq!(pair.registry.tags("inbox-").len(), 1);
    }
}

#[test]
fn a_mount_finishes_a_send_whose_tag_was_not_confirmed() {
    for fault in [Fault::CommitThenClose, Fault::Close] {
        let pair = Pair::on(Registry::start());
        pair.registry.lag(LONG);
        pair.registry.fail_on(Class::ManifestPut, "/manifests/inbox-", u64::MAX, fault);
        pair.send();
        pair.registry.heal();

        let mount = pair.alice.mount();

        mount.wait_for_state(mount.outbox(BOB).join("plan.bin"), "sent");
        pair.assert_arrives_once("by the mount");
    }
}

#[test]
fn doctor_waits_for_what_it_has_pushed() {
    let pair = Pair::on(Registry::start_with(false, 100));
    pair.registry.lag(2);
    // It offers no deletion, which is told apart from a manifest that is not there yet.
    let no_deletion = Fault::Answer(Answer::error(405, "UNSUPPORTED"));
    pair.registry.fail_on(Class::Other, "/manifests/", u64::MAX, no_deletion);

    let ran = pair.bob.run(["doctor", "--write"]);

    let text = ran.text();
    assert!(text.contains("no referrers API; the fallback tag"), "{ran:?}");
}
