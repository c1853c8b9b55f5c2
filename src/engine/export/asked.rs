//! What the parameters of an export say, and what is kept of it.

use crate::access::Permit;
use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::json::{self, Object, Value};
use crate::fhir::query::date_text;
use crate::fhir::reference::Target;
use crate::fhir::{Instant, IssueCode, LogicalId, ResourceType};
use crate::spec::Spec;
use crate::store::{EXPORTED_WITH_PATIENTS, ExportLevel, export_notice};

use super::ExportOf;

/// In compartments of patients, and still no part of an export of patients: they name many, or are about
/// the server.
const NEVER_OF_PATIENTS: [&str; 3] = ["AuditEvent", "Group", "Subscription"];

/// The names of the one form that there is.
const FORMATS: [&str; 3] = ["application/fhir+ndjson", "application/ndjson", "ndjson"];

/// A parameter as it was sent: its name and its value as text.
pub type ExportParameter = (String, String);

/// What was asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Asked {
    pub(super) of: Option<ExportLevel>,
    pub(super) since: Option<Instant>,
    /// The types that were named; none: all that are granted.
    named: Option<Vec<ResourceType>>,
    /// Searches that narrow types.
    pub(super) filters: Vec<(ResourceType, String)>,
    pub(super) elements: Vec<String>,
    pub(super) patients: Vec<LogicalId>,
    pub(super) has_provenance: bool,
    /// What was passed over, for the file of errors.
    pub(super) notices: Vec<String>,
}

impl Asked {
    /// Reads parameters.
    ///
    /// # Errors
    /// [`Error::Invalid`] for values that are none; where handling is strict also for what is not
    /// supported, which else is passed over and told of.
    pub(super) fn read(
        of: &ExportOf,
        parameters: &[ExportParameter],
        is_strict: bool,
        base: &str,
    ) -> Result<Self, Error> {
        let mut asked = Self { of: Some(of.clone()), ..Self::default() };
        let mut once: Vec<&str> = Vec::new();
        for (name, value) in parameters {
            let name = name.as_str();
            if matches!(name, "_since" | "_outputFormat") {
                if once.contains(&name) {
                    return Err(fault(format!("{name} may stand once only")));
                }
                once.push(name);
            }
            match name {
                "_format" | "_pretty" => {}
                "_outputFormat" => output_format(value)?,
                "_since" => {
                    let since = Instant::parse(&date_text(value));
                    let invalid =
                        || fault(format!("_since is an instant with a zone, not {value:?}"));
                    asked.since = Some(since.ok_or_else(invalid)?);
                }
                "_type" => {
                    let named = asked.named.get_or_insert_default();
                    for name in words(value) {
                        let invalid = || fault(format!("_type: {name:?} is no type of R4"));
                        named.push(name.parse().map_err(|_| invalid())?);
                    }
                }
                "_typeFilter" => asked.filters.extend(type_filters(value)?),
                "_elements" => asked.elements.extend(words(value).map(str::to_owned)),
                "patient" if *of != ExportLevel::System => {
                    for text in words(value) {
                        asked.patients.push(patient(text, base)?);
                    }
                }
                "includeAssociatedData" => {
                    for word in words(value) {
                        match word {
                            "RelevantProvenanceResources" => asked.has_provenance = true,
                            other => {
                                asked.pass_over(&format!("{name}={other}"), is_strict)?;
                            }
                        }
                    }
                }
                other => asked.pass_over(other, is_strict)?,
            }
        }
        Ok(asked)
    }

    fn pass_over(&mut self, what: &str, is_strict: bool) -> Result<(), Error> {
        let what: String = what.chars().take(80).collect();
        let text = format!("parameter {what:?} is not supported by this export");
        if is_strict {
            return Err(Error::NotSupported(text));
        }
        self.notices.push(export_notice(IssueCode::NotSupported, format!("{text}: passed over")));
        Ok(())
    }

    /// The types that are exported: those that were named, or all of the level that are granted.
    ///
    /// # Errors
    /// [`Error::Forbidden`] where one that was named is not granted, or none is; [`Error::Invalid`] for one
    /// that such an export has not.
    pub(super) fn types(
        &self,
        spec: &Spec,
        permit: &Permit<'_>,
    ) -> Result<Vec<ResourceType>, Error> {
        let is_of_patients = self.of != Some(ExportLevel::System);
        if is_of_patients {
            permit.derive(Kind::Export, ResourceType::PATIENT)?;
        }
        let is_of_group = matches!(self.of, Some(ExportLevel::Group(_)));
        let is_offered = |of: ResourceType| match of {
            ResourceType::OPERATION_OUTCOME | ResourceType::PARAMETERS => false,
            ResourceType::GROUP if is_of_group => true,
            of if is_of_patients => is_compartment(of, spec) || is_beside(of),
            _ => true,
        };
        let mut types: Vec<ResourceType> = match &self.named {
            Some(named) => {
                for of in named {
                    if !is_offered(*of) {
                        return Err(fault(format!("_type: {of} is no part of such an export")));
                    }
                    permit.derive(Kind::Export, *of)?;
                }
                named.clone()
            }
            None => ResourceType::all()
                .filter(|of| is_offered(*of) && (!is_of_group || *of != ResourceType::GROUP))
                .filter(|of| permit.derive(Kind::Export, *of).is_ok())
                .collect(),
        };
        if self.has_provenance {
            permit.derive(Kind::Export, ResourceType::PROVENANCE)?;
        }
        types.sort_unstable();
        types.dedup();
        match (types.is_empty(), &self.named) {
            (false, _) => Ok(types),
            (true, Some(_)) => Err(fault("_type names no type".to_owned())),
            (true, None) => Err(Error::Forbidden),
        }
    }

