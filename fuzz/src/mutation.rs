//! Inputs made from seeds by damage to bytes and to structure.

use crate::random::Random;
use crate::tree;

/// Largest input made.
const MAX_LEN: usize = 256 * 1024;

/// Texts that have been trouble to readers of JSON, XML, dates and ids.
const TOKENS: &[&[u8]] = &[
    b"null",
    b"true",
    b"{",
    b"}",
    b"[",
    b"]",
    b"[]",
    b"{}",
    b"\"",
    b"\\",
    b",",
    b":",
    b"\"\"",
    b"-0",
    b"1e999999999",
    b"1E-64",
    b"0.0000000000000000000000000000001",
    b"99999999999999999999",
    b"\\u0000",
    b"\\ud800",
    b"\\udc00\\ud800",
    b"\\ud83d\\ude00",
    b"\xEF\xBB\xBF",
    b"\xFF",
    b"\xC0\x80",
    b"\xED\xA0\x80",
    b"\xF0\x9F\x98\x80",
    b"\0",
    b"\xC2\xA0",
    b"\xE2\x80\xA8",
    b"<!DOCTYPE a [<!ENTITY b \"c\">]>",
    b"<![CDATA[",
    b"]]>",
    b"<!--",
    b"-->",
    b"<?xml version=\"1.0\"?>",
    b"</",
    b"/>",
    b"<div xmlns=\"http://www.w3.org/1999/xhtml\">",
    b"</div>",
    b" xmlns=\"\"",
    b" value=\"\"",
    b" id=\"a\"",
    b"&amp;",
    b"&nbsp;",
    b"&#0;",
    b"&#xD800;",
    b"&#x10FFFF;",
    b"&",
    b"resourceType",
    b"\"resourceType\":\"Patient\",",
    b"\"_value\":",
    b"\"extension\":[{\"url\":\"u\",\"valueString\":\"v\"}]",
    b"\"contained\":[",
    b"#",
    b"urn:uuid:",
    b"Patient?a=b",
    b"Patient/1/_history/2",
    b"$meta",
    b"%2F",
    b"%",
    b"?",
    b"0000-01-01",
    b"9999-12-31T23:59:60.999999999-14:00",
    b"2024-02-29",
    b"2023-02-29",
    b"T24:00:00Z",
    b"+14:00",
    b"-14:01",
    b"W/\"",
];

/// The input of one case: a seed with one to six mutations, of its tree in half of the cases.
pub(crate) fn input(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = random.pick(seeds).clone();
    if random.below(2) == 0
        && let Some(changed) = tree::input(&bytes, seeds, random)
    {
        bytes = changed;
        // Most of them stay whole, so that they get past the reader.
        if random.below(8) != 0 && bytes.len() <= MAX_LEN {
            return bytes;
        }
    }
    for _ in 0..=random.below(6) {
        mutate(&mut bytes, seeds, random);
    }
    bytes.truncate(MAX_LEN);
    bytes
}

fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    match random.below(14) {
        0 => flip(bytes, random),
        1 => {
            let byte = random.next() as u8;
            bytes.insert(at, byte);
        }
        2 => drop(bytes.drain(range(bytes.len(), 32, random))),
        3 => bytes.truncate(at),
        4 | 5 => insert(bytes, at, random.pick::<&[u8]>(TOKENS)),
        6 => {
            let piece = bytes[range(bytes.len(), 64, random)].to_vec();
            insert(bytes, at, &piece);
        }
        7 => {
            let other = random.pick(seeds);
            let piece = &other[range(other.len(), 256, random)];
            insert(bytes, at, piece);
        }
        8 => digit(bytes, random),
        9 => nest(bytes, random),
        10 => {
            if let Some(group) = group(bytes, random) {
                bytes.drain(group);
            }
        }
        11 => {
            if let Some(group) = group(bytes, random) {
                let piece = bytes[group.clone()].to_vec();
                insert(bytes, group.end, &piece);
            }
        }
        _ => {
            let other = random.pick(seeds);
            let (Some(here), Some(there)) = (group(bytes, random), group(other, random)) else {
                return;
            };
            bytes.splice(here, other[there].iter().copied());
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    if bytes.len() + piece.len() <= MAX_LEN {
        bytes.splice(at..at, piece.iter().copied());
    }
}

fn range(len: usize, most: usize, random: &mut Random) -> std::ops::Range<usize> {
    let start = random.below(len);
    let end = (start + 1 + random.below(most)).min(len);
    start..end
}

fn flip(bytes: &mut [u8], random: &mut Random) {
    let at = random.below(bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

/// Changes a digit: dates, numbers, versions.
fn digit(bytes: &mut [u8], random: &mut Random) {
    let digits: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at].is_ascii_digit()).collect();
    if !digits.is_empty() {
        bytes[*random.pick(&digits)] = b'0' + random.below(10) as u8;
    }
}

/// Repeats a group's opening and closing around it, up to thousands of times.
fn nest(bytes: &mut Vec<u8>, random: &mut Random) {
    let Some(group) = group(bytes, random) else { return };
    let (open, close): (&[u8], &[u8]) = match bytes[group.start] {
        b'{' => (b"{\"extension\":[", b"]}"),
        b'[' => (b"[", b"]"),
        b'<' => (b"<extension url=\"u\">", b"</extension>"),
        _ => return,
    };
    let times = 1 << random.below(13);
    if bytes.len() + times * (open.len() + close.len()) <= MAX_LEN {
        let inner = bytes[group.clone()].to_vec();
        let nested = [open.repeat(times), inner, close.repeat(times)].concat();
        bytes.splice(group, nested);
    }
}

/// A string, array, object or tag, picked at random, brackets included.
fn group(bytes: &[u8], random: &mut Random) -> Option<std::ops::Range<usize>> {
    let is_open = |at: &usize| matches!(bytes[*at], b'"' | b'[' | b'{' | b'<');
    let opens: Vec<usize> = (0..bytes.len()).filter(is_open).collect();
    if opens.is_empty() {
        return None;
    }
    let start = *random.pick(&opens);
    let close = match bytes[start] {
        b'"' => b'"',
        b'[' => b']',
        b'{' => b'}',
        _ => b'>',
    };
    let mut depth = 0_usize;
    let length = bytes[start..].iter().position(|&byte| {
        // A quote opens and closes with the same byte: its second one ends the group.
        if byte == close && depth > 0 {
            depth -= 1;
        } else if byte == bytes[start] {
            depth += 1;
        }
        depth == 0
    });
    Some(start..start + length? + 1)
}
