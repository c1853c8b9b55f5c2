//! Runs one case against a server and tells the first thing that differs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln::access::Principal;
use kiln::fhir::json::{Object, Value};

use super::case::{Case, NOBODY, Variables, folder};
use super::{searchset, smart};
use crate::harness::client::{Answer, Call, Client};
use crate::harness::grants::Token;
use crate::harness::json::{at, difference, has_form, same};
use crate::harness::seats::Seats;
use crate::harness::server::TestServer;

/// Where a case runs.
pub(crate) struct Place {
    pub(crate) server: TestServer,
    pub(crate) seats: Seats,
}

impl Place {
    /// A server that lets everybody in, or one that asks for tokens.
    pub(crate) async fn start(is_smart: bool) -> Self {
        let server = if is_smart { smart::server().await } else { TestServer::start().await };
        let seats = Seats::open(&server).await;
        Self { server, seats }
    }

    pub(crate) async fn stop(self) {
        drop(self.seats);
        self.server.stop().await;
    }
}

/// Runs `case`; `unique` makes its ids differ from those of all other cases.
///
/// # Errors
/// The file, the step, what differs, the request and the answer.
pub(crate) async fn run(case: &Case, place: &Place, unique: &str) -> Result<(), String> {
    let main = &place.server.client;
    let mut variables = Variables::new(&main.base(), main.root(), unique);
    // Where everybody needs a token, an endpoint beside it takes what is given.
    let giver = if case.smart { &place.seats.client } else { main };
    let everybody = format!("{unique}-given");
    place.seats.seat(&everybody, Principal::open());
    for resource in &case.given {
        give(giver, &variables.fill_all(resource)?, &everybody)
            .await
            .map_err(|reason| format!("{}: given: {reason}", case.path.display()))?;
    }
    for (number, step) in case.steps.iter().enumerate() {
        let at = || {
            let request = step.str_at("request").unwrap_or_default();
            format!("{}: step {number} ({request})", case.path.display())
        };
        let granted = step.str_at("grant");
        let client = granted.map_or(main, |_| &place.seats.client);
        let mut call = request(client, step, &variables).map_err(|e| format!("{}: {e}", at()))?;
        if let Some(name) = granted.filter(|name| *name != NOBODY) {
            let token = seat(case, place, name, &variables).await?;
            call = call.header("Authorization", &format!("Bearer {token}"));
        }
        let answer = call.try_send().await.map_err(|error| format!("{}: {error}", at()))?;
        let expected = step.get("expect").map(|expect| variables.fill_all(expect)).transpose()?;
        let checked = expected.as_ref().map_or(Ok(()), |expect| {
            check(&answer, expect)?;
            searchset::check(&answer, expect, unique, &client.base())
        });
        let kept = checked.and_then(|()| keep(&answer, step, &mut variables));
        kept.map_err(|reason| format!("{}: {reason}\n{answer:?}", at()))?;
    }
    Ok(())
}

/// A token of the caller `name`, worth what it is at this moment.
async fn seat(
    case: &Case,
    place: &Place,
    name: &str,
    variables: &Variables,
) -> Result<String, String> {
    let grant = case.grants.get(name).ok_or("no such grant")?;
    let grant = variables.fill_all(grant)?;
    let mut token = Token::new(&place.server, grant.str_at("scopes").unwrap_or_default());
    if let Some(patient) = grant.str_at("patient") {
        token = token.patient(patient);
    }
    if let Some(user) = grant.str_at("fhirUser") {
        let roles: Vec<_> = grant.items_at("roles").iter().filter_map(Value::as_str).collect();
        token = token.user(user, &roles);
    }
    if grant.get("knowsUser").and_then(Value::as_bool) == Some(true) {
        token = token.knowing_user();
    }
    let text = variables.fill(&format!("${{u}}-{name}"))?;
    // A grant that is none is a token that nobody knows.
    if let Ok(principal) = token.with_what_is_stored().await.try_principal() {
        place.seats.seat(&text, principal);
    }
    Ok(text)
}

