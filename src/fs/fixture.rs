//! A hand-made snapshot for the tests of this folder.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::mailbox::{ErrorLine, InboxItem, OutboxDir, QuarantineItem, ReceiptItem, Snapshot};
use crate::protocol::{
    Annotations, Compression, Digest, Envelope, Identity, Message, MessageId, ReceiptStatus,
    Timestamp,
};

pub(super) fn time(unix_secs: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(unix_secs)
}

pub(super) fn message(name: &str, arrived_at: i64) -> Arc<InboxItem> {
    let sender: Identity = "alice@example.com".parse().unwrap();
    let recipient: Identity = "bob@example.com".parse().unwrap();
    Arc::new(InboxItem {
        digest: Digest::of(name.as_bytes()),
        sender: sender.clone(),
        signer: "key 1234".into(),
        recipient: recipient.clone(),
        name: name.into(),
        message: Message {
            id: MessageId::from_uuid(uuid::Uuid::from_u128(7)),
            envelope: Envelope {
                sender,
                recipient,
                created_at: Timestamp::from_unix_secs(900),
                ttl_secs: 100,
                filename: "report.pdf".into(),
                total_bytes: 5,
                chunk_bytes: 5,
                chunk_count: 1,
                compression: Compression::Zstd,
            },
            chunks: Vec::new(),
            extensions: Annotations::new(),
        },
        arrived_at: Timestamp::from_unix_secs(arrived_at),
        receipt: Some(ReceiptStatus::Accepted),
    })
}

fn receipt() -> Arc<ReceiptItem> {
    Arc::new(ReceiptItem {
        message: Digest::of(b"x"),
        status: ReceiptStatus::Accepted,
        signed: true,
        created_at: Timestamp::from_unix_secs(3000),
        json: "{}\n".into(),
    })
}

fn listing<T>(dir: &str, files: Vec<(&str, T)>) -> BTreeMap<String, Arc<BTreeMap<String, T>>> {
    let files = files.into_iter().map(|(name, item)| (name.to_owned(), item)).collect();
    BTreeMap::from([(dir.to_owned(), Arc::new(files))])
}

/// Two messages, a receipt on each side, one refused message, an empty recipient, one error.
pub(super) fn snapshot() -> Snapshot {
    let why = Arc::new(QuarantineItem {
        digest: None,
        tag: "inbox-x".parse().unwrap(),
        code: "bad-signature".into(),
        pending: false,
        first_seen: Timestamp::from_unix_secs(4000),
        text: "refused\n".into(),
    });
    let bob = OutboxDir::new("bob@example.com".parse().unwrap());
    Snapshot {
        inbox: listing(
            "alice@example.com",
            vec![
                ("report.pdf", message("report.pdf", 1000)),
                ("report (2).pdf", message("report (2).pdf", 2000)),
            ],
        ),
        outbox: BTreeMap::from([("bob@example.com".to_owned(), Arc::new(bob))]),
        receipts_sent: listing("bob", vec![("report.pdf.accepted.json", receipt())]),
        receipts_issued: listing("bob", vec![("report.pdf.accepted.json", receipt())]),
        quarantine: listing("mallory", vec![("x.WHY.txt", why)]),
        errors: vec![ErrorLine {
            at: Timestamp::from_unix_secs(5000),
            code: "unreachable".into(),
            subject: "outbox/bob@example.com/a\u{1b}b".into(),
            text: "registry unreachable".into(),
            hint: Some("check the network".into()),
        }]
        .into(),
    }
}

/// This many messages of one sender.
pub(super) fn crowd(count: usize) -> Snapshot {
    let names: Vec<String> = (0..count).map(|number| format!("{number}.txt")).collect();
    let files = names.iter().map(|name| (name.as_str(), message(name, 1000))).collect();
    Snapshot { inbox: listing("alice@example.com", files), ..Snapshot::default() }
}
