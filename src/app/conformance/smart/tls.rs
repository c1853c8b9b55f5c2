//! The transport of the authorization server: TLS 1.2 and newer, nothing older.

use std::time::Duration;

use hyper::Uri;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::http::Call;
use super::super::report::Found;
use super::Suite;

/// Versions that must be refused, as TLS writes them.
const OLD: &[(u16, &str)] = &[(0x0301, "TLS 1.0"), (0x0302, "TLS 1.1")];

/// Suites that servers of that time had: so a refusal is about the version.
const CIPHERS: &[u16] = &[0xc013, 0xc014, 0xc009, 0xc00a, 0x002f, 0x0035, 0x000a];

impl Suite {
    /// The addresses of authorization and of tokens, each.
    pub(super) async fn tls(&mut self) {
        for (item, check, name) in [
            (
                "I0.1.5",
                "authorization endpoint speaks TLS 1.2 or newer only",
                "authorization_endpoint",
            ),
            ("I0.1.6", "token endpoint speaks TLS 1.2 or newer only", "token_endpoint"),
            ("I0.1.13", "token endpoint speaks TLS 1.2 or newer only", "token_endpoint"),
        ] {
            let Ok(endpoint) = self.endpoint(name) else { continue };
            if endpoint.starts_with("http://") {
                self.report.skip(item, check, format!("{endpoint} is plain HTTP"));
                continue;
            }
            let found = self.only_new(&endpoint).await;
            self.report.must(item, check, found);
        }
    }

    /// That an address speaks TLS, and no version that is too old.
    pub(super) async fn only_new(&self, endpoint: &str) -> Found {
        self.http.send(Call::get(endpoint)).await?;
        for (version, name) in OLD {
            let is_taken = tokio::time::timeout(Duration::from_secs(10), takes(endpoint, *version));
            if is_taken.await.unwrap_or(Ok(false)).unwrap_or(false) {
                return Err(format!("{endpoint} takes {name}"));
            }
        }
        Ok(())
    }
}

/// Whether the server answers the hello of an old version with one of its own.
async fn takes(endpoint: &str, version: u16) -> std::io::Result<bool> {
    let uri: Uri = endpoint.parse().map_err(std::io::Error::other)?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let mut stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
    stream.write_all(&hello(version, host)).await?;
    let mut head = [0; 6];
    stream.read_exact(&mut head).await?;
    // A handshake record that holds a ServerHello.
    Ok(head[0] == 22 && head[5] == 2)
}

/// A ClientHello of `version` for `host`.
fn hello(version: u16, host: &str) -> Vec<u8> {
    let with_length = |bytes: Vec<u8>| {
        let mut out = (bytes.len() as u16).to_be_bytes().to_vec();
        out.extend(bytes);
        out
    };
    let extension = |id: u16, data: Vec<u8>| {
        let mut out = id.to_be_bytes().to_vec();
        out.extend(with_length(data));
        out
    };
    let mut name = vec![0];
    name.extend(with_length(host.as_bytes().to_vec()));
    let mut extensions = extension(0, with_length(name));
    // The curve P-256, and points that are not compressed.
    extensions.extend(extension(10, vec![0, 2, 0, 23]));
    extensions.extend(extension(11, vec![1, 0]));

    let mut body = version.to_be_bytes().to_vec();
    // A nonce nobody relies on: the handshake is never finished.
    body.extend([7; 32]);
    body.push(0);
    body.extend(with_length(CIPHERS.iter().flat_map(|suite| suite.to_be_bytes()).collect()));
    body.extend([1, 0]);
    body.extend(with_length(extensions));

    let mut handshake = vec![1, 0];
    handshake.extend(with_length(body));
    let mut record = vec![22, 3, 1];
    record.extend(with_length(handshake));
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lengths_of_a_hello_fit_together() {
        let hello = hello(0x0302, "example.org");
        let number = |at: usize| usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
        assert_eq!(number(3), hello.len() - 5, "record");
        assert_eq!((hello[5], hello[6], number(7)), (1, 0, hello.len() - 9), "handshake");
        assert_eq!(number(9), 0x0302);
        let extensions = 11 + 32 + 1 + 2 + CIPHERS.len() * 2 + 2;
        assert_eq!(number(extensions), hello.len() - extensions - 2);
    }
}
