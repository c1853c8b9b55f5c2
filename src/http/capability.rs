//! The CapabilityStatement, computed from the route table: it cannot claim a missing route.
//!
//! Spec: <https://hl7.org/fhir/R4/capabilitystatement.html>, rest section 5

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::access::interaction::Kind;
use crate::engine::InForce;
use crate::fhir::ResourceType;
use crate::fhir::json::{Object, Value};
use crate::spec::structure::Library;

use super::fhir::patch::LANGUAGES;
use super::table::{Table, is_endpoint};

mod searches;
mod security;
mod terminology;
mod types;

use searches::Searches;
use types::NORMATIVE;

/// The day on which the statement last changed its meaning.
const DATE: &str = "2026-11-30";

/// What part of the statement is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    /// Everything.
    Full,
    /// Only types whose definitions are normative in R4.
    Normative,
}

/// One statement, ready to go out.
#[derive(Debug)]
pub(super) struct Statement {
    /// Compact JSON.
    pub(super) json: Bytes,
    /// Its entity tag, which changes with its content.
    pub(super) etag: String,
}

impl Statement {
    fn of(value: &Value<'_>) -> Self {
        let json = Bytes::from(value.to_text());
        let mut etag = String::from("W/\"");
        for byte in &Sha256::digest(&json)[..8] {
            let _ = write!(etag, "{byte:02x}");
        }
        etag.push('"');
        Self { json, etag }
    }

    /// What there is for codes: a TerminologyCapabilities with these code systems.
    pub(super) fn of_codes(base: &str, systems: &[(String, Option<String>)]) -> Self {
        Self::of(&terminology::value(base, systems))
    }
}

/// What the routes offer.
pub(super) struct Capability {
    system: Vec<&'static str>,
    system_operations: Vec<&'static str>,
    types: Vec<&'static str>,
    type_operations: Vec<&'static str>,
    /// Operations of one type alone, with the type.
    own_operations: Vec<(&'static str, &'static str)>,
    /// The kinds whose resource may be found by criteria.
    conditional: Vec<Kind>,
    options: Options,
    last: Mutex<Vec<Arc<Kept>>>,
}

/// A statement but for the base, and what it depends on.
struct Kept {
    mode: Mode,
    known: InForce,
    /// The JSON text, cut where the base belongs.
    parts: Box<[Box<str>]>,
    /// Of the whole.
    digest: [u8; 32],
}

/// What the routes do not tell.
#[derive(Default)]
pub(super) struct Options {
    /// Whether pages of other origins may call.
    pub(super) has_cors: bool,
    /// Whether a conditional delete may delete several resources.
    pub(super) deletes_many: bool,
    /// Whether words can be searched.
    pub(super) has_words: bool,
    /// Whether references must lead somewhere.
    pub(super) enforces_references: bool,
    /// Whether subscriptions are served.
    pub(super) has_subscriptions: bool,
    /// The endpoints of the authorization server, by their names in smart-configuration.
    pub(super) endpoints: Vec<(&'static str, String)>,
}

/// Stands for the base while a statement is made: it is no URL that a definition could have.
const PLACE: &str = "\u{1}base";

/// What a statement tells of the definitions in force.
struct Parts {
    searches: Searches,
    library: Option<Arc<Library>>,
}

impl Parts {
    fn profiles(&self, of: ResourceType) -> Option<Vec<Value<'static>>> {
        let found = self.library.as_ref()?.profiles_of(of.as_str());
        (!found.is_empty())
            .then(|| found.into_iter().map(|it| Value::from(it.to_owned())).collect())
    }
}

impl Capability {
    /// What the rows of `table` offer.
    pub(super) fn new(table: &Table, options: Options) -> Self {
        let mut found = Self {
            system: vec![],
            system_operations: vec![],
            types: vec![],
            type_operations: vec![],
            own_operations: vec![],
            conditional: vec![],
            options,
            last: Mutex::default(),
        };
        for route in table.routes() {
            let Some(kind) = route.interaction else { continue };
            if !route.path.starts_with("/fhir") {
                continue;
            }
            if let Some(of) = own_type(route.path) {
                found.own_operations.push((of, kind.as_str()));
                continue;
            }
            let of_type = route.path.contains("{type}") && kind != Kind::SearchSystem;
            if route.path.ends_with("/{type}") {
                found.conditional.push(kind);
            }
            let (codes, operations) = if of_type {
                (&mut found.types, &mut found.type_operations)
            } else {
                (&mut found.system, &mut found.system_operations)
            };
            match kind {
                // Where an export is looked for, and what it has made, is no interaction of its own.
                Kind::ExportCancel | Kind::ExportFile | Kind::ExportStatus => {}
                Kind::Closure
                | Kind::ConvertMessage
                | Kind::Export
                | Kind::GraphQl
                | Kind::Meta
                | Kind::MetaAdd
                | Kind::MetaDelete
                | Kind::Reindex
                | Kind::Validate => {
                    operations.push(kind.as_str());
                }
                // One route serves both kinds of Bundle.
                Kind::Batch => codes.extend([Kind::Transaction.as_str(), Kind::Batch.as_str()]),
                _ => codes.push(kind.as_str()),
            }
        }
        let lists = [
            &mut found.system,
            &mut found.system_operations,
            &mut found.types,
            &mut found.type_operations,
        ];
        for list in lists {
            list.sort_unstable();
            list.dedup();
        }
        found.own_operations.sort_unstable();
        found.own_operations.dedup();
        found
    }

