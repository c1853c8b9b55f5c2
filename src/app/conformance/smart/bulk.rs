//! Bulk data: what a backend service may export, from the kick-off to the last line of the files.
//!
//! What is exported whole is the group that the options name, else all patients; of the other levels the
//! kick-off is asked for and cancelled.

use std::collections::BTreeSet;
use std::time::Duration;

use hyper::Method;
use hyper::header::{ACCEPT, HeaderName};
use serde_json::Value;

use super::super::http::{Answer, Call};
use super::super::report::{Found, ensure};
use super::super::url::{are_of_one_origin, escape};
use super::super::valid::{Definitions, claims_us_core};
use super::Suite;
use super::launch::Tokens;

const ITEM: &str = "I0.3.1";
const OF_GROUP: &str = "I0.2.13";
const JSON: &str = "application/fhir+json";
const LINES: &str = "application/fhir+ndjson";

/// The operation, as the guide defines it.
const DEFINED: &str = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/";
/// Ways to ask for lines of JSON.
const FORMATS: &[&str] = &["application/fhir+ndjson", "application/ndjson", "ndjson"];
/// What a manifest has.
const MANIFEST: &[&str] = &["transactionTime", "request", "requiresAccessToken", "output", "error"];
/// How long an export may take.
const PATIENCE: Duration = Duration::from_mins(10);
/// Most redirects to one file.
const MOST_REDIRECTS: usize = 5;

/// Types that US Core has profiles of, whatever the resource is about.
const PROFILED: &[&str] = &[
    "AllergyIntolerance",
    "CarePlan",
    "CareTeam",
    "Condition",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "Goal",
    "Immunization",
    "Location",
    "Medication",
    "MedicationRequest",
    "Organization",
    "Patient",
    "Practitioner",
    "Procedure",
];

impl Suite {
    /// All checks of exports, with the token of a service.
    pub(super) async fn bulk(&mut self, granted: &Tokens) {
        let token = granted.access().to_owned();
        let statement = self.fhir("metadata", &token).await.and_then(|it| it.json());
        let statement = statement.unwrap_or_default();
        if !statement.to_string().contains("\"export\"") {
            let why = "the CapabilityStatement declares no export";
            self.report.skip(ITEM, "export", why);
            return;
        }
        self.exports_declared(&statement);
        self.services_declared();
        self.bulk_transport().await;
        let mut levels = vec!["Patient/$export".to_owned(), "$export".to_owned()];
        match &self.options.group {
            Some(group) => levels.insert(0, format!("Group/{group}/$export")),
            None => self.report.skip(OF_GROUP, "files of a group", "no group is given"),
        }
        let definitions = match Definitions::read(&self.base) {
            Ok(definitions) => definitions,
            Err(why) => return self.report.skip(ITEM, "export", why),
        };
        for (at, level) in levels.iter().enumerate() {
            self.report.enter(level.clone());
            let found = self.kick_off_without_token(level).await;
            self.report.must(ITEM, "a kick-off without a token is refused", found);
            let found = self.cancelled(level, &token, &definitions).await;
            self.report.must(ITEM, "an export is begun, cancelled, and gone", found);
            if at == 0 {
                self.parameters(level, &token, &definitions).await;
                self.whole(level, &token, &definitions).await;
            }
        }
        self.report.enter("");
    }

    /// The operation at each level.
    fn exports_declared(&mut self, statement: &Value) {
        let rest = &statement["rest"][0];
        let is_export = |operation: &Value| operation["name"] == "export";
        let operations = |of: &Value| of["operation"].as_array().cloned().unwrap_or_default();
        let mut all = operations(rest).into_iter().filter(is_export).collect::<Vec<_>>();
        let system = ensure(!all.is_empty(), || "no export of the system".to_owned());
        self.report.must(ITEM, "the operation is declared", system);
        for name in ["Group", "Patient"] {
            let types = rest["resource"].as_array().into_iter().flatten();
            let own = types.filter(|of| of["type"] == name).flat_map(operations);
            let own: Vec<Value> = own.filter(is_export).collect();
            let found = ensure(!own.is_empty(), || format!("no export of {name}"));
            self.report.must(ITEM, "the operation is declared", found);
            all.extend(own);
        }
        let texts = |list: &Value| list.as_array().cloned().unwrap_or_default();
        let is_guide = |it: &Value| it.as_str().is_some_and(|url| url.contains("bulk-data"));
        let found = ensure(texts(&statement["instantiates"]).iter().any(is_guide), || {
            "instantiates does not name bulk-data".to_owned()
        });
        self.report.should(ITEM, "the guide is named", found);
        let is_defined =
            |it: &Value| it["definition"].as_str().is_some_and(|url| url.starts_with(DEFINED));
        let found = ensure(all.iter().all(is_defined), || format!("not all begin with {DEFINED}"));
        self.report.should(ITEM, "the operations are those of the guide", found);
    }

