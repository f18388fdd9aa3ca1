//! Hostile and unusual tar files (L01 to L32).

use super::{BOTH, assert_refused, compressed, decode, framed, payload};

const LEN: usize = 5000;

/// Writes `value` at `at` into the header of a good tar file and corrects its checksum.
fn edited(edits: &[(usize, &[u8])]) -> Vec<u8> {
    let mut file = framed(&payload(LEN));
    for (at, value) in edits {
        file[*at..*at + value.len()].copy_from_slice(value);
    }
    fix_checksum(&mut file);
    file
}

fn fix_checksum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header[..512].iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Returns one entry without end blocks.
fn entry(name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut file = framed(data);
    file.truncate(file.len() - 1024);
    file[..100].fill(0);
    file[..name.len()].copy_from_slice(name.as_bytes());
    file[156] = kind;
    fix_checksum(&mut file);
    file
}

/// Puts `extra` before the good entry, where extension headers are.
fn preceded(extra: &[u8]) -> Vec<u8> {
    [extra, &framed(&payload(LEN))].concat()
}

/// Puts `extra` between the good entry and the end blocks.
fn followed(extra: &[u8]) -> Vec<u8> {
    let good = framed(&payload(LEN));
    let (entry, end) = good.split_at(good.len() - 1024);
    [entry, extra, end].concat()
}

fn assert_all_refused(cases: &[(&str, Vec<u8>, &str)]) {
    for (id, file, reason) in cases {
        for compression in BOTH {
            let layer = compressed(compression, file);
            assert_refused(id, decode(compression, LEN, &layer), reason);
        }
    }
}

#[test]
fn l01_to_l09_entries_with_another_name_or_neighbour_are_refused() {
    let name = "tar entry has another name";
    let follows = "something follows the tar entry";
    assert_all_refused(&[
        ("L01 wrong name", edited(&[(0, b"evil.bin\0\0\0")]), name),
        ("L02 extra entry", followed(&entry("evil", b'0', b"x")), follows),
        ("L02 extra entry first", preceded(&entry("evil", b'0', b"x")), name),
        ("L02 extra empty entry", followed(&entry("evil", b'0', b"")), follows),
        ("L03 repeated", followed(&entry("chunk_0.bin", b'0', &payload(1000))), follows),
        ("L04 traversal", edited(&[(0, b"../chunk_0.bin")]), name),
        ("L05 absolute", edited(&[(0, b"/chunk_0.bin")]), name),
        ("L05 dot", edited(&[(0, b"./chunk_0.bin")]), name),
        ("L06 other index", edited(&[(0, b"chunk_1.bin")]), name),
        ("L07 leading zero", edited(&[(0, b"chunk_00.bin")]), name),
        ("L07 upper case", edited(&[(0, b"Chunk_0.bin")]), name),
        ("L07 longer", edited(&[(0, b"chunk_0.bin/")]), name),
        ("L08 no name", edited(&[(0, &[0; 100])]), name),
        ("L09 prefix", edited(&[(345, b"..")]), name),
        ("L09 made by prefix", edited(&[(0, &[0; 100]), (345, b"chunk_0.bin")]), name),
    ]);
}

#[test]
fn l10_to_l16_entries_that_are_no_regular_file_are_refused() {
    let kind = "tar entry is not a regular file";
    assert_all_refused(&[
        ("L10 symlink", edited(&[(156, b"2/etc/passwd")]), kind),
        ("L11 hard link", edited(&[(156, b"1chunk_1.bin")]), kind),
        ("L12 character device", edited(&[(156, b"3")]), kind),
        ("L12 block device", edited(&[(156, b"4")]), kind),
        ("L13 fifo", edited(&[(156, b"6")]), kind),
        ("L14 directory", edited(&[(156, b"5")]), kind),
        ("L15 contiguous", edited(&[(156, b"7")]), kind),
        ("L16 unknown", edited(&[(156, b"Z")]), kind),
        ("link name", edited(&[(157, b"x")]), "tar entry has another name"),
    ]);
}

#[test]
fn l17_to_l23_extension_headers_are_refused() {
    let kind = "tar entry is not a regular file";
    let sparse_pax = b"22 GNU.sparse.major=1\n26 GNU.sparse.name=evil.bin\n";
    let late_pax = entry("PaxHeader", b'x', b"12 size=100\n");
    assert_all_refused(&[
        ("L17 PAX size", preceded(&entry("PaxHeader", b'x', b"12 size=100\n")), kind),
        ("L18 PAX path", preceded(&entry("PaxHeader", b'x', b"13 path=evil\n")), kind),
        ("L19 PAX global", preceded(&entry("PaxHeader", b'g', b"13 path=evil\n")), kind),
        ("L19 PAX after", followed(&late_pax), "something follows the tar entry"),
        ("L20 GNU long name", preceded(&entry("././@LongLink", b'L', b"evil.bin\0")), kind),
        ("L21 GNU long link", preceded(&entry("././@LongLink", b'K', b"evil.bin\0")), kind),
        ("L22 GNU sparse", edited(&[(156, b"S")]), kind),
        ("L23 PAX sparse", preceded(&entry("PaxHeader", b'x', sparse_pax)), kind),
        ("GNU magic", edited(&[(257, b"ustar  \0")]), "tar header is not ustar"),
        ("no magic", edited(&[(257, &[0; 8])]), "tar header is not ustar"),
    ]);
}

