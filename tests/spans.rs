//! The spans that a collector gets: where time goes, and nothing of a patient.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::harness::server::TestServer;

/// The spans of our target: `parent > name` and the fields.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<String>>);

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0.lock().unwrap(), " {}={value:?}", field.name());
    }
}

impl<S: tracing::Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Seen {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target() != "kiln::span" {
            return;
        }
        let parent = context.span(id).and_then(|span| span.parent());
        let parent = parent.map_or("", |parent| parent.name());
        let name = attributes.metadata().name();
        let _ = write!(self.0.lock().unwrap(), "\n{parent} > {name}");
        attributes.record(&mut self.clone());
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut self.clone());
    }
}

// One thread, so that the subscriber of this test sees the server's tasks and no others.
/// Covers: security X8, security H22.
#[tokio::test]
async fn spans_tell_where_the_time_goes_and_nothing_of_a_patient() {
    let seen = Seen::default();
    // With a single subscriber in the process, threads that have none may decide for all that a span
    // interests nobody.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let _mine = tracing::subscriber::set_default(tracing_subscriber::registry().with(seen.clone()));
    let server = TestServer::start().await;
    let body = r#"{"resourceType":"Patient","id":"secret-id","name":[{"family":"Secretname"}]}"#;
    server.client.put("/Patient/secret-id", body).await.expect(201);
    server.client.get("/Patient/secret-id").await.expect(200);
    server.client.get("/Patient/secret-id/_history/7").await.expect(404);
    server.client.get("/Patient?family=Secretname").await.expect(200);
    server.stop().await;
    let seen = seen.0.lock().unwrap().clone();
    for expected in [
        " > http.request",
        "http.request > fhir.interaction fhir.interaction=\"update\" fhir.resource_type=Patient",
        "http.request > fhir.interaction fhir.interaction=\"read\" fhir.resource_type=Patient",
        "http.request > db.commit",
        "http.request > db.ledger.record",
        "http.route=\"/fhir/{type}/{id}\"",
        "http.status=404",
    ] {
        assert!(seen.contains(expected), "no {expected} in:{seen}");
    }
    assert!(!seen.to_lowercase().contains("secret"), "{seen}");
    // What was not found has a row of its own. A read and a page are on record by what finds them.
    assert_eq!(seen.matches("db.ledger.record").count(), 1, "{seen}");
}