    /// The types that must be granted as long as there is something of the export: its own, those of its level, and
    /// what comes along.
    pub(super) fn needs(&self, types: &[ResourceType]) -> Vec<ResourceType> {
        let level = match self.of {
            Some(ExportLevel::Group(_)) => &[ResourceType::PATIENT, ResourceType::GROUP][..],
            Some(ExportLevel::Patient) => &[ResourceType::PATIENT],
            Some(ExportLevel::System) | None => &[],
        };
        let along = self.has_provenance.then_some(ResourceType::PROVENANCE);
        let mut needs: Vec<_> = types.iter().chain(level).copied().chain(along).collect();
        needs.sort_unstable();
        needs.dedup();
        needs
    }

    /// Types of the patient compartment that may be looked at.
    pub(super) fn looked_at(spec: &Spec, permit: &Permit<'_>) -> Vec<ResourceType> {
        let may = |of: &ResourceType| permit.derive(Kind::Export, *of).is_ok();
        ResourceType::all().filter(|of| is_compartment(*of, spec)).filter(may).collect()
    }

    /// As it is kept.
    pub(super) fn to_json(&self) -> String {
        let texts = |all: Vec<String>| all.into_iter().map(Value::from).collect::<Vec<_>>();
        let (level, group) = match &self.of {
            Some(ExportLevel::Group(id)) => ("group", Some(id.to_string())),
            Some(ExportLevel::Patient) => ("patient", None),
            Some(ExportLevel::System) | None => ("system", None),
        };
        let filters = self.filters.iter().map(|(of, query)| format!("{of}?{query}")).collect();
        let patients = self.patients.iter().map(ToString::to_string).collect();
        let asked = Object::new()
            .with("level", level)
            .with_some("group", group)
            .with_some("since", self.since.map(|since| since.as_micros().to_string()))
            .with("filters", texts(filters))
            .with("elements", texts(self.elements.clone()))
            .with("patients", texts(patients))
            .with("provenance", self.has_provenance)
            .with("notices", texts(self.notices.clone()));
        Value::from(asked).to_text()
    }

