//! Identifiers: CX, EI, and HD, which says who gave them.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::fhir::json::Object;

use super::{Args, Context, Json, Rep, coding, extension, filled, object, text, time};

/// The code system of types of identifiers.
pub const TYPES: &str = "http://terminology.hl7.org/CodeSystem/v2-0203";

const CHECK_DIGIT: &str = "http://hl7.org/fhir/StructureDefinition/identifier-checkDigit";
const CHECK_SCHEME: &str = "http://hl7.org/fhir/StructureDefinition/namingsystem-checkDigit";

/// Who gives identifiers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Authority {
    /// The system of its identifiers.
    pub system: String,
    /// Whether one of its identifiers is enough to know whom a message means; `None`: their type says.
    pub trusted: Option<bool>,
    /// The type of its identifiers, where the message says none.
    pub kind: Option<String>,
}

/// The authority of an HD, its components given; never without a system.
///
/// A registry entry of the site comes first, by namespace or by universal id; then universal ids
/// that are urls by themselves; a namespace alone counts within its sender.
pub fn authority(hd: &Rep<'_>, context: &Context<'_>) -> Authority {
    let (namespace, id, kind) = (hd.c(1), hd.c(2), hd.c(3));
    let known = [namespace, id].into_iter().filter(|name| !name.is_empty());
    let known = known.into_iter().find_map(|name| context.site.authorities.get(name));
    if let Some(known) = known {
        return known.clone();
    }
    let system = match kind {
        _ if id.is_empty() => None,
        "ISO" => Some(format!("urn:oid:{}", id.trim_start_matches("urn:oid:"))),
        "UUID" | "GUID" => Some(format!("urn:uuid:{}", id.to_ascii_lowercase())),
        "URI" | "URL" => Some(id.to_owned()),
        "DNS" if context.site.dns_urls => Some(format!("https://{id}")),
        _ => None,
    };
    let system = system.filter(|system| !system.contains(char::is_whitespace));
    let name = [namespace, id].into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    let system = system.unwrap_or_else(|| local(context, "aa", name));
    Authority { system, ..Authority::default() }
}

/// A url of what only its sender gives a meaning.
pub fn local(context: &Context<'_>, kind: &str, name: &str) -> String {
    let mut url = format!("{}/v2/{kind}/{}", context.site.base, context.sender);
    if !name.is_empty() {
        url.push('/');
        url.push_str(&slug(name));
    }
    url
}

/// A word of a url: letters, digits, dots, dashes; other bytes by their number.
pub fn slug(name: &str) -> String {
    let mut word = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => word.push(char::from(byte)),
            _ => {
                let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
                word.extend(['_', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    word
}

/// Sixteen bytes that stand for these texts, and for no others.
pub fn digest(texts: &[&str]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    let mut out = [0; 16];
    out.copy_from_slice(&hash.finalize()[..16]);
    out
}

/// Bytes as digits, two each.
pub fn digits(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// A CX as an Identifier; `None` without CX.1.
///
/// `type`: the type where CX.5 is empty.
pub fn cx(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let value = rep.some(1)?;
    let authority = authority(&rep.component(4), context);
    let fallback = authority.kind.as_deref().unwrap_or(args.text("type"));
    let kind = rep.some(5).unwrap_or(fallback);
    let mut identifier = identifier(value, &authority.system, kind);
    let digits = [(2, CHECK_DIGIT), (3, CHECK_SCHEME)];
    let digits = digits
        .into_iter()
        .filter_map(|(at, url)| Some(extension(url, "valueString", text(rep.c(at))?)));
    put_extensions(&mut identifier, digits.collect());
    if let Some(period) = time::period_of(rep.c(7), rep.c(8), context) {
        identifier.set("period", period);
    }
    if let Some(assigner) = text(rep.c(6)).or_else(|| text(rep.s(4, 1))) {
        identifier.set("assigner", Object::new().with("display", assigner));
    }
    Some(identifier.into())
}

/// An EI as an Identifier; `None` without EI.1. `type`: its type.
pub fn ei(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let value = rep.some(1)?;
    let hd = Rep::new((2..5).map(|at| vec![rep.c(at).to_owned().into()]).collect());
    let authority = authority(&hd, context);
    let kind = Some(args.text("type")).filter(|kind| !kind.is_empty());
    let kind = kind.or(authority.kind.as_deref()).unwrap_or_default();
    let mut identifier = identifier(value, &authority.system, kind);
    if let Some(assigner) = text(rep.c(2)) {
        identifier.set("assigner", Object::new().with("display", assigner));
    }
    Some(identifier.into())
}

/// A plain text as an Identifier. `system`: its system, or a word for one of the sender's own;
/// `type`: its type.
pub fn identifier_of(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let value = rep.some(1)?;
    let system = args.text("system");
    let system =
        if system.contains(':') { system.to_owned() } else { local(context, "aa", system) };
    Some(identifier(value, &system, args.text("type")).into())
}

/// A PLN as an Identifier: number, of which kind and state, and until when it is good. Without a kind, or with a check
/// digit in its place, it is the CX that many send there.
pub fn pln(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let is_kind = |text: &&str| text.bytes().any(|byte| !byte.is_ascii_digit());
    let Some(kind) = rep.some(2).filter(is_kind) else { return cx(rep, args, context) };
    let value = rep.some(1)?;
    let mut identifier = identifier(value, &local(context, "aa", kind), "");
    identifier.set("type", Object::new().with("text", kind.to_owned()));
    if let Some(period) = time::period_of("", rep.c(4), context) {
        identifier.set("period", period);
    }
    if let Some(state) = text(rep.c(3)) {
        identifier.set("assigner", Object::new().with("display", state));
    }
    Some(identifier.into())
}

/// A DLN as an Identifier: number, who gave it, and until when it is good.
pub fn dln(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let value = rep.some(1)?;
    let issuer = rep.some(2).unwrap_or("licence");
    let mut identifier = identifier(value, &local(context, "aa", issuer), args.text("type"));
    if let Some(period) = time::period_of("", rep.c(3), context) {
        identifier.set("period", period);
    }
    Some(identifier.into())
}

fn identifier(value: &str, system: &str, kind: &str) -> Object<'static> {
    let kind = Some(kind).filter(|kind| !kind.is_empty());
    let kind = kind.map(|code| Json::from(vec![coding(TYPES, code, "")]));
    let kind = kind.map(|coding| Object::new().with("coding", coding).into());
    object([("type", kind), ("system", text(system)), ("value", text(value))])
}

pub(super) fn put_extensions(object: &mut Object<'static>, extensions: Vec<Json>) {
    if let Some(extensions) = super::list(extensions) {
        object.set_first("extension", extensions);
    }
}

/// An HD as a system.
pub fn hd(rep: &Rep<'_>, _: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    rep.is_valued().then(|| authority(rep, context).system.into())
}

/// An HD as the Organization that it names.
pub fn hd_organization(rep: &Rep<'_>, context: &Context<'_>) -> Option<Object<'static>> {
    let value = rep.some(2).or(rep.some(1))?;
    let system = local(context, "organization", "");
    let id = identifier(value, &system, "");
    let name = text(rep.c(1)).or_else(|| text(value));
    let body = object([("identifier", Some(vec![id.into()].into())), ("name", name)]);
    filled(body).and_then(|body| body.as_object().cloned())
}
