//! What is true of every input: identities, arithmetic, and that nothing panics.

use std::io::Read as _;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{BOTH, compressed, decode, framed, payload};
use crate::chunk::{ChunkError, ChunkLayout, ChunkPart, LayerEncoder, decode_layer, frame};
use crate::protocol::limits::{CHUNK_BYTES_MAX, CHUNK_COUNT_MAX, PAYLOAD_LEN_MAX};
use crate::protocol::{Compression, Envelope, Timestamp};

/// One change to some bytes.
#[derive(Debug, Clone)]
enum Mutation {
    Flip(Index, u8),
    Insert(Index, u8),
    Delete(Index),
    Truncate(Index),
    Repeat(Index, Index),
}

impl Mutation {
    fn any() -> impl Strategy<Value = Self> {
        let at = any::<Index>;
        prop_oneof![
            4 => (at(), 1_u8..).prop_map(|(at, bits)| Self::Flip(at, bits)),
            1 => (at(), any::<u8>()).prop_map(|(at, byte)| Self::Insert(at, byte)),
            1 => at().prop_map(Self::Delete),
            1 => at().prop_map(Self::Truncate),
            1 => (at(), at()).prop_map(|(from, to)| Self::Repeat(from, to)),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        if len == 0 {
            return;
        }
        match self {
            Self::Flip(at, bits) => bytes[at.index(len)] ^= bits,
            Self::Insert(at, byte) => bytes.insert(at.index(len), *byte),
            Self::Delete(at) => drop(bytes.remove(at.index(len))),
            Self::Truncate(at) => bytes.truncate(at.index(len)),
            Self::Repeat(from, to) => {
                bytes.extend_from_within(from.index(len).min(to.index(len))..);
            }
        }
    }
}

/// Lengths around the borders of blocks, records and zstd's size classes.
fn border_len() -> impl Strategy<Value = usize> {
    let borders = [0_usize, 256, 512, 1024, 8704, 9216, 10_240, 65_536, 131_072, 132_096];
    (select(borders.to_vec()), -2_isize..=2).prop_map(|(len, off)| len.saturating_add_signed(off))
}

fn any_layout() -> impl Strategy<Value = ChunkLayout> {
    (0_u64..100_000, 1_u64..30_000)
        .prop_map(|(total, chunk)| ChunkLayout::for_payload(total, chunk).unwrap())
}

/// Reads a tar file as general readers do, stopping where they stop.
fn read_loosely(framed: &[u8]) -> (String, Vec<u8>) {
    let mut archive = ::tar::Archive::new(framed);
    let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).unwrap();
    (entry.path().unwrap().display().to_string(), bytes)
}

