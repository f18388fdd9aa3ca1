//! Files that move into a local directory and out of it.

use super::*;

/// A closed file with a content, and how it came there.
fn closed(desk: &Desk, promise: fn(&mut Staging)) -> Staging {
    let mut staging = desk.one();
    let _changed = staging.file.write_at(0, b"content").unwrap();
    promise(&mut staging);
    staging.file.close_writer();
    staging
}

fn row_path(staging: &Staging) -> (Option<&str>, &str) {
    (staging.row.directory.as_deref(), &staging.row.name)
}

const PROMISES: [fn(&mut Staging); 3] = [
    |_draft| {},
    |staging| staging.enqueue(Trouble::None).unwrap(),
    |staging| staging.prepare(Trouble::None).unwrap(),
];

#[test]
fn nothing_is_promised_of_a_file_that_moved_into_a_directory() {
    let desk = Desk::new();
    for promise in PROMISES {
        let mut staging = closed(&desk, promise);

        // As the outbox does for a name that stays local.
        staging.leave_queue();
        staging.rename(".~tmp~/report.pdf");

        assert!(staging.file.is_temporary());
        assert_eq!(staging.file.state(), SendState::Draft);
        assert_eq!(staging.file.name(), ".~tmp~/report.pdf");
        assert_eq!(row_path(&staging), (Some(".~tmp~"), "report.pdf"));
        assert_eq!((staging.row.state, staging.row.queue_place), (OutboxState::Draft, None));
        assert!(!staging.file.begin_uploading(), "its chunks stay here");
    }
}

#[test]
fn a_restart_finds_it_where_it_was_and_it_is_still_local() {
    let desk = Desk::new();
    let mut staging = closed(&desk, PROMISES[0]);
    staging.rename(".~tmp~/report.pdf");
    let (area, row) = (Arc::clone(&desk.area), staging.row.clone());
    drop(staging);

    let file = OutboxFile::of_entry(&area, row, None);

    assert!(file.is_temporary());
    assert_eq!(file.name(), ".~tmp~/report.pdf");
    assert_eq!(file.file_name().as_str(), "report.pdf");
}

#[test]
fn out_of_its_directory_it_is_promised_under_its_name_alone() {
    let desk = Desk::new();
    for promise in PROMISES {
        let mut staging = closed(&desk, promise);
        staging.leave_queue();
        staging.rename(".~tmp~/report.pdf");

        staging.rename("report.pdf");
        staging.prepare(Trouble::None).unwrap();

        assert!(!staging.file.is_temporary());
        assert_eq!(row_path(&staging), (None, "report.pdf"));
        let message = staging.publish(Trouble::None).unwrap();
        assert_eq!(message.manifest, b"report.pdf\ncontent");
    }
}

#[test]
fn a_rename_that_failed_leaves_memory_and_row_in_the_directory() {
    let desk = Desk::new();
    let mut staging = closed(&desk, PROMISES[0]);
    staging.rename(".~tmp~/report.pdf");
    let from = staging.file.path();
    staging.rename("report.pdf");
    assert!(staging.prepare(Trouble::Refused).is_err());

    let (to, row) = staging.file.rename_back(&from).unwrap();
    row.apply(&mut staging.row);

    assert_eq!(to.as_str(), "report.pdf");
    assert_eq!(staging.file.path(), from);
    assert_eq!(row_path(&staging), (Some(".~tmp~"), "report.pdf"));
    assert!(staging.file.is_temporary());
}
