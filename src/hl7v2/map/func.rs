//! The functions of the map language, and what each gives.

use crate::fhir::json::Object;
use crate::hl7v2::types::{
    Args, Context, Json, Rep, address, attach, code, id, name, number, place, time, timing,
};

/// What an expression gives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Gives {
    /// A value whose type its message decides, for `value[x]`.
    Choice,
    /// A Coding that may stand as its code alone too.
    Coded,
    /// A value of this type of FHIR.
    Fhir(&'static str),
    /// A resource of this type.
    Resource(&'static str),
    /// A Reference to a resource.
    Reference,
    /// What the expression before it gives.
    Same,
    /// A text or a part of the message.
    V2,
    /// Yes or no.
    Condition,
}

/// How a function works.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// One value of each repetition.
    Each(fn(&Rep<'_>, &Args<'_>, &Context<'_>) -> Option<Json>),
    /// Several values of each repetition.
    Several(fn(&Rep<'_>, &Args<'_>, &Context<'_>) -> Vec<Json>),
    /// A value of the text of each repetition.
    Text(fn(&str, &Context<'_>) -> Option<Json>),
    /// The resource of each repetition.
    Resource(fn(&Rep<'_>, &Context<'_>) -> Option<Object<'static>>),
    /// The evaluator knows it.
    Built,
}

/// A function.
#[derive(Clone, Copy)]
pub(crate) struct Func {
    /// Its name.
    pub name: &'static str,
    /// What it gives.
    pub gives: Gives,
    /// How it works.
    pub work: Work,
    /// The names of its arguments.
    pub named: &'static [&'static str],
    /// Whether it takes the value before the bar.
    pub is_piped: bool,
}

const fn each(
    name: &'static str,
    gives: &'static str,
    named: &'static [&'static str],
    work: fn(&Rep<'_>, &Args<'_>, &Context<'_>) -> Option<Json>,
) -> Func {
    Func { name, gives: Gives::Fhir(gives), work: Work::Each(work), named, is_piped: true }
}

const fn of_text(
    name: &'static str,
    gives: &'static str,
    work: fn(&str, &Context<'_>) -> Option<Json>,
) -> Func {
    Func { name, gives: Gives::Fhir(gives), work: Work::Text(work), named: &[], is_piped: true }
}

const fn resource(
    name: &'static str,
    gives: &'static str,
    work: fn(&Rep<'_>, &Context<'_>) -> Option<Object<'static>>,
) -> Func {
    let gives = Gives::Resource(gives);
    Func { name, gives, work: Work::Resource(work), named: &[], is_piped: true }
}

const fn piped(name: &'static str, gives: Gives, named: &'static [&'static str]) -> Func {
    Func { name, gives, work: Work::Built, named, is_piped: true }
}

const fn free(name: &'static str, gives: Gives, named: &'static [&'static str]) -> Func {
    Func { name, gives, work: Work::Built, named, is_piped: false }
}

/// All functions.
pub(crate) const FUNCS: &[Func] = &[
    each("cc_text", "CodeableConcept", &[], code::text_only),
    each("cq", "Quantity", &["unit"], number::cq),
    each("cwe", "CodeableConcept", &["to", "home", "text"], code::cwe),
    each("coding_of", "Coding", &[], code::coding_of),
    each("cx", "Identifier", &["type"], id::cx),
    each("dln", "Identifier", &["type"], id::dln),
    each("duration", "Duration", &["unit"], timing::duration),
    each("ed", "Attachment", &[], attach::ed),
    each("ei", "Identifier", &["type"], id::ei),
    each("hd", "uri", &[], id::hd),
    each("id", "Identifier", &["system", "type"], id::identifier_of),
    each("integer", "integer", &["least"], number::integer),
    each("language", "CodeableConcept", &[], code::language),
    each("minutes", "integer", &["unit"], timing::minutes),
    each("name_text", "string", &[], name::name_text),
    each("nm", "Quantity", &["unit"], number::nm),
    each("nr", "Range", &["unit"], number::nr),
    each("number", "decimal", &[], number::plain),
    each("pl_id", "Identifier", &[], place::pl_id),
    each("pl_kind", "CodeableConcept", &[], place::pl_kind),
    each("pl_name", "string", &[], place::pl_name),
    each("pln", "Identifier", &[], id::pln),
    each("ref_range", "Observation.referenceRange", &["unit"], number::ref_range),
    each("rp", "Attachment", &[], attach::rp),
    each("rpt", "Timing", &["start", "end", "count", "duration", "unit"], timing::rpt),
    each("words", "string", &[], code::words),
    each("xad", "Address", &["county", "use"], address::xad),
    each("xtn", "ContactPoint", &["use"], address::xtn),
    Func {
        name: "xpn",
        gives: Gives::Fhir("HumanName"),
        work: Work::Several(name::xpn),
        named: &["use"],
        is_piped: true,
    },
    Func {
        name: "table",
        gives: Gives::Coded,
        work: Work::Each(code::by_table),
        named: &[],
        is_piped: true,
    },
    of_text("date", "date", time::date),
    of_text("datetime", "dateTime", time::datetime),
    of_text("instant", "instant", time::instant),
    of_text("time", "time", time::time),
    resource("cnn", "Practitioner", name::cnn),
    resource("hd_organization", "Organization", id::hd_organization),
    resource("maker", "Organization", name::maker),
    resource("pl", "Location", place::pl),
    resource("pl_around", "Location", place::pl_around),
    resource("xcn", "Practitioner", name::xcn),
    resource("xon", "Organization", name::xon),
    piped("annotation", Gives::Fhir("Annotation"), &["time", "author"]),
    piped("attachment", Gives::Fhir("Attachment"), &["type"]),
    piped("cc", Gives::Fhir("CodeableConcept"), &[]),
    piped("code", Gives::Fhir("code"), &[]),
    piped("coding", Gives::Fhir("Coding"), &[]),
    piped("dar", Gives::Fhir("CodeableConcept"), &[]),
    piped("fail", Gives::Same, &[]),
    piped("first", Gives::Same, &[]),
    piped("join", Gives::V2, &[]),
    piped("known_as", Gives::V2, &[]),
    piped("mapped", Gives::V2, &[]),
    piped("obx_value", Gives::Choice, &["type", "unit"]),
    piped("or", Gives::Same, &[]),
    piped("plain", Gives::Fhir("Attachment"), &[]),
    piped("ref", Gives::Reference, &[]),
    piped("text", Gives::Fhir("string"), &[]),
    piped("trusted", Gives::Same, &[]),
    piped("unless", Gives::Same, &[]),
    piped("visit_number", Gives::Same, &[]),
    piped("yesno", Gives::Fhir("boolean"), &[]),
    free("after", Gives::Condition, &[]),
    free("count", Gives::V2, &[]),
    free("ends", Gives::Fhir("instant"), &["unit"]),
    free("ids", Gives::V2, &[]),
    free("is_us", Gives::Condition, &[]),
    free("lasting", Gives::Fhir("Period"), &["unit"]),
    free("led", Gives::Condition, &[]),
    free("len", Gives::V2, &[]),
    free("logical", Gives::Reference, &[]),
    free("notes", Gives::Fhir("Annotation"), &[]),
    free("null", Gives::Condition, &[]),
    free("period", Gives::Fhir("Period"), &[]),
    free("refs", Gives::Reference, &[]),
    free("says_us", Gives::Condition, &[]),
    free("timed", Gives::Condition, &[]),
    free("valued", Gives::Condition, &[]),
];

/// The function called `name`.
pub(crate) fn find(name: &str) -> Option<&'static Func> {
    FUNCS.iter().find(|func| func.name == name)
}
