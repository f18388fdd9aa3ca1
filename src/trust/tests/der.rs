//! Just enough DER to write certificates and timestamps.

use super::*;

/// Writes a value of `tag` that holds `parts`.
pub(super) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let [high, low] = u16::try_from(value.len()).unwrap().to_be_bytes();
    let header = match value.len() {
        0..0x80 => vec![tag, low],
        0x80..0x100 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [header, value].concat()
}

pub(super) fn seq(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

pub(super) fn octets(value: &[u8]) -> Vec<u8> {
    tlv(0x04, &[value])
}

/// An explicit `[number]`.
pub(super) fn context(number: u8, parts: &[&[u8]]) -> Vec<u8> {
    tlv(0xa0 | number, parts)
}

pub(super) fn int(value: u8) -> Vec<u8> {
    tlv(0x02, &[&[value]])
}

pub(super) fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u64> = dotted.split('.').map(|arc| arc.parse().unwrap()).collect();
    let mut value = vec![u8::try_from(arcs[0] * 40 + arcs[1]).unwrap()];
    for arc in &arcs[2..] {
        let groups = (64 - arc.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let more = if group > 0 { 0x80 } else { 0 };
            value.push(u8::try_from((arc >> (7 * group)) & 0x7f).unwrap() | more);
        }
    }
    tlv(0x06, &[&value])
}

/// `YYYYMMDDHHMMSSZ`.
fn digits(at: Timestamp) -> String {
    at.to_string().chars().filter(char::is_ascii_digit).chain(['Z']).collect()
}

pub(super) fn general_time(at: Timestamp) -> Vec<u8> {
    tlv(0x18, &[digits(at).as_bytes()])
}

/// A time as certificates write it before 2050: a `UTCTime`.
pub(super) fn cert_time(at: Timestamp) -> Vec<u8> {
    tlv(0x17, &[&digits(at).as_bytes()[2..]])
}

pub(super) fn extension(name: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { tlv(0x01, &[&[0xff]]) } else { Vec::new() };
    seq(&[&oid(name), &critical, &octets(value)])
}