async fn give(client: &Client, resource: &Value<'_>, token: &str) -> Result<(), String> {
    let url = match (resource.str_at("resourceType"), resource.str_at("id")) {
        (Some(of), Some(id)) => format!("/{of}/{id}"),
        _ => return Err("no type or id".to_owned()),
    };
    let call = client.call("PUT", &url).header("Authorization", &format!("Bearer {token}"));
    let answer = call.json(resource.to_text()).send().await;
    if answer.status == 201 { Ok(()) } else { Err(format!("PUT {url}: {answer:?}")) }
}

fn request<'a>(
    client: &'a Client,
    step: &Value<'_>,
    variables: &Variables,
) -> Result<Call<'a>, String> {
    let line = step.str_at("request").ok_or("no request")?;
    let (method, url) = line.split_once(' ').ok_or("the request is not METHOD url")?;
    let mut call = client.call(method, &variables.fill(url)?);
    let mut has_type = false;
    if let Some(headers) = step.get("headers").and_then(Value::as_object) {
        for (name, value) in headers.iter() {
            has_type |= name.eq_ignore_ascii_case("Content-Type");
            let values = value.as_array().unwrap_or(std::slice::from_ref(value));
            for value in values.iter().filter_map(Value::as_str) {
                call = call.header(name, &variables.fill(value)?);
            }
        }
    }
    let body = body(step, variables)?;
    if body.is_some() && !has_type {
        call = call.header("Content-Type", "application/fhir+json");
    }
    Ok(call.body(body.unwrap_or_default()))
}

fn body(step: &Value<'_>, variables: &Variables) -> Result<Option<Vec<u8>>, String> {
    if let Some(json) = step.get("body") {
        return Ok(Some(variables.fill_all(json)?.to_text().into_bytes()));
    }
    if let Some(text) = step.str_at("bodyText") {
        return Ok(Some(variables.fill(text)?.into_bytes()));
    }
    if let Some(text) = step.str_at("bodyBase64") {
        return STANDARD.decode(text).map(Some).map_err(|error| error.to_string());
    }
    let Some(file) = step.str_at("bodyFile") else { return Ok(None) };
    std::fs::read(folder().join(file)).map(Some).map_err(|error| format!("{file}: {error}"))
}

fn check(answer: &Answer, expect: &Value<'_>) -> Result<(), String> {
    status(answer, expect)?;
    headers(answer, expect)?;
    texts(answer, expect)?;
    let names = ["body", "same", "at", "absent", "count", "issue", "lastModifiedOf"];
    if !names.iter().any(|name| expect.get(name).is_some()) {
        return Ok(());
    }
    let body = kiln::fhir::json::parse(&answer.body).map_err(|e| format!("not JSON: {e:?}"))?;
    if let Some(wanted) = expect.get("body") {
        difference(&body, wanted, "").map_or(Ok(()), Err)?;
    }
    paths(&body, expect)?;
    if let Some(wanted) = expect.get("issue") {
        issue(&body, wanted)?;
    }
    match expect.str_at("lastModifiedOf") {
        Some(path) => last_modified(answer, &body, path),
        None => Ok(()),
    }
}

fn status(answer: &Answer, expect: &Value<'_>) -> Result<(), String> {
    let Some(wanted) = expect.get("status") else { return Ok(()) };
    let actual = answer.status.to_string();
    let wanted_all = wanted.as_array().unwrap_or(std::slice::from_ref(wanted));
    if wanted_all.iter().any(|wanted| wanted.as_number() == Some(&actual)) {
        return Ok(());
    }
    Err(format!("expected status {}, got {actual}", wanted.to_text()))
}

fn headers(answer: &Answer, expect: &Value<'_>) -> Result<(), String> {
    let Some(wanted) = expect.get("headers").and_then(Value::as_object) else { return Ok(()) };
    for (name, wanted) in wanted.iter() {
        let actual = answer.header(name);
        let all = wanted.as_array().unwrap_or(std::slice::from_ref(wanted));
        if !all.iter().all(|wanted| header_fits(actual.as_deref(), wanted)) {
            return Err(format!("header {name}: expected {}, got {actual:?}", wanted.to_text()));
        }
    }
    Ok(())
}

fn header_fits(actual: Option<&str>, wanted: &Value<'_>) -> bool {
    match (wanted.as_str(), actual) {
        (None, None) => true,
        (Some(wanted), Some(actual)) => match wanted.strip_prefix('~') {
            Some(pattern) => has_form(actual, pattern),
            None => actual == wanted,
        },
        _ => false,
    }
}

