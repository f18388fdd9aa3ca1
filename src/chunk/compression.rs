//! One compressed stream in, one out: zstd and gzip with every bound set (P12, P13).

use std::io::{self, Read as _, Write as _};

use flate2::GzBuilder;
use flate2::bufread::GzDecoder;
use zstd::zstd_safe::{self, CParameter, DCtx};

use crate::protocol::Compression;

/// Twice as fast as level 3 on text for nearly the same size; hashing costs more than this level.
const ZSTD_LEVEL: i32 = 1;

/// The default level of gzip: the choice of gzip is for compatibility, not for speed.
const GZIP_LEVEL: u32 = 6;

/// "Unknown" in RFC 1952: the layer must not reveal which system made it.
const GZIP_OS_UNKNOWN: u8 = 255;

/// The first bytes of a zstd frame that holds data; skippable and legacy frames have others.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Largest zstd window accepted, as a power of two: that of the largest chunk, 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u8 = 27;

/// A compressor and the memory that it keeps from one layer to the next.
pub(super) enum Compressor {
    Zstd(zstd::bulk::Compressor<'static>),
    Gzip,
}

impl Compressor {
    pub(super) fn new(compression: Compression) -> io::Result<Self> {
        match compression {
            Compression::Gzip => Ok(Self::Gzip),
            Compression::Zstd => {
                let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
                compressor.set_parameter(CParameter::ChecksumFlag(true))?;
                compressor.set_parameter(CParameter::ContentSizeFlag(true))?;
                Ok(Self::Zstd(compressor))
            }
        }
    }

    /// Replaces `out` with `bytes` compressed as one frame or member, in one call.
    pub(super) fn compress(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        match self {
            Self::Zstd(compressor) => {
                out.reserve(zstd_safe::compress_bound(bytes.len()));
                compressor.compress_to_buffer(bytes, out)?;
            }
            Self::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                let builder = GzBuilder::new().mtime(0).operating_system(GZIP_OS_UNKNOWN);
                let mut encoder = builder.write(out, level);
                encoder.write_all(bytes)?;
                encoder.finish()?;
            }
        }
        Ok(())
    }
}

/// Decompresses all of `layer` into `out`, which is empty and has room for `len_max` bytes;
/// it never grows.
///
/// # Errors
/// The rule that is broken: not exactly one frame or member, a wrong checksum, bytes after it, or
/// more than `len_max` bytes of output.
pub(super) fn decompress(
    compression: Compression,
    layer: &[u8],
    len_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    match compression {
        Compression::Zstd => unzstd(layer, out)?,
        Compression::Gzip => gunzip(layer, len_max, out)?,
    }
    if out.len() > len_max {
        return Err("decompresses to more than its chunk");
    }
    Ok(())
}

/// Decompresses in one call, so that `out` itself is the window and no other is allocated.
fn unzstd(layer: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    check_zstd_header(layer)?;
    let frame_len = zstd_safe::find_frame_compressed_size(layer)
        .map_err(|_code| "zstd frame is cut or corrupt")?;
    if frame_len != layer.len() {
        return Err("something follows the zstd frame");
    }
    let mut context = DCtx::try_create().ok_or("no memory for a zstd context")?;
    context
        .decompress(out, layer)
        .map_err(|_code| "zstd frame is corrupt or larger than its chunk")?;
    Ok(())
}

/// Refuses what the one-call decoder would accept: other frame types, dictionaries, and windows
/// that a streaming reader could not afford (RFC 8878, 3.1.1.1).
fn check_zstd_header(layer: &[u8]) -> Result<(), &'static str> {
    let header = layer.strip_prefix(&ZSTD_MAGIC).ok_or("not a zstd frame")?;
    let [descriptor, window, ..] = *header else {
        return Err("zstd frame is cut or corrupt");
    };
    if descriptor & 0b11 != 0 {
        return Err("zstd frame needs a dictionary");
    }
    let single_segment = descriptor & 0b10_0000 != 0;
    let (window_log, mantissa) = (10 + (window >> 3), window & 0b111);
    let fits =
        window_log < ZSTD_WINDOW_LOG_MAX || (window_log == ZSTD_WINDOW_LOG_MAX && mantissa == 0);
    // Without a window the content is the window, and that is bounded by the output.
    if single_segment || fits { Ok(()) } else { Err("zstd window is too large") }
}

fn gunzip(layer: &[u8], len_max: usize, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let corrupt = |_source: io::Error| "gzip member is cut or corrupt";
    let mut decoder = GzDecoder::new(layer);
    decoder.by_ref().take(len_max as u64).read_to_end(out).map_err(corrupt)?;
    // Only a read that finds the end checks the trailer.
    if decoder.read(&mut [0]).map_err(corrupt)? != 0 {
        return Err("decompresses to more than its chunk");
    }
    if !decoder.into_inner().is_empty() {
        return Err("something follows the gzip member");
    }
    Ok(())
}
