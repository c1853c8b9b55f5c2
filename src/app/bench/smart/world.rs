//! What is measured with: a patient, tokens that reach it, and consents that deny a part of it.

use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::super::connection::Connection;
use super::super::target::Target;
use super::super::{Bench, BenchError};
use super::failed;
use crate::app::authority::operator;
use crate::fhir::LogicalId;
use crate::fhir::json::parse;
use crate::oauth::Authority;
use crate::oauth::development::Wanted;
use crate::oauth::login::Account;

/// How long tokens count.
const LIFETIME: Duration = Duration::from_hours(4);
/// How long what a token may do is remembered, and a little more.
const REMEMBERED: Duration = Duration::from_secs(6);
/// Patients among whom the one with most Observations is taken.
const CANDIDATES: usize = 20;
/// What the consents deny: codes that demo data lacks, so that all answers stay the same.
const DENIED: [&str; 3] = ["1", "2", "3"];
/// Categories of the granular scopes.
const CATEGORIES: [&str; 9] = [
    "laboratory",
    "vital-signs",
    "social-history",
    "survey",
    "imaging",
    "procedure",
    "exam",
    "therapy",
    "activity",
];
/// Categories of the same of Conditions.
const PROBLEMS: [&str; 3] = ["problem-list-item", "encounter-diagnosis", "health-concern"];
/// Codes of the rest, which make twenty.
const CODES: [&str; 8] =
    ["8867-4", "9279-1", "8310-5", "8302-2", "29463-7", "39156-5", "85354-9", "2708-6"];

/// Who asks, and what for.
pub(super) struct World {
    /// With every scope, as the open policy.
    pub(super) open: Target,
    /// With the scopes of one patient.
    pub(super) patient: Target,
    /// With twenty granular scopes.
    pub(super) granular: Target,
    /// Who keeps consents, and whose they are.
    keeper: Target,
    id: LogicalId,
    /// Observations of the patient, each by its id.
    pub(super) reads: Vec<String>,
    /// Searches for what the patient has.
    pub(super) searches: Vec<String>,
    /// The same without what granular scopes leave out.
    pub(super) narrow: Vec<String>,
}

impl World {
    /// Looks for a patient in what is loaded, and makes tokens and consents.
    pub(super) async fn make(bench: &Bench, authority: &Authority) -> Result<Self, BenchError> {
        let with = async |scopes: &str, patient: Option<&LogicalId>, user: Option<&Account>| {
            let token = token(authority, scopes, patient, user).await?;
            Ok::<_, BenchError>(bench.target.with(&format!("Authorization: Bearer {token}")))
        };
        let open = with("system/*.cruds", None, None).await?;
        let patient = busiest(&open).await?;
        let observations =
            entries(&open, &format!("/Observation?patient={patient}&_count=200")).await?;
        let reads: Vec<String> =
            observations.iter().map(|id| format!("/Observation/{id}")).collect();
        if reads.is_empty() {
            return Err(BenchError::Tokens("the base has no Observation of a patient".to_owned()));
        }
        let keeper = account(authority, "kiln-bench-privacy", "privacy").await?;
        let keeper = with("user/Consent.cruds", None, Some(&keeper)).await?;
        let doctor = account(authority, "kiln-bench-doctor", "practitioner").await?;
        let search = |rest: &str| format!("/{rest}&patient={patient}&_count=20");
        let world = Self {
            patient: with("patient/*.rs", Some(&patient), None).await?,
            granular: with(&granular(), None, Some(&doctor)).await?,
            open,
            keeper,
            id: patient.clone(),
            reads,
            searches: [
                "Observation?_sort=-date",
                "Condition?_sort=-recorded-date",
                "Encounter?_sort=-date",
            ]
            .map(search)
            .into(),
            narrow: ["Observation?category=laboratory", "Observation?category=vital-signs"]
                .map(search)
                .into(),
        };
        // A run that was ended may have left them.
        world.deny(false).await?;
        Ok(world)
    }

    /// Puts the consents into force, or out of it, and waits until nobody remembers otherwise. Where there
    /// are any, the open policy has limits too.
    pub(super) async fn deny(&self, is_denied: bool) -> Result<(), BenchError> {
        for code in DENIED {
            put(&self.keeper, code, &self.id, is_denied).await?;
        }
        tokio::time::sleep(REMEMBERED).await;
        Ok(())
    }
}

