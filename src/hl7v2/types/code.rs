//! Codes: CWE and its relatives, and the systems behind the names that v2 has for them.

use crate::fhir::json::Object;

use super::id::local;
use super::{Args, Context, Json, LocalCode, Rep, coding, filled, list, object, text};

/// Systems by their names in table 0396, as far as FHIR knows them by a url.
const SYSTEMS: &[(&str, &str)] = &[
    ("ACR", "http://terminology.hl7.org/CodeSystem/ACR"),
    ("C4", "http://www.ama-assn.org/go/cpt"),
    ("CPT", "http://www.ama-assn.org/go/cpt"),
    ("CPTM", "http://www.ama-assn.org/go/cpt"),
    ("CDCREC", "urn:oid:2.16.840.1.113883.6.238"),
    ("CVX", "http://hl7.org/fhir/sid/cvx"),
    ("HCPCS", "urn:oid:2.16.840.1.113883.6.285"),
    ("HPC", "urn:oid:2.16.840.1.113883.6.285"),
    ("I10", "http://hl7.org/fhir/sid/icd-10"),
    ("I10C", "http://hl7.org/fhir/sid/icd-10-cm"),
    ("I10P", "http://www.cms.gov/Medicare/Coding/ICD10"),
    ("I9", "http://hl7.org/fhir/sid/icd-9-cm"),
    ("I9C", "http://hl7.org/fhir/sid/icd-9-cm"),
    ("I9CDX", "http://hl7.org/fhir/sid/icd-9-cm"),
    ("I9CP", "http://hl7.org/fhir/sid/icd-9-cm"),
    ("ICD10", "http://hl7.org/fhir/sid/icd-10"),
    ("ICD-10", "http://hl7.org/fhir/sid/icd-10"),
    ("ICD10CM", "http://hl7.org/fhir/sid/icd-10-cm"),
    ("ICD-10-CM", "http://hl7.org/fhir/sid/icd-10-cm"),
    ("ICD9", "http://hl7.org/fhir/sid/icd-9-cm"),
    ("ICD-9-CM", "http://hl7.org/fhir/sid/icd-9-cm"),
    ("ISO639", "urn:ietf:bcp:47"),
    ("ISO3166_1", "urn:iso:std:iso:3166"),
    ("LN", "http://loinc.org"),
    ("LOINC", "http://loinc.org"),
    ("MVX", "http://hl7.org/fhir/sid/mvx"),
    ("NDC", "http://hl7.org/fhir/sid/ndc"),
    ("NUCC", "http://nucc.org/provider-taxonomy"),
    ("RXN", "http://www.nlm.nih.gov/research/umls/rxnorm"),
    ("RXNORM", "http://www.nlm.nih.gov/research/umls/rxnorm"),
    ("SCT", "http://snomed.info/sct"),
    ("SNM3", "http://snomed.info/sct"),
    ("SNOMED", "http://snomed.info/sct"),
    ("SNOMED-CT", "http://snomed.info/sct"),
    ("UCUM", "http://unitsofmeasure.org"),
    ("UNII", "http://fdasis.nlm.nih.gov"),
];

/// The first word of the name of a table of v2 itself: `HL70078`.
const TABLE: &str = "HL7";

/// The url of a code system by its name in v2, or by its object identifier.
///
/// A name that only the sender knows becomes a url of the sender; `None` without any name.
pub fn system(name: &str, oid: &str, context: &Context<'_>) -> Option<String> {
    if let Some(known) = context.site.systems.get(name) {
        return Some(known.clone());
    }
    if let Some((_, url)) = SYSTEMS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)) {
        return Some((*url).to_owned());
    }
    if let Some(url) = table(name) {
        return Some(url);
    }
    let is_oid = |text: &str| {
        text.contains('.') && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    if let Some(oid) = [oid, name].into_iter().find(|text| is_oid(text)) {
        return Some(format!("urn:oid:{oid}"));
    }
    if name.is_empty() {
        return None;
    }
    let is_url =
        name.starts_with("http:") || name.starts_with("https:") || name.starts_with("urn:");
    if is_url && !name.contains(char::is_whitespace) {
        return Some(name.to_owned());
    }
    Some(local(context, "codes", name))
}

