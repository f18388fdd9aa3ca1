//! Each program that people copy with sends exactly one message per file, under the right name.
//!
//! The sequences of system calls behind them differ widely: early empty flushes, temporary names,
//! renames, several writers. Each test is one of them.

use super::delivery::Delivery;
use crate::common::{log_like, random_bytes, tool};

/// More than one buffer of any program, less than a chunk.
const LEN: usize = 300_000;

/// A window so wide that a busy machine does not close it between two commands of one script.
const WIDE_WINDOW: &str = "settle = \"3s\"";

/// Runs a script that sends `source` once as `name`.
#[track_caller]
fn sends_once(name: &str, script: &str) {
    let bytes = random_bytes(7, LEN);
    let delivery = Delivery::new();
    delivery.source("source", &bytes);

    delivery.sh(script);

    delivery.expect(&[(name, &bytes)]);
}

#[test]
fn cp_sends_one_message() {
    sends_once("report.pdf", "cp source $OUT/report.pdf");
}

#[test]
fn cp_of_an_empty_file_sends_an_empty_message() {
    let delivery = Delivery::new();
    delivery.source("empty", b"");

    delivery.sh("cp empty $OUT/empty");

    delivery.expect(&[("empty", b"")]);
}

#[test]
fn cp_of_several_chunks_sends_one_message() {
    let bytes = random_bytes(3, 1_000_001);
    let delivery = Delivery::with_settings(&["chunk_bytes = \"64KiB\""]);
    delivery.source("source", &bytes);

    delivery.sh("cp source $OUT/big");

    delivery.expect(&[("big", &bytes)]);
}

#[test]
fn cp_of_a_sparse_file_sends_its_whole_length() {
    let mut bytes = vec![0; 1 << 20];
    bytes[500_000..500_004].copy_from_slice(b"core");
    let delivery = Delivery::new();

    delivery.sh(
        "truncate -s 1M sparse; printf core | dd of=sparse bs=1 seek=500000 conv=notrunc 2>err; \
         cp --sparse=always sparse $OUT/sparse",
    );

    delivery.expect(&[("sparse", &bytes)]);
}

#[test]
fn cp_over_an_existing_file_in_the_window_sends_the_second_content() {
    let delivery = Delivery::with_settings(&[WIDE_WINDOW]);
    delivery.source("one", b"first and longer");
    delivery.source("two", b"second");

    delivery.sh("cp one $OUT/f; cp two $OUT/f");

    delivery.expect(&[("f", b"second")]);
}

#[test]
fn cp_p_sends_one_message_without_a_warning() {
    let bytes = random_bytes(7, LEN);
    let delivery = Delivery::new();
    delivery.source("source", &bytes);

    let ran = delivery.try_sh("chmod 640 source; touch -d 2020-02-02 source; cp -p source $OUT/f");

    assert_eq!(ran.stderr, "");
    delivery.expect(&[("f", &bytes)]);
}

#[test]
fn mv_from_another_file_system_sends_one_message_and_removes_its_source() {
    let bytes = random_bytes(7, LEN);
    let delivery = Delivery::new();
    let source = delivery.source("source", &bytes);

    delivery.sh("mv source $OUT/f");

    assert!(!source.exists());
    delivery.expect(&[("f", &bytes)]);
}

#[test]
fn rsync_sends_one_message_and_the_second_run_nothing() {
    if tool("rsync").is_none() {
        return;
    }
    let bytes = random_bytes(7, LEN);
    let delivery = Delivery::new();
    delivery.source("report.pdf", &bytes);

    delivery.sh("rsync -a report.pdf $OUT/");
    delivery.mount.wait_until_all_sent(crate::common::BOB);
    let second = delivery.sh("rsync -a --itemize-changes report.pdf $OUT/");

    assert_eq!(second, "", "the second run finds nothing to do");
    delivery.expect(&[("report.pdf", &bytes)]);
}

#[test]
fn rsync_inplace_sends_one_message() {
    if tool("rsync").is_some() {
        sends_once("source", "rsync -a --inplace source $OUT/");
    }
}

#[test]
fn tar_sends_one_message_a_file() {
    let delivery = Delivery::new();
    delivery.source("one", b"1");
    delivery.source("two", random_bytes(2, LEN));
    delivery.source("three", b"333");

    delivery.sh("tar cf all.tar one two three; tar xf all.tar -C $OUT");

    delivery.expect(&[("one", b"1"), ("two", &random_bytes(2, LEN)), ("three", b"333")]);
}

#[test]
fn dd_sends_one_message() {
    sends_once("f", "dd if=source of=$OUT/f bs=4k 2>err");
}

#[test]
fn shell_redirection_sends_one_message() {
    sends_once("f", "cat source > $OUT/f");
}

#[test]
fn appending_twice_within_the_window_sends_one_message() {
    let delivery = Delivery::with_settings(&[WIDE_WINDOW]);

    delivery.sh("echo one >> $OUT/log; echo two >> $OUT/log");

    delivery.expect(&[("log", b"one\ntwo\n")]);
}

