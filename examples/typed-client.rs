//! A small client in typed Rust: create a Patient, read it back.
//!
//! Start Kiln (`make run`), then:
//!
//! ```text
//! cargo run -p kiln-conformance --example typed-client
//! cargo run -p kiln-conformance --example typed-client -- http://host:8080/fhir
//! ```
//!
//! The types come from fhirbolt, whose R4 structs take minutes to build for the first time.

use std::error::Error;

use fhirbolt::model::r4::resources::Patient;
use fhirbolt::model::r4::types::{ContactPoint, HumanName};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

const FHIR_JSON: &str = "application/fhir+json";

/// What the server answered.
struct Answer {
    status: StatusCode,
    location: Option<String>,
    body: Bytes,
}

async fn send(method: Method, url: &str, body: Vec<u8>) -> Result<Answer, Box<dyn Error>> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header(ACCEPT, FHIR_JSON)
        .header(CONTENT_TYPE, FHIR_JSON)
        .body(Full::new(Bytes::from(body)))?;
    let response = client.request(request).await?;
    let status = response.status();
    let location = response.headers().get(LOCATION).and_then(|text| text.to_str().ok());
    let location = location.map(str::to_owned);
    let body = response.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
    }
    Ok(Answer { status, location, body })
}

/// A new patient; everything else is left at its default, which is absent.
fn patient() -> Patient {
    Patient {
        active: Some(true.into()),
        name: vec![HumanName {
            family: Some("Ångström".into()),
            given: vec!["Anna".into(), "Maria".into()],
            ..Default::default()
        }],
        telecom: vec![ContactPoint {
            system: Some("email".into()),
            value: Some("anna@example.org".into()),
            ..Default::default()
        }],
        gender: Some("female".into()),
        birth_date: Some("1974-12-25".into()),
        ..Default::default()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let base = std::env::args().nth(1);
    let base = base.as_deref().unwrap_or("http://127.0.0.1:8080/fhir").trim_end_matches('/');

    let body = fhirbolt::json::to_vec(&patient(), None)?;
    let created = send(Method::POST, &format!("{base}/Patient"), body).await?;
    println!("create: {}", created.status);

    // Location names the version that was made; without it there is no way to know the id.
    let location = created.location.ok_or("the server gave no Location")?;
    let version_less = location.split("/_history/").next().unwrap_or(&location);
    let read = send(Method::GET, version_less, Vec::new()).await?;
    let patient: Patient = fhirbolt::json::from_slice(&read.body, None)?;

    let id = patient.id.and_then(|id| id.value).unwrap_or_default();
    let family = patient.name.first().and_then(|name| name.family.as_ref()?.value.clone());
    println!("read:   {} Patient/{id}, {}", read.status, family.unwrap_or_default());
    Ok(())
}
