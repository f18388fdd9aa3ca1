//! Setting up dies: repeating it completes it, with the existing key.

use super::dying::{Point, Tally, dies, passed, points};
use super::world::World;
use crate::common::{ALICE, BOB, Home};

/// Runs `act` in a copy of `home` at each point that it passes.
fn die_everywhere(
    scenario: &str,
    template: &World,
    arguments: &[&str],
    judge: impl Fn(&mut Tally, &Point, &World),
) {
    let undisturbed = template.copy();
    let passed = passed(&undisturbed.alice, || drop(undisturbed.alice.run(arguments).ok()));
    let mut tally = Tally::default();

    for point in points(&passed) {
        let world = template.copy();
        tally.crash(&dies(&world.alice, &point, arguments));
        judge(&mut tally, &point, &world);
    }

    tally.finish(scenario);
}

fn fingerprint(home: &Home) -> Option<String> {
    let ran = home.run(["--json", "key", "show"]);
    ran.status.success().then(|| ran.text())
}

#[test]
fn an_init_that_dies_anywhere_is_completed_by_the_next() {
    let template = World::new();
    std::fs::remove_dir_all(template.alice.path()).unwrap();
    let registry = format!("oci:{}", template.layout().display());
    let init = ["init", "--me", ALICE, "--registry", &registry];

    die_everywhere("setting up", &template, &init, |tally, point, world| {
        world.alice.set_variable("DOCKERCOMMS_REGISTRY", None);
        let before = fingerprint(&world.alice);
        world.alice.run(init).ok();
        let after = fingerprint(&world.alice);
        if after.is_none() || before.is_some() && before != after {
            tally.lose(point, "the key");
        }
        if !world
            .alice
            .path()
            .join("config")
            .read_dir()
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().ends_with(".card"))
        {
            tally.lose(point, "the contact card");
        }
        world.bob.trust(&world.alice);
        world.alice.trust(&world.bob);
        world.alice.set_variable("DOCKERCOMMS_REGISTRY", Some(registry.as_ref()));
        world.age();
        tally.expect_clean(point, &world.litter());
    });
}

#[test]
fn a_change_of_trust_that_dies_anywhere_is_whole_or_not_there() {
    let template = World::new();
    let card = template.bob.card();
    std::fs::remove_file(template.alice.path().join("config/trust.toml")).unwrap();
    let add = ["trust", "add", &card.to_string_lossy(), "--yes"];

    die_everywhere("trusting", &template, &add, |tally, point, world| {
        // The store can always be read: whole, old or new.
        world.alice.run(["trust", "ls"]).ok();
        world.alice.run(add).ok();
        let listed = world.alice.run(["trust", "ls"]).ok();
        match listed.matches(BOB).count() {
            0 => tally.lose(point, "bob's key"),
            1 => {}
            _ => tally.double(point, "bob's key"),
        }
        world.age();
        tally.expect_clean(point, &world.litter());
    });
}

#[test]
fn x07_an_upgrade_of_the_state_that_dies_anywhere_is_done_by_the_next() {
    let template = World::new();
    let plan = template.source("plan.bin", b"plan");
    template.alice.run(["send", &plan, "--to", BOB]).ok();
    let state = rusqlite::Connection::open(template.alice.path().join("state/state.db")).unwrap();
    // As version 3 was, without checksums, directories and what is known of sent messages.
    state.execute_batch("DROP TABLE presence").unwrap();
    for column in ["checksum", "directory"] {
        state.execute_batch(&format!("ALTER TABLE outbox DROP COLUMN {column}")).unwrap();
    }
    state.pragma_update(None, "user_version", 3).unwrap();
    drop(state);

    die_everywhere("upgrading", &template, &["ls", "outbox"], |tally, point, world| {
        let status = world.alice.json(["status"]).remove(0);
        let sent = vec![("plan.bin".to_owned(), "sent".to_owned())];
        if world.outbox() != sent || status["outbox_damaged"] != 0 {
            tally.lose(point, "the row");
        }
        tally.expect_clean(point, &world.litter());
    });
}