proptest! {
    #[test]
    fn decoding_an_encoded_chunk_gives_its_bytes(
        len in border_len(),
        index in select(vec![0, 9, 10, 9_999, u32::MAX]),
        noise in vec(any::<u8>(), 0..2000),
    ) {
        let mut bytes = payload(len);
        bytes.iter_mut().zip(&noise).for_each(|(byte, noise)| *byte = *noise);

        for compression in BOTH {
            let layer = LayerEncoder::new(compression).unwrap().encode(index, &bytes).unwrap();
            let decoded = decode_layer(compression, index, len as u64, &layer.bytes).unwrap();
            prop_assert!(decoded == bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..600), len in 0_u64..2000) {
        let zstd = [&[0x28, 0xb5, 0x2f, 0xfd][..], &bytes].concat();
        let gzip = [&[0x1f, 0x8b, 8][..], &bytes].concat();

        for layer in [&bytes, &zstd, &gzip] {
            for compression in BOTH {
                let decoded = decode_layer(compression, 0, len, layer);
                prop_assert!(decoded.is_err());
            }
        }
    }

    #[test]
    fn a_changed_layer_fails_or_gives_the_same_bytes(
        mutations in vec(Mutation::any(), 1..4),
        len in select(vec![0_usize, 1, 700, 5000]),
    ) {
        for compression in BOTH {
            let mut layer = compressed(compression, &framed(&payload(len)));
            for mutation in &mutations {
 mutation.apply(&mut layer);
}

            match decode(compression, len, &layer) {
                Ok(bytes) => prop_assert!(bytes == payload(len)),
                Err(ChunkError::BadLayer { .. }) => {}
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }

    #[test]
    fn what_the_strict_reader_accepts_every_reader_reads_alike(
        mutations in vec(Mutation::any(), 0..3),
        header_only in any::<bool>(),
        len in select(vec![0_usize, 1, 512, 700]),
    ) {
        let mut file = framed(&payload(len));
        let tail = file.split_off(if header_only { 512 } else { file.len() });
        for mutation in &mutations {
 mutation.apply(&mut file);
}

        file.extend_from_slice(&tail);

        if let Ok(range) = frame::read(&file, 0, len) {
            prop_assert_eq!(read_loosely(&file), ("chunk_0.bin".to_owned(), file[range].to_vec()));
        }
    }

    #[test]
    fn a_layout_for_sending_is_one_that_receivers_accept(
        total in prop_oneof![0..100_000_u64, 0..=PAYLOAD_LEN_MAX],
        preferred in prop_oneof![0..100_000_u64, 0..=2 * CHUNK_BYTES_MAX, any::<u64>()],
    ) {
        let layout = ChunkLayout::for_payload(total, preferred).unwrap();
        let envelope = Envelope {
            sender: "a".parse().unwrap(),
            recipient: "b".parse().unwrap(),
            created_at: Timestamp::from_unix_secs(0),
            ttl_secs: 0,
            filename: String::new(),
            total_bytes: layout.total_bytes(),
            chunk_bytes: layout.chunk_bytes(),
            chunk_count: layout.chunk_count(),
            compression: Compression::Zstd,
        };

        prop_assert_eq!(Envelope::from_annotations(&envelope.to_annotations()), Ok(envelope.clone()));
        prop_assert_eq!(ChunkLayout::of_envelope(&envelope), layout);
        prop_assert!((1..=CHUNK_COUNT_MAX).contains(&layout.chunk_count()));
        let mut end = 0;
        for index in 0..layout.chunk_count() {
            let range = layout.chunk_range(index);
            prop_assert_eq!(range.start, end);
            prop_assert_eq!(range.end - range.start, envelope.chunk_len(index));
            end = range.end;
        }
        prop_assert_eq!(end, total);
        prop_assert!(layout.chunk_range(layout.chunk_count()).is_empty());
    }

    #[test]
    fn a_span_covers_its_range_once_and_in_order(
        layout in any_layout(),
        start in 0_u64..120_000,
        len in 0_u64..120_000,
    ) {
        let wanted = start.min(layout.total_bytes())..(start + len).min(layout.total_bytes());

        let parts: Vec<_> = layout.span(start..start + len).collect();

        let mut position = wanted.start;
        for part in &parts {
            let chunk = layout.chunk_range(part.index);
            prop_assert!(!part.within.is_empty());
            prop_assert_eq!(chunk.start + part.within.start as u64, position);
            position = chunk.start + part.within.end as u64;
            prop_assert!(position <= chunk.end);
        }
        prop_assert_eq!(position, wanted.end.max(wanted.start));
        prop_assert_eq!(parts.is_empty(), wanted.is_empty());
    }
}

#[test]
fn a_span_past_the_end_or_turned_around_is_empty() {
    let layout = ChunkLayout::for_payload(2500, 1000).unwrap();

    for (start, end) in [(2500, 2501), (2500, u64::MAX), (u64::MAX, u64::MAX), (7, 7), (9, 3)] {
        assert_eq!(layout.span(start..end).count(), 0, "{start}..{end}");
    }
    assert_eq!(layout.span(0..u64::MAX).count(), 3);
}

#[test]
fn the_go_peers_layouts_are_readable() {
    let envelope = |total_bytes, chunk_bytes, chunk_count| Envelope {
        sender: "a".parse().unwrap(),
        recipient: "b".parse().unwrap(),
        created_at: Timestamp::from_unix_secs(0),
        ttl_secs: 0,
        filename: String::new(),
        total_bytes,
        chunk_bytes,
        chunk_count,
        compression: Compression::Gzip,
    };

    let empty = ChunkLayout::of_envelope(&envelope(0, 100 << 20, 0));
    let small = ChunkLayout::of_envelope(&envelope(5, 100 << 20, 1));

    assert_eq!((empty.chunk_count(), empty.span(0..10).count()), (0, 0));
    assert_eq!(small.chunk_range(0), 0..5);
    assert!(small.span(3..10).eq([ChunkPart { index: 0, within: 3..5 }]));
}

/// P10: the number of chunks is bounded by making them larger.
#[test]
fn a_payload_that_needs_too_many_chunks_gets_larger_ones() {
    let one_more = u64::from(CHUNK_COUNT_MAX) * (8 << 20) + 1;

    let layout = ChunkLayout::for_payload(one_more, 8 << 20).unwrap();
    let largest = ChunkLayout::for_payload(PAYLOAD_LEN_MAX, 1).unwrap();
    let too_large = ChunkLayout::for_payload(PAYLOAD_LEN_MAX + 1, 1);

    assert_eq!((layout.chunk_bytes(), layout.chunk_count()), (9 << 20, 8889));
    assert_eq!((largest.chunk_bytes(), largest.chunk_count()), (CHUNK_BYTES_MAX, CHUNK_COUNT_MAX));
    assert!(matches!(too_large, Err(ChunkError::TooLarge { limit: PAYLOAD_LEN_MAX })));
}
