//! Whole payloads: cut, joined, and every way in which that must fail (P8).

use std::io::{self, Cursor, Read, Write};

use super::payload;
use crate::chunk::{ChunkError, ChunkLayout, Joiner, LayerEncoder, Splitter, decode_layer};
use crate::protocol::{Compression, ErrorClass};

const LEN: usize = 2500;

fn layout() -> ChunkLayout {
    ChunkLayout::for_payload(LEN as u64, 1000).unwrap()
}

fn splitter<R: Read>(source: R, layout: ChunkLayout) -> Splitter<R> {
    Splitter::new(source, layout, LayerEncoder::new(Compression::Zstd).unwrap())
}

fn chunk(index: u32) -> Vec<u8> {
    let range = layout().chunk_range(index);
    let bounds = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
    payload(LEN)[bounds].to_vec()
}

#[track_caller]
fn assert_misplaced<T>(result: Result<T, ChunkError>, expected: (u32, &str)) {
    match result {
        Err(ChunkError::Misplaced { index, reason }) => assert_eq!((index, reason), expected),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    }
}

/// A source that gives one byte at a time, or fails.
struct Slow<'a>(&'a [u8], Option<io::ErrorKind>);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(1);
        match (self.0.is_empty(), self.1) {
            (true, Some(kind)) => Err(kind.into()),
            _ => self.0.read(buffer.get_mut(..len).unwrap_or_default()),
        }
    }
}

/// A target that is full, in one of two ways.
struct Full(io::ErrorKind);

impl Write for Full {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_payload_that_was_cut_is_joined_in_any_order() {
    let source = payload(LEN);
    let mut layers: Vec<_> =
        splitter(Slow(&source, None), layout()).collect::<Result<_, _>>().unwrap();
    layers.reverse();
    let mut joiner = Joiner::new(Cursor::new(Vec::new()), layout());

    for (index, layer) in &layers {
        let range = layout().chunk_range(*index);
        let len = range.end - range.start;
        let bytes = decode_layer(Compression::Zstd, *index, len, &layer.bytes).unwrap();
        joiner.place(*index, &bytes).unwrap();
    }

    assert_eq!(layers.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [2, 1, 0]);
    assert_eq!(joiner.finish().unwrap().into_inner(), source);
}

#[test]
fn an_empty_payload_is_one_empty_chunk() {
    let layout = ChunkLayout::for_payload(0, 1000).unwrap();

    let layers: Vec<_> = splitter(io::empty(), layout).collect::<Result<_, _>>().unwrap();
    let [(0, layer)] = layers.as_slice() else { panic!("{} layers", layers.len()) };
    let bytes = decode_layer(Compression::Zstd, 0, 0, &layer.bytes).unwrap();
    let mut joiner = Joiner::new(Vec::new(), layout);
    joiner.append(0, &bytes).unwrap();

    assert!(joiner.finish().unwrap().is_empty());
}

#[test]
fn a_source_that_shrank_or_grew_is_noticed_and_ends_the_split() {
    for len in [0, 999, 1000, LEN - 1, LEN + 1, 2 * LEN] {
        let source = payload(len);

        let mut layers = splitter(&*source, layout());
        let last = layers.by_ref().last().unwrap();

        let error = last.err().unwrap_or_else(|| panic!("{len} bytes were taken"));
        assert!(matches!(error, ChunkError::SourceChanged { expected: 2500 }), "{error}");
        assert_eq!(error.class(), ErrorClass::Busy);
        assert!(layers.next().is_none());
    }
}

#[test]
fn a_source_that_fails_ends_the_split_with_its_error() {
    let source = payload(1500);

    let mut layers = splitter(Slow(&source, Some(io::ErrorKind::PermissionDenied)), layout());

    assert!(matches!(layers.next(), Some(Ok((0, _)))));
    assert!(matches!(layers.next(), Some(Err(ChunkError::Read(_)))));
    assert!(layers.next().is_none());
}

#[test]
fn appending_demands_the_order_and_placing_does_not() {
    let mut joiner = Joiner::new(Cursor::new(Vec::new()), layout());

    assert_misplaced(joiner.append(1, &chunk(1)), (1, "out of order"));
    joiner.place(1, &chunk(1)).unwrap();
    assert_misplaced(joiner.append(0, &chunk(0)), (0, "out of order"));
    joiner.append(2, &chunk(2)).unwrap();
    joiner.place(0, &chunk(0)).unwrap();

    assert_eq!(joiner.finish().unwrap().into_inner(), payload(LEN));
}

#[test]
fn chunks_that_do_not_fit_are_refused() {
    let mut joiner = Joiner::new(Cursor::new(Vec::new()), layout());
    joiner.place(0, &chunk(0)).unwrap();

    assert_misplaced(joiner.place(0, &chunk(0)), (0, "written already"));
    assert_misplaced(joiner.place(3, &[]), (3, "no such chunk"));
    assert_misplaced(joiner.place(u32::MAX, &[]), (u32::MAX, "no such chunk"));
    assert_misplaced(joiner.place(1, &payload(999)), (1, "wrong length"));
    assert_misplaced(joiner.place(2, &payload(501)), (2, "wrong length"));
    assert_misplaced(joiner.finish(), (1, "missing"));
}

#[test]
fn a_full_target_is_told_apart_from_a_broken_one() {
    let cases = [
        (io::ErrorKind::StorageFull, ErrorClass::NoSpace),
        (io::ErrorKind::QuotaExceeded, ErrorClass::QuotaExceeded),
        (io::ErrorKind::BrokenPipe, ErrorClass::Internal),
    ];

    for (kind, class) in cases {
        let mut joiner = Joiner::new(Full(kind), layout());

        let error = joiner.append(0, &chunk(0)).unwrap_err();

        assert_eq!(error.class(), class);
        // The target's position is now unknown, so nothing may be appended to it.
        assert_misplaced(joiner.append(0, &chunk(0)), (0, "out of order"));
        assert_misplaced(joiner.finish(), (0, "missing"));
    }
}
