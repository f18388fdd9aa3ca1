//! Tests of the chunk format; the ids are those of the hostile-layer catalogue.

mod gzip;
mod joining;
mod layers;
mod properties;
mod tar;
mod zstd;

use std::io::Write as _;

use bytes::Bytes;

use super::{ChunkError, decode_layer, frame};
use crate::protocol::Compression;

const BOTH: [Compression; 2] = [Compression::Zstd, Compression::Gzip];

/// Returns `len` bytes that compress to about half.
fn payload(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        b"0123456789abcdef".get((state % 16) as usize).copied().unwrap()
    };
    (0..len).map(|_| step()).collect()
}

/// Returns the tar file of chunk 0 as we write it.
fn framed(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::prepare(0, data.len(), &mut out).copy_from_slice(data);
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Compresses with a content size and a checksum, as we do.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut compressor = ::zstd::bulk::Compressor::new(1).unwrap();
    compressor.include_checksum(true).unwrap();
    compressor.compress(bytes).unwrap()
}

fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Zstd => zstd(bytes),
        Compression::Gzip => gzip(bytes),
    }
}

/// Asserts that the layer is refused for the given reason, and not by chance for another.
#[track_caller]
fn assert_refused(id: &str, decoded: Result<Bytes, ChunkError>, expected: &str) {
    match decoded {
        Err(ChunkError::BadLayer { reason, .. }) => assert_eq!(reason, expected, "{id}"),
        other => panic!("{id}: expected {expected:?}, got {:?}", other.map(|bytes| bytes.len())),
    }
}

/// Decodes chunk 0 of `len` bytes.
fn decode(compression: Compression, len: usize, layer: &[u8]) -> Result<Bytes, ChunkError> {
    decode_layer(compression, 0, len as u64, layer)
}