fn texts(answer: &Answer, expect: &Value<'_>) -> Result<(), String> {
    let text = answer.text();
    let list = |name| expect.items_at(name).iter().filter_map(Value::as_str);
    if let Some(part) = list("text").find(|part| !text.contains(*part)) {
        return Err(format!("the body lacks {part:?}"));
    }
    if let Some(part) = list("notText").find(|part| text.contains(*part)) {
        return Err(format!("the body has {part:?}"));
    }
    match expect.get("empty").and_then(Value::as_bool) {
        Some(empty) if empty != answer.body.is_empty() => Err(format!("expected empty: {empty}")),
        _ => Ok(()),
    }
}

fn paths(body: &Value<'_>, expect: &Value<'_>) -> Result<(), String> {
    if let Some(path) = expect
        .items_at("absent")
        .iter()
        .filter_map(Value::as_str)
        .find(|path| at(body, path).is_some())
    {
        return Err(format!("{path} is there"));
    }
    let pairs = |name| expect.get(name).and_then(Value::as_object).into_iter();
    for (path, wanted) in pairs("at").flat_map(Object::iter) {
        let actual = at(body, path).ok_or_else(|| format!("{path} is missing"))?;
        difference(actual, wanted, path).map_or(Ok(()), Err)?;
    }
    for (path, wanted) in pairs("same").flat_map(Object::iter) {
        let actual = at(body, path).ok_or_else(|| format!("{path} is missing"))?;
        if !same(actual, wanted) {
            let (actual, wanted) = (actual.to_text(), wanted.to_text());
            return Err(format!("{path}: expected exactly {wanted}, got {actual}"));
        }
    }
    for (path, wanted) in pairs("count").flat_map(Object::iter) {
        let items = at(body, path).and_then(Value::as_array).map_or(0, <[_]>::len);
        if wanted.as_number() != Some(&items.to_string()) {
            return Err(format!("{path}: expected {} items, got {items}", wanted.to_text()));
        }
    }
    Ok(())
}

fn issue(body: &Value<'_>, wanted: &Value<'_>) -> Result<(), String> {
    if body.str_at("resourceType") != Some("OperationOutcome") {
        return Err("not an OperationOutcome".to_owned());
    }
    let first = at(body, "issue[0]").ok_or("no issue")?;
    for (name, path, usual) in [
        ("code", "code", None),
        ("severity", "severity", Some("error|fatal")),
        ("expression", "expression[0]", None),
        ("diagnostics", "diagnostics", None),
    ] {
        let Some(pattern) = wanted.str_at(name).or(usual) else { continue };
        let actual = at(first, path).and_then(Value::as_str).unwrap_or_default();
        if !has_form(actual, pattern) {
            return Err(format!("issue {name}: expected {pattern:?}, got {actual:?}"));
        }
    }
    Ok(())
}

/// `Last-Modified` is the instant at `path`, cut to whole seconds.
fn last_modified(answer: &Answer, body: &Value<'_>, path: &str) -> Result<(), String> {
    let instant = at(body, path).and_then(Value::as_str).ok_or("no instant")?;
    let time: jiff::Timestamp = instant.parse().map_err(|error| format!("{instant}: {error}"))?;
    let wanted = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .map_err(|error| error.to_string())?;
    let actual = answer.header("Last-Modified").ok_or("no Last-Modified")?;
    if actual == wanted {
        return Ok(());
    }
    Err(format!("Last-Modified is {actual}, {path} is {instant}"))
}

fn keep(answer: &Answer, step: &Value<'_>, variables: &mut Variables) -> Result<(), String> {
    let Some(saves) = step.get("save").and_then(Value::as_object) else { return Ok(()) };
    for (name, from) in saves.iter() {
        let from = from.as_str().unwrap_or_default();
        let value = match from.strip_prefix("header:") {
            Some(header) => answer.header(header).map(Value::from),
            None if from == "text" => Some(Value::from(answer.text())),
            None => at(&answer.json(), from).map(|value| value.clone().into_owned()),
        };
        variables.set(name, value.ok_or_else(|| format!("nothing to save at {from:?}"))?);
    }
    Ok(())
}
