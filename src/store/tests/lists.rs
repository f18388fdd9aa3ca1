use super::super::{
    ERROR_COUNT_MAX, ErrorEntry, QUARANTINE_COUNT_MAX, QuarantineEntry, SEEN_COUNT_MAX, SeenTag,
    SeenVerdict,
};
use super::*;

fn refused(n: u32) -> QuarantineEntry {
    QuarantineEntry {
        digest: Digest::of(&n.to_le_bytes()),
        tag: tag("inbox-x"),
        claimed_sender: "alice\u{1b}[2J".to_owned(),
        file_name: "../../etc/passwd\0".to_owned(),
        code: "bad-signature".to_owned(),
        why: "the signature does not verify".to_owned(),
        pending: false,
        first_seen: at(0),
        updated_at: at(0),
    }
}

#[tokio::test]
async fn seen_tags_are_those_with_the_prefix_and_survive_a_restart() {
    let (dir, store) = new_store().await;
    let digest = Digest::of(b"a");
    for (text, verdict) in [
        ("inbox-a-1", SeenVerdict::Admitted),
        ("inbox-a-zzz", SeenVerdict::Quarantined),
        ("inbox-a-_", SeenVerdict::Ignored),
        ("inbox-a", SeenVerdict::Pending),
        ("inbox-b-1", SeenVerdict::Pending),
        ("Inbox-a-1", SeenVerdict::Pending),
    ] {
        store.record_seen(&tag(text), &digest, verdict).await.unwrap();
    }

    let store = reopen(&dir, store).await;
    let seen = store.seen_tags("inbox-a-").await.unwrap();

    assert_eq!(seen.len(), 3);
    let verdict = |text| seen.get(&tag(text)).map(|seen| (seen.digest, seen.verdict));
    assert_eq!(verdict("inbox-a-1"), Some((digest, SeenVerdict::Admitted)));
    assert_eq!(verdict("inbox-a-zzz"), Some((digest, SeenVerdict::Quarantined)));
    assert_eq!(verdict("inbox-a-_"), Some((digest, SeenVerdict::Ignored)));
    assert_eq!(store.seen_tags("").await.unwrap().len(), 6);
}

#[tokio::test]
async fn a_tag_seen_again_has_its_new_digest_and_verdict() {
    let (_dir, store) = new_store().await;
    let tag = tag("inbox-a-1");
    store.record_seen(&tag, &Digest::of(b"a"), SeenVerdict::Pending).await.unwrap();

    store.record_seen(&tag, &Digest::of(b"b"), SeenVerdict::Admitted).await.unwrap();

    let expected = SeenTag { digest: Digest::of(b"b"), verdict: SeenVerdict::Admitted };
    assert_eq!(store.seen_tags("inbox-a-").await.unwrap(), [(tag, expected)].into());
}

#[tokio::test]
async fn forgotten_tags_are_gone() {
    let (_dir, store) = new_store().await;
    for text in ["t-1", "t-2", "t-3"] {
        store.record_seen(&tag(text), &Digest::of(b""), SeenVerdict::Ignored).await.unwrap();
    }

    store.forget_seen(&[tag("t-1"), tag("t-3"), tag("unknown")]).await.unwrap();

    let seen = store.seen_tags("t-").await.unwrap();
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [tag("t-2")]);
}

#[tokio::test]
async fn the_oldest_seen_tags_go_when_there_are_too_many() {
    let (_dir, store) = new_store().await;
    store.record_seen(&tag("t-old"), &Digest::of(b""), SeenVerdict::Ignored).await.unwrap();
    store.record_seen(&tag("t-kept"), &Digest::of(b""), SeenVerdict::Ignored).await.unwrap();
    // Stands for a million rows: ids grow by one for each tag.
    store
        .write(|transaction| {
            let last = "INSERT INTO seen VALUES (?1, 't-last', 'sha256:', 'ignored')";
            transaction.execute(last, [SEEN_COUNT_MAX])?;
            Ok(())
        })
        .await
        .unwrap();

    store.record_seen(&tag("t-new"), &Digest::of(b""), SeenVerdict::Ignored).await.unwrap();
    store.forget_seen(&[tag("t-last")]).await.unwrap();

    let mut seen: Vec<_> = store.seen_tags("t-").await.unwrap().into_keys().collect();
    seen.sort();
    assert_eq!(seen, [tag("t-kept"), tag("t-new")]);
}

