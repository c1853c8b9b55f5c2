//! Compressed answers are what they would be without: each body decodes by the coding that it names.
//!
//! Covers: rest 1.31.

use std::io::Read as _;

use flate2::read::{GzDecoder, ZlibDecoder};

use crate::harness::server::TestServer;

fn decoded(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let read = match coding {
        "br" => brotli_decompressor::Decompressor::new(body, 4096).read_to_end(&mut out),
        "deflate" => ZlibDecoder::new(body).read_to_end(&mut out),
        "gzip" => GzDecoder::new(body).read_to_end(&mut out),
        "zstd" => {
            out = zstd::decode_all(body).unwrap();
            Ok(out.len())
        }
        other => panic!("an unknown coding {other:?}"),
    };
    read.unwrap_or_else(|error| panic!("{coding}: {error}"));
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_decode_by_the_coding_that_they_name() {
    let server = TestServer::start().await;
    let names = vec![r#"{"family":"Muster","given":["Erika","Maria"]}"#; 200].join(",");
    let patient = format!(r#"{{"resourceType":"Patient","id":"a","name":[{names}]}}"#);
    server.client.put("/Patient/a", patient).await.expect(201);
    for url in ["/metadata", "/Patient/a", "/Patient?_id=a", "/Patient/a/_history", "/Patient/none"]
    {
        for format in ["application/fhir+json", "application/fhir+xml"] {
            let asked = |coding: &str| {
                let call = server.client.call("GET", url).header("Accept", format);
                call.header("Accept-Encoding", coding).send()
            };
            let plain = asked("identity").await;
            assert_eq!(plain.header("Content-Encoding"), None, "{url}");
            for coding in ["br", "deflate", "gzip", "zstd"] {
                let answer = asked(&format!("{coding}, identity;q=0")).await;
                assert_eq!(answer.status, plain.status, "{url} {coding}");
                assert_eq!(answer.header("Content-Encoding").as_deref(), Some(coding), "{url}");
                assert_ne!(answer.body, plain.body, "{url} {coding}: not compressed");
                let once = decoded(coding, &answer.body);
                assert!(once == plain.body, "{url} {format} {coding}: another body");
            }
        }
    }
}