    /// What the SMART configuration says for services.
    fn services_declared(&mut self) {
        let has = |name: &str, any: &[&str]| {
            let list = self.configuration[name].as_array();
            let holds =
                list.is_some_and(|all| all.iter().any(|it| any.iter().any(|own| it == own)));
            ensure(holds, || format!("{name} has none of {}", any.join(", ")))
        };
        let scopes = self.configuration["scopes_supported"].as_array();
        let has_scopes = scopes.is_some_and(|all| !all.is_empty());
        let all = [
            self.endpoint("token_endpoint").map(drop),
            has("token_endpoint_auth_methods_supported", &["private_key_jwt"]),
            has("token_endpoint_auth_signing_alg_values_supported", &["RS384", "ES384"]),
            ensure(has_scopes, || "no scopes_supported".to_owned()),
        ];
        for found in all {
            self.report.must(ITEM, "the SMART configuration is for services", found);
        }
    }

    async fn bulk_transport(&mut self) {
        let check = "the FHIR base speaks TLS 1.2 or newer only";
        let metadata = format!("{}/metadata", self.base);
        if metadata.starts_with("http://") {
            self.report.skip(ITEM, check, format!("{metadata} is plain HTTP"));
            return;
        }
        let found = self.only_new(&metadata).await;
        self.report.must(ITEM, check, found);
    }

    fn kick_off(&self, level: &str) -> Call {
        let call = Call::get(format!("{}/{level}", self.base));
        call.header(ACCEPT, JSON).header(HeaderName::from_static("prefer"), "respond-async")
    }

    async fn kick_off_without_token(&self, level: &str) -> Found {
        let answer = self.http.send(self.kick_off(level)).await?;
        answer.expect(&[400, 401])?;
        ensure(answer.header("content-location").is_none(), || "an export began".to_owned())
    }

    /// Where an export is that was begun.
    async fn place(&self, level: &str, token: &str) -> Result<String, String> {
        let answer = self.http.send(self.kick_off(level).bearer(token)).await?;
        answer.expect(&[202])?;
        let place = answer.header("content-location").unwrap_or_default().to_owned();
        takes_token(&self.base, &place).map_err(|why| format!("Content-Location: {why}"))?;
        Ok(place)
    }

    /// Begins an export and ends it; then there is none.
    async fn cancelled(&self, level: &str, token: &str, definitions: &Definitions) -> Found {
        let place = self.place(level, token).await?;
        let end = Call::new(Method::DELETE, &place).header(ACCEPT, JSON).bearer(token);
        self.http.send(end).await?.expect(&[202])?;
        let answer = self.http.send(status(&place, token)).await?;
        answer.expect(&[404])?;
        definitions.check(&answer.text(), "OperationOutcome")
    }

    /// Parameters that every server takes.
    async fn parameters(&mut self, level: &str, token: &str, definitions: &Definitions) {
        let formats = FORMATS.iter().map(|format| {
            let format = escape(format);
            ("_outputFormat is taken", format!("{level}?_outputFormat={format}"))
        });
        let since = "2024-01-01T00%3A00%3A00Z";
        let since = ("_since is taken", format!("{level}?_since={since}"));
        for (check, asked) in formats.chain([since]).collect::<Vec<_>>() {
            let found = self.cancelled(&asked, token, definitions).await;
            self.report.must(ITEM, check, found);
        }
    }

    /// A whole export, and all that its files hold.
    async fn whole(&mut self, level: &str, token: &str, definitions: &Definitions) {
        let manifest = match self.place(level, token).await {
            Ok(place) => self.manifest(&place, token).await,
            Err(why) => Err(why),
        };
        let found = manifest.as_ref().map(|_| ()).map_err(Clone::clone);
        self.report.must(ITEM, "an export ends with a manifest", found);
        let Ok(manifest) = manifest else { return };
        let mut patients = BTreeSet::new();
        for file in manifest["output"].as_array().into_iter().flatten() {
            let found = self.file(file, &manifest, token, definitions, &mut patients).await;
            self.report.must(ITEM, "each line of a file is valid and of its type", found.clone());
            if self.options.group.is_some() {
                self.report.must(OF_GROUP, "each file is valid by US Core", found);
            }
        }
        let found = ensure(patients.len() > 1, || format!("only {} Patients", patients.len()));
        self.report.must(ITEM, "there are two Patients or more", found);
        if let Some(expected) = self.options.group_patients.clone() {
            let expected: BTreeSet<String> = expected.into_iter().collect();
            let found = ensure(patients == expected, || format!("{patients:?}, not {expected:?}"));
            self.report.must(OF_GROUP, "the Patients are those of the group exactly", found);
        }
    }

    /// The manifest, once the export has ended.
    async fn manifest(&mut self, place: &str, token: &str) -> Result<Value, String> {
        let waited = tokio::time::timeout(PATIENCE, self.ended(place, token)).await;
        let answer = waited.map_err(|_| format!("{place} has not ended in time"))??;
        answer.expect(&[200])?;
        let kind = answer.header("content-type").unwrap_or_default();
        ensure(kind.starts_with("application/json"), || format!("the manifest is {kind}"))?;
        let manifest = answer.json()?;
        is_manifest(&manifest, &self.base)?;
        Ok(manifest)
    }

