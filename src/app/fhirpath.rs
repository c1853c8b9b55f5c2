//! `kiln fhirpath`: evaluates an expression on a file and prints what it finds.
//!
//! A line for each result: its path, its type and its value as JSON, with tabs between them. What
//! was computed has the path `-`.
//!
//! Layer: 8. Imports `fhir`, `fhirpath`, `spec`, `terminology`, `validate`.

use std::fmt::{self, Write as _};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::fhir::Instant;
use crate::fhir::codec::xml;
use crate::fhir::json::{self, Limits, Value};
use crate::fhir::schema::{Schema, TypeKind};
use crate::fhirpath::{
    Environment, EvaluationError, Expression, Item, ParseError, Step, System, locate,
};
use crate::spec::structure::Library;
use crate::spec::{R4_PACK, Spec, SpecError};
use crate::terminology::Image;
use crate::validate::profile::Validator;

/// `kiln fhirpath`: which expression, on what.
#[derive(Clone, Debug, clap::Args)]
pub struct FhirpathArgs {
    /// The expression.
    #[arg(allow_hyphen_values = true)]
    pub expression: String,
    /// A resource in JSON or XML; - reads it from standard input.
    pub file: PathBuf,
    /// Longest time that the expression may take a processor, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    pub time: u64,
}

/// Why there is no result.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The document is neither JSON nor XML of FHIR.
    #[error("{}: {reason}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The expression is at fault.
    #[error("{0}")]
    Expression(Marked),
    /// The file cannot be read, or the results cannot be written.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The definitions of R4 cannot be read.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

/// A fault of an expression, with a mark under its column.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Marked {
    reason: String,
    line: String,
    /// Characters of the line before the fault.
    before: usize,
}

impl Marked {
    fn new(expression: &str, reason: String, column: usize) -> Self {
        let at: usize = expression.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
        let start = expression[..at].rfind('\n').map_or(0, |end| end + 1);
        let line = expression[start..].lines().next().unwrap_or_default();
        let plain = line.chars().map(|next| if next.is_control() { ' ' } else { next });
        let before = expression[start..at].chars().count();
        Self { reason, line: plain.collect(), before }
    }
}

impl fmt::Display for Marked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, line, before } = self;
        write!(f, "{reason}\n  {line}\n  {:before$}^", "")
    }
}

/// Evaluates the expression and writes the results to `out`; what looks like a mistake in an
/// expression that finds nothing goes to `notes`.
///
/// # Errors
/// [`CommandError`].
pub fn run(
    args: &FhirpathArgs,
    now: Instant,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), CommandError> {
    let fault = |source| CommandError::File { path: args.file.clone(), source };
    let bytes = read(&args.file).map_err(fault)?;
    answer(args, &bytes, now, out, notes)
}

fn answer(
    args: &FhirpathArgs,
    bytes: &[u8],
    now: Instant,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), CommandError> {
    let text = &args.expression;
    let marked = |reason, column| CommandError::Expression(Marked::new(text, reason, column));
    let unparsed = |fault: ParseError| marked(fault.to_string(), fault.column);
    let failed = |fault: EvaluationError| marked(fault.to_string(), fault.column);
    let unwritten = |source| CommandError::File { path: "standard output".into(), source };

    let expression = Expression::parse(text).map_err(unparsed)?;
    let spec = Spec::r4()?;
    let schema = &spec.schema;
    let document = document(bytes, schema, &args.file)?;
    let codes = Arc::new(Image::new(R4_PACK, "").map_err(SpecError::from)?);
    let validator = Validator::new(Arc::clone(&spec), Arc::new(Library::r4()), codes);
    let known = validator.knowledge(&document);
    let environment = Environment::new(&document, schema)
        .with_now(now)
        .with_time(Duration::from_millis(args.time))
        .with_knowledge(&known);
    let items = expression.evaluate(&environment).map_err(failed)?;
    for item in &items {
        let place = locate(&document, item).map(|steps| path(&document, &steps, schema));
        let place = place.unwrap_or_else(|| "-".to_owned());
        writeln!(out, "{place}\t{}\t{}", item.type_name(schema), shown(item)).map_err(unwritten)?;
    }
    let context = document.str_at("resourceType").and_then(|name| schema.by_name(name));
    if let Some(Err(fault)) = context.map(|context| expression.check(context, schema))
        && items.is_empty()
    {
        // The note is a courtesy; without a reader there is nobody to miss it.
        let _ = writeln!(notes, "note: {}", Marked::new(text, fault.to_string(), fault.column));
    }
    out.flush().map_err(unwritten)
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes)?;
    } else {
        bytes = std::fs::read(file)?;
    }
    Ok(bytes)
}

