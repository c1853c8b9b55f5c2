//! How much of the guide "HL7 Version 2 to FHIR" the maps do.
//!
//! The guide's rows are not part of the program; they come as its CSV files. A row of a segment is
//! done when a rule of a resource of its type reads its field and writes the same element. A row of a
//! data type is done when our function makes something else without that component. What is done in
//! another way on purpose, or does not apply, stands in `guide.toml`, each with its reason.

use std::collections::BTreeMap;

use toml_edit::{ImDocument, Item};

use crate::fhir::json::Object;
use crate::fhir::schema::Schema;
use crate::hl7v2::types::{Args, Context, Json, Rep, name, obx, pl, time};

use super::Maps;
use super::func::{self, Work};

const GUIDE: &str = include_str!("../../../fhir-profiles/v2/guide.toml");

/// A row of the guide that has a target.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// The map: `PID[Patient]`, `CX[Identifier]`.
    pub map: String,
    /// The field or component: `PID-3`, `CX.4`; empty for the whole.
    pub field: String,
    /// The element of FHIR.
    pub path: String,
    /// Whether the map is one of a data type.
    pub is_datatype: bool,
}

/// What becomes of a row.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Standing {
    /// A rule or a function does it.
    Done,
    /// It is not done.
    Missing,
    /// It does not apply, for this reason.
    NotApplicable(String),
    /// It is done in another way, for this reason.
    OnPurpose(String),
}

/// The rows with a target in a CSV file of the guide, `map` being its name in brackets.
pub fn rows(map: &str, csv: &str, is_datatype: bool) -> Vec<Row> {
    let lines = table(csv);
    let cell = |line: &Vec<String>, at: usize| line.get(at).map(|it| it.trim().to_owned());
    let lines = lines.iter().skip(2).filter(|line| cell(line, 9).is_some_and(|it| !it.is_empty()));
    let row = |line: &Vec<String>| Row {
        map: map.to_owned(),
        field: cell(line, 1).unwrap_or_default(),
        path: cell(line, 9).unwrap_or_default(),
        is_datatype,
    };
    lines.map(row).collect()
}

/// The cells of a CSV text.
fn table(csv: &str) -> Vec<Vec<String>> {
    let (mut lines, mut line, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut is_quoted = false;
    let mut letters = csv.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => line.push(std::mem::take(&mut cell)),
            '\r' if !is_quoted => {}
            '\n' if !is_quoted => {
                line.push(std::mem::take(&mut cell));
                lines.push(std::mem::take(&mut line));
            }
            _ => cell.push(letter),
        }
    }
    line.push(cell);
    lines.push(line);
    lines
}

/// What is said of rows beforehand.
struct Listed {
    map: String,
    field: String,
    path: String,
    standing: Standing,
}

/// Judges the rows of the guide.
pub struct Judge<'a> {
    maps: &'a Maps,
    schema: &'a Schema,
    listed: Vec<Listed>,
    /// What the maps do: type, field, first element.
    done: Vec<(String, String, String)>,
}

impl<'a> Judge<'a> {
    /// A judge by these maps.
    ///
    /// # Errors
    /// What is wrong in `guide.toml`; a test proves that nothing is.
    pub fn new(maps: &'a Maps, schema: &'a Schema) -> Result<Self, String> {
        let document = ImDocument::parse(GUIDE).map_err(|error| error.to_string())?;
        let mut listed = Vec::new();
        let rows = document.get("row").and_then(Item::as_array_of_tables);
        for row in rows.into_iter().flatten() {
            let word = |key: &str| row.get(key).and_then(Item::as_str).map(str::to_owned);
            let any = || "*".to_owned();
            let (purpose, none) = (word("on_purpose"), word("not_applicable"));
            let standing = match (purpose, none) {
                (Some(reason), None) => Standing::OnPurpose(reason),
                (None, Some(reason)) => Standing::NotApplicable(reason),
                _ => return Err("on_purpose or not_applicable is wanted".to_owned()),
            };
            listed.push(Listed {
                map: word("map").unwrap_or_else(any),
                field: word("field").unwrap_or_else(any),
                path: word("path").unwrap_or_else(any),
                standing,
            });
        }
        let mut done = Vec::new();
        for line in maps.explained() {
            let first = stem(&line.path, &line.resource_type, schema);
            let whole = (line.resource_type.clone(), String::new(), first.clone());
            done.push(whole);
            for source in &line.sources {
                done.push((line.resource_type.clone(), field_of(source), first.clone()));
            }
        }
        Ok(Self { maps, schema, listed, done })
    }