    /// What was kept, but for the types, which stand beside it.
    ///
    /// # Errors
    /// [`Error::Internal`] for what this program did not write.
    pub(super) fn from_json(text: &str) -> Result<Self, Error> {
        let value = json::parse(text.as_bytes()).map_err(Error::internal)?;
        let unknown = || Error::internal("an export that was kept cannot be read");
        let texts = |name: &str| -> Vec<String> {
            value.items_at(name).iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let of = match (value.str_at("level"), value.str_at("group")) {
            (Some("group"), Some(id)) => ExportLevel::Group(id.parse().map_err(|_| unknown())?),
            (Some("patient"), _) => ExportLevel::Patient,
            (Some("system"), _) => ExportLevel::System,
            _ => return Err(unknown()),
        };
        let since = value.str_at("since").map(|micros| micros.parse().map_err(Error::internal));
        let filters = texts("filters").into_iter().map(|text| type_filter(&text));
        let patients = texts("patients").into_iter().map(|id| id.parse().map_err(|_| unknown()));
        Ok(Self {
            of: Some(of),
            since: since.transpose()?.map(Instant::from_micros),
            named: None,
            filters: filters.collect::<Result<_, _>>()?,
            elements: texts("elements"),
            patients: patients.collect::<Result<_, _>>()?,
            has_provenance: value.get("provenance").and_then(Value::as_bool).unwrap_or_default(),
            notices: texts("notices"),
        })
    }
}

/// Whether resources of a type come with those of patients without being in their compartments: who and what
/// these refer to, and what is theirs or about it.
fn is_beside(of: ResourceType) -> bool {
    [ResourceType::DEVICE, ResourceType::PROVENANCE].contains(&of)
        || EXPORTED_WITH_PATIENTS.contains(&of.as_str())
}

/// Whether resources of a type are in compartments of patients as an export has them.
fn is_compartment(of: ResourceType, spec: &Spec) -> bool {
    if of == ResourceType::PATIENT {
        return true;
    }
    let compartment = spec.compartment(ResourceType::PATIENT);
    compartment.is_some_and(|it| !it.parameters(of).is_empty())
        && !NEVER_OF_PATIENTS.contains(&of.as_str())
        && !is_beside(of)
}

pub(super) fn fault(text: String) -> Error {
    Error::invalid(IssueCode::Invalid, text)
}

/// The parts of a list.
fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn output_format(value: &str) -> Result<(), Error> {
    // A plus that was sent raw arrives as a space.
    let name = value.trim().replace(' ', "+");
    if FORMATS.contains(&name.as_str()) {
        return Ok(());
    }
    Err(fault(format!("_outputFormat: {value:?} is not served, {} is", FORMATS[0])))
}

fn patient(text: &str, base: &str) -> Result<LogicalId, Error> {
    match Target::parse(text, base) {
        Target::Local { resource_type: ResourceType::PATIENT, id, .. } => Ok(id),
        _ => Err(fault(format!("patient: {text:?} is no reference to a Patient of this server"))),
    }
}

/// Searches, separated by commas that are followed by the next one.
fn type_filters(value: &str) -> Result<Vec<(ResourceType, String)>, Error> {
    let mut all: Vec<String> = Vec::new();
    for part in value.split(',') {
        let begins = part.split_once('?').is_some_and(|(of, _)| of.parse::<ResourceType>().is_ok());
        match all.last_mut() {
            Some(last) if !begins => {
                last.push(',');
                last.push_str(part);
            }
            _ => all.push(part.to_owned()),
        }
    }
    all.iter().filter(|text| !text.is_empty()).map(|text| type_filter(text)).collect()
}

fn type_filter(text: &str) -> Result<(ResourceType, String), Error> {
    let found = text
        .split_once('?')
        .and_then(|(of, query)| Some((of.trim().parse().ok()?, query.to_owned())));
    found.ok_or_else(|| {
        fault(format!("_typeFilter: {text:?} is no search, such as Observation?status=final"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(of: &ExportOf, sent: &[(&str, &str)], is_strict: bool) -> Result<Asked, Error> {
        let sent: Vec<ExportParameter> =
            sent.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Asked::read(of, &sent, is_strict, "http://k/fhir")
    }

    #[test]
    fn filters_are_told_apart_by_the_searches_that_they_are() {
        let of = |name: &str| name.parse::<ResourceType>().expect("a type");
        for (value, expected) in [
            ("Observation?code=a,b", vec![("Observation", "code=a,b")]),
            (
                "Observation?code=a,b,Condition?category=x&code=c",
                vec![("Observation", "code=a,b"), ("Condition", "category=x&code=c")],
            ),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(name, query)| (of(name), query.to_owned())).collect();
            assert_eq!(type_filters(value).ok(), Some(expected), "{value}");
        }
        for value in ["Observation", "Nope?a=b", "?a=b", "status=final"] {
            assert!(type_filters(value).is_err(), "{value}");
        }
    }

    #[test]
    fn what_is_kept_is_what_was_asked() {
        let group = ExportLevel::Group("g".parse().expect("an id"));
        let asked = read(
            &group,
            &[
                ("_since", "2020-01-01T00:00:00 01:00"),
                ("_typeFilter", "Observation?status=final"),
                ("_elements", "Patient.name, id"),
                ("patient", "Patient/a"),
                ("patient", "http://k/fhir/Patient/b"),
                ("includeAssociatedData", "RelevantProvenanceResources"),
                ("_until", "x"),
            ],
            false,
        );
        let asked = asked.expect("parameters");
        assert_eq!(asked.notices.len(), 1, "{asked:?}");
        assert_eq!(asked.patients.len(), 2);
        assert_eq!(Asked::from_json(&asked.to_json()).ok(), Some(asked));
    }

    #[test]
    fn values_that_are_none_are_refused_and_unknown_names_as_is_preferred() {
        let patient = ExportLevel::Patient;
        for (sent, lenient, strict) in [
            (("_outputFormat", "application/fhir+ndjson"), true, true),
            (("_outputFormat", "application/fhir ndjson"), true, true),
            (("_outputFormat", "ndjson"), true, true),
            (("_outputFormat", "application/ndjson"), true, true),
            (("_outputFormat", "text/csv"), false, false),
            (("_since", "2020"), false, false),
            (("_type", "Nope"), false, false),
            (("patient", "Observation/1"), false, false),
            (("patient", "http://x/Patient/1"), false, false),
            (("_until", "2020-01-01T00:00:00Z"), true, false),
            (("includeAssociatedData", "LatestProvenanceResources"), true, false),
            (("organizeOutputBy", "Patient"), true, false),
        ] {
            assert_eq!(read(&patient, &[sent], false).is_ok(), lenient, "{sent:?}");
            assert_eq!(read(&patient, &[sent], true).is_ok(), strict, "{sent:?}");
        }
        let twice = [("_since", "2020-01-01T00:00:00Z"), ("_since", "2021-01-01T00:00:00Z")];
        assert!(read(&patient, &twice, false).is_err());
        let of_system = read(&ExportLevel::System, &[("patient", "Patient/a")], false);
        assert_eq!(of_system.map(|it| (it.patients.len(), it.notices.len())).ok(), Some((0, 1)));
    }
}