#[tokio::test]
async fn quarantine_keeps_raw_text_and_the_first_time() {
    let (dir, store) = new_store().await;
    let pending = QuarantineEntry { pending: true, ..refused(1) };
    store.upsert_quarantine(vec![pending.clone()]).await.unwrap();
    store.upsert_quarantine(vec![refused(2)]).await.unwrap();

    let store = reopen(&dir, store).await;
    let before = store.quarantine_entries().await.unwrap();
    let later = QuarantineEntry { first_seen: at(9), updated_at: at(9), ..refused(1) };
    store.upsert_quarantine(vec![later]).await.unwrap();
    let after = store.quarantine_entries().await.unwrap();

    assert_eq!(before, [pending, refused(2)]);
    assert_eq!(after, [QuarantineEntry { updated_at: at(9), ..refused(1) }, refused(2)]);
}

#[tokio::test]
async fn an_entry_leaves_quarantine_when_its_message_is_admitted() {
    let (_dir, store) = new_store().await;
    let (new, known) = (arrived("a", 1), arrived("b", 2));
    store.admit(vec![known.clone()]).await.unwrap();
    let entries = [new.digest, known.digest, refused(3).digest];
    let entries = entries.map(|digest| QuarantineEntry { digest, ..refused(3) });
    store.upsert_quarantine(entries.to_vec()).await.unwrap();

    store.admit(vec![new, known]).await.unwrap();

    assert_eq!(store.quarantine_entries().await.unwrap(), [refused(3)]);
}

#[tokio::test]
async fn a_flooded_quarantine_keeps_the_newest() {
    let (_dir, store) = new_store().await;
    store.upsert_quarantine(vec![refused(1)]).await.unwrap();
    store.upsert_quarantine(vec![refused(2)]).await.unwrap();
    store
        .write(|transaction| {
            let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
                       INSERT INTO quarantine (digest, tag, claimed_sender, file_name, code, why, \
                       pending, first_seen, updated_at) SELECT \
                       'sha256:' || printf('%064x', i), 't', '', '', '', '', 0, 0, 0 FROM n";
            transaction.execute(sql, [QUARANTINE_COUNT_MAX - 2])?;
            Ok(())
        })
        .await
        .unwrap();

    store.upsert_quarantine(vec![refused(3)]).await.unwrap();

    let entries = store.quarantine_entries().await.unwrap();
    assert_eq!(entries.len() as u64, QUARANTINE_COUNT_MAX.unsigned_abs());
    assert_eq!(entries.first(), Some(&refused(2)));
    assert_eq!(entries.last(), Some(&refused(3)));
}

#[tokio::test]
async fn only_the_last_errors_are_kept() {
    let (dir, store) = new_store().await;
    let error = |n: u32| ErrorEntry {
        at: at(n.into()),
        code: "unreachable".to_owned(),
        subject: "outbox/bob/a.pdf".to_owned(),
        text: format!("error {n}"),
        hint: n.is_multiple_of(2).then(|| "try again".to_owned()),
    };

    for n in 0..=ERROR_COUNT_MAX {
        store.record_error(error(n)).await.unwrap();
    }
    let store = reopen(&dir, store).await;

    let errors = store.errors().await.unwrap();
    assert_eq!(errors.len(), ERROR_COUNT_MAX as usize);
    assert_eq!(errors.first(), Some(&error(1)));
    assert_eq!(errors.last(), Some(&error(ERROR_COUNT_MAX)));
}

#[tokio::test]
async fn small_facts_survive_a_restart_and_are_replaced() {
    let (dir, store) = new_store().await;

    store.set_meta("session", "one").await.unwrap();
    store.set_meta("session", "two").await.unwrap();
    let store = reopen(&dir, store).await;

    assert_eq!(store.get_meta("session").await.unwrap().as_deref(), Some("two"));
    assert_eq!(store.get_meta("other").await.unwrap(), None);
}

#[tokio::test]
async fn the_clock_never_goes_back_across_a_restart() {
    let (dir, store) = new_store().await;

    assert_eq!(store.raise_clock(at(0)).await.unwrap(), at(0));
    assert_eq!(store.raise_clock(at(600)).await.unwrap(), at(600));
    let store = reopen(&dir, store).await;

    assert_eq!(store.raise_clock(at(-90_000)).await.unwrap(), at(600));
    assert_eq!(store.raise_clock(at(630)).await.unwrap(), at(630));
}