    /// What becomes of a row.
    pub fn standing(&self, row: &Row) -> Standing {
        let is_done = if row.is_datatype { self.uses(row) } else { self.maps_it(row) };
        if is_done {
            return Standing::Done;
        }
        let listed = self.listed.iter().find(|it| {
            fits(&it.map, &row.map) && fits(&it.field, &row.field) && fits(&it.path, &row.path)
        });
        listed.map_or(Standing::Missing, |listed| listed.standing.clone())
    }

    fn maps_it(&self, row: &Row) -> bool {
        let kind = row.map.split_once('[').map_or("", |(_, rest)| rest.trim_end_matches(']'));
        let kind = kind.split('-').next().unwrap_or_default();
        let first = stem(&row.path, kind, self.schema);
        let field = if row.field.contains('-') { row.field.as_str() } else { "" };
        self.done.iter().any(|(own, of, element)| {
            let is_field = of == field || (field.is_empty() && of.is_empty());
            own == kind && is_field && (*element == first || first == "$this")
        })
    }

    /// Whether the function of a data type makes something else without the component.
    fn uses(&self, row: &Row) -> bool {
        let Some((kind, target)) = row.map.split_once('[') else { return false };
        let target = target.trim_end_matches(']');
        let digits: String =
            row.field.chars().skip_while(|it| !matches!(it, '.' | '-')).skip(1).collect();
        let number: usize = digits.split('.').next().and_then(|it| it.parse().ok()).unwrap_or(0);
        let mut samples = SAMPLES.iter().filter(|(own, _)| *own == kind);
        samples.any(|(_, sample)| self.needs(kind, target, number, sample))
    }

    /// Whether something else is made of the sample without this component.
    fn needs(&self, kind: &str, target: &str, number: usize, sample: &str) -> bool {
        let whole = self.made(kind, target, sample);
        if number == 0 || kind == "FT" {
            return whole.is_some();
        }
        let between = if sample.contains('^') { "^" } else { "&" };
        let mut parts: Vec<&str> = sample.split(between).collect();
        let Some(part) = parts.get_mut(number - 1).filter(|part| !part.is_empty()) else {
            return false;
        };
        *part = "";
        whole.is_some() && whole != self.made(kind, target, &parts.join(between))
    }

    /// What our function for a data type makes of a sample, as text.
    fn made(&self, kind: &str, target: &str, sample: &str) -> Option<String> {
        let context = Context::new(self.maps.site(), self.maps.tables(), "sender", "seed");
        let rep = Rep::read(sample);
        let resource = |body: Option<Object<'static>>| body.map(Json::from);
        let value = match (kind, target) {
            ("XCN", _) => resource(name::xcn(&rep, &context)),
            ("CNN", _) => resource(name::cnn(&rep, &context)),
            ("XON", "Organization") => resource(name::xon(&rep, &context)),
            ("CWE", "Organization") => resource(name::maker(&rep, &context)),
            ("NDL", _) => resource(name::cnn(&rep.component(1), &context)),
            ("PL", _) => resource(pl(&rep, &context)),
            ("HD", "Organization") => {
                resource(crate::hl7v2::types::id::hd_organization(&rep, &context))
            }
            ("DR", "Period") => time::period_of(rep.c(1), rep.c(2), &context),
            ("SN" | "NA", _) => {
                let unit = Rep::read("mg");
                let found = obx::values(&[&rep], kind, Some(&unit), &context);
                found.into_iter().next().map(|(_, value)| value)
            }
            ("EIP", "Identifier-PlacerAssignedIdentifier") => {
                return self.call("ei", &rep.component(1));
            }
            ("EIP", _) => return self.call("ei", &rep.component(2)),
            _ => {
                let word = FUNCTIONS.iter().find(|(own, of, _)| *own == kind && fits(of, target));
                return self.call(word?.2, &rep);
            }
        };
        let made = context.made.take();
        let made = made.iter().map(|it| Json::from(it.body.clone()).to_text());
        value.map(|value| value.to_text() + &made.collect::<String>())
    }

