//! `_list` of a history: the versions that a List names, or all versions of the resources that it names.
//!
//! A List that is not there or out of reach names nothing; who may read no List at all is refused. Entries that are flagged deleted are none.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#history>, rest 2.97

use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::json::{self, Value};
use crate::fhir::reference::Target;
use crate::fhir::{Identity, ResourceType, VersionId};
use crate::store::resource::find_current;
use crate::store::{TENANT, failure};

use super::statements::MEMBERS;
use super::{HistoryScope, Page};

/// What a List names: keys of resources, and of each the version that is meant, where it is one.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) rids: Vec<i64>,
    pub(super) versions: Vec<Option<i32>>,
}

impl Page<'_, '_> {
    /// What the List of the request names, as far as the history is about it; `None` without a List.
    pub(super) async fn members(&self) -> Result<Option<Members>, Error> {
        let Some(list) = &self.request.list else { return Ok(None) };
        let permit = self.permit.derive(Kind::Read, ResourceType::LIST)?;
        let found = find_current(self.store, self.reader, list, &permit).await?;
        let body = found.and_then(|found| found.version.body);
        let Some(body) = body else { return Ok(Some(Members::default())) };
        let body = json::parse(&body).map_err(Error::internal)?;
        let parameters = self.store.parameters()?;
        let mut named = named(&body, parameters.extractor.base());
        if let HistoryScope::Instance(identity) = &self.request.scope {
            named.retain(|(one, _)| one == identity);
        }
        let types: Vec<i16> = named.iter().map(|(one, _)| one.resource_type.code()).collect();
        let ids: Vec<&str> = named.iter().map(|(one, _)| one.id.as_str()).collect();
        let versions: Vec<Option<i32>> =
            named.iter().map(|(_, version)| version.map(|version| version.0)).collect();
        let rows = self.reader.query(MEMBERS, &[&TENANT, &types, &ids, &versions]).await?;
        let mut members = Members::default();
        for row in &rows {
            members.rids.push(row.try_get(0).map_err(failure::error)?);
            members.versions.push(row.try_get(1).map_err(failure::error)?);
        }
        Ok(Some(members))
    }
}

/// The resources here that the entries of a List name, each with its version where that is named too.
fn named(list: &Value<'_>, base: &str) -> Vec<(Identity, Option<VersionId>)> {
    let entries = list.items_at("entry").iter();
    let kept = entries.filter(|entry| entry.get("deleted").and_then(Value::as_bool) != Some(true));
    let texts = kept.filter_map(|entry| entry.get("item")?.str_at("reference"));
    let local = |text: &str| match Target::parse(text, base) {
        Target::Local { resource_type, id, version, .. } => {
            Some((Identity { resource_type, id }, version))
        }
        _ => None,
    };
    texts.filter_map(local).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_resources_here_and_some_of_their_versions() {
        let list = json::parse(
            br#"{"entry":[{"item":{"reference":"Patient/a"}},
                {"item":{"reference":"http://x/fhir/Patient/b/_history/3"}},
                {"item":{"reference":"http://other/Patient/c"}},
                {"deleted":true,"item":{"reference":"Patient/d"}},
                {"item":{"display":"nobody"}}]}"#,
        );
        let found = named(&list.expect("JSON"), "http://x/fhir");
        let found: Vec<String> = found
            .iter()
            .map(|(one, version)| format!("{one} {:?}", version.map(|it| it.0)))
            .collect();
        assert_eq!(found, ["Patient/a None", "Patient/b Some(3)"]);
    }
}
