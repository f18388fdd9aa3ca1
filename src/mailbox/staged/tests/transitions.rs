//! Which operations each state allows, and what they leave in the row.

use super::*;
use crate::mailbox::staged::queueing::Readiness;

/// Every way to bring a closed file into a state, with the row that belongs to it.
fn in_state(desk: &Desk, state: SendState) -> Staging {
    let mut staging = desk.one();
    let _changed = staging.file.write_at(0, b"content").unwrap();
    match state {
        SendState::Draft => {}
        SendState::Queued => staging.enqueue(Trouble::None).unwrap(),
        SendState::Preparing => assert!(staging.file.begin_delivery().unwrap()),
        SendState::Prepared => staging.prepare(Trouble::None).unwrap(),
        SendState::Sent => {
            staging.prepare(Trouble::None).unwrap();
            staging.publish(Trouble::None).unwrap();
        }
        SendState::Failed => assert!(staging.prepare(Trouble::Refused).is_err()),
        SendState::Abandoned => assert!(staging.abandon()),
    }
    staging.file.close_writer();
    assert_eq!(staging.file.state(), state);
    staging
}

const STATES: [SendState; 7] = [
    SendState::Draft,
    SendState::Queued,
    SendState::Preparing,
    SendState::Prepared,
    SendState::Sent,
    SendState::Failed,
    SendState::Abandoned,
];

#[test]
fn each_state_has_its_row() {
    let desk = Desk::new();
    for (state, row, is_queued, has_message) in [
        (SendState::Draft, OutboxState::Draft, false, false),
        (SendState::Queued, OutboxState::Queued, true, false),
        // The close still waits: a crash must not promise anything.
        (SendState::Preparing, OutboxState::Draft, false, false),
        (SendState::Prepared, OutboxState::Prepared, false, true),
        (SendState::Sent, OutboxState::Sent, false, true),
        (SendState::Failed, OutboxState::Failed, false, false),
        (SendState::Abandoned, OutboxState::Abandoned, false, false),
    ] {
        let staging = in_state(&desk, state);

        assert_eq!(staging.row.state, row, "{state}");
        assert_eq!(staging.row.queue_place.is_some(), is_queued, "{state}");
        assert_eq!(staging.row.message.is_some(), has_message, "{state}");
        assert_eq!(staging.file.queue_place(), staging.row.queue_place, "{state}");
    }
}

#[test]
fn a_restart_keeps_every_promise_and_makes_none() {
    let desk = Desk::new();
    for (before, after) in [
        (SendState::Draft, SendState::Abandoned),
        (SendState::Queued, SendState::Queued),
        (SendState::Preparing, SendState::Abandoned),
        (SendState::Prepared, SendState::Prepared),
        (SendState::Sent, SendState::Sent),
        (SendState::Failed, SendState::Failed),
        (SendState::Abandoned, SendState::Abandoned),
    ] {
        let staging = desk.restart(in_state(&desk, before));

        assert_eq!(staging.file.state(), after, "{before}");
        assert_eq!(staging.file.queue_place(), staging.row.queue_place, "{before}");
    }
}

#[test]
fn only_a_sent_file_refuses_to_be_written() {
    let desk = Desk::new();
    for state in STATES {
        let mut staging = in_state(&desk, state);

        let is_open = staging.open();

        assert_eq!(is_open, state != SendState::Sent, "{state}");
        let written = staging.file.write_at(0, b"new").map(drop);
        assert_eq!(written.is_ok(), state != SendState::Sent, "{state}: {written:?}");
        let expected = if is_open { SendState::Draft } else { SendState::Sent };
        assert_eq!(staging.file.state(), expected, "{state}");
        assert!(staging.publish(Trouble::None).is_none(), "{state}: what it says is not closed");
    }
}

#[test]
fn a_file_opened_and_closed_without_a_change_keeps_its_promise() {
    let desk = Desk::new();
    let mut staging = in_state(&desk, SendState::Prepared);

    assert!(staging.open());
    assert_eq!(staging.file.state(), SendState::Draft);
    assert_eq!(staging.row.state, OutboxState::Prepared, "a crash delivers what was closed");
    staging.file.close_writer();

    assert_eq!(staging.file.state(), SendState::Prepared);
}

#[test]
fn a_write_beside_a_delivery_makes_it_fail() {
    let desk = Desk::new();
    for queued in [false, true] {
        let mut staging = desk.one();
        let _changed = staging.file.write_at(0, b"content").unwrap();

        let result =
            if queued { staging.enqueue(Trouble::Write) } else { staging.prepare(Trouble::Write) };

        assert!(matches!(result, Err(MailboxError::Busy)), "{result:?}");
        assert_eq!(staging.file.state(), SendState::Failed);
        assert_eq!(staging.row.state, OutboxState::Failed);
        assert_eq!(staging.row.queue_place, None);
    }
}