    /// The statement for clients that see the server at `base` and search by what `extractor` finds.
    pub(super) fn statement(&self, base: &str, mode: Mode, known: &InForce) -> Statement {
        let kept = self.kept(mode, known);
        let base = Value::from(base).to_text();
        let json = kept.parts.join(inside(&base)).into_bytes();
        let mut etag = String::from("W/\"");
        for byte in &Sha256::new().chain_update(kept.digest).chain_update(&base).finalize()[..8] {
            let _ = write!(etag, "{byte:02x}");
        }
        etag.push('"');
        Statement { json: json.into(), etag }
    }

    /// What is the same for all clients, made once: it takes a while.
    fn kept(&self, mode: Mode, known: &InForce) -> Arc<Kept> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|kept| kept.known.is_same(known));
        if let Some(kept) = last.iter().find(|kept| kept.mode == mode) {
            return kept.clone();
        }
        let text = self.value(PLACE, mode, &self.parts(known)).to_text();
        let place = Value::from(PLACE).to_text();
        let parts = text.split(inside(&place));
        let kept = Arc::new(Kept {
            mode,
            known: known.clone(),
            parts: parts.map(Into::into).collect(),
            digest: Sha256::digest(&text).into(),
        });
        last.push(kept.clone());
        kept
    }

    fn parts(&self, known: &InForce) -> Parts {
        let searches = Searches::new(&known.extractor, self.options.has_words);
        Parts { searches, library: known.library.clone() }
    }

    fn value(&self, base: &'static str, mode: Mode, parts: &Parts) -> Value<'static> {
        let software =
            Object::new().with("name", "Kiln").with("version", env!("CARGO_PKG_VERSION"));
        let implementation =
            Object::new().with("description", "Kiln FHIR server").with("url", base);
        Object::new()
            .with("resourceType", "CapabilityStatement")
            .with("status", "active")
            .with("date", DATE)
            .with("kind", "instance")
            .with("instantiates", codes(&[US_CORE_SERVER, BULK_DATA]))
            .with("software", software)
            .with("implementation", implementation)
            .with("fhirVersion", "4.0.1")
            .with(
                "format",
                codes(&["json", "application/fhir+json", "xml", "application/fhir+xml"]),
            )
            .with("patchFormat", codes(&self.patch_formats()))
            .with("rest", vec![self.rest(mode, parts)])
            .into()
    }

    fn reference_policy(&self) -> &'static [&'static str] {
        if self.options.enforces_references {
            return &["literal", "logical", "enforced", "local"];
        }
        &["literal", "logical", "local"]
    }

    fn patch_formats(&self) -> Vec<&'static str> {
        if !self.types.contains(&Kind::Patch.as_str()) {
            return Vec::new();
        }
        LANGUAGES.to_vec()
    }

    fn rest(&self, mode: Mode, parts: &Parts) -> Value<'static> {
        let resources = ResourceType::all().filter(|resource_type| {
            is_endpoint(*resource_type)
                && *resource_type != ResourceType::OPERATION_OUTCOME
                && (mode == Mode::Full || NORMATIVE.contains(&resource_type.as_str()))
        });
        let resources: Vec<_> =
            resources.map(|resource_type| self.resource(resource_type, parts)).collect();
        Object::new()
            .with("mode", "server")
            .with("security", security::security(self.options.has_cors, &self.options.endpoints))
            .with("resource", resources)
            .with("interaction", interactions(&self.system, |_| true))
            .with_some("searchParam", parts.searches.of_system())
            .with_some("operation", operations("Resource", &self.system_operations))
            .into()
    }

    fn resource(&self, resource_type: ResourceType, parts: &Parts) -> Value<'static> {
        let is_binary = resource_type == ResourceType::BINARY;
        // What happened is not changed.
        let is_record = resource_type == ResourceType::AUDIT_EVENT;
        let kept = |kind: Kind| is_record && kind.is_change() || is_binary && kind == Kind::Patch;
        let changes = [Kind::Delete, Kind::Patch, Kind::Update];
        let offered = |code: &str| !changes.iter().any(|it| kept(*it) && it.as_str() == code);
        let has = |kind: Kind| self.types.contains(&kind.as_str());
        let conditional = |kind: Kind| self.conditional.contains(&kind);
        let deletes = match (conditional(Kind::Delete), self.options.deletes_many) {
            _ if is_record => "not-supported",
            (false, _) => "not-supported",
            (true, false) => "single",
            (true, true) => "multiple",
        };
        let resource = Object::new()
            .with("type", resource_type.as_str())
            .with("profile", format!("http://hl7.org/fhir/StructureDefinition/{resource_type}"))
            .with_some("supportedProfile", parts.profiles(resource_type))
            .with_some("documentation", types::words(resource_type, &self.options))
            .with("interaction", interactions(&self.types, offered))
            .with("versioning", "versioned-update")
            .with("readHistory", has(Kind::Vread))
            .with("updateCreate", has(Kind::Update) && !is_record)
            .with("conditionalCreate", conditional(Kind::Create))
            .with("conditionalRead", if has(Kind::Read) { "full-support" } else { "not-supported" })
            .with("conditionalUpdate", conditional(Kind::Update) && !is_record)
            .with("conditionalDelete", deletes)
            .with("referencePolicy", codes(self.reference_policy()));
        parts
            .searches
            .declare(resource_type, resource)
            .with_some("operation", self.operations(resource_type))
            .into()
    }

    /// The operations of all types and those of this one.
    fn operations(&self, resource_type: ResourceType) -> Option<Vec<Value<'static>>> {
        let name = resource_type.as_str();
        let own = self.own_operations.iter().filter(|(of, _)| *of == name);
        let own: Vec<&'static str> = own.map(|(_, operation)| *operation).collect();
        let own = operations(name, &own).into_iter();
        let all: Vec<_> = operations("Resource", &self.type_operations)
            .into_iter()
            .chain(own)
            .flatten()
            .collect();
        (!all.is_empty()).then_some(all)
    }
}

