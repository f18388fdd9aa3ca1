//! The recipient dies, or the sender while collecting receipts: each file once, each receipt once.

use super::dying::{Point, Tally, dies, passed, points};
use super::world::{World, three_chunks};
use crate::common::BOB;

/// What alice has sent before bob looks.
fn sent() -> Vec<(String, Vec<u8>)> {
    vec![
        ("empty".to_owned(), Vec::new()),
        ("f".to_owned(), three_chunks()),
        ("small".to_owned(), b"small".to_vec()),
    ]
}

pub(super) fn world_with_mail() -> World {
    let world = World::new();
    let files: Vec<String> = sent().iter().map(|(name, bytes)| world.source(name, bytes)).collect();
    let mut arguments = vec!["send", "--to", BOB];
    arguments.extend(files.iter().map(String::as_str));
    world.alice.run(arguments).ok();
    world
}

pub(super) fn judge(tally: &mut Tally, point: &Point, world: &World) {
    world.receive();
    tally.compare(point, &sent(), &world.received());
    let (received, issued) = world.receipts();
    for (who, names) in [("alice", &received), ("bob", &issued)] {
        for (name, _) in sent() {
            let receipt = format!("{name}.accepted.json");
            match names.iter().filter(|listed| **listed == receipt).count() {
                0 => tally.lose(point, &format!("the receipt {receipt} of {who}")),
                1 => {}
                _ => tally.double(point, &format!("the receipt {receipt} of {who}")),
            }
        }
        if names.len() > sent().len() {
            tally.double(point, &format!("receipts of {who}: {names:?}"));
        }
    }
    world.age();
    tally.expect_clean(point, &world.litter());
}

#[test]
fn a_recv_that_dies_anywhere_has_each_file_and_each_receipt_once_in_the_end() {
    let template = world_with_mail();
    let undisturbed = template.copy();
    let passed = passed(&undisturbed.bob, || undisturbed.receive());
    let mut tally = Tally::default();

    for point in points(&passed) {
        let world = template.copy();
        let out = world.received_dir();
        let ran = dies(&world.bob, &point, &["recv", "--out", &out.to_string_lossy()]);
        tally.crash(&ran);
        judge(&mut tally, &point, &world);
    }

    tally.finish("receiving");
}

#[test]
fn collecting_receipts_that_dies_anywhere_lists_each_once() {
    let template = world_with_mail();
    template.receive();
    let undisturbed = template.copy();
    let passed = passed(&undisturbed.alice, || drop(undisturbed.alice.json(["ls", "receipts"])));
    let mut tally = Tally::default();

    for point in points(&passed) {
        let world = template.copy();
        let ran = dies(&world.alice, &point, &["ls", "receipts"]);
        tally.crash(&ran);
        judge(&mut tally, &point, &world);
    }

    tally.finish("collecting receipts");
}

#[test]
fn a_message_of_a_stranger_survives_crashes_until_its_sender_is_trusted() {
    let template = world_with_mail();
    let trust = template.bob.path().join("config/trust.toml");
    std::fs::remove_file(trust).unwrap();
    let undisturbed = template.copy();
    let passed = passed(&undisturbed.bob, || undisturbed.receive());
    let mut tally = Tally::default();

    for point in points(&passed) {
        let world = template.copy();
        let out = world.received_dir();
        let ran = dies(&world.bob, &point, &["recv", "--out", &out.to_string_lossy()]);
        tally.crash(&ran);
        tally.compare(&point, &[], &world.received());
        world.bob.trust(&world.alice);
        judge(&mut tally, &point, &world);
    }

    tally.finish("receiving from a stranger");
}
