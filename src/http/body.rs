//! The body of a request: read, bounded, decompressed.
//!
//! The bound holds for what comes over the wire and for what comes out of it, so that a small
//! bomb cannot fill the memory.
//!
//! Spec: RFC 9110 section 8.4, rest 1.32

use std::io::{ErrorKind, Read};

use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, HeaderMap};
use bytes::Bytes;
use http_body_util::BodyExt;

use crate::error::Error;
use crate::fhir::IssueCode;

use super::outcome::Failure;

/// As much as is decompressed at a time.
const CHUNK_BYTES: usize = 32 * 1024;

/// A refused body is still taken off the wire when it is at most this many times too large.
const DRAINED: u64 = 4;

/// Reads the whole body, at most `limit` bytes of it before and after decompression.
///
/// # Errors
/// [`Error::TooLarge`]; [`Failure::UnsupportedMediaType`] for an unknown coding;
/// [`Error::Invalid`] for a body that breaks off or does not decompress.
pub(super) async fn read(body: Body, headers: &HeaderMap, limit: usize) -> Result<Bytes, Failure> {
    let coding = Coding::read(headers)?;
    let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let most_drained = (limit as u64).saturating_mul(DRAINED);
    let mut body = body;
    let raw = if told.is_some_and(|length: u64| length > limit as u64) {
        Err(too_large(limit))
    } else {
        collect(&mut body, limit).await
    };
    // Who waits for a word before the body is sent loses no answer by it.
    let is_sending = raw.is_ok() || !headers.contains_key(EXPECT);
    if raw.is_err() && is_sending && told.is_none_or(|length| length <= most_drained) {
        drain(&mut body, most_drained).await;
    }
    let raw = raw?;
    match coding {
        None => Ok(raw),
        Some(coding) => coding.decode(&raw, limit),
    }
}

/// Takes the rest of a body that is refused: a client that is still sending would otherwise lose the
/// answer together with the connection.
async fn drain(body: &mut Body, most: u64) {
    let mut rest = most;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        match rest.checked_sub(length) {
            Some(left) => rest = left,
            None => return,
        }
    }
}