#[test]
fn a_journal_that_cannot_be_written_promises_nothing() {
    let desk = Desk::new();
    for queued in [false, true] {
        let mut staging = desk.one();
        let _changed = staging.file.write_at(0, b"content").unwrap();

        let result = if queued {
            staging.enqueue(Trouble::Journal)
        } else {
            staging.prepare(Trouble::Journal)
        };

        assert!(result.is_err());
        assert_eq!(staging.file.queue_place(), None);
        assert!(staging.publish(Trouble::None).is_none());
        assert_eq!(class_of(&staging.file), Some(ErrorClass::Internal));
    }
}

#[test]
fn a_dead_writer_ends_no_promise() {
    let desk = Desk::new();
    for (state, is_abandoned) in [
        (SendState::Draft, true),
        (SendState::Queued, false),
        (SendState::Preparing, true),
        (SendState::Prepared, false),
        (SendState::Sent, false),
        (SendState::Failed, true),
        (SendState::Abandoned, true),
    ] {
        let mut staging = in_state(&desk, state);

        assert_eq!(staging.abandon(), is_abandoned, "{state}");

        let expected = if is_abandoned { SendState::Abandoned } else { state };
        assert_eq!(staging.file.state(), expected, "{state}");
    }
}

#[test]
fn a_late_store_of_a_mapping_names_the_place_that_it_voids() {
    let desk = Desk::new();
    let mut staging = in_state(&desk, SendState::Queued);
    let place = staging.file.queue_place().unwrap();

    let changed = staging.file.write_at(0, b"late").unwrap();

    assert_eq!(changed.voided, [("bob".parse().unwrap(), place)]);
    assert!(staging.file.is_voided(place));
    assert_eq!(staging.file.write_at(0, b"later").unwrap().voided, []);
    staging.leave_queue();
    assert_eq!((staging.row.state, staging.row.queue_place), (OutboxState::Draft, None));
}

#[test]
fn a_rename_voids_the_message_and_not_the_chunks() {
    let desk = Desk::new();
    let mut staging = in_state(&desk, SendState::Prepared);
    let old = staging.file.digest().unwrap();

    staging.rename("final.pdf");

    assert_eq!(staging.file.digest(), None);
    assert_eq!(staging.file.progress(), (7, 7), "the registry has its chunks");
    staging.prepare(Trouble::None).unwrap();
    assert_ne!(staging.file.digest(), Some(old));
    assert_eq!(staging.row.name, "final.pdf");
}

#[test]
fn a_queued_file_stays_promised_under_its_new_name() {
    let desk = Desk::new();
    let mut staging = in_state(&desk, SendState::Queued);
    let place = staging.row.queue_place;

    staging.rename("final.pdf");

    assert_eq!((staging.row.state, staging.row.queue_place), (OutboxState::Queued, place));
    assert_eq!(staging.row.name, "final.pdf");
}

#[test]
fn what_an_earlier_run_prepared_is_sent_and_never_read() {
    let desk = Desk::new();
    let staging = in_state(&desk, SendState::Prepared);
    let digest = staging.file.digest();

    let mut staging = desk.restart(staging);

    assert!(!staging.file.is_readable_here());
    assert!(!staging.open(), "its staged bytes may be older than what was promised");
    assert_eq!(staging.file.digest(), digest);
    assert_eq!(staging.publish(Trouble::None).map(|message| message.digest), digest);
}

/// A message that an earlier close has fixed says what was closed then.
#[test]
fn regression_an_old_message_is_not_sent_for_what_was_written_since() {
    let desk = Desk::new();
    for is_refused in [false, true] {
        let mut staging = in_state(&desk, SendState::Prepared);
        let old = staging.file.digest();
        if is_refused {
            assert!(staging.publish(Trouble::Refused).is_none());
        }
        assert!(staging.open());
        let _changed = staging.file.write_at(0, b"CONTENT").unwrap();
        if !is_refused {
            assert!(staging.abandon());
        }
        // A crash before anything is closed again.
        let mut staging = desk.restart(staging);

        if is_refused {
            staging.enqueue(Trouble::None).unwrap();
            staging.unpark();
            staging.try_prepare(Trouble::None).unwrap();
        } else {
            assert!(staging.open());
            let _changed = staging.file.write_at(0, b"CONTENT").unwrap();
            staging.prepare(Trouble::None).unwrap();
            staging.file.close_writer();
        }

        let sent = staging.publish(Trouble::None).expect("it is sent");
        assert_eq!(sent.manifest, b"report.pdf\nCONTENT");
        assert_ne!(Some(sent.digest), old);
    }
}