fn document<'b>(
    bytes: &'b [u8],
    schema: &'b Schema,
    path: &Path,
) -> Result<Value<'b>, CommandError> {
    let is_xml = bytes.trim_ascii_start().starts_with(b"<");
    let read = if is_xml {
        xml::read(bytes, schema, Limits::default()).map_err(|fault| fault.to_string())
    } else {
        json::parse(bytes).map_err(|fault| fault.to_string())
    };
    let known = |value: &Value<'_>| {
        value.str_at("resourceType").is_some_and(|name| {
            schema.type_named(name).is_some_and(|def| def.kind == TypeKind::Resource)
        })
    };
    let fault = |reason| CommandError::Document { path: path.to_owned(), reason };
    let value = read.map_err(fault)?;
    if known(&value) { Ok(value) } else { Err(fault("not a resource of R4".to_owned())) }
}

/// The FHIRPath of a place: `Observation.value`, not `Observation.valueQuantity`.
fn path(document: &Value<'_>, steps: &[Step], schema: &Schema) -> String {
    let mut text = document.str_at("resourceType").unwrap_or_default().to_owned();
    let mut type_id = schema.by_name(&text);
    let mut value = Some(document);
    for step in steps {
        match step {
            Step::Index(at) => {
                // Writing to a String does not fail.
                let _ = write!(text, "[{at}]");
                value = value.and_then(|value| value.as_array()?.get(*at));
            }
            Step::Key(key) => {
                value = value.and_then(|value| value.get(key));
                let found = type_id.and_then(|id| schema.get(id).key(key));
                text.push('.');
                text.push_str(found.map_or(key, |(field, _)| &field.name));
                type_id = found.map(|(_, variant)| variant.type_id);
            }
        }
        let named = value.and_then(|value| schema.by_name(value.str_at("resourceType")?));
        type_id = named.or(type_id);
    }
    text
}