async fn collect(body: &mut Body, limit: usize) -> Result<Bytes, Failure> {
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Error::invalid(IssueCode::Structure, format!("the body broke off: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        // Most bodies come in one piece, which is then used as it is.
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            append(&mut all, &std::mem::take(&mut first), limit);
        }
        append(&mut all, &data, limit);
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

/// Adds `data`, which fits: room is doubled as it runs out, but never beyond `limit`.
fn append(all: &mut Vec<u8>, data: &[u8], limit: usize) {
    let needed = all.len() + data.len();
    if needed > all.capacity() {
        let wanted = all.capacity().saturating_mul(2).min(limit).max(needed);
        all.reserve_exact(wanted - all.len());
    }
    all.extend_from_slice(data);
}

/// All that `reader` gives; `None` when it is more than `limit`.
fn read_bounded(reader: &mut dyn Read, limit: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut all = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = match reader.read(&mut chunk) {
            Ok(0) => return Ok(Some(all)),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if all.len() + count > limit {
            return Ok(None);
        }
        append(&mut all, &chunk[..count], limit);
    }
}

fn too_large(limit: usize) -> Failure {
    Failure::from(Error::TooLarge(format!("the body is larger than {limit} bytes")))
}

/// A content coding that is decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Coding {
    Brotli,
    Deflate,
    Gzip,
    Zstd,
}

impl Coding {
    fn read(headers: &HeaderMap) -> Result<Option<Self>, Failure> {
        // One coding after the other is a list, in one header or in several.
        let sent = headers.get_all(CONTENT_ENCODING).iter();
        let names = sent.flat_map(|value| value.to_str().unwrap_or("?").split(','));
        let names = names.map(|name| name.trim().to_ascii_lowercase());
        let names: Vec<_> = names.filter(|name| !["", "identity"].contains(&&**name)).collect();
        match &*names.join(",") {
            "" => Ok(None),
            "br" => Ok(Some(Self::Brotli)),
            "deflate" => Ok(Some(Self::Deflate)),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip)),
            "zstd" => Ok(Some(Self::Zstd)),
            _ => {
                let text = "Content-Encoding is one of gzip, br, zstd, deflate and identity";
                Err(Failure::UnsupportedMediaType(text.to_owned()))
            }
        }
    }

    fn decode(self, raw: &[u8], limit: usize) -> Result<Bytes, Failure> {
        let broken = |error: std::io::Error| {
            Error::invalid(IssueCode::Structure, format!("the body does not decompress: {error}"))
        };
        let bounded = |reader: &mut dyn Read| read_bounded(reader, limit);
        let out = match self {
            Self::Brotli => bounded(&mut brotli_decompressor::Decompressor::new(raw, 16 * 1024)),
            Self::Deflate => bounded(&mut flate2::read::ZlibDecoder::new(raw)),
            Self::Gzip => bounded(&mut flate2::read::MultiGzDecoder::new(raw)),
            Self::Zstd => zstd::stream::read::Decoder::new(raw).and_then(|mut decoder| {
                // A frame may ask for a window of gigabytes; 2^27 is what zstd itself makes.
                decoder.window_log_max(27)?;
                bounded(&mut decoder)
            }),
        };
        out.map_err(broken)?.map(Bytes::from).ok_or_else(|| too_large(limit))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::http::HeaderValue;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).expect("memory");
        encoder.finish().expect("memory")
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).expect("memory");
        encoder.finish().expect("memory")
    }

    async fn sent(coding: Option<&'static str>, data: Vec<u8>) -> Result<usize, u16> {
        let mut headers = HeaderMap::new();
        // One header a line.
        for coding in coding.into_iter().flat_map(str::lines) {
            let value = HeaderValue::from_bytes(coding.as_bytes()).expect("bytes of a header");
            headers.append(CONTENT_ENCODING, value);
        }
        let read = read(Body::from(data), &headers, 1000).await;
        read.map(|body| body.len()).map_err(|failure| failure.status().as_u16())
    }

    #[tokio::test]
    async fn a_body_is_decoded_within_its_bound() {
        let small = vec![b'x'; 1000];
        let bomb = vec![b'x'; 10_000_000];
        let zstd = |data: &[u8]| zstd::encode_all(data, 3).expect("memory");
        // "hello hello hello hello" as brotli makes it, stored uncompressed.
        let brotli = [&[0x0b, 0x02, 0x80][..], b"hello", &[0x03]].concat();
        for (coding, data, expected) in [
            (None, small.clone(), Ok(1000)),
            (None, bomb.clone(), Err(413)),
            (Some("identity"), small.clone(), Ok(1000)),
            (Some("gzip"), gzip(&small), Ok(1000)),
            (Some("GZIP"), gzip(&small), Ok(1000)),
            (Some("gzip"), gzip(&[small.clone(), vec![b'y']].concat()), Err(413)),
            (Some("gzip"), gzip(&bomb), Err(413)),
            (Some("deflate"), zlib(&small), Ok(1000)),
            (Some("deflate"), zlib(&bomb), Err(413)),
            (Some("zstd"), zstd(&small), Ok(1000)),
            (Some("zstd"), zstd(&bomb), Err(413)),
            (Some("br"), brotli, Ok(5)),
            (Some("gzip"), b"no gzip".to_vec(), Err(400)),
            (Some("br"), vec![0xff; 9], Err(400)),
            (Some("zstd"), vec![0xff; 9], Err(400)),
            (Some("gzip, br"), gzip(&small), Err(415)),
            (Some("gzip\nbr"), gzip(&small), Err(415)),
            (Some("identity\ngzip, "), gzip(&small), Ok(1000)),
            (Some("é"), gzip(&small), Err(415)),
            (Some("compress"), small, Err(415)),
        ] {
            let size = data.len();
            assert_eq!(sent(coding, data).await, expected, "{coding:?}, {size} bytes");
        }
    }

    #[test]
    fn no_more_is_reserved_than_may_be_filled() {
        let source = vec![b'x'; 100_000];
        for limit in [100_000, 100_001, 150_000, 10_000_000] {
            let read = read_bounded(&mut &source[..], limit).expect("memory").expect("fits");
            assert!(read == source && read.capacity() <= limit, "{limit}: {}", read.capacity());
        }
        assert_eq!(read_bounded(&mut &source[..], 99_999).expect("memory"), None);
        let mut all = Vec::new();
        for _ in 0..100 {
            append(&mut all, &source[..1_000], 100_000);
        }
        assert!(all == source && all.capacity() == 100_000, "{}", all.capacity());
    }

    #[tokio::test]
    async fn who_asks_before_sending_is_refused_unheard() {
        for (expects, length, heard) in
            [(true, 2_000, false), (false, 2_000, true), (true, 500, true)]
        {
            let mut headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(length))]);
            if expects {
                headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
            }
            let was_heard = Arc::new(AtomicBool::new(false));
            let flag = was_heard.clone();
            let body = futures_util::stream::once(async move {
                flag.store(true, Ordering::SeqCst);
                Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; length]))
            });
            let read = read(Body::from_stream(body), &headers, 1_000).await;
            assert_eq!(read.is_err(), length > 1_000);
            assert_eq!(was_heard.load(Ordering::SeqCst), heard, "{expects} {length}");
        }
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_put_together() {
        let pieces = ["ab", "cd", "e"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let found = read(body, &HeaderMap::new(), 5).await.expect("fits");
        assert_eq!(&found[..], b"abcde");
    }
}