/// The url of a table of v2: `HL70001` and `0001`.
fn table(name: &str) -> Option<String> {
    let digits = name.strip_prefix(TABLE).unwrap_or(name).trim_start_matches('-');
    let is_number = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format!("http://terminology.hl7.org/CodeSystem/v2-{digits}"))
}

/// Where the three codes of a CWE stand: code, text, system, version, object identifier.
const CODES: [[usize; 5]; 3] = [[1, 2, 3, 7, 14], [4, 5, 6, 8, 17], [10, 11, 12, 13, 20]];

/// The Codings of a CWE; a code without a system is of `home`, where that is given.
fn codings(rep: &Rep<'_>, home: &str, context: &Context<'_>) -> Vec<Json> {
    let mut codings = Vec::new();
    for [code, display, name, version, oid] in CODES {
        let Some(code) = rep.some(code) else { continue };
        let own = system(rep.c(name), rep.c(oid), context);
        let own = own.or_else(|| Some(home).filter(|home| !home.is_empty()).map(str::to_owned));
        let own = own.unwrap_or_else(|| local(context, "codes", ""));
        let version = if table(rep.c(name)).is_some() { "" } else { rep.c(version) };
        // White space in a code is at most one blank between two words.
        let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
        codings.push(
            object([
                ("system", text(&own)),
                ("version", text(version)),
                ("code", text(&code)),
                ("display", text(rep.c(display))),
            ])
            .into(),
        );
    }
    codings
}

/// A CWE as a CodeableConcept: all its codes, those of FHIR first, and its text.
///
/// The first argument: the table, or the code set of the site, that has other codes for it.
/// `home`: the system of codes that name none. `text`: `code` has a code that its table lacks be the text too.
pub fn cwe(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let set = args.at(0);
    let source = context.tables.source(set);
    let home = source.and_then(table).unwrap_or_else(|| args.text("home").to_owned());
    let mut all = codings(rep, &home, context);
    let mut words = [9, 2, 5, 11].into_iter().find_map(|at| rep.some(at));
    if let Some(target) = mapped(rep, set, context) {
        let is_known = |own: &Json| {
            own.str_at("code") == target.str_at("code")
                && own.str_at("system") == target.str_at("system")
        };
        if !all.iter().any(is_known) {
            all.insert(0, target);
        }
    } else if !set.is_empty() && source.is_none() && !all.is_empty() {
        wanted(rep, &all, args.text("to"), set, context);
    } else if args.text("text") == "code" {
        words = words.or_else(|| rep.some(1));
    }
    filled(object([("coding", list(all)), ("text", words.and_then(text))]))
}

/// Tells that a code has no row in its code set, unless it is of the system that is wanted.
fn wanted(rep: &Rep<'_>, all: &[Json], to: &str, set: &str, context: &Context<'_>) {
    let is_there = |system: &str| all.iter().any(|own| own.str_at("system") == Some(system));
    if !to.is_empty() && !is_there(to) {
        let text = format!("the code set {set:?} has no row for it");
        context.lacks(own(rep, set), text);
    }
}

/// The first code of a CWE, as the sender has it.
fn own(rep: &Rep<'_>, set: &str) -> LocalCode {
    let [code, display, name, ..] =
        CODES.into_iter().find(|[code, ..]| rep.some(*code).is_some()).unwrap_or(CODES[0]);
    let word = |at: usize| rep.c(at).to_owned();
    LocalCode { set: set.to_owned(), system: word(name), code: word(code), display: word(display) }
}

/// The code of FHIR for a CWE: by the code sets of the site, then by the tables.
fn mapped(rep: &Rep<'_>, set: &str, context: &Context<'_>) -> Option<Json> {
    for [code, _, name, ..] in CODES {
        let Some(code) = rep.some(code) else { continue };
        let rows = context.site.codes.get(&(set.to_owned(), rep.c(name).to_owned()));
        if let Some(row) = rows.and_then(|rows| rows.get(code)) {
            return Some(coding(
                &row.system,
                &row.code,
                row.display.as_deref().unwrap_or_default(),
            ));
        }
        if let Some(target) = context.tables.target(set, code) {
            return Some(coding(&target.system, &target.code, ""));
        }
    }
    None
}

