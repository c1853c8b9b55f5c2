//! Codes of senders of HL7 version 2 that no map has another one for: counted, and added to a profile.
//!
//! Spec: v2 P3, P7

use axum::body::Body;
use axum::http::{Response, StatusCode};

use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::IssueCode;
use crate::fhir::codec::Format;
use crate::fhir::json::{Object, Value};
use crate::hl7v2::codes::{NewCode, Prepared};
use crate::hl7v2::tables::Target;
use crate::http::exchange::Exchange;
use crate::http::outcome::Failure;

use super::messages::{of_json, once};

/// Codes of a list, unless it says how many.
const PAGE: i64 = 100;
/// Most codes of a list.
const MOST: i64 = 1_000;
/// Longest of the texts of a new code.
const LONGEST: usize = 200;

/// `GET /v2/codes`
pub(in crate::http) async fn list(exchange: Exchange) -> Result<Response<Body>, Failure> {
    exchange.query.check_known(&["site", "_count"]).map_err(Error::from)?;
    let site = once(&exchange, "site")?;
    let count = once(&exchange, "_count")?.map(str::parse::<i64>).transpose();
    let bad = |_| Error::invalid(IssueCode::Value, "_count cannot be that");
    let count = count.map_err(bad)?.unwrap_or(PAGE).clamp(1, MOST);
    let found = exchange.server.engine.unmapped_codes(site, count, &exchange.caller).await;
    let codes = found.map_err(Failure::Interaction)?.into_iter().map(|counted| {
        let shown = Object::new()
            .with("site", counted.site)
            .with("set", counted.code.set)
            .with("system", counted.code.system)
            .with("code", counted.code.code)
            .with("display", counted.code.display)
            .with("messages", counted.count.unsigned_abs())
            .with("last", counted.last.to_string());
        Value::Object(shown)
    });
    Ok(of_json(Object::new().with("codes", codes.collect::<Vec<_>>())))
}

/// `POST /v2/codes`: what a code is from now on, also in the messages in which it came.
pub(in crate::http) async fn add(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    let interaction = Kind::ReplayMessage.of_system();
    if exchange.caller.principal.reach(interaction).is_none() {
        // What is wrong with a code is told to those who may add one.
        let Exchange { server, caller, .. } = exchange;
        let denied = server.engine.denied(interaction, &caller, Error::Forbidden).await;
        return denied.map_err(Failure::Interaction);
    }
    let body = exchange.read_at_most(16_384).await?;
    let new = read(&exchange.parse(&body, Format::Json)?)?;
    let Exchange { server, caller, .. } = exchange;
    let Prepared { site, lacking } =
        server.messages.with_code(&new, caller.principal.actor()).await?;
    let added = server.engine.add_code(&site, &lacking, &caller).await;
    let (version, replayed) = added.map_err(Failure::Interaction)?;
    server.messages.wake();
    let replayed = replayed.iter().map(|id| Value::from(id.to_string()));
    let shown = Object::new()
        .with("profile", site.id)
        .with("version", u64::from(version.unsigned_abs()))
        .with("replayed", replayed.collect::<Vec<_>>());
    let mut response = of_json(shown);
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

fn read(body: &Value<'_>) -> Result<NewCode, Error> {
    let text = |of: Option<&str>, name: &str| {
        let is_good = |text: &&str| {
            let length = text.chars().count();
            !text.is_empty() && length <= LONGEST && !text.chars().any(char::is_control)
        };
        let wanted = || Error::invalid(IssueCode::Required, format!("{name} is a text"));
        of.filter(is_good).map(str::to_owned).ok_or_else(wanted)
    };
    let own = |name: &str| text(body.str_at(name), name);
    let target = body.get("target");
    let to = |name: &'static str| text(target.and_then(|to| to.str_at(name)), name);
    let target = Target {
        code: to("code")?,
        system: to("system")?,
        display: target.and_then(|to| to.str_at("display")).map(str::to_owned),
    };
    // A code without a name for its system is one of a sender too.
    let system = match body.str_at("system") {
        None | Some("") => String::new(),
        found => text(found, "system")?,
    };
    Ok(NewCode { site: own("site")?, set: own("set")?, system, code: own("code")?, target })
}
