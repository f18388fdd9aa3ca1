//! The product's verbs over a real database, real signatures and a repository in memory.

mod directories;
mod lag;
mod lifecycle;
mod presence;
mod queue;
mod receipts;
mod receive;
mod recipients;
mod repair;
mod resend;
mod scene;
mod send;
mod uploads;

use std::sync::Arc;

use crate::mailbox::EntryPath;
use crate::protocol::{Digest, Tag};
use crate::testing::{Person, World};

/// `len` bytes that differ from chunk to chunk.
fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|index| u8::try_from((index * 7 + index / 100) % 251).unwrap()).collect()
}

fn name(text: &str) -> EntryPath {
    text.parse().unwrap()
}

fn tags(world: &World, prefix: &str) -> Vec<Tag> {
    world.memory.tags().into_iter().filter(|tag| tag.as_str().starts_with(prefix)).collect()
}

fn digest_of(text: &str) -> Digest {
    text.parse().unwrap()
}

/// Creates a draft of `content`, open for writing.
async fn draft(
    person: &Person,
    recipient: &Person,
    file: &str,
    content: &[u8],
) -> Arc<crate::mailbox::OutboxFile> {
    let outbox = person.mailbox.outbox();
    let file = outbox.create(&recipient.identity, &name(file), 0o600).await.unwrap();
    outbox.write_at(&file, 0, content).unwrap();
    file
}