/// A code by its table as a Coding; without a row `None`, and that is told.
pub fn by_table(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let code = rep.some(1)?;
    let set = args.at(0);
    let found = mapped(rep, set, context);
    if found.is_none() {
        let length = code.chars().count();
        let what = format!("the table {set:?} has no row for this code of {length} characters");
        context.lacks(own(rep, set), what);
    }
    found
}

/// A CWE as one Coding: that of the table when there is one, else its own first code.
pub fn coding_of(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let set = args.at(0);
    let home = context.tables.source(set).and_then(table).unwrap_or_default();
    mapped(rep, set, context).or_else(|| codings(rep, &home, context).into_iter().next())
}

/// A text as a CodeableConcept without codes.
pub fn text_only(rep: &Rep<'_>, _: &Args<'_>, _: &Context<'_>) -> Option<Json> {
    let words = rep.joined(" ");
    text(&words).map(|words| Object::new().with("text", words).into())
}

/// What a CWE is called: its text, or else its code.
pub fn words(rep: &Rep<'_>, _: &Args<'_>, _: &Context<'_>) -> Option<Json> {
    text([9, 2, 5, 1].into_iter().find_map(|at| rep.some(at)).unwrap_or_default())
}

/// Stands before a text by which a thing is known that has no code: no code begins with it.
pub const TEXT: char = '\u{1F}';

/// By what a thing is known that has this name: its first code, else its text, however that is written.
pub fn known_as(rep: &Rep<'_>) -> Option<String> {
    if let Some(code) = CODES.into_iter().find_map(|[code, ..]| rep.some(code)) {
        return Some(code.to_owned());
    }
    let text = [9, 2, 5, 11].into_iter().find_map(|at| rep.some(at))?;
    Some(format!("{TEXT}{}", alike(text)))
}

/// A text as it is compared: in small letters, one blank between two words.
pub fn alike(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Languages by their codes of three letters, and what BCP 47 has for them.
const LANGUAGES: &[(&str, &str)] = &[
    ("ara", "ar"),
    ("chi", "zh"),
    ("cze", "cs"),
    ("dan", "da"),
    ("dut", "nl"),
    ("eng", "en"),
    ("fin", "fi"),
    ("fra", "fr"),
    ("fre", "fr"),
    ("deu", "de"),
    ("ger", "de"),
    ("gle", "ga"),
    ("gre", "el"),
    ("heb", "he"),
    ("hin", "hi"),
    ("hun", "hu"),
    ("ita", "it"),
    ("jpn", "ja"),
    ("kor", "ko"),
    ("nor", "no"),
    ("per", "fa"),
    ("pol", "pl"),
    ("por", "pt"),
    ("rum", "ro"),
    ("rus", "ru"),
    ("spa", "es"),
    ("swe", "sv"),
    ("tgl", "tl"),
    ("tha", "th"),
    ("tur", "tr"),
    ("ukr", "uk"),
    ("urd", "ur"),
    ("vie", "vi"),
    ("zho", "zh"),
];

/// A language as a CodeableConcept: with a code of BCP 47 where it is one, else its text alone.
pub fn language(rep: &Rep<'_>, _: &Args<'_>, _: &Context<'_>) -> Option<Json> {
    let small = rep.c(1).to_ascii_lowercase();
    let is_tag = small.len() == 2 && small.bytes().all(|byte| byte.is_ascii_lowercase());
    let known = LANGUAGES.iter().find(|(own, _)| *own == small).map(|(_, tag)| *tag);
    let tag = known.or(Some(small.as_str()).filter(|_| is_tag));
    let coding = tag.map(|tag| coding("urn:ietf:bcp:47", tag, ""));
    let words = [9, 2, 5, 1].into_iter().find_map(|at| rep.some(at));
    filled(object([("coding", list(coding.into_iter().collect())), ("text", words.and_then(text))]))
}
