//! What layers are: deterministic, bound to their index and length (L59 to L61).

use super::{BOTH, assert_refused, compressed, decode, framed, payload};
use crate::chunk::{ChunkError, LayerEncoder, decode_layer};
use crate::protocol::limits::{CHUNK_BYTES_MAX, layer_len_max};
use crate::protocol::{Compression, Digest, ErrorClass};

const LEN: usize = 5000;

#[test]
fn equal_chunks_give_equal_layers_whatever_was_encoded_before() {
    for compression in BOTH {
        let mut used = LayerEncoder::new(compression).unwrap();
        used.encode(7, &payload(100_000)).unwrap();

        let first = LayerEncoder::new(compression).unwrap().encode(3, &payload(LEN)).unwrap();
        let again = used.encode(3, &payload(LEN)).unwrap();

        assert_eq!(first, again);
        assert_eq!(first.digest, Digest::of(&first.bytes));
    }
}

#[test]
fn a_fingerprint_tells_chunks_apart_by_index_length_and_every_byte() {
    let fingerprint_of = |encoder: &mut LayerEncoder, index, chunk: &[u8]| {
        encoder.encode(index, chunk).unwrap();
        encoder.fingerprint()
    };
    let mut encoder = LayerEncoder::new(Compression::Zstd).unwrap();
    let chunk = payload(LEN);
    let first = fingerprint_of(&mut encoder, 3, &chunk);
    let mut changed = chunk.clone();
    changed[LEN - 1] ^= 1;

    let others = [
        fingerprint_of(&mut encoder, 4, &chunk),
        fingerprint_of(&mut encoder, 3, &chunk[..LEN - 1]),
        fingerprint_of(&mut encoder, 3, &[chunk.as_slice(), &[0]].concat()),
        fingerprint_of(&mut encoder, 3, &changed),
    ];

    assert!(others.iter().all(|other| *other != first), "{others:?}");
    assert_eq!(fingerprint_of(&mut encoder, 3, &chunk), first);
}

#[test]
fn a_zstd_layer_states_its_size_and_has_a_checksum() {
    let mut encoder = LayerEncoder::new(Compression::Zstd).unwrap();

    let layer = encoder.encode(0, &payload(LEN)).unwrap();

    // RFC 8878: content size present (bits 7 and 6 or a single segment), checksum (bit 2).
    let descriptor = layer.bytes[4];
    assert!(descriptor & 0b1110_0000 != 0 && descriptor & 0b100 != 0, "{descriptor:#b}");
}

#[test]
fn a_gzip_layer_tells_neither_time_nor_system() {
    let mut encoder = LayerEncoder::new(Compression::Gzip).unwrap();

    let layer = encoder.encode(0, b"x").unwrap();

    assert_eq!(layer.bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
}

#[test]
fn an_incompressible_chunk_stays_within_the_size_that_receivers_accept() {
    let random: Vec<u8> =
        (0_u32..20_000).flat_map(|n| *Digest::of(&n.to_le_bytes()).as_bytes()).collect();

    for compression in BOTH {
        let layer = LayerEncoder::new(compression).unwrap().encode(0, &random).unwrap();

        assert!(layer.bytes.len() as u64 <= layer_len_max(random.len() as u64));
    }
}

#[test]
fn a_chunk_that_no_receiver_accepts_is_not_made() {
    let mut encoder = LayerEncoder::new(Compression::Zstd).unwrap();
    let too_long = vec![0; usize::try_from(CHUNK_BYTES_MAX).unwrap() + 1];

    let refused = encoder.encode(0, &too_long).unwrap_err();

    assert_eq!(refused.class(), ErrorClass::TooLarge);
}

#[test]
fn a_promise_beyond_the_largest_chunk_is_refused_before_memory_is_reserved() {
    for len in [CHUNK_BYTES_MAX + 1, u64::MAX] {
        let refused = decode_layer(Compression::Zstd, 0, len, b"");

        assert_refused("chunk_len", refused, "chunk is larger than the protocol allows");
    }
}

#[test]
fn a_small_chunk_does_not_keep_the_whole_tar_file_in_memory() {
    let layer = compressed(Compression::Zstd, &framed(b"x"));

    let decoded = decode(Compression::Zstd, 1, &layer).unwrap();

    let kept: Vec<u8> = decoded.try_into_mut().expect("not shared").into();
    assert!(kept.capacity() < 512, "{}", kept.capacity());
}

#[test]
fn l59_a_valid_chunk_of_another_file_decodes_because_only_its_digest_tells() {
    let other = vec![b'x'; LEN];

    let decoded = decode(Compression::Zstd, LEN, &compressed(Compression::Zstd, &framed(&other)));

    assert_eq!(decoded.unwrap(), other);
}

#[test]
fn l60_a_hostile_chunk_does_not_touch_its_neighbours() {
    let mut encoder = LayerEncoder::new(Compression::Zstd).unwrap();
    let mut layers: Vec<Vec<u8>> = (0..5_u32)
        .map(|index| encoder.encode(index, &payload(LEN + index as usize)).unwrap().bytes.into())
        .collect();
    layers[3].truncate(100);

    let decoded: Vec<_> = (0..5_u32)
        .zip(&layers)
        .map(|(index, layer)| {
            decode_layer(Compression::Zstd, index, LEN as u64 + u64::from(index), layer)
        })
        .collect();

    for (index, chunk) in decoded.into_iter().enumerate() {
        match chunk {
            Ok(bytes) => assert_eq!(bytes, payload(LEN + index)),
            Err(error) => {
                assert_eq!(index, 3);
                assert_eq!(error.class(), ErrorClass::Malformed);
            }
        }
    }
}

#[test]
fn l61_chunks_swapped_by_index_are_refused() {
    for compression in BOTH {
        let layer = LayerEncoder::new(compression).unwrap().encode(1, &payload(LEN)).unwrap();

        for index in [0, 2, 10, 11, u32::MAX] {
            let swapped = decode_layer(compression, index, LEN as u64, &layer.bytes);
            assert!(
                matches!(swapped, Err(ChunkError::BadLayer { index: named, .. }) if named == index)
            );
        }
    }
}
