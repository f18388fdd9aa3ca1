//! Two registries over one storage behind nginx, and one of them dies while files are sent.

use std::time::Duration;

use super::balancer::Balancer;
use super::scene::{file_count, name_of};
use crate::common::{
    BOB, Registry, Running, Stopwatch, alice_and_bob, shell, wait_until_within, write,
};

#[test]
fn a_registry_that_dies_while_its_twin_lives_costs_nothing() {
    if let Some(Figures { sent, received, failures, seconds }) = fail_over(file_count(30)) {
        let (lost, doubled) = (sent.saturating_sub(received), received.saturating_sub(sent));
        println!(
            "failover: {sent} files sent, {received} received, {lost} lost, {doubled} doubled, \
             {failures} failures that nginx saw, {seconds:.1} s"
        );
    }
}

/// How long a hundred files may take on a busy machine; it only ends what hangs.
const LONG: Duration = Duration::from_mins(8);

struct Figures {
    sent: usize,
    received: usize,
    /// What nginx said of the registry that died.
    failures: usize,
    seconds: f64,
}

/// Sends files through nginx, kills the first registry after a third, and counts.
#[track_caller]
fn fail_over(count: usize) -> Option<Figures> {
    let first = Registry::docker()?;
    let second = first.twin();
    let balancer = Balancer::new(&[&first, &second])?;
    let (alice, bob) = alice_and_bob(&balancer.reference("mail"));
    alice.set("delivery = \"queued\"");
    alice.set("deadline = \"10s\"");
    let mount = alice.mount();
    let outbox = mount.outbox(BOB);
    let sources = alice.dir().join("many");
    std::fs::create_dir(&sources).unwrap();
    for number in 0..count {
        write(sources.join(name_of(number)), format!("content of {number}"));
    }
    let stopwatch = Stopwatch::start();
    let left = || mount.status()["outbox_queued"].as_u64().unwrap();

    Running::start(shell("cp \"$1\"/* \"$2\"", &[sources, outbox])).end_within(LONG).ok();
    let two_thirds = u64::try_from(count * 2 / 3).unwrap();
    wait_until_within(LONG, "a third is sent", || left() <= two_thirds);
    let is_midway = left() > 0;
    let mut first = first;
    first.stop();
    wait_until_within(LONG, "all are sent", || left() == 0);
    let seconds = stopwatch.elapsed().as_secs_f64();

    let failures = balancer.failure_count();
    assert!(is_midway && failures > 0, "the registry died too late to matter");
    assert_eq!(mount.status()["outbox_failed"], 0, "{}", mount.errors());
    let received = bob.receive();
    let expected: Vec<(String, Vec<u8>)> = (0..count)
        .map(|number| (name_of(number), format!("content of {number}").into_bytes()))
        .collect();
    assert_eq!(received.len(), count);
    assert!(received == expected, "names or contents differ");
    Some(Figures { sent: count, received: received.len(), failures, seconds })
}
