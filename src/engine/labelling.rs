//! Labels by content: on every write, and once more over all that is stored when the rules are others.
//!
//! Spec: security S7

use crate::access::Caller;
use crate::access::labelling::Labelling;
use crate::error::Error;
use crate::fhir::json::{self, Object, Value};
use crate::fhir::query::Query;
use crate::fhir::{Identity, ResourceType, Version};
use crate::spec::terminology::Contains;

use super::prepare::kept_meta;
use super::{Engine, MetaChange, SearchTarget};

/// Resources that are looked at together.
const PAGE: &str = "200";

impl Engine {
    /// Puts the labels that rules demand into the `meta` of what is to be stored.
    pub(super) fn label<'a>(
        &self,
        of: ResourceType,
        resource: &Object<'_>,
        meta: Option<Object<'a>>,
    ) -> Option<Object<'a>> {
        let Some(rules) = self.labelling.as_deref().filter(|_| Labelling::is_about(of)) else {
            return meta;
        };
        let mut labelled = meta.unwrap_or_default();
        self.put_labels(rules, resource, &mut labelled);
        (!labelled.is_empty()).then_some(labelled)
    }

    fn put_labels(&self, rules: &Labelling, resource: &Object<'_>, meta: &mut Object<'_>) -> bool {
        let terminology = self.lookups.terminology.as_deref();
        // What cannot be told is held to be so.
        let contains = |value_set: &str, (system, code): &(String, String)| {
            terminology.is_none_or(|known| {
                known.contains(value_set, Some(system), code) != Ok(Contains::No)
            })
        };
        rules.label(resource, meta, &contains)
    }

    /// Labels all that is stored by the rules of now, each change on record as one of `caller`; how
    /// many resources were changed. Labels are put and never taken away.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database; what is done stays done.
    pub async fn label_again(&self, caller: &Caller) -> Result<u64, Error> {
        let Some(rules) = self.labelling.clone() else { return Ok(0) };
        if let Some(definitions) = &self.lookups.definitions {
            definitions.current().await?;
        }
        let mut changed = 0;
        for of in ResourceType::all().filter(|of| Labelling::is_about(*of)) {
            if super::refuse_unstorable(of).is_err() || of == ResourceType::AUDIT_EVENT {
                continue;
            }
            let mut cursor: Option<String> = None;
            loop {
                let mut query = Query::of("_count", PAGE).and(Query::of("_sort", "_id"));
                if let Some(cursor) = &cursor {
                    query = query.and(Query::of("_cursor", cursor));
                }
                let found = self.search(&SearchTarget::Type(of), &query, false, caller).await?;
                for found in &found.page.matches {
                    changed += u64::from(self.label_one(&rules, &found.version, caller).await?);
                }
                cursor = found.page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(changed)
    }

    /// Whether a version lacked labels.
    async fn label_one(
        &self,
        rules: &Labelling,
        version: &Version,
        caller: &Caller,
    ) -> Result<bool, Error> {
        let Some(body) = &version.body else { return Ok(false) };
        let Value::Object(resource) = json::parse(body).map_err(Error::internal)? else {
            return Ok(false);
        };
        let meta = version.meta.as_deref().map(json::parse).transpose().map_err(Error::internal)?;
        let mut meta = meta.and_then(kept_meta).unwrap_or_default();
        if !self.put_labels(rules, &resource, &mut meta) {
            return Ok(false);
        }
        // The profiles it claims are as they were, and so are not looked at again.
        meta.remove("profile");
        let added = Value::Object(meta);
        match self.change_meta(&version.identity, None, &added, MetaChange::Add, caller).await {
            Ok(_) => Ok(true),
            // It went meanwhile.
            Err(Error::Deleted { .. } | Error::NotFound(_)) => Ok(false),
            Err(error @ (Error::Unavailable(_) | Error::Unconfirmed(_))) => Err(error),
            // One that cannot be labelled must not keep all others from it.
            Err(error) => {
                let Identity { resource_type, id } = &version.identity;
                tracing::warn!(%error, "{resource_type}/{id} cannot be labelled");
                Ok(false)
            }
        }
    }
}
