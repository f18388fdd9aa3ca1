//! Hostile and unusual gzip streams (L33 to L43).

use std::io::Write as _;

use super::{assert_refused, decode, framed, gzip, payload};
use crate::chunk::compression::decompress;
use crate::chunk::frame::framed_len_max;
use crate::protocol::Compression;

const LEN: usize = 5000;

fn good() -> Vec<u8> {
    gzip(&framed(&payload(LEN)))
}

/// Returns a good layer whose byte `from_end` before the end is changed.
fn flipped(from_end: usize) -> Vec<u8> {
    let mut layer = good();
    let at = layer.len() - from_end;
    layer[at] ^= 1;
    layer
}

/// Returns a good layer with a name of `len` bytes in the gzip header.
fn named(len: usize) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let mut encoder = flate2::GzBuilder::new().filename(vec![b'x'; len]).write(Vec::new(), level);
    encoder.write_all(&framed(&payload(LEN))).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn l33_to_l43_streams_that_are_not_one_whole_gzip_member_are_refused() {
    let good = good();
    let follows = "something follows the gzip member";
    let corrupt = "gzip member is cut or corrupt";
    let with = |tail: &[u8]| [&good[..], tail].concat();
    let cases = [
        ("L33 two members", with(&gzip(&[0; 512])), follows),
        ("L33 empty second member", with(&gzip(b"")), follows),
        ("L34 trailing bytes", with(b"junk"), follows),
        ("L35 trailing zeros", with(&[0; 512]), follows),
        ("L36 CRC", flipped(8), corrupt),
        ("L37 ISIZE", flipped(4), corrupt),
        ("L38 cut trailer", good[..good.len() - 1].to_vec(), corrupt),
        ("L38 no trailer", good[..good.len() - 8].to_vec(), corrupt),
        ("L38 cut data", good[..good.len() / 2].to_vec(), corrupt),
        ("L38 cut header", good[..9].to_vec(), corrupt),
        ("L39 no bytes", Vec::new(), corrupt),
        ("L39 empty member", gzip(b""), "no tar header"),
        ("L40 66 kB name", named(66_000), "layer is larger than its chunk can be"),
        ("L40 100 kB name", named(100_000), "layer is larger than its chunk can be"),
        ("L41 bomb", gzip(&vec![0; 1 << 22]), "decompresses to more than its chunk"),
        ("L42 zlib", zlib(&framed(&payload(LEN))), corrupt),
        ("L43 plain tar", framed(&payload(LEN)), corrupt),
    ];

    for (id, layer, reason) in cases {
        assert_refused(id, decode(Compression::Gzip, LEN, &layer), reason);
    }
}

#[test]
fn l41_a_gzip_bomb_never_fills_more_than_the_promised_bytes() {
    let bomb = gzip(&vec![0; 1 << 22]);
    let len_max = framed_len_max(LEN);
    let mut out = Vec::with_capacity(len_max);

    let refused = decompress(Compression::Gzip, &bomb, len_max, &mut out);

    assert!(refused.is_err());
    assert_eq!((out.len(), out.capacity()), (len_max, len_max));
}

#[test]
fn a_gzip_header_with_a_name_is_accepted() {
    let decoded = decode(Compression::Gzip, LEN, &named(40));

    assert_eq!(decoded.unwrap(), payload(LEN));
}
