//! Hostile and unusual zstd streams (L44 to L58).

use std::io::Write as _;

use super::{assert_refused, decode, framed, gzip, payload, zstd};
use crate::chunk::compression::decompress;
use crate::chunk::frame::framed_len_max;
use crate::protocol::Compression;

const LEN: usize = 5000;
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const CORRUPT: &str = "zstd frame is corrupt or larger than its chunk";

fn good() -> Vec<u8> {
    zstd(&framed(&payload(LEN)))
}

/// Returns a skippable frame of 8 bytes.
fn skippable() -> Vec<u8> {
    [&[0x50, 0x2a, 0x4d, 0x18][..], &8_u32.to_le_bytes(), b"whatever"].concat()
}

/// Returns a frame by hand: a window, no content size, no checksum, then `blocks`.
fn frame(window_log: u8, blocks: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &[0, (window_log - 10) << 3], blocks].concat()
}

/// Returns the good tar file as raw blocks, so that the frame's header can be anything.
fn raw_blocks() -> Vec<u8> {
    let file = framed(&payload(LEN));
    let header = u32::try_from(file.len()).unwrap() << 3 | 1;
    [&header.to_le_bytes()[..3], &file].concat()
}

/// Returns `count` blocks that each repeat a zero 128 KiB times.
fn rle_blocks(count: usize) -> Vec<u8> {
    let size: u32 = (128 << 10) << 3;
    let block = |last: u32| [&(size | 0b10 | last).to_le_bytes()[..3], &[0]].concat();
    [block(0).repeat(count - 1), block(1)].concat()
}

/// Returns a good frame whose stated content size is off by `difference`.
fn lying(difference: i32) -> Vec<u8> {
    let mut layer = good();
    // One segment, content size in two bytes (less 256), checksum.
    assert_eq!(layer[4], 0b0110_0100);
    let stated = i32::from(u16::from_le_bytes([layer[5], layer[6]])) + difference;
    layer[5..7].copy_from_slice(&u16::try_from(stated).unwrap().to_le_bytes());
    layer
}

/// Returns a good frame that names dictionary 7.
fn with_dictionary() -> Vec<u8> {
    let layer = good();
    [&layer[..4], &[layer[4] | 1, 7], &layer[5..]].concat()
}

#[test]
fn l44_to_l58_streams_that_are_not_one_plain_zstd_frame_are_refused() {
    let good = good();
    let follows = "something follows the zstd frame";
    let cut = "zstd frame is cut or corrupt";
    let other = "not a zstd frame";
    let large = "zstd window is too large";
    let with = |tail: &[u8]| [&good[..], tail].concat();
    let mut bad_checksum = good.clone();
    *bad_checksum.last_mut().unwrap() ^= 1;
    let cases = [
        ("L44 two frames", with(&zstd(&[0; 512])), follows),
        ("L44 empty second frame", with(&zstd(b"")), follows),
        ("L45 skippable first", [skippable(), good.clone()].concat(), other),
        ("L46 skippable last", with(&skippable()), follows),
        ("L47 trailing bytes", with(b"junk"), follows),
        ("L47 trailing zeros", with(&[0; 512]), follows),
        ("L48 window 2^31", frame(31, &raw_blocks()), large),
        ("L49 window 2^41", frame(41, &raw_blocks()), large),
        ("L49 window 2^28", frame(28, &raw_blocks()), large),
        ("L50 content size less", lying(-1), CORRUPT),
        ("L51 content size more", lying(1), CORRUPT),
        ("L51 content size far more", lying(50_000), CORRUPT),
        ("L52 dictionary", with_dictionary(), "zstd frame needs a dictionary"),
        ("L53 checksum", bad_checksum, CORRUPT),
        ("L54 bomb", frame(17, &rle_blocks(8192)), CORRUPT),
        (
            "L55 empty blocks",
            frame(17, &vec![0; 3_000_000]),
            "layer is larger than its chunk can be",
        ),
        ("L55 no last block", frame(17, &vec![0; 30_000]), cut),
        ("L56 no checksum", good[..good.len() - 4].to_vec(), cut),
        ("L56 cut data", good[..good.len() / 2].to_vec(), cut),
        ("L56 cut header", good[..5].to_vec(), cut),
        ("L56 magic alone", MAGIC.to_vec(), cut),
        ("L56 no bytes", Vec::new(), other),
        ("L57 gzip", gzip(&framed(&payload(LEN))), other),
        ("L58 plain tar", framed(&payload(LEN)), other),
        ("empty frame", zstd(b""), "no tar header"),
    ];

    for (id, layer, reason) in cases {
        assert_refused(id, decode(Compression::Zstd, LEN, &layer), reason);
    }
    let swapped = decode(Compression::Gzip, LEN, &good);
    assert_refused("L58 zstd as gzip", swapped, "gzip member is cut or corrupt");
}

#[test]
fn l54_a_zstd_bomb_never_fills_more_than_the_promised_bytes() {
    let bomb = frame(17, &rle_blocks(8192));
    let len_max = framed_len_max(LEN);
    let mut out = Vec::with_capacity(len_max);

    let refused = decompress(Compression::Zstd, &bomb, len_max, &mut out);

    assert!(bomb.len() < 33_000 && refused.is_err());
    assert!(out.len() <= len_max);
    assert_eq!(out.capacity(), len_max);
}

#[test]
fn frames_of_other_writers_are_accepted() {
    let file = framed(&payload(LEN));
    let mut streaming = ::zstd::stream::write::Encoder::new(Vec::new(), 19).unwrap();
    streaming.window_log(27).unwrap();
    streaming.write_all(&file).unwrap();
    let cases = [
        ("streamed, no content size, window 2^27", streaming.finish().unwrap()),
        ("no checksum", ::zstd::bulk::compress(&file, 3).unwrap()),
        ("raw blocks, window 2^27", frame(27, &raw_blocks())),
        ("empty blocks first", frame(17, &[[0; 3].repeat(5000), raw_blocks()].concat())),
    ];

    for (case, layer) in cases {
        let decoded = decode(Compression::Zstd, LEN, &layer);
        assert_eq!(decoded.expect(case), payload(LEN), "{case}");
    }
}
