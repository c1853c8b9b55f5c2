//! A resource on its way to the store: checked, split into meta and body, its patients found.

use bytes::Bytes;

use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::json::{Object, Value};
use crate::fhir::{Identity, Issue, IssueCode, ResourceType};
use crate::store::{IndexRows, MetaList, MetaUse, Ties};
use crate::validate::form::{self, Verdict};

use super::{Engine, Wish};

/// What the store keeps of a resource.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    /// `meta` without versionId and lastUpdated, as JSON; `None` when nothing else is in it.
    pub(super) meta: Option<Bytes>,
    /// The resource without resourceType, id and meta, as JSON.
    pub(super) body: Bytes,
    /// Hashes of the patients in whose compartment it lies.
    pub(super) patients: Vec<i64>,
    /// Profiles, labels and tags.
    pub(super) uses: Vec<MetaUse>,
    /// Its rows in the search index.
    pub(super) index: IndexRows,
    /// What rules between resources have a say in.
    pub(super) ties: Ties,
    /// What is worth a warning.
    pub(super) notices: Vec<Issue>,
}

impl Engine {
    /// Checks the form of `value`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is malformed, [`Error::Unprocessable`] for a broken invariant.
    pub(super) fn check(&self, value: &Value<'_>) -> Result<(), Error> {
        match form::check(value, &self.spec.schema) {
            Verdict::Sound => Ok(()),
            Verdict::Malformed(issues) => Err(Error::Invalid(issues)),
            Verdict::Broken(issues) => Err(Error::Unprocessable(issues)),
        }
    }

    /// Judges the content of a resource of sound form, which takes `identity` by an interaction of
    /// `kind`, and splits it into what the store keeps.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] for what it is held to.
    pub(super) fn prepare(
        &self,
        identity: &Identity,
        value: Value<'_>,
        kind: Kind,
        wish: Wish,
    ) -> Result<Prepared, Error> {
        let mut value = value;
        if identity.resource_type == ResourceType::SUBSCRIPTION {
            super::subscription::ask(&mut value);
        }
        // A parameter that cannot be one is malformed, whatever else it breaks.
        self.check_search_parameter(identity, &value)?;
        let notices = self.judge(&value, kind, wish)?;
        Ok(Prepared { notices, ..self.split(identity, value)? })
    }

    /// Splits a resource into what the store keeps.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Unprocessable`] for what this server cannot keep.
    pub(super) fn split(&self, identity: &Identity, value: Value<'_>) -> Result<Prepared, Error> {
        let resource_type = identity.resource_type;
        let mut value = value;
        value.write_out_exponents();
        let Value::Object(mut resource) = value else {
            return Err(Error::invalid(IssueCode::Structure, "a resource is a JSON object"));
        };
        resource.set("id", identity.id.to_string());
        let meta = resource.remove("meta").and_then(kept_meta);
        if let Some(meta) = self.label(resource_type, &resource, meta) {
            resource.set("meta", meta);
        }
        self.split_labelled(identity, resource)
    }

    /// The same of what has its labels.
    pub(super) fn split_labelled(
        &self,
        identity: &Identity,
        resource: Object<'_>,
    ) -> Result<Prepared, Error> {
        let resource_type = identity.resource_type;
        let value = Value::Object(resource);
        self.check_search_parameter(identity, &value)?;
        let patients = self.patients(resource_type, &value);
        let known = self.store.parameters()?;
        let (index, ties) = (known.rows(resource_type, &value), known.ties(resource_type, &value));
        let Value::Object(mut resource) = value else {
            return Err(Error::internal("an object stays an object"));
        };
        resource.remove("resourceType");
        resource.remove("id");
        let meta = resource.remove("meta").and_then(kept_meta);
        let uses = meta.as_ref().map(uses).unwrap_or_default();
        refuse_subsetted(resource_type, &uses)?;
        let meta = meta.map(|meta| Bytes::from(Value::Object(meta).to_text()));
        let body = Bytes::from(Value::Object(resource).to_text());
        let notices = Vec::new();
        Ok(Prepared { meta, body, patients, uses, index, ties, notices })
    }

    /// A search parameter that is to be in force has to be one that can be (rest 4.240).
    pub(super) fn check_search_parameter(
        &self,
        identity: &Identity,
        value: &Value<'_>,
    ) -> Result<(), Error> {
        if identity.resource_type != ResourceType::SEARCH_PARAMETER {
            return Ok(());
        }
        let extractor = self.extractor();
        let faults =
            extractor.search_parameters().faults(value, identity.id.as_str(), &self.spec.schema);
        let is_malformed = |issue: &Issue| issue.code != IssueCode::BusinessRule;
        match faults {
            faults if faults.is_empty() => Ok(()),
            faults if faults.iter().any(is_malformed) => Err(Error::Invalid(faults)),
            faults => Err(Error::Unprocessable(faults)),
        }
    }

    fn patients(&self, resource_type: ResourceType, value: &Value<'_>) -> Vec<i64> {
        let patients = self.spec.patient_compartment(resource_type, value, &self.settings.base);
        let hasher = self.store.hasher();
        patients.iter().map(|patient| hasher.patient(patient)).collect()
    }
}