#[test]
fn l24_to_l27_entries_of_another_size_are_refused() {
    let size = "tar entry has another size";
    let huge = [&[0x80, 0, 0, 0, 0x7f][..], &[0xff; 7]].concat();
    let base256 = [&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &5000_u16.to_be_bytes()].concat();
    assert_all_refused(&[
        ("L24 -1", edited(&[(124, &[0xff; 12])]), size),
        ("L24 -1 as text", edited(&[(124, b"-0000000001\0")]), size),
        ("L25 2^63-1", edited(&[(124, &huge)]), size),
        ("L25 base 256", edited(&[(124, &base256)]), size),
        ("L26 one more", edited(&[(124, b"00000011611\0")]), size),
        ("L27 one less", edited(&[(124, b"00000011607\0")]), size),
        ("L27 none", edited(&[(124, &[0; 12])]), size),
        ("L27 sign", edited(&[(124, b"+0000011610\0")]), size),
        ("L27 digits after the end", edited(&[(124, b"11610\x007\0\0\0\0\0")]), size),
        ("L27 shorter entry", framed(&payload(LEN - 1)), size),
        ("L27 longer entry", framed(&payload(LEN + 1)), size),
    ]);
}

#[test]
fn l28_to_l32_damaged_tar_files_are_refused() {
    let good = framed(&payload(LEN));
    let cut = |len: usize| good[..len].to_vec();
    let after = |at: usize, byte: u8| {
        let mut file = good.clone();
        file[at] = byte;
        file
    };
    let follows = "something follows the tar entry";
    let zeros = |len: usize| [&good[..], &vec![0; len]].concat();
    assert_all_refused(&[
        ("L28 no header", cut(511), "no tar header"),
        ("L28 nothing", cut(0), "no tar header"),
        ("L28 cut data", cut(512 + LEN - 1), "tar entry is cut"),
        ("L28 cut padding", cut(512 + LEN + 1), "tar file is not made of whole blocks"),
        ("L29 no end blocks", cut(512 + 5120), "tar file has no end"),
        ("L29 one end block", cut(512 + 5120 + 512), "tar file has no end"),
        ("L30 junk after the end", [&good[..], &[7; 512]].concat(), follows),
        ("L30 junk in the end", after(good.len() - 1, 1), follows),
        ("L30 junk in the padding", after(512 + LEN, 1), follows),
        ("L30 not whole blocks", zeros(1), "tar file is not made of whole blocks"),
        ("L31 checksum", after(148, b'7'), "tar header has a wrong checksum"),
        ("L31 no checksum", after(148, b'x'), "tar header has a wrong checksum"),
        ("L32 after NUL", edited(&[(12, b"evil")]), "tar entry has another name"),
    ]);
}

#[test]
fn zero_padding_is_accepted_to_the_end_of_a_record_and_no_further() {
    let good = framed(&payload(LEN));
    let padded = |len: usize| [&good[..], &vec![0; len - good.len()]].concat();

    for compression in BOTH {
        let whole = decode(compression, LEN, &compressed(compression, &padded(10_240)));
        let more = decode(compression, LEN, &compressed(compression, &padded(10_752)));

        assert_eq!(whole.unwrap(), payload(LEN));
        assert!(more.is_err(), "{compression}");
    }
}

#[test]
fn what_other_writers_put_into_a_plain_header_is_accepted() {
    let cases = [
        ("typeflag of old tars", edited(&[(156, b"\0")])),
        ("mode, owner and time", edited(&[(100, b"0100600\x000001750\x000001750\x00")])),
        ("size with spaces", edited(&[(124, b"      11610 ")])),
        ("mtime", edited(&[(136, b"15261030200\0")])),
        ("user and group", edited(&[(265, b"root"), (297, b"wheel")])),
        ("device numbers as Go writes them", edited(&[(329, b"0000000\x000000000\0")])),
    ];

    for (case, file) in cases {
        for compression in BOTH {
            let decoded = decode(compression, LEN, &compressed(compression, &file));
            assert_eq!(decoded.expect(case), payload(LEN), "{case}");
        }
    }
}

#[test]
fn our_tar_file_has_the_same_bytes_for_ever() {
    let file = framed(b"hello");

    let digest = crate::protocol::Digest::of(&file);

    assert_eq!(file.len(), 4 * 512);
    assert_eq!(
        digest.to_string(),
        "sha256:acac4b1ce3405f69687256c04902e05f6e8fb14271b8d5325082d5ede5789cff"
    );
}
