//! Which patients somebody may choose, and what is shown of them. Everything is read and searched as
//! the person itself, with what its roles let it do, and so goes on record like any other request.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::engine::SearchTarget;
use crate::error::Error;
use crate::fhir::json::{self, Value};
use crate::fhir::query::Query;
use crate::fhir::{Identity, LogicalId, ResourceType, Version};
use crate::http::outcome::Failure;
use crate::oauth::login::{Account, Browser};
use crate::oauth::person::{fhir_user, patient};

use super::visit::Visit;

/// Most patients on a page.
const MOST: usize = 25;

/// Whom somebody may choose.
pub(super) enum Candidates {
    /// These: oneself, and whom one stands for.
    Known(Vec<LogicalId>),
    /// Whoever is found by a search.
    Search,
}

/// What is shown of a patient.
pub(super) struct Shown {
    /// The id.
    pub(super) id: String,
    /// The name.
    pub(super) name: String,
    /// Birth date, sex, identifiers.
    pub(super) details: String,
}

/// Whom the person of an account may choose.
pub(super) async fn candidates(
    visit: &Visit,
    browser: &Browser,
    account: &Account,
) -> Result<Candidates, Failure> {
    let Some((of, id)) = fhir_user(account) else { return Ok(Candidates::Search) };
    let known = match of.as_str() {
        "Patient" => vec![id],
        "Person" | "RelatedPerson" => {
            let identity = Identity { resource_type: of, id };
            match read(visit, browser, account, &identity).await? {
                Some(version) => linked(of, &body(&version)),
                None => Vec::new(),
            }
        }
        _ => return Ok(Candidates::Search),
    };
    let mut there = Vec::new();
    for id in known {
        if read(visit, browser, account, &patient(&id)).await?.is_some() {
            there.push(id);
        }
    }
    Ok(Candidates::Known(there))
}

/// The patients that a RelatedPerson or a Person is about.
fn linked(of: ResourceType, body: &Value<'_>) -> Vec<LogicalId> {
    let references: Vec<&str> = match of.as_str() {
        "RelatedPerson" => {
            body.get("patient").and_then(|it| it.str_at("reference")).into_iter().collect()
        }
        _ => body
            .items_at("link")
            .iter()
            .filter_map(|link| link.get("target")?.str_at("reference"))
            .collect(),
    };
    let ids = references.into_iter().filter_map(|it| it.strip_prefix("Patient/"));
    ids.filter_map(|id| id.parse().ok()).collect()
}

/// A patient as somebody may see it; none where it may not, or there is none.
pub(super) async fn find(
    visit: &Visit,
    browser: &Browser,
    account: &Account,
    id: &LogicalId,
) -> Result<Option<Shown>, Failure> {
    let found = read(visit, browser, account, &patient(id)).await?;
    Ok(found.map(|version| shown(&version)))
}

/// Reads a resource as the person of an account.
pub(super) async fn read(
    visit: &Visit,
    browser: &Browser,
    account: &Account,
    identity: &Identity,
) -> Result<Option<Version>, Failure> {
    let principal = visit.authority.principal_of(account, browser.session.id).await;
    let principal = principal.map_err(Failure::Interaction)?;
    match visit.server.engine.read(identity, &visit.caller(principal)).await {
        Ok(version) => Ok(Some(version)),
        Err(Error::NotFound(_) | Error::Deleted { .. } | Error::Forbidden) => Ok(None),
        Err(error) => Err(Failure::Interaction(error)),
    }
}

/// Patients by name, identifier and birth date; whether there are more.
pub(super) async fn search(
    visit: &Visit,
    browser: &Browser,
    account: &Account,
) -> Result<Option<(Vec<Shown>, bool)>, Failure> {
    let mut text = format!("_count={MOST}&_sort=family,given");
    let mut is_asked = false;
    for name in ["name", "identifier", "birthdate"] {
        let value = visit.value(name).trim();
        if !value.is_empty() {
            is_asked = true;
            // What people type is one value, whatever it holds.
            let value = value.replace('\\', "\\\\").replace(',', "\\,").replace('$', "\\$");
            let value = if name == "identifier" { value } else { value.replace('|', "\\|") };
            text.push_str(&format!("&{name}={}", utf8_percent_encode(&value, NON_ALPHANUMERIC)));
        }
    }
    if !is_asked {
        return Ok(None);
    }
    let query = Query::parse(&text).map_err(Error::from)?;
    let principal = visit.authority.principal_of(account, browser.session.id).await;
    let principal = principal.map_err(Failure::Interaction)?;
    let target = SearchTarget::Type(ResourceType::PATIENT);
    let caller = visit.caller(principal);
    let found = match visit.server.engine.search(&target, &query, false, &caller).await {
        Ok(found) => found,
        Err(Error::Forbidden | Error::Invalid(_)) => return Ok(Some((Vec::new(), false))),
        Err(error) => return Err(Failure::Interaction(error)),
    };
    let is_more = found.page.next.is_some();
    let all = found.page.matches.iter().map(|it| shown(&it.version)).collect();
    Ok(Some((all, is_more)))
}

fn body(version: &Version) -> Value<'_> {
    let parsed = version.body.as_deref().and_then(|bytes| json::parse(bytes).ok());
    parsed.unwrap_or_else(|| Value::from(""))
}

fn shown(version: &Version) -> Shown {
    let body = body(version);
    let details = [
        body.str_at("birthDate").map(|date| format!("born {date}")),
        body.str_at("gender").map(str::to_owned),
        identifiers(&body),
    ];
    Shown {
        id: version.identity.id.as_str().to_owned(),
        name: name(&body).unwrap_or_else(|| "no name".to_owned()),
        details: details.into_iter().flatten().collect::<Vec<_>>().join(", "),
    }
}

/// The name to show: an official one before others.
fn name(body: &Value<'_>) -> Option<String> {
    let names = body.items_at("name");
    let official = names.iter().find(|name| name.str_at("use") == Some("official"));
    let name = official.or(names.first())?;
    if let Some(text) = name.str_at("text") {
        return Some(text.to_owned());
    }
    let given = name.items_at("given").iter().filter_map(Value::as_str);
    let parts: Vec<&str> = given.chain(name.str_at("family")).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn identifiers(body: &Value<'_>) -> Option<String> {
    let all = body.items_at("identifier").iter().filter_map(|it| it.str_at("value"));
    let some: Vec<&str> = all.take(2).collect();
    (!some.is_empty()).then(|| some.join(", "))
}