/// Refuses the tag that makes a stored resource look like a part of itself (rest 1.72).
pub(super) fn refuse_subsetted(resource_type: ResourceType, uses: &[MetaUse]) -> Result<(), Error> {
    if !uses.iter().any(is_subsetted) {
        return Ok(());
    }
    let text = "a resource tagged SUBSETTED is not whole and cannot be stored";
    let place = format!("{resource_type}.meta.tag");
    Err(Error::Unprocessable(vec![Issue::error_at(IssueCode::BusinessRule, text, place)]))
}

/// The tag by which an answer says that it is not the whole resource.
fn is_subsetted(used: &MetaUse) -> bool {
    used.list == MetaList::Tag
        && used.code == "SUBSETTED"
        && used.system == "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
}

/// The type and, where it has one, the id of an update's body must be those of its URL.
pub(super) fn check_identity(identity: &Identity, value: &Value<'_>) -> Result<(), Error> {
    let resource_type = identity.resource_type;
    check_type(resource_type, value)?;
    let issue = match value.str_at("id") {
        Some(id) if id == identity.id.as_str() => return Ok(()),
        Some(id) => format!("the id of the body, {id:?}, is not that of the URL, {}", identity.id),
        None => format!("an update needs the id {} in its body", identity.id),
    };
    Err(Error::Invalid(vec![Issue::error_at(
        IssueCode::Invalid,
        issue,
        format!("{resource_type}.id"),
    )]))
}

/// The resourceType of a body must be the type of its URL.
pub(super) fn check_type(resource_type: ResourceType, value: &Value<'_>) -> Result<(), Error> {
    match value.str_at("resourceType") {
        Some(name) if name == resource_type.as_str() => Ok(()),
        Some(name) => {
            let text = format!("the body is a {name:?}, the URL asks for a {resource_type}");
            Err(Error::invalid(IssueCode::Invalid, text))
        }
        None => {
            Err(Error::invalid(IssueCode::Structure, "a resource needs a resourceType".to_owned()))
        }
    }
}

/// The parts of `meta` that the client decides, each profile, label and tag once (rest 2.109).
pub(super) fn kept_meta(meta: Value<'_>) -> Option<Object<'_>> {
    let Value::Object(mut meta) = meta else { return None };
    for (server_made, sibling) in [("versionId", "_versionId"), ("lastUpdated", "_lastUpdated")] {
        meta.remove(server_made);
        meta.remove(sibling);
    }
    for list in ["security", "tag"] {
        if let Some(codings) = meta.get_mut(list).and_then(Value::as_array_mut) {
            let mut seen: Vec<(Option<String>, Option<String>)> = Vec::new();
            codings.retain(|coding| {
                let key = coding_key(coding);
                let is_new = !seen.contains(&key);
                seen.push(key);
                is_new
            });
        }
    }
    if !meta.contains("_profile")
        && let Some(profiles) = meta.get_mut("profile").and_then(Value::as_array_mut)
    {
        let mut seen: Vec<String> = Vec::new();
        profiles.retain(|profile| {
            let url = profile.as_str().unwrap_or_default().to_owned();
            let is_new = !seen.contains(&url);
            seen.push(url);
            is_new
        });
    }
    (!meta.is_empty()).then_some(meta)
}

/// What makes two labels or tags the same: system and code, whatever the display (rest 2.107).
pub(super) fn coding_key(coding: &Value<'_>) -> (Option<String>, Option<String>) {
    let text = |name| coding.str_at(name).map(str::to_owned);
    (text("system"), text("code"))
}

/// The profiles, labels and tags that `meta` has.
pub(super) fn uses(meta: &Object<'_>) -> Vec<MetaUse> {
    let items = |name| meta.get(name).and_then(Value::as_array).unwrap_or(&[]);
    let profiles = items("profile").iter().filter_map(Value::as_str).map(|url| MetaUse {
        list: MetaList::Profile,
        system: String::new(),
        code: url.to_owned(),
    });
    let codings = |name, list| {
        items(name).iter().filter_map(move |coding| {
            let code = coding.str_at("code")?.to_owned();
            let system = coding.str_at("system").unwrap_or_default().to_owned();
            Some(MetaUse { list, system, code })
        })
    };
    let security = codings("security", MetaList::Security);
    profiles.chain(security).chain(codings("tag", MetaList::Tag)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;

    #[test]
    fn meta_keeps_what_the_client_decides_and_each_label_once() {
        for (meta, kept) in [
            (r#"{"versionId":"7","lastUpdated":"2020-01-01T00:00:00Z"}"#, None),
            (
                r#"{"tag":[{"code":"a"},{"system":"s","code":"a"},{"code":"a","display":"x"}]}"#,
                Some(r#"{"tag":[{"code":"a"},{"system":"s","code":"a"}]}"#),
            ),
            (
                r#"{"profile":["u","v","u"],"source":"here"}"#,
                Some(r#"{"profile":["u","v"],"source":"here"}"#),
            ),
        ] {
            let value = parse(meta.as_bytes()).expect(meta);
            let text = kept_meta(value).map(|meta| Value::Object(meta).to_text());
            assert_eq!(text.as_deref(), kept, "{meta}");
        }
    }
}
