//! The sender dies: what was promised arrives exactly once, what was not arrives never.

use super::dying::{Point, Tally, dies, passed, points};
use super::world::{World, three_chunks};
use crate::common::BOB;

/// Runs `send FILE` once undisturbed, then dying at each point; `before` happens first each time.
fn die_everywhere(scenario: &str, before: impl Fn(&World)) {
    let template = World::new();
    before(&template);
    let file = template.source("f", &three_chunks());
    let undisturbed = template.copy();
    let passed = passed(&undisturbed.alice, || {
        undisturbed.alice.run(["send", &file, "--to", BOB]).ok();
    });
    let mut tally = Tally::default();

    for point in points(&passed) {
        let world = template.copy();
        let ran = dies(&world.alice, &point, &["send", &file, "--to", BOB]);
        tally.crash(&ran);
        let before = world.outbox();
        judge(&mut tally, &point, &world, ran.status.success(), &before);
    }

    tally.finish(scenario);
}

pub(super) fn judge(
    tally: &mut Tally,
    point: &Point,
    world: &World,
    acknowledged: bool,
    before: &[(String, String)],
) {
    let is_in = |rows: &[(String, String)], wanted: &[&str]| {
        rows.iter().any(|(name, state)| name == "f" && wanted.contains(&state.as_str()))
    };
    // Once it is in the journal a restart keeps the promise, although it was not reported yet.
    let promised = acknowledged || is_in(before, &["prepared", "sent"]);

    world.recover();
    let sent = is_in(&world.outbox(), &["sent"]);
    world.receive();

    if promised && !sent {
        tally.lose(point, "f, which was promised");
    }
    let wanted = if sent { vec![("f".to_owned(), three_chunks())] } else { Vec::new() };
    tally.compare(point, &wanted, &world.received());
    world.age();
    tally.expect_clean(point, &world.litter());
}

#[test]
fn a_first_send_that_dies_anywhere_is_delivered_once_or_not_at_all() {
    die_everywhere("sending the first file", |_world| {});
}

#[test]
fn a_send_that_replaces_an_abandoned_one_and_dies_anywhere_is_delivered_once_or_not_at_all() {
    die_everywhere("sending over an abandoned file", |world| {
        let file = world.source("f", b"abandoned");
        let point = Point { name: "outbox.create.recorded".into(), passing: 1 };
        dies(&world.alice, &point, &["send", &file, "--to", BOB]);
    });
}

#[test]
fn a_recovery_that_dies_is_done_by_the_next() {
    let template = World::new();
    let file = template.source("f", &three_chunks());
    let mut tally = Tally::default();

    for name in ["outbox.create.staged", "outbox.prepare.journaled", "outbox.publish.tagged"] {
        let point = Point { name: name.into(), passing: 1 };
        let left = template.copy();
        tally.crash(&dies(&left.alice, &point, &["send", &file, "--to", BOB]));
        let undisturbed = left.copy();
        let during = passed(&undisturbed.alice, || undisturbed.recover());
        for point in points(&during) {
            let world = left.copy();
            let before = world.outbox();
            if super::mounted::dies_while_mounting(&world, &point) {
                tally.crash_elsewhere();
            }
            judge(&mut tally, &point, &world, false, &before);
        }
    }

    tally.finish("recovering");
}
