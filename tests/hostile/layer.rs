//! Layers that a trusted key has signed and that are not a chunk, or too much of one (L).

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;

use dockercomms::chunk::LayerEncoder;
use dockercomms::protocol::{Compression, annotation as key};
use serde_json::Value;

use super::forge::{CHUNK, Letter, payload};
use super::scene::{GOOD, Scene};
use crate::common::{ALICE, BOB};

/// Uncompressed length of the bombs in bytes.
const BOMB_LEN: u64 = 1 << 30;

/// Most memory in bytes that a process may take while it refuses a bomb.
const MEMORY_LEN_MAX: u64 = 256 << 20;

/// Posts each letter and a good one; asserts that `recv` writes the good one alone, says what was
/// wrong with the others, and answers them with a `rejected` receipt.
fn assert_rejected(letters: impl Fn(&Scene) -> Vec<Letter>) {
    let scene = Scene::new();
    let posted: Vec<_> = letters(&scene)
        .iter()
        .map(|letter| letter.post(&scene.registry, &scene.alice, BOB))
        .collect();
    scene.post_good();

    let (files, run) = scene.receive();

    // Some of the messages came, others did not.
    assert_eq!(run.code(), 6, "{run:?}");
    assert_eq!(files.keys().collect::<Vec<_>>(), [GOOD], "{run:?}");
    assert_eq!(run.stderr.matches("was not received").count(), posted.len(), "{run:?}");
    for letter in &posted {
        let prefix = format!("receipt-{}-", letter.digest.hex12());
        let receipts = scene.registry.tags(&prefix);
        let receipt = scene.registry.manifest_of(&receipts[0]).unwrap();
        let receipt: Value = serde_json::from_slice(&receipt).unwrap();
        assert_eq!(receipts.len(), 1);
        assert_eq!(receipt["annotations"][key::RECEIPT_STATUS], "rejected");
        assert_eq!(receipt["annotations"][key::RECEIPT_VERIFIED], "false");
    }
}

fn layer(compression: Compression, index: u32, bytes: &[u8]) -> Vec<u8> {
    LayerEncoder::new(compression).unwrap().encode(index, bytes).unwrap().bytes.to_vec()
}

fn unpacked(layer: &[u8]) -> Vec<u8> {
    zstd::decode_all(layer).unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

#[test]
fn l01_to_l32_a_tar_file_that_is_not_exactly_the_chunk_is_rejected() {
    assert_rejected(|scene| {
        let good = scene.letter("good");
        let tar = unpacked(&good.layers[0]);
        let other_name = unpacked(&layer(Compression::Zstd, 7, &payload(CHUNK)));
        let shorter = unpacked(&layer(Compression::Zstd, 0, &payload(CHUNK - 1)));
        let longer = unpacked(&layer(Compression::Zstd, 0, &payload(CHUNK + 1)));
        let mut linked = tar.clone();
        linked[156] = b'2';
        let mut checksum = tar.clone();
        checksum[0] = b'x';
        let cut = &tar[..700];
        let twice = [&tar[..1536], &tar[..]].concat();
        [other_name, shorter, longer, linked, checksum, cut.to_vec(), twice]
            .iter()
            .zip(["name", "shorter", "longer", "link", "checksum", "cut", "twice"])
            .map(|(file, name)| scene.letter(name).layer(0, zstd(file)))
            .collect()
    });
}

#[test]
fn l33_to_l58_a_stream_that_is_not_exactly_one_is_rejected() {
    assert_rejected(|scene| {
        let good = scene.letter("good").layers[0].clone();
        let gzip = layer(Compression::Gzip, 0, &payload(CHUNK));
        let mut damaged = good.clone();
        let at = damaged.len() - 1;
        damaged[at] ^= 1;
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..], &good].concat();
        let as_gzip = |name: &str, bytes: Vec<u8>| {
            let content = payload(CHUNK);
            Letter::with(&scene.alice, BOB, name, &content, Compression::Gzip).layer(0, bytes)
        };
        vec![
            scene.letter("damaged").layer(0, damaged),
            scene.letter("cut").layer(0, good[..good.len() - 9].to_vec()),
            scene.letter("trailing").layer(0, [&good[..], b"x"].concat()),
            scene.letter("two frames").layer(0, [&good[..], &good].concat()),
            scene.letter("skippable").layer(0, skippable),
            scene.letter("gzip as zstd").layer(0, gzip.clone()),
            scene.letter("not compressed").layer(0, unpacked(&good)),
            as_gzip("zstd as gzip", good),
            as_gzip("two members", [&gzip[..], &gzip].concat()),
            as_gzip("cut gzip", gzip[..gzip.len() - 4].to_vec()),
        ]
    });
}