/// Who may load what is measured with.
pub(super) async fn loader(authority: &Authority, plain: &Target) -> Result<Target, BenchError> {
    let token = token(authority, "system/*.cruds", None, None).await?;
    Ok(plain.with(&format!("Authorization: Bearer {token}")))
}

/// Twenty scopes with criteria.
fn granular() -> String {
    const OBSERVATION: &str = "http://terminology.hl7.org/CodeSystem/observation-category";
    const CONDITION: &str = "http://terminology.hl7.org/CodeSystem/condition-category";
    let categories =
        CATEGORIES.iter().map(|it| format!("user/Observation.rs?category={OBSERVATION}|{it}"));
    let problems = PROBLEMS.iter().map(|it| format!("user/Condition.rs?category={CONDITION}|{it}"));
    let codes = CODES.iter().map(|it| format!("user/Observation.rs?code=http://loinc.org|{it}"));
    categories.chain(problems).chain(codes).collect::<Vec<_>>().join(" ")
}

async fn token(
    authority: &Authority,
    scopes: &str,
    patient: Option<&LogicalId>,
    account: Option<&Account>,
) -> Result<String, BenchError> {
    let wanted = Wanted { scopes, patient, account, reason: None, lifetime: LIFETIME };
    let made = authority.development_token(wanted, &operator(authority, "bench smart")).await;
    let made = made.map_err(|refusal| BenchError::Tokens(refusal.told()))?;
    Ok(made.expose_secret().to_owned())
}

/// The account of a name, made without a password unless it is there.
async fn account(authority: &Authority, name: &str, role: &str) -> Result<Account, BenchError> {
    if authority.account_named(name).await.map_err(failed)?.is_none() {
        let made = authority.add_account(name, None, None, &[role.to_owned()]).await;
        made.map_err(failed)?;
    }
    let found = authority.account_named(name).await.map_err(failed)?;
    found.ok_or_else(|| BenchError::Tokens(format!("the account {name} is disabled")))
}

/// The patient with most Observations among some.
async fn busiest(open: &Target) -> Result<LogicalId, BenchError> {
    let mut most = None;
    for id in entries(open, &format!("/Patient?_count={CANDIDATES}")).await? {
        let path = format!("/Observation?patient={id}&_count=200");
        let count = entries(open, &path).await?.len();
        if most.as_ref().is_none_or(|(known, _)| count > *known) {
            most = Some((count, id));
        }
    }
    let id = most.and_then(|(_, id)| id.parse().ok());
    id.ok_or_else(|| BenchError::Tokens("the base has no patient".to_owned()))
}

/// The ids that a search gives.
pub(super) async fn entries(target: &Target, path: &str) -> Result<Vec<String>, BenchError> {
    let mut connection = Connection::new(target);
    let answer = connection.send("GET", path, None).await;
    let answer = answer.map_err(BenchError::io(path.to_owned()))?;
    if !answer.is_success() {
        return Err(BenchError::refused(&answer));
    }
    let bundle = parse(answer.body).map_err(failed)?;
    let resources = bundle.items_at("entry").iter().filter_map(|entry| entry.get("resource"));
    Ok(resources.filter_map(|it| it.str_at("id")).map(str::to_owned).collect())
}

/// Stores a consent of the patient that denies a code, in force or not.
async fn put(
    keeper: &Target,
    code: &str,
    patient: &LogicalId,
    is_active: bool,
) -> Result<(), BenchError> {
    let status = if is_active { "active" } else { "inactive" };
    let path = format!("/Consent/kiln-bench-{code}");
    let body = format!(
        r#"{{"resourceType":"Consent","id":"kiln-bench-{code}","status":"{status}","scope":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}}]}},"category":[{{"text":"privacy"}}],"patient":{{"reference":"Patient/{patient}"}},"policyRule":{{"text":"ours"}},"provision":{{"type":"permit","provision":[{{"type":"deny","code":[{{"coding":[{{"system":"urn:kiln:bench","code":"{code}"}}]}}]}}]}}}}"#
    );
    let mut connection = Connection::new(keeper);
    let answer = connection.send("PUT", &path, Some(body.as_bytes())).await;
    let answer = answer.map_err(BenchError::io(path))?;
    if answer.is_success() { Ok(()) } else { Err(BenchError::refused(&answer)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_twenty_granular_scopes() {
        assert_eq!(granular().split(' ').count(), 20);
    }
}