#[test]
fn a_failed_file_that_is_closed_unchanged_is_promised_anew() {
    let desk = Desk::new();
    let mut staging = in_state(&desk, SendState::Prepared);
    assert!(staging.publish(Trouble::Refused).is_none());
    assert_eq!(staging.row.state, OutboxState::Failed);

    assert!(staging.open());

    assert!(staging.file.is_dirty(), "the row promises nothing");
    staging.prepare(Trouble::None).unwrap();
    staging.file.close_writer();
    assert_eq!(staging.file.state(), SendState::Prepared);
    assert_eq!(staging.row.state, OutboxState::Prepared);
}

#[test]
fn regression_an_abandoned_file_is_not_revived_by_an_opening_that_writes_nothing() {
    let desk = Desk::new();
    for restarts in [false, true] {
        let mut staging = in_state(&desk, SendState::Abandoned);
        if restarts {
            staging = desk.restart(staging);
        }

        assert!(staging.open());
        assert_eq!(staging.file.state(), SendState::Abandoned, "its content is not whole");
        staging.file.close_writer();
        assert_eq!(staging.file.begin_window(), None, "nothing is to be sent");

        assert!(staging.open());
        let changed = staging.file.set_len(if restarts { 0 } else { 7 }).unwrap();
        assert_eq!(changed.voided, []);
        assert_eq!(staging.file.state(), SendState::Draft, "it is begun anew");
    }
}

#[test]
fn a_failed_store_beside_a_delivery_leaves_no_promise_in_the_row() {
    let desk = Desk::new();
    let mut staging = desk.one();
    let _changed = staging.file.write_at(0, b"content").unwrap();
    assert!(staging.file.begin_delivery().unwrap());
    let generation = staging.upload();
    let MessageBasis::Make { name, id, version } = staging.file.message_basis(generation) else {
        panic!("nothing was made before");
    };
    let message = message(&staging.row.recipient, &name, id, b"content");
    staging.file.fix_message(version, &message);
    let saved = staging.file.promising(&message).apply(&mut staging.row);

    // A store that meets a full disk: the staged file is open for reading only.
    let spool = Spool::look(desk.dir.path(), &staging.row.spool).unwrap().unwrap();
    staging.file.with(|content, _| content.open(Arc::new(spool)));
    assert!(staging.file.write_at(0, b"late").unwrap().failure.is_some());
    let promised = staging.file.promised(saved);
    staging.fail(&MailboxError::Busy);

    assert!(matches!(promised, Err(MailboxError::Busy)), "{promised:?}");
    assert_eq!(staging.file.state(), SendState::Failed);
    assert_eq!((staging.row.state, staging.row.message), (OutboxState::Failed, None));
}

#[test]
fn a_failed_store_into_a_queued_file_names_the_place_that_it_voids() {
    let desk = Desk::new();
    let staging = in_state(&desk, SendState::Queued);
    let place = staging.file.queue_place().unwrap();
    let spool = Spool::look(desk.dir.path(), &staging.row.spool).unwrap().unwrap();
    staging.file.with(|content, _| content.open(Arc::new(spool)));

    let changed = staging.file.write_at(0, b"late").unwrap();

    assert!(changed.failure.is_some());
    assert_eq!(changed.voided, [("bob".parse().unwrap(), place)]);
    assert!(staging.file.is_voided(place));
}

#[test]
fn an_abandoned_file_has_no_promise_of_an_earlier_close() {
    let desk = Desk::new();
    let mut staging = in_state(&desk, SendState::Prepared);
    assert!(staging.open());
    assert!(staging.abandon());
    staging.file.close_writer();

    assert!(staging.open());
    assert!(staging.file.is_dirty());
    staging.file.close_writer();

    assert_eq!(staging.file.state(), SendState::Abandoned);
    assert_eq!((staging.row.state, staging.row.message), (OutboxState::Abandoned, None));
}

#[test]
fn a_file_abandoned_during_its_delivery_is_not_promised() {
    let desk = Desk::new();
    let mut staging = desk.one();
    let _changed = staging.file.write_at(0, b"content").unwrap();
    assert!(staging.prepare(Trouble::Crash).is_err());
    let MessageBasis::Made(message) = staging.file.message_basis(staging.upload()) else {
        panic!("the message is fixed");
    };
    let saved = staging.file.promising(&message).apply(&mut staging.row);

    assert!(staging.abandon());

    assert!(matches!(staging.file.promised(saved), Err(MailboxError::Busy)));
    assert_eq!(staging.row.state, OutboxState::Abandoned);
}

#[test]
fn a_file_that_is_removed_holds_up_no_other() {
    let desk = Desk::new();
    let staging = in_state(&desk, SendState::Queued);
    staging.file.settle();
    assert_eq!(staging.file.readiness(), Readiness::Ready);

    let _left = staging.file.remove();

    assert_eq!(staging.file.readiness(), Readiness::Absent);
}
