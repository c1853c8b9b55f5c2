//! Clients that send slowly, never finish, or open streams only to reset them.
//!
//! The time that the head of a request may take, and peers that answer pings and ask nothing, have
//! their tests beside the listener.
//!
//! Covers: security H12.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::client::Client;
use crate::harness::server::TestServer;

async fn connected(client: &Client) -> TcpStream {
    let address = client.root().trim_start_matches("http://").to_owned();
    TcpStream::connect(address).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_in_ends_with_the_time_of_a_request() {
    let server = TestServer::start_with(&[("http.request_timeout_s", "2")]).await;
    let mut slow = Vec::new();
    let host = server.client.root().trim_start_matches("http://");
    let head = format!(
        "POST /fhir/Patient HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/fhir+json\r\n\
         Content-Length: 10000\r\n\r\n{{"
    );
    for _ in 0..50 {
        let mut stream = connected(&server.client).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let began = Instant::now();
    // Meanwhile all others are served.
    server.client.get("/Patient").await.expect(200);
    for mut stream in slow {
        let mut answer = vec![0; 12];
        let answered = async {
            while stream.write_all(b" ").await.is_ok() {
                let read = stream.read_exact(&mut answer);
                if let Ok(read) = tokio::time::timeout(Duration::from_millis(100), read).await {
                    return read.map(|_| answer.clone());
                }
            }
            Ok(Vec::new())
        };
        let answer = tokio::time::timeout(Duration::from_secs(20), answered).await;
        let answer = answer.expect("it may go on for ever").unwrap_or_default();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 50"), "{answer:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    server.client.get("/Patient").await.expect(200);
    server.stop().await;
}

/// What begins a connection of HTTP/2, with settings that leave all as it is.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The head of `GET /health/live` on a stream, and the reset of the stream.
fn opened_and_reset(stream: u32) -> Vec<u8> {
    let mut bytes = b"\0\0\x10\x01\x05".to_vec();
    bytes.extend(stream.to_be_bytes());
    bytes.extend(b"\x82\x86\x04\x0c/health/live");
    bytes.extend(b"\0\0\x04\x03\0");
    bytes.extend(stream.to_be_bytes());
    bytes.extend(8_u32.to_be_bytes());
    bytes
}

/// Type and payload of the next frame.
async fn frame(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await?;
    Ok((head[3], payload))
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_end_their_connection() {
    let server = TestServer::start().await;
    let mut stream = connected(&server.client).await;
    stream.write_all(HTTP2).await.unwrap();
    let (kind, settings) = frame(&mut stream).await.unwrap();
    assert_eq!(kind, 4);
    let most = settings
        .chunks(6)
        .find(|setting| setting[..2] == [0, 3])
        .map(|setting| u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]));
    assert!(most.is_some_and(|most| (1..=1_000).contains(&most)), "{settings:?}");
    let flood: Vec<u8> = (0..20_000_u32).flat_map(|at| opened_and_reset(2 * at + 1)).collect();
    let (mut read, mut write) = stream.into_split();
    let sending = tokio::spawn(async move { write.write_all(&flood).await });
    let mut said = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), read.read_to_end(&mut said)).await;
    assert!(ended.is_ok(), "the flood may go on");
    sending.abort();
    server.client.get("/Patient").await.expect(200);
    server.stop().await;
}