    /// The answer that is no 202 any more.
    async fn ended(&mut self, place: &str, token: &str) -> Result<Answer, String> {
        loop {
            let answer = self.http.send(status(place, token)).await?;
            if answer.status != 202 {
                return Ok(answer);
            }
            let told = answer.header("retry-after").map(str::to_owned);
            let found = ensure(told.is_some(), || "202 without Retry-After".to_owned());
            self.report.should(ITEM, "it is said when to ask again", found);
            let seconds = told.and_then(|text| text.parse().ok()).unwrap_or(2_u64);
            tokio::time::sleep(Duration::from_secs(seconds.clamp(1, 30))).await;
        }
    }

    /// Reads a file that the manifest names.
    async fn file(
        &self,
        file: &Value,
        manifest: &Value,
        token: &str,
        definitions: &Definitions,
        patients: &mut BTreeSet<String>,
    ) -> Found {
        let (of, url) = (file["type"].as_str(), file["url"].as_str());
        let (of, url) = (of.unwrap_or_default(), url.unwrap_or_default());
        let needs_token = manifest["requiresAccessToken"] == true;
        if needs_token {
            self.fetched(url, None).await?.expect(&[400, 401])?;
        }
        let answer = self.fetched(url, Some(token).filter(|_| needs_token)).await?;
        answer.expect(&[200])?;
        let kind = answer.header("content-type").unwrap_or_default();
        ensure(kind.starts_with(LINES), || format!("{url} is {kind}"))?;
        for line in answer.text().lines().filter(|line| !line.is_empty()) {
            definitions.check(line, of)?;
            let has_profile = self.options.group.is_none() || !PROFILED.contains(&of);
            ensure(has_profile || claims_us_core(line), || {
                format!("a {of} claims no profile of US Core: {line}")
            })?;
            if of == "Patient" {
                let value: Value = serde_json::from_str(line).map_err(|it| it.to_string())?;
                patients.insert(value["id"].as_str().unwrap_or_default().to_owned());
            }
        }
        Ok(())
    }

    /// A file, wherever it is: who is sent elsewhere takes no token there.
    async fn fetched(&self, url: &str, token: Option<&str>) -> Result<Answer, String> {
        let (mut url, mut token) = (url.to_owned(), token);
        for _ in 0..MOST_REDIRECTS {
            let call = Call::get(&url).header(ACCEPT, LINES);
            let call = match token.take() {
                Some(token) => call.bearer(token),
                None => call,
            };
            let answer = self.http.send(call).await?;
            if !(300..400).contains(&answer.status) {
                return Ok(answer);
            }
            answer.header("location").unwrap_or_default().clone_into(&mut url);
            is_absolute(&url)?;
        }
        Err(format!("{url}: too many redirects"))
    }
}

/// A question how far an export is.
fn status(place: &str, token: &str) -> Call {
    Call::get(place).header(ACCEPT, "application/json").bearer(token)
}

/// Whether it has what a manifest has, and names files that may be asked for.
fn is_manifest(manifest: &Value, base: &str) -> Found {
    let lacking = MANIFEST.iter().find(|name| manifest[**name].is_null());
    ensure(lacking.is_none(), || format!("the manifest has no {}", lacking.unwrap_or(&"")))?;
    for file in manifest["output"].as_array().into_iter().flatten() {
        ensure(file["type"].is_string(), || "a file has no type".to_owned())?;
        let url = file["url"].as_str().unwrap_or_default();
        is_absolute(url)?;
        if manifest["requiresAccessToken"] == true {
            takes_token(base, url)?;
        }
    }
    Ok(())
}

fn is_absolute(url: &str) -> Found {
    let is_absolute = url.starts_with("https://") || url.starts_with("http://");
    ensure(is_absolute, || format!("{url:?} is no absolute address"))
}

/// Whether the token may be shown at an address that the server gives: it is for nobody but the server.
fn takes_token(base: &str, url: &str) -> Found {
    is_absolute(url)?;
    ensure(are_of_one_origin(base, url), || {
        format!("{url:?} is elsewhere than {base}: the token is not sent there")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_for_nobody_but_the_server() {
        let base = "https://h/fhir";
        for (url, takes, is_file) in [
            ("https://h/fhir/$export/1", true, true),
            ("https://h:443/files/1", true, true),
            ("http://h/fhir/$export/1", false, true),
            ("https://h:8443/files/1", false, true),
            ("https://files.example/1", false, true),
            ("/files/1", false, false),
            ("", false, false),
        ] {
            assert_eq!(takes_token(base, url).is_ok(), takes, "{url}");
            for (needs_token, expected) in [(true, takes), (false, is_file)] {
                let manifest = serde_json::json!({
                    "transactionTime": "2024-01-01T00:00:00Z", "request": "https://h/fhir/$export",
                    "requiresAccessToken": needs_token, "error": [],
                    "output": [{ "type": "Patient", "url": url }],
                });
                assert_eq!(is_manifest(&manifest, base).is_ok(), expected, "{needs_token} {url}");
            }
        }
    }
}
