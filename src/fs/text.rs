//! The text files of `.dockercomms/`.

use std::fmt::Write as _;

use crate::mailbox::{ErrorLine, Status};
use crate::sys::{Counted, Untrusted};

/// Returns `.dockercomms/errors`: one line per error, newest last.
pub(super) fn errors(lines: &[ErrorLine]) -> String {
    let mut text = String::new();
    for line in lines {
        let subject = Untrusted(&line.subject);
        // Writing to a String cannot fail, here and below.
        write!(text, "{} {} {subject}: {}", line.at, line.code, Untrusted(&line.text)).ok();
        if let Some(hint) = &line.hint {
            write!(text, " (hint: {})", Untrusted(hint)).ok();
        }
        text.push('\n');
    }
    text
}

/// Returns `.dockercomms/status.json`.
pub(super) fn status_json(status: &Status) -> String {
    // Strings and numbers always serialise.
    let mut text = serde_json::to_string_pretty(status).unwrap_or_default();
    text.push('\n');
    text
}

/// Returns `.dockercomms/status`, for people.
pub(super) fn status(status: &Status) -> String {
    let mut text = String::new();
    let never = "never".to_owned();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "{name:<12}{value}").ok();
    };
    line("me", &Untrusted(&status.me.join(", ")));
    line("key", &status.fingerprint);
    line("repository", &Untrusted(&status.repository));
    line("registry", &Untrusted(&status.registry));
    line("last poll", status.last_poll.as_ref().unwrap_or(&never));
    line("inbox", &Counted(status.inbox_count, "message"));
    line(
        "outbox",
        &format_args!(
            "{} under way, {} local (not sent as is), {} failed",
            status.outbox_queued, status.outbox_local, status.outbox_failed
        ),
    );
    line("delivery", &status.delivery);
    if status.outbox_waiting > 0 {
        let next = status.next_attempt.as_deref().unwrap_or("now");
        let why = status.waiting_why.as_deref().unwrap_or_default();
        let colon = if why.is_empty() { "" } else { ": " };
        let (count, why) = (status.outbox_waiting, Untrusted(why));
        line("queue", &format_args!("{count} waiting, next attempt {next}{colon}{why}"));
    }
    if status.outbox_lost > 0 {
        let lost = Counted(status.outbox_lost, "message");
        line("lost", &format_args!("{lost} no longer in the registry, see errors"));
    }
    if status.outbox_damaged > 0 {
        line(
            "damaged",
            &format_args!("{} entries of the outbox, see errors", status.outbox_damaged),
        );
    }
    if !status.outbox_unheld.is_empty() {
        line("no key", &status.outbox_unheld);
    }
    line("quarantine", &status.quarantine_count);
    line(
        "fetched",
        &format_args!("{} blobs, {} bytes", status.blobs_fetched, status.blob_bytes_fetched),
    );
    line(
        "cache",
        &format_args!(
            "{} bytes in memory, {} on disk",
            status.cache_memory_bytes, status.cache_disk_bytes
        ),
    );
    line("version", &status.version);
    for transfer in &status.transfers {
        let (peer, name) = (Untrusted(&transfer.peer), Untrusted(&transfer.name));
        let (done, total) = (transfer.bytes_done, transfer.bytes_total);
        let (direction, state) = (transfer.direction, &transfer.state);
        write!(text, "{direction:<12}{peer}/{name} {state} {done}/{total} bytes").ok();
        if let Some(why) = &transfer.why {
            write!(text, " ({})", Untrusted(why)).ok();
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::fixture;
    use crate::mailbox::{Transfer, Unheld, UnheldRecipient};

    #[test]
    fn an_error_is_one_escaped_line_with_what_to_do() {
        let text = errors(&fixture::snapshot().errors);

        assert_eq!(
            text,
            "1970-01-01T01:23:20Z unreachable outbox/bob@example.com/a%1Bb: \
             registry unreachable (hint: check the network)\n"
        );
    }

    #[test]
    fn the_status_names_every_transfer_and_parses_as_json() {
        let status = Status {
            me: vec!["bob@example.com".into()],
            fingerprint: "SHA256:abc".into(),
            repository: "oci:/srv/mail".into(),
            version: "0.1.0",
            pid: 7,
            registry: "unreachable: \u{1b}[2J".into(),
            last_poll: None,
            inbox_count: 2,
            delivery: "queued",
            outbox_queued: 1,
            outbox_local: 4,
            outbox_waiting: 1,
            next_attempt: Some("2026-01-02T03:04:05Z".into()),
            waiting_why: Some("denied: no push\n".into()),
            outbox_failed: 0,
            outbox_lost: 2,
            outbox_damaged: 1,
            outbox_unheld: Unheld {
                file_count: 2,
                recipient_count: 1,
                recipients: vec![UnheldRecipient {
                    name: "alcie\u{202e}".into(),
                    file_count: 2,
                    near: vec!["alice".into()],
                }],
            },
            quarantine_count: 3,
            transfers: vec![Transfer {
                direction: "send",
                peer: "alice".into(),
                name: "big.iso".into(),
                state: "preparing".into(),
                why: Some("denied: no push".into()),
                bytes_done: 5,
                bytes_total: 9,
            }],
            blobs_fetched: 0,
            blob_bytes_fetched: 0,
            cache_memory_bytes: 0,
            cache_disk_bytes: 0,
        };

        let text = super::status(&status);
        let json: serde_json::Value = serde_json::from_str(&status_json(&status)).unwrap();

        assert!(text.contains("alice/big.iso preparing 5/9 bytes (denied: no push)\n"), "{text}");
        let queue = "1 waiting, next attempt 2026-01-02T03:04:05Z: denied: no push%0A\n";
        assert!(text.contains(queue), "{text}");
        assert!(text.contains("unreachable: %1B[2J\n"), "{text}");
        assert!(
            text.contains(
                "no key      2 files to people whose key you do not hold: \
                 alcie%E2%80%AE (2; almost alice)\n"
            ),
            "{text}"
        );
        assert!(text.contains("2 messages no longer in the registry"), "{text}");
        assert_eq!(json["outbox_unheld"]["file_count"], 2);
        assert!(text.contains("1 under way, 4 local (not sent as is), 0 failed\n"), "{text}");
        assert_eq!((&json["inbox_count"], &json["outbox_local"]), (&2.into(), &4.into()));
    }
}