#[test]
fn several_commands_into_one_redirection_send_one_message() {
    let bytes = log_like(LEN);
    let delivery = Delivery::new();
    delivery.source("source", &bytes);

    delivery.sh("{ echo begin; cat source; echo end; } > $OUT/x");

    delivery.expect(&[("x", &[b"begin\n", bytes.as_slice(), b"end\n"].concat())]);
}

#[test]
fn a_child_that_writes_after_its_shell_closed_is_waited_for() {
    let delivery = Delivery::new();

    // Longer than the window: only the open descriptor says that more comes.
    delivery.sh("( (sleep 1; echo late) & echo early ) > $OUT/x");

    crate::common::wait_until("the child wrote", || {
        crate::common::read(delivery.outbox().join("x")).ends_with(b"late\n")
    });
    delivery.expect(&[("x", b"early\nlate\n")]);
}

#[test]
fn sort_o_sends_one_message() {
    let delivery = Delivery::new();
    delivery.source("source", b"c\na\nb\n");

    delivery.sh("sort -o $OUT/sorted source");

    delivery.expect(&[("sorted", b"a\nb\nc\n")]);
}

#[test]
fn tee_sends_one_message() {
    sends_once("f", "tee $OUT/f < source > copy");
}

#[test]
fn install_sends_one_message() {
    sends_once("f", "install -m 644 source $OUT/f");
}

#[test]
fn vim_sends_one_message_and_none_of_its_swap_files() {
    if tool("vim").is_none() {
        return;
    }
    let delivery = Delivery::new();

    delivery.sh(
        "vim -es -N -u NONE -i NONE -c 'call setline(1, [\"hello\", \"bob\"])' -c 'wq' $OUT/note.txt",
    );

    delivery.expect(&[("note.txt", b"hello\nbob\n")]);
}

#[test]
fn vim_on_a_draft_sends_one_message() {
    if tool("vim").is_none() {
        return;
    }
    let delivery = Delivery::with_settings(&[WIDE_WINDOW]);

    delivery.sh("echo hello > $OUT/note.txt; \
         vim -es -N -u NONE -i NONE -c 'normal Gobob' -c 'wq' $OUT/note.txt");

    delivery.expect(&[("note.txt", b"hello\nbob\n")]);
}

#[test]
fn sed_i_on_a_draft_sends_one_message() {
    let delivery = Delivery::with_settings(&[WIDE_WINDOW]);

    delivery.sh("echo draft > $OUT/f; sed -i s/draft/final/ $OUT/f");

    delivery.expect(&[("f", b"final\n")]);
}

#[test]
fn perl_i_on_a_draft_sends_one_message() {
    if tool("perl").is_none() {
        return;
    }
    let delivery = Delivery::with_settings(&[WIDE_WINDOW]);

    delivery.sh("echo draft > $OUT/f; perl -i -pe s/draft/final/ $OUT/f");

    delivery.expect(&[("f", b"final\n")]);
}

#[test]
fn curl_sends_one_message() {
    if tool("curl").is_some() {
        sends_once("f", "curl -sS -o $OUT/f file://$PWD/source");
    }
}

#[test]
fn python_copy2_sends_one_message() {
    if tool("python3").is_some() {
        sends_once(
            "f",
            "python3 -c 'import os, shutil; shutil.copy2(\"source\", os.environ[\"OUT\"] + \"/f\")'",
        );
    }
}

#[test]
fn python_that_replaces_by_a_temporary_file_sends_one_message() {
    if tool("python3").is_none() {
        return;
    }
    let script = "
import os, tempfile
out = os.environ['OUT']
with tempfile.NamedTemporaryFile(dir=out, delete=False) as file:
    file.write(open('source', 'rb').read())
os.replace(file.name, out + '/f')
";
    sends_once("f", &format!("python3 - <<'PYTHON'{script}PYTHON"));
}

#[test]
fn gio_copy_sends_one_message() {
    if tool("gio").is_some() {
        sends_once("f", "gio copy source $OUT/f");
    }
}

#[test]
fn a_browser_like_download_sends_one_message_under_its_final_name() {
    sends_once(
        "report.pdf",
        "cat source > $OUT/report.pdf.crdownload; mv $OUT/report.pdf.crdownload $OUT/report.pdf",
    );
}

#[test]
fn a_shared_mapping_is_sent_with_its_last_stores() {
    if tool("python3").is_none() {
        return;
    }
    let script = "
import mmap, os
file = open(os.environ['OUT'] + '/f', 'w+b')
file.truncate(300000)
memory = mmap.mmap(file.fileno(), 0)
file.close()
memory[:] = open('source', 'rb').read()
memory.close()
";
    sends_once("f", &format!("python3 - <<'PYTHON'{script}PYTHON"));
}

/// Opens a file that closes on exec, and lets a child that inherits it become another program.
const EXEC: &str = "timeout -s KILL 30 python3 -c 'import os, sys
target = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
os.write(target, b\"exec\")
child = os.fork()
if child == 0: os.execvp(\"true\", [\"true\"])
os.waitpid(child, 0)
os.close(target)' \"$OUT/f\"";

#[test]
fn a_child_that_closes_its_copy_by_exec_does_not_hang() {
    if tool("python3").is_none() {
        return;
    }
    let delivery = Delivery::new();

    delivery.sh(EXEC);

    delivery.expect(&[("f", b"exec")]);
}
