//! The server of cases that are about tokens, with the clients that they name.

use crate::harness::server::TestServer;
use crate::oauth::browser::{register, server_with};
use crate::oauth::tokens::client::{confidential, public, service};

/// The name that the server is reached by from outside.
const BASE: &str = "https://fhir.example.org/fhir";

/// A public app `app`, a confidential one `web`, and a service `job`; who has a secret has the same.
pub(super) async fn server() -> TestServer {
    let server = server_with(&[("http.base_url", BASE)]).await;
    let scopes = "launch/patient openid fhirUser offline_access patient/*.rs user/*.rs";
    register(&server, &public("app", scopes)).await;
    register(&server, &confidential("web", scopes)).await;
    register(&server, &service("job", "system/Patient.rs system/Observation.cruds")).await;
    server
}
