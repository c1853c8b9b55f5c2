//! Where somebody lives and how to reach them: XAD, XTN.

use super::id::put_extensions;
use super::{Args, Context, Json, Rep, coding, extension, list, object, text, time};
use crate::fhir::json::Object;

const EXTENSIONS: &str = "http://hl7.org/fhir/StructureDefinition/";
const ADDRESS_TYPES: &str = "http://terminology.hl7.org/CodeSystem/v2-0190";

/// An XAD as an Address. `county`: the county where XAD.9 is empty; `use`: the use where XAD.7 is.
pub fn xad(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let dwelling = if rep.s(1, 3).is_empty() || !rep.s(1, 1).is_empty() {
        [rep.s(1, 1).to_owned(), rep.s(1, 2).to_owned(), rep.s(1, 3).to_owned()]
    } else {
        // The street and the number stand apart, and no line has both.
        [format!("{} {}", rep.s(1, 3), rep.s(1, 2)).trim().to_owned(), String::new(), String::new()]
    };
    let lines = dwelling.iter().map(String::as_str).chain([rep.c(2), rep.c(19)]);
    let lines = list(lines.filter_map(text).collect());
    let kind = rep.c(7);
    let used = context.tables.code("AddressType[Use]", kind);
    let used = used.or(Some(args.text("use")).filter(|_| kind.is_empty()));
    let district = rep.some(9).unwrap_or(args.text("county"));
    let period = time::period_of(rep.c(13), rep.c(14), context)
        .or_else(|| time::period_of(rep.s(12, 1), rep.s(12, 2), context));
    let mut address = object([
        ("use", used.and_then(text)),
        ("type", context.tables.code("AddressType[Type]", kind).and_then(text)),
        ("line", lines),
        ("city", text(rep.c(3))),
        ("district", text(district)),
        ("state", text(rep.c(4))),
        ("postalCode", text(rep.c(5))),
        ("country", text(rep.c(6))),
        ("period", period),
    ]);
    let located = ["line", "city", "district", "state", "postalCode", "country"];
    if !located.into_iter().any(|key| address.contains(key)) {
        return None;
    }
    let mut extensions = Vec::new();
    if kind == "BA" {
        let url = format!("{EXTENSIONS}iso21090-AD-use");
        extensions.push(extension(&url, "valueCode", Json::from("BAD")));
    } else if !kind.is_empty() && !address.contains("use") && !address.contains("type") {
        let concept = Object::new().with("coding", vec![coding(ADDRESS_TYPES, kind, "")]);
        let url = format!("{EXTENSIONS}alternate-codes");
        extensions.push(extension(&url, "valueCodeableConcept", concept.into()));
    }
    if let Some(tract) = text(rep.c(10)) {
        let url = format!("{EXTENSIONS}iso21090-ADXP-censusTract");
        extensions.push(extension(&url, "valueString", tract));
    }
    put_extensions(&mut address, extensions);
    Some(address.into())
}

/// An XTN as a ContactPoint. `use`: the use where XTN.2 says none.
pub fn xtn(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let equipment = rep.c(3);
    let is_mail = matches!(equipment, "Internet" | "X.400") || rep.c(2) == "NET";
    let mail = rep.some(4).or(rep.some(1).filter(|text| text.contains('@')));
    let parts = (5..9).any(|at| rep.some(at).is_some());
    let number = rep
        .some(12)
        .map(str::to_owned)
        .or_else(|| composed(rep))
        .or_else(|| rep.some(1).map(str::to_owned));
    let value = match mail {
        Some(mail) if is_mail || number.is_none() || rep.some(1) == Some(mail) => mail.to_owned(),
        mail => number.or_else(|| mail.map(str::to_owned))?,
    };
    let system = match context.tables.target("TelecommunicationEquipmentType", equipment) {
        _ if mail == Some(&*value) => "email",
        Some(target) if target.code == "mobile" => "phone",
        Some(target) => &target.code,
        None => "phone",
    };
    let own = if equipment == "CP" { Some("mobile") } else { None };
    let own = own.or_else(|| context.tables.code("TelecommunicationUseCode", rep.c(2)));
    let used = own.or(Some(args.text("use")).filter(|text| !text.is_empty()));
    let rank = rep.some(18).filter(|rank| rank.parse::<u32>().is_ok_and(|rank| rank > 0));
    let rank = rank.and_then(|rank| rank.parse::<u64>().ok()).map(Json::from);
    let mut point = object([
        ("system", text(system)),
        ("value", text(&value)),
        ("use", used.and_then(text)),
        ("rank", rank),
        ("period", time::period_of(rep.c(13), rep.c(14), context)),
    ]);
    if parts {
        let names = ["country", "area", "local", "extension"].into_iter().zip(5..);
        let extensions = names.filter_map(|(word, at)| {
            let url = format!("{EXTENSIONS}contactpoint-{word}");
            Some(extension(&url, "valueString", text(rep.c(at))?))
        });
        put_extensions(&mut point, extensions.collect());
    }
    Some(point.into())
}

/// A number of its parts: `+1 555 1234567 X12`.
fn composed(rep: &Rep<'_>) -> Option<String> {
    let local = rep.some(7)?;
    let country = rep.some(5).map(|code| format!("+{}", code.trim_start_matches('+')));
    let words = country.into_iter().chain(rep.some(6).map(str::to_owned));
    let words = words.chain([local.to_owned()]);
    let words = words.chain(rep.some(8).map(|extension| format!("X{extension}")));
    Some(words.collect::<Vec<_>>().join(" "))
}