#[test]
fn l41_l54_a_gzip_and_a_zstd_bomb_end_at_the_promised_size() {
    let scene = Scene::new();
    // Chunks of 2 MiB, so that neither bomb is larger than a layer may be.
    let len = (2 << 20).to_string();
    let bombs = [("z", Compression::Zstd, zstd_bomb()), ("g", Compression::Gzip, gzip_bomb())];
    for (name, compression, bomb) in bombs {
        Letter::with(&scene.alice, BOB, name, b"x", compression)
            .annotate(key::TOTAL_BYTES, len.as_str())
            .annotate(key::CHUNK_BYTES, len.as_str())
            .layer(0, bomb)
            .post(&scene.registry, &scene.alice, BOB);
    }
    scene.post_good();
    let mut mount = scene.bob.mount();

    for name in ["z", "g"] {
        let read = std::fs::read(mount.message(ALICE, name));

        assert_eq!(read.unwrap_err().raw_os_error(), Some(libc::EBADMSG), "{name}");
    }
    assert_eq!(crate::common::read(mount.message(ALICE, GOOD)), b"good");
    let peak_len = peak_len(mount.server().pid());
    assert!(peak_len < MEMORY_LEN_MAX, "{peak_len} bytes");
}

fn zstd_bomb() -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    std::io::copy(&mut std::io::repeat(0).take(BOMB_LEN), &mut encoder).unwrap();
    encoder.finish().unwrap()
}

fn gzip_bomb() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::copy(&mut std::io::repeat(0).take(BOMB_LEN), &mut encoder).unwrap();
    encoder.finish().unwrap()
}

/// Returns the most memory in bytes that a process has used.
pub(super) fn peak_len(pid: u32) -> u64 {
    memory_len(pid, "VmHWM:")
}

/// Returns the memory in bytes that the kernel's status of a process gives under `name`.
pub(super) fn memory_len(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn l59_l61_genuine_chunks_in_the_wrong_place_are_never_returned() {
    let scene = Scene::new();
    // Long enough that the kernel does not read its end together with its beginning.
    let content = payload(200 * CHUNK);
    let letter = |name: &str| Letter::new(&scene.alice, BOB, name, &content);
    let mut swapped = letter("swapped");
    // Signed so: the manifest calls chunk 1 chunk 0, and the other way round.
    swapped.layers.swap(0, 1);
    let (first, second) = (swapped.layers[0].clone(), swapped.layers[1].clone());
    let letters = [
        swapped.layer(0, first).layer(1, second),
        letter("shorter").layer(0, layer(Compression::Zstd, 0, &payload(CHUNK - 1))),
        letter("genuine"),
    ];
    for letter in letters {
        letter.post(&scene.registry, &scene.alice, BOB);
    }
    let mount = scene.bob.mount();

    for name in ["swapped", "shorter"] {
        let mut file = File::open(mount.message(ALICE, name)).unwrap();
        let first = file.read(&mut [0; 10]).unwrap_err();
        let mut last = [0; 100];
        file.read_exact_at(&mut last, 199_900).unwrap();

        assert_eq!(first.raw_os_error(), Some(libc::EBADMSG), "{name}");
        // What is right may be read; what is wrong is never another part of the file.
        assert_eq!(last, content[199_900..], "{name}");
    }
    assert_eq!(crate::common::read(mount.message(ALICE, "genuine")), content);
}