/// The statement of US Core, whose profiles and searches are here.
const US_CORE_SERVER: &str = "http://hl7.org/fhir/us/core/CapabilityStatement/us-core-server";

/// The statement of Bulk Data Access, whose export is here.
const BULK_DATA: &str = "http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data";

/// A JSON text without the quotes around it; those of its own at the end stay.
fn inside(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

fn codes(texts: &[&'static str]) -> Vec<Value<'static>> {
    texts.iter().map(|text| Value::from(*text)).collect()
}

fn interactions(found: &[&'static str], offered: impl Fn(&str) -> bool) -> Vec<Value<'static>> {
    let found = found.iter().filter(|code| offered(code));
    found.map(|code| Object::new().with("code", *code).into()).collect()
}

/// The type that the path of an operation names.
fn own_type(path: &'static str) -> Option<&'static str> {
    let name = path.strip_prefix("/fhir/")?.split('/').next()?;
    name.parse::<ResourceType>().is_ok().then_some(name)
}

/// Operations that are defined for `of`: a type of resource, or all of them.
fn operations(of: &str, names: &[&'static str]) -> Option<Vec<Value<'static>>> {
    let operation = |name: &&'static str| {
        let name = name.trim_start_matches('$');
        let definition = match name {
            // Of the whole system, though a type defines it.
            "closure" => "http://hl7.org/fhir/OperationDefinition/ConceptMap-closure".to_owned(),
            // Defined by Bulk Data Access.
            "export" => {
                let whose = match of {
                    "Group" => "group-",
                    "Patient" => "patient-",
                    _ => "",
                };
                format!("http://hl7.org/fhir/uv/bulkdata/OperationDefinition/{whose}export")
            }
            // Defined by the International Patient Summary.
            "summary" => "http://hl7.org/fhir/uv/ips/OperationDefinition/summary".to_owned(),
            // FHIR has none of this name: ours is here.
            "disclosures" => format!("{PLACE}/OperationDefinition/Patient-{name}"),
            "hl7v2-convert" | "reindex" => format!("{PLACE}/OperationDefinition/Resource-{name}"),
            name => format!("http://hl7.org/fhir/OperationDefinition/{of}-{name}"),
        };
        Object::new().with("name", name).with("definition", definition).into()
    };
    (!names.is_empty()).then(|| names.iter().map(operation).collect())
}

#[cfg(test)]
mod tests {
    use crate::fhir::datetime::Zone;
    use crate::fhir::json::parse;
    use crate::http::form::Form;
    use crate::http::negotiation::MediaType;
    use crate::http::routes;
    use crate::search::extract::{self, Extractor};
    use crate::search::values::quantity::Ucum;
    use crate::spec::Spec;
    use crate::spec::codes::Codes;

    use super::*;

    fn capability() -> Capability {
        let options = Options { has_words: true, ..Options::default() };
        Capability::new(&Table::new(routes::all(true)).expect("table"), options)
    }

    fn known() -> InForce {
        let spec = Spec::r4().expect("definitions");
        let codes = Codes::r4().expect("codes");
        let settings =
            extract::Settings { base: "".into(), units: Box::new(Ucum), zone: Zone::UTC };
        let extractor = Extractor::new(spec, codes, settings).expect("extractor");
        InForce { extractor: Arc::new(extractor), library: Some(Arc::new(Library::r4())) }
    }

    #[test]
    fn the_statement_has_the_interactions_of_the_routes_and_sound_form() {
        let statement = capability().statement("http://a/fhir", Mode::Full, &known());
        let value = parse(&statement.json).expect("JSON");
        let spec = Spec::r4().expect("definitions");
        let xml = Form { media_type: MediaType::FhirXml, is_pretty: false };
        assert!(xml.write(&value, &spec.schema).is_ok(), "the form is that of the type");
        let rest = &value.items_at("rest")[0];
        let all = |value: &Value<'_>| {
            let items = value.items_at("interaction").iter();
            items.map(|item| item.str_at("code").expect("code").to_owned()).collect::<Vec<_>>()
        };
        let system = ["batch", "history-system", "search-system", "transaction"];
        assert_eq!(all(rest), system);
        let patient = rest.items_at("resource").iter();
        let patient = patient.clone().find(|item| item.str_at("type") == Some("Patient"));
        let expected = [
            "create",
            "delete",
            "history-instance",
            "history-type",
            "patch",
            "read",
            "search-type",
            "update",
            "vread",
        ];
        let patient = patient.expect("Patient");
        assert_eq!(all(patient), expected);
        let names: Vec<_> =
            patient.items_at("searchParam").iter().filter_map(|it| it.str_at("name")).collect();
        for name in ["birthdate", "_tag", "_text", "_has"] {
            assert_eq!(names.iter().filter(|known| **known == name).count(), 1, "{name}");
        }
        let texts =
            |list| -> Vec<_> { patient.items_at(list).iter().filter_map(Value::as_str).collect() };
        let blood_pressure = "http://hl7.org/fhir/StructureDefinition/bp";
        let observation = rest.items_at("resource").iter();
        let observation = observation.clone().find(|it| it.str_at("type") == Some("Observation"));
        let mut profiles = observation.expect("Observation").items_at("supportedProfile").iter();
        assert!(profiles.any(|it| it.as_str() == Some(blood_pressure)));
        assert!(texts("searchInclude").contains(&"Patient:organization"));
        assert!(texts("searchRevInclude").contains(&"Provenance:target"));
        assert!(!texts("searchRevInclude").contains(&"Patient:organization"));
        let mut record = rest.items_at("resource").iter();
        let record = record.find(|it| it.str_at("type") == Some("AuditEvent")).expect("AuditEvent");
        assert!(!all(record).iter().any(|code| ["delete", "patch", "update"].contains(&&**code)));
        assert_eq!(record.str_at("conditionalDelete"), Some("not-supported"));
        let has_search = rest.items_at("searchParam").len();
        assert!(has_search > 3, "{has_search}");
        assert_eq!(rest.items_at("resource").len(), 144);
    }

    #[test]
    fn the_tag_changes_with_the_statement_and_only_with_it() {
        let (one, other) = (capability(), capability());
        let known = known();
        let full = one.statement("http://a/fhir", Mode::Full, &known);
        assert_eq!(full.etag, other.statement("http://a/fhir", Mode::Full, &known).etag);
        assert_ne!(full.etag, one.statement("http://b/fhir", Mode::Full, &known).etag);
        let normative = one.statement("http://a/fhir", Mode::Normative, &known);
        assert_ne!(full.etag, normative.etag);
        assert!(normative.json.len() < full.json.len());
        // Whatever it is called, it is made once.
        for at in 0..20 {
            let base = format!("http://{at}/fhir?\"");
            let statement = one.statement(&base, Mode::Full, &known);
            let value = parse(&statement.json).expect("JSON");
            let url = value.get("implementation").and_then(|it| it.str_at("url"));
            assert_eq!(url, Some(&*base));
        }
        assert_eq!(one.last.lock().expect("lock").len(), 2);
    }
}