    fn call(&self, function: &str, rep: &Rep<'_>) -> Option<String> {
        let context = Context::new(self.maps.site(), self.maps.tables(), "sender", "seed");
        let args = Args::default();
        let value = match func::find(function)?.work {
            Work::Each(work) => work(rep, &args, &context),
            Work::Several(work) => Some(Json::from(work(rep, &args, &context))),
            Work::Text(work) => work(rep.c(1), &context),
            Work::Resource(work) => work(rep, &context).map(Json::from),
            // What the evaluator does itself takes the text as it is.
            Work::Built => Some(Json::from(rep.joined("^"))),
        };
        value.map(|value| value.to_text())
    }
}

/// A value of each data type with something in every component that may be used.
const SAMPLES: &[(&str, &str)] = &[
    ("CE", "A^Alpha^LN^B^Beta^99L"),
    ("CF", "A^Alpha^LN^B^Beta^99L^1^2^Text^C^Gamma^99M^3"),
    ("CNE", "A^Alpha^LN^B^Beta^99L^1^2^Text^C^Gamma^99M^3"),
    ("CNN", "1^Doe^Ann^B^Jr^Dr^MD^^STM^1.2^ISO"),
    ("CQ", "5^mg"),
    ("CWE", "A^Alpha^LN^B^Beta^99L^1^2^Text^C^Gamma^99M^3"),
    ("CX", "1^7^M10^STM&1.2.3&ISO^MR^FAC^20200101^20210101"),
    ("DLN", "1^MI^20210101"),
    ("DR", "20200101^20210101"),
    ("DTM", "20200101"),
    ("ED", "APP^AP^PDF^A^%PDF-1"),
    ("EI", "1^STM^1.2.3^ISO"),
    ("EIP", "1&STM&1.2.3&ISO^2&LAB&1.2.4&ISO"),
    ("FN", "Doe&van&Doe&de&Roe"),
    ("FT", "text"),
    ("HD", "STM^1.2.3^ISO"),
    ("ID", "Y"),
    ("IS", "A"),
    ("MSG", "ADT^A01^ADT_A01"),
    ("NA", "1^2^3^4"),
    ("NDL", "1&Doe&Ann&B&Jr&Dr&MD"),
    ("NM", "5"),
    ("NR", "1^5"),
    ("PL", "WARD^12^B^FAC^O^N^BLD^3^Bay by the window^77&STM"),
    ("PLN", "1^MI^^20210101"),
    ("RP", "http://a.test/1^APP^AP^PDF"),
    ("RPT", "Q6H^^1^5^6^H^^AC^30^M"),
    ("SAD", "1 Main St&Main St&1"),
    ("SN", ">^5^:^8"),
    ("ST", "text"),
    ("TS", "20200101"),
    (
        "XAD",
        "1 Main St&Main&1^Flat 2^City^MI^48103^USA^H^^County^0021^^^20200101^20210101^^^^^c/o Roe",
    ),
    (
        "XCN",
        "1^Doe&van^Ann^B^Jr^Dr^MD^^STM&1.2&ISO^L^7^M10^NPI^^^^20200101&20210101^F^20200101^20210101^PhD",
    ),
    ("XON", "Hospital^^7^1^M10^STM&1.2&ISO^XX^^^"),
    ("XPN", "Doe&van^Ann^B^Jr^Dr^MD^L^^^20200101&20210101^F^20200101^20210101^PhD^Annie"),
    ("CWE", "A^Alpha^LN"),
    ("HD", "STM"),
    ("RP", "http://a.test/1^^IM^X"),
    ("RPT", "^^1^^6^H"),
    ("RPT", "^^^^^^^AC^30^M"),
    ("XAD", "1 Main St^^^^^^^^^^^20200101&20210101"),
    ("XCN", "1^Doe^^^^^^^^^^^^^^^20200101&20210101"),
    ("XON", "Hospital^^^^^STM&1.2&ISO^XX^^^9"),
    ("XPN", "Doe^Ann^^^^^^^^20200101&20210101"),
    ("XTN", "^NET^Internet^a@b.test"),
    ("XTN", "(734)555-1212^PRN^PH"),
    ("XTN", "^PRN^FX^^^^^^^^^+17345551212"),
    ("XTN", "^PRN^PH^^1^734^5551212^9^^^^^20200101^20210101^^^^1"),
];

