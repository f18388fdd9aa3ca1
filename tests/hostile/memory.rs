//! How much memory a mount needs, however large the file, small the cache and many the readers (F14, C10).

use std::path::Path;

use dockercomms::chunk::LayerEncoder;
use dockercomms::protocol::Compression;
use dockercomms::protocol::limits::CHUNK_BYTES_MAX;

use super::forge::{Letter, payload};
use super::layer::{memory_len, peak_len};
use super::registry::Class;
use super::scene::{GOOD, Scene};
use crate::common::{
    ALICE, BOB, Home, alice_and_bob, read, repository, run, shell, temp_dir, wait_until,
};

/// The most memory that a mount may have had, by the kernel's word: 32 MiB of cache, 128 MiB of
/// buffers that wait for the next chunk, and what is under way.
const MEMORY_LEN_MAX: u64 = 192 << 20;

/// The most memory of a mount that has been idle for a while: the cache, and the program.
const IDLE_LEN_MAX: u64 = 88 << 20;

/// Bytes of a file that does not fit into that.
const LARGE_LEN_MIB: u64 = 224;

/// Bytes behind the chunk in its layer: two empty blocks.
const TAR_END_LEN: usize = 1024;

/// Readers of one file at once, each of another part.
const READER_COUNT: u64 = 32;

fn with_small_cache(home: &Home) {
    home.set("cache_memory = \"32MiB\"");
    home.set("cache_disk = \"32MiB\"");
    // What is in use counts, not what the allocator keeps for the next time.
    home.set_variable("MALLOC_ARENA_MAX", Some("2".as_ref()));
    home.set_variable("MALLOC_MMAP_THRESHOLD_", Some("1048576".as_ref()));
}

#[test]
fn f14_a_file_larger_than_the_memory_goes_through_in_both_directions() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    with_small_cache(&alice);
    with_small_cache(&bob);
    alice.set("chunk_bytes = \"1MiB\"");
    bob.set("deadline = \"120s\"");
    let (mut sending, mut receiving) = (alice.mount(), bob.mount());
    let large = alice.dir().join("large.bin");
    let make = format!("head -c {LARGE_LEN_MIB}M /dev/urandom > \"$1\"");
    run(shell(&make, &[&large])).ok();

    run(shell("cp \"$1\" \"$2\"", &[&large, &sending.outbox(BOB)])).ok();
    let message = receiving.message(ALICE, "large.bin");
    let part = LARGE_LEN_MIB / READER_COUNT;
    let script = format!(
        "i=0; while [ $i -lt {READER_COUNT} ]; do \
         dd if=\"$1\" bs=1M skip=$((i * {part})) count={part} of=part.$i status=none & \
         i=$((i + 1)); done; wait; \
         i=0; while [ $i -lt {READER_COUNT} ]; do cat part.$i; i=$((i + 1)); done | cmp - \"$2\""
    );
    let mut reading = shell(&script, &[&message, &large]);
    reading.current_dir(bob.dir());
    run(reading).ok();

    for (who, mount) in [(ALICE, &mut sending), (BOB, &mut receiving)] {
        let len = peak_len(mount.server().pid());
        println!("{who}: at most {} MiB", len >> 20);
        assert!(len < MEMORY_LEN_MAX, "{who}: {len} bytes");
        let pid = mount.server().pid();
        wait_until("an idle mount gives its buffers back", || {
            memory_len(pid, "RssAnon:") < IDLE_LEN_MAX
        });
        assert!(mount.server().is_running(), "{who}");
    }
}

#[test]
fn f14_many_small_layers_of_large_chunks_are_not_decoded_at_once() {
    let scene = Scene::patient();
    with_small_cache(&scene.bob);
    scene.post_good();
    bombs(&scene).for_each(|bomb| drop(bomb.post(&scene.registry, &scene.alice, BOB)));
    let mut mount = scene.bob.mount();
    let paths: Vec<_> = (0..8).map(|last| mount.message(ALICE, &last.to_string())).collect();
    let good = mount.message(ALICE, GOOD);
    let script = "for f in \"$@\"; do head -c 1000 \"$f\" & done; wait";

    let ran = run(shell(script, &paths));

    assert!(ran.stdout == vec![0; 8 * 1000], "{} bytes: {}", ran.stdout.len(), ran.stderr);
    assert_eq!(read(good), b"good");
    let len = peak_len(mount.server().pid());
    println!("at most {} MiB", len >> 20);
    // Two at once, and as much again for those that are just being answered.
    assert!(len < 5 * CHUNK_BYTES_MAX, "{len} bytes");
}

/// Letters of one layer of some kilobytes that is the largest chunk there may be: zeros, but its end.
fn bombs(scene: &Scene) -> impl Iterator<Item = Letter> {
    let len = usize::try_from(CHUNK_BYTES_MAX).unwrap();
    let mut encoder = LayerEncoder::new(Compression::Zstd).unwrap();
    let layer = encoder.encode(0, &vec![0; len]).unwrap();
    let mut tar = zstd::decode_all(&layer.bytes[..]).unwrap();
    let end = tar.len() - TAR_END_LEN - 1;
    (0..8).map(move |last| {
        tar[end] = last;
        let text = CHUNK_BYTES_MAX.to_string();
        Letter::new(&scene.alice, BOB, &last.to_string(), b"x")
            .layer(0, zstd::encode_all(&tar[..], 1).unwrap())
            .annotate("dockercomms.total_bytes", text.as_str())
            .annotate("dockercomms.chunk_bytes", text.as_str())
    })
}

#[test]
fn c10_readers_of_more_files_than_fit_into_the_cache_get_on() {
    let scene = Scene::patient();
    // Room for one chunk, and none on disk.
    scene.bob.set("cache_memory = \"1000B\"");
    scene.bob.set("cache_disk = \"0B\"");
    let names: Vec<String> = (0..8).map(|index| format!("{index}.bin")).collect();
    let contents: Vec<Vec<u8>> = (0..8).map(|index| payload(60_000 + index)).collect();
    let mut chunk_count = 0;
    for (name, content) in names.iter().zip(&contents) {
        let letter = Letter::new(&scene.alice, BOB, name, content);
        chunk_count += letter.layers.len();
        letter.post(&scene.registry, &scene.alice, BOB);
    }
    scene.post_good();
    let mount = scene.bob.mount();
    let paths: Vec<_> = names.iter().map(|name| mount.message(ALICE, name)).collect();
    let good = mount.message(ALICE, GOOD);
    let before = scene.registry.count(Class::BlobGet);
    let script = "for f in \"$@\"; do dd if=\"$f\" of=\"${f##*/}\" bs=700 status=none & done; wait";
    let mut reading = shell(script, &paths);
    reading.current_dir(scene.bob.dir());

    let ran = run(reading);

    assert!(ran.stderr.is_empty(), "{ran:?}");
    for (name, content) in names.iter().zip(&contents) {
        assert!(read(scene.bob.dir().join(Path::new(name))) == *content, "{name}");
    }
    assert_eq!(read(good), b"good");
    let fetch_count = scene.registry.count(Class::BlobGet) - before;
    assert!(fetch_count < 3 * chunk_count, "{fetch_count} fetches of {chunk_count} chunks");
}
