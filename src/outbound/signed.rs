//! Requests that are signed as object stores want it.
//!
//! Spec: AWS Signature Version 4, in the header Authorization

use std::fmt::Write as _;

use ring::{digest, hmac};
use secrecy::{ExposeSecret as _, SecretString};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "s3";

/// What requests to an object store are signed with.
#[derive(Clone, Debug)]
pub struct Keys {
    /// By which the store knows the secret.
    pub id: String,
    /// The secret.
    pub secret: SecretString,
    /// Where the store is.
    pub region: String,
}

/// What is signed of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// As it is sent, without a query.
    pub(super) path: &'a str,
    /// In the order of their names, which are in lower case.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// The SHA-256 of the body.
    pub(super) body: &'a str,
    /// When: `20260102T030405Z`.
    pub(super) time: &'a str,
}

impl Keys {
    /// The header Authorization of a request.
    pub(super) fn authorization(&self, it: &Signed<'_>) -> String {
        let day = it.time.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{SERVICE}/aws4_request", self.region);
        let names: Vec<&str> = it.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let mut headers = String::new();
        for (name, value) in it.headers {
            headers.extend([*name, ":", value.trim(), "\n"]);
        }
        let (method, path, body) = (it.method, it.path, it.body);
        let request = format!("{method}\n{path}\n\n{headers}\n{names}\n{body}");
        let text = format!("{ALGORITHM}\n{}\n{scope}\n{}", it.time, sha256(request.as_bytes()));
        let first = format!("AWS4{}", self.secret.expose_secret()).into_bytes();
        let key = [day, self.region.as_str(), SERVICE, "aws4_request"]
            .into_iter()
            .fold(first, |key, part| keyed(&key, part));
        let signature = hex(&keyed(&key, &text));
        let id = &self.id;
        format!("{ALGORITHM} Credential={id}/{scope},SignedHeaders={names},Signature={signature}")
    }
}

/// The SHA-256 of bytes as hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn keyed(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the specification, "Signature Calculations for the Authorization Header", with the keys
    /// that stand there.
    #[test]
    fn the_published_examples_have_their_published_signatures() {
        let keys = Keys {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            region: "us-east-1".to_owned(),
        };
        let time = "20130524T000000Z";
        let (empty, text) = (sha256(b""), sha256(b"Welcome to Amazon S3."));
        let host = ("host", "examplebucket.s3.amazonaws.com");
        let get = [
            host,
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", empty.as_str()),
            ("x-amz-date", time),
        ];
        let put = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            host,
            ("x-amz-content-sha256", text.as_str()),
            ("x-amz-date", time),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        for (method, path, headers, body, expected) in [
            (
                "GET",
                "/test.txt",
                &get[..],
                &empty,
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                "PUT",
                "/test%24file.text",
                &put,
                &text,
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
        ] {
            let told = keys.authorization(&Signed { method, path, headers, body, time });
            let (_, signature) = told.rsplit_once("Signature=").unwrap();
            assert_eq!(signature, expected, "{method} {path}");
            let begin = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,";
            assert!(told.starts_with(begin), "{told}");
        }
        assert!(!format!("{keys:?}").contains("wJalr"), "{keys:?}");
    }
}