/// Which function makes which type of which.
const FUNCTIONS: &[(&str, &str, &str)] = &[
    ("CE", "*", "cwe"),
    ("CF", "*", "cwe"),
    ("CNE", "*", "cwe"),
    ("CQ", "*", "cq"),
    ("CWE", "Coding", "coding_of"),
    ("CWE", "string", "words"),
    ("CWE", "code", "code"),
    ("CWE", "Annotation", "text"),
    ("CWE", "*", "cwe"),
    ("CX", "*", "cx"),
    ("DLN", "*", "dln"),
    ("DR", "dateTime", "datetime"),
    ("DTM", "*", "datetime"),
    ("ED", "*", "ed"),
    ("EI", "*", "ei"),
    ("FT", "*", "text"),
    ("HD", "*", "hd"),
    ("ID", "*", "text"),
    ("IS", "CodeableConcept", "cwe"),
    ("IS", "*", "text"),
    ("MSG", "*", "text"),
    ("NM", "positiveInt", "integer"),
    ("NM", "*", "nm"),
    ("NR", "*", "nr"),
    ("PLN", "*", "pln"),
    ("RP", "*", "rp"),
    ("RPT", "*", "rpt"),
    ("ST", "CodeableConcept", "cc_text"),
    ("ST", "*", "id"),
    ("TS", "*", "datetime"),
    ("XAD", "*", "xad"),
    ("SAD", "*", "xad"),
    ("FN", "*", "xpn"),
    ("XON", "*", "xon"),
    ("XPN", "string", "name_text"),
    ("XPN", "*", "xpn"),
    ("XTN", "*", "xtn"),
];

/// Whether a pattern, in which `*` at the end is anything, fits a text.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => pattern == text,
    }
}

/// The first element of a path, a choice without its type: `medication` of `medicationReference(..)`.
fn stem(path: &str, kind: &str, schema: &Schema) -> String {
    let end = path.find(['[', '.', '(', ' ']).unwrap_or(path.len());
    let first = path[..end].trim_start_matches('_');
    let field = schema.type_named(kind).and_then(|def| def.key(first));
    field.map_or_else(|| first.to_owned(), |(field, _)| field.name.to_string())
}

/// `PID-3` of `PID-3[*].1`.
fn field_of(path: &str) -> String {
    let (segment, rest) = path.split_once('-').unwrap_or((path, ""));
    let segment = segment.split('[').next().unwrap_or_default();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    if digits.is_empty() { String::new() } else { format!("{segment}-{digits}") }
}

/// How many rows stand how, by map.
pub fn counted<'r>(
    judged: impl IntoIterator<Item = (&'r Row, Standing)>,
) -> BTreeMap<String, [usize; 4]> {
    let mut counts: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    for (row, standing) in judged {
        let at = match standing {
            Standing::Done => 0,
            Standing::OnPurpose(_) => 1,
            Standing::NotApplicable(_) => 2,
            Standing::Missing => 3,
        };
        counts.entry(row.map.clone()).or_default()[at] += 1;
    }
    counts
}