fn shown(item: &Item<'_>) -> String {
    match item {
        Item::Node(node) => node.value.to_text(),
        Item::Target(target) => Value::from(target.reference).to_text(),
        Item::Type(info) => format!("{}.{}", info.namespace, info.name),
        Item::Value(System::String(text)) => Value::from(&**text).to_text(),
        Item::Value(value) => value.to_text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENT: &str = r#"{"resourceType":"Patient","deceasedDateTime":"2020-01-01",
        "name":[{"given":["A","B"]}],"birthDate":"1974","_birthDate":{"extension":[{"url":"u","valueCode":"x"}]},
        "contained":[{"resourceType":"Observation","id":"o","status":"final","valueString":"v"}]}"#;

    fn told(expression: &str) -> Result<(String, String), String> {
        told_within(60_000, expression)
    }

    fn told_within(time: u64, expression: &str) -> Result<(String, String), String> {
        let args = FhirpathArgs { expression: expression.to_owned(), file: "patient".into(), time };
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let answered =
            answer(&args, PATIENT.as_bytes(), Instant::from_micros(0), &mut out, &mut notes);
        answered.map_err(|fault| fault.to_string())?;
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ok((text(out), text(notes)))
    }

    #[test]
    fn each_result_has_its_path_type_and_value() {
        for (expression, expected) in [
            (
                "name.given",
                "Patient.name[0].given[0]\tstring\t\"A\"\nPatient.name[0].given[1]\tstring\t\"B\"\n",
            ),
            ("deceased", "Patient.deceased\tdateTime\t\"2020-01-01\"\n"),
            ("contained.value", "Patient.contained[0].value\tstring\t\"v\"\n"),
            ("birthDate.extension.value", "Patient.birthDate.extension[0].value\tcode\t\"x\"\n"),
            ("-(1 'mg')", "-\tQuantity\t-1 'mg'\n"),
            ("'a\tb'", "-\tString\t\"a\\tb\"\n"),
            ("now()", "-\tDateTime\t1970-01-01T00:00:00.000Z\n"),
            ("name.type()", "-\tSimpleTypeInfo\tFHIR.HumanName\n"),
            ("{}", ""),
        ] {
            assert_eq!(told(expression), Ok((expected.to_owned(), String::new())), "{expression}");
        }
    }

    #[test]
    fn value_sets_and_hierarchies_of_r4_are_known() {
        let gender = "http://hl7.org/fhir/ValueSet/administrative-gender";
        for (expression, expected) in [
            (format!("'female'.memberOf('{gender}')"), "-\tBoolean\ttrue\n"),
            (format!("'F'.memberOf('{gender}')"), "-\tBoolean\tfalse\n"),
            (format!("{{}}.memberOf('{gender}')"), ""),
            (format!("birthDate.extension.value.memberOf('{gender}')"), "-\tBoolean\tfalse\n"),
        ] {
            let found = told(&expression).expect(&expression);
            assert_eq!(found.0, expected, "{expression}");
        }
        for (expression, expected) in [
            ("'a'.memberOf('http://x/none')", "http://x/none is not known"),
            ("'a'.subsumes('b')", "the system of the code \"b\" is not known"),
        ] {
            let fault = told(expression).expect_err(expression);
            assert!(fault.contains(expected), "{expression}: {fault}");
        }
    }

    #[test]
    fn profiles_of_r4_are_known() {
        let base = "http://hl7.org/fhir/StructureDefinition";
        for (expression, expected) in [
            (format!("name.conformsTo('{base}/HumanName')"), "-\tBoolean\ttrue\n"),
            (format!("conformsTo('{base}/Observation')"), "-\tBoolean\tfalse\n"),
            // It has no code.
            (format!("contained.conformsTo('{base}/Observation')"), "-\tBoolean\tfalse\n"),
            ("text.`div`.htmlChecks()".to_owned(), ""),
        ] {
            let found = told(&expression).expect(&expression);
            assert_eq!(found.0, expected, "{expression}");
        }
        let fault = told("conformsTo('http://x/none')").expect_err("nobody knows it");
        assert!(fault.contains("http://x/none is not known"), "{fault}");
    }

    /// Covers: security H9.
    #[test]
    fn faults_are_marked_under_their_column() {
        for (expression, expected) in [
            ("name x", "an operator or the end is expected at column 6\n  name x\n       ^"),
            (
                "name.given +\n name.given",
                "one item is expected, not several at column 6\n  name.given +\n       ^",
            ),
            ("name.given.single()", "at column 12\n  name.given.single()\n             ^"),
        ] {
            let fault = told(expression).expect_err(expression);
            assert!(fault.contains(expected), "{expression}: {fault}");
        }
        // Each of more than ten asks for all of them again: too long for no time, and too much for any.
        for (time, depth, expected) in [
            (0, 4, "the expression takes longer than 0 ms at column"),
            (600_000, 10, "the expression takes too many steps at column"),
        ] {
            let all =
                |inner: String, _: i32| format!("%resource.descendants().where({inner}).exists()");
            let expression = (0..depth).fold("false".to_owned(), all);
            let fault = told_within(time, &expression).expect_err(&expression);
            assert!(fault.starts_with(expected) && fault.ends_with('^'), "{expression}: {fault}");
        }
        let (out, notes) = told("name.gven").expect("an answer");
        assert_eq!(out, "");
        assert_eq!(
            notes,
            "note: HumanName has no element gven at column 6\n  name.gven\n       ^\n"
        );
    }
}
