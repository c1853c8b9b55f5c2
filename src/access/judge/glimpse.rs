//! As much of a document as decides whether it is reached, read without the rest.
//!
//! Every answer to a caller with limits passes the judge. Whose a resource is and how confidential stands
//! in a few of its properties, so these alone become a tree. What takes more is judged whole.

use crate::fhir::json::{self, Value};
use crate::fhir::{ResourceType, Version};
use crate::search::extract::Extractor;
use crate::search::request::{Filter, Test};

use super::super::restriction::{Belonging, Limits, Members, Restriction};

/// The property of labels, which is kept apart from the others.
const META: &str = "meta";
/// Time and number of a version stand in columns, and so do not belong to its document here.
const LAST_UPDATED: &str = "_lastUpdated";
/// Of how many things that are withheld it is found out what they look at: of more it takes as long as to
/// look at all.
const MOST_WITHHELD: usize = 32;

/// The properties that decide whether a resource of a type is reached; none: that takes all of it.
#[derive(Clone, Debug)]
pub struct Glimpse(Option<Vec<Box<str>>>);

impl Restriction {
    /// What decides whether resources of a type are reached.
    pub fn glimpse(&self, of: ResourceType, extractor: &Extractor) -> Glimpse {
        let names = match self.limits() {
            Some(limits) => decisive(limits, of, extractor),
            None => Some(Vec::new()),
        };
        Glimpse(names.map(|names| names.into_iter().map(Into::into).collect()))
    }
}

impl Glimpse {
    /// As much of a version of the type as decides; `None` where that takes all of it, or where what is stored
    /// cannot be read so.
    pub fn of<'v>(&self, version: &'v Version) -> Option<Value<'v>> {
        let of = version.identity.resource_type;
        let names = self.0.as_ref()?;
        let mut seen = json::glance(version.body.as_deref()?, names).ok()?;
        let has_meta = names.iter().any(|name| **name == *META);
        if let Some(meta) = version.meta.as_deref().filter(|_| has_meta) {
            seen.set(META, json::parse(meta).ok()?);
        }
        seen.set("resourceType", of.as_str());
        seen.set("id", version.identity.id.as_str());
        Some(Value::Object(seen))
    }
}

/// The properties of a resource of this type that limits look at; `None`: not these alone.
pub(super) fn decisive<'d>(
    limits: &Limits,
    of: ResourceType,
    extractor: &'d Extractor,
) -> Option<Vec<&'d str>> {
    // What a Bundle refers to is looked for among its entries.
    if of == ResourceType::BUNDLE || limits.withheld.len() > MOST_WITHHELD {
        return None;
    }
    // Nor are these alone where whatever it names tells whose it is.
    let is_anywhere =
        |told_by: Belonging| matches!(told_by, Belonging::Parts | Belonging::References);
    if limits.withheld.iter().any(|withheld| is_anywhere(withheld.told_by)) {
        return None;
    }
    let compartment = extractor.spec().compartment(ResourceType::PATIENT);
    let mut names: Vec<&str> =
        compartment.into_iter().flat_map(|patients| patients.properties(of)).collect();
    for clause in &limits.clauses {
        names.extend(of_members(&clause.members));
    }
    names.extend(limits.withheld.iter().flat_map(|withheld| match withheld.told_by {
        Belonging::Attachment => &["securityContext"][..],
        Belonging::Compartment | Belonging::Parts | Belonging::References => &[][..],
        Belonging::Patient => &["patient"][..],
        Belonging::Targets => &["target"][..],
    }));
    let criteria = limits.clauses.iter().flat_map(|clause| &*clause.criteria);
    let withheld = limits.withheld.iter().map(|withheld| &*withheld.filter);
    criteria.chain(withheld).try_for_each(|filter| seek(filter, of, extractor, &mut names))?;
    names.sort_unstable();
    names.dedup();
    Some(names)
}

fn of_members(members: &Members) -> &'static [&'static str] {
    match members {
        Members::Collections(_) => &["entry"],
        Members::Context(_) => &["securityContext"],
        Members::Documents(_) => &["entry", "type"],
        Members::OwnOrNobodys(_) => &["patient"],
        Members::Targets(_) => &["target"],
        Members::Everyone | Members::InPart(_) | Members::Patients(_) | Members::Themselves(_) => {
            &[]
        }
    }
}

/// Adds what a filter looks at; `None`: it may look at anything.
fn seek<'d>(
    filter: &Filter,
    of: ResourceType,
    extractor: &'d Extractor,
    names: &mut Vec<&'d str>,
) -> Option<()> {
    match filter {
        Filter::All(parts) | Filter::Any(parts) => {
            parts.iter().try_for_each(|part| seek(part, of, extractor, names))
        }
        Filter::Mentions { .. } => None,
        Filter::Not(inner) => seek(inner, of, extractor, names),
        Filter::Test(test) => seek_test(test, of, extractor, names),
        // These look at no property, and the others are not told by a document at all.
        Filter::Chain { .. }
        | Filter::Compartment { .. }
        | Filter::FullText { .. }
        | Filter::Has { .. }
        | Filter::Hierarchy { .. }
        | Filter::Id(_)
        | Filter::Keys(_)
        | Filter::LastUpdated(_)
        | Filter::List(_)
        | Filter::OfPatients(_)
        | Filter::Type(_)
        | Filter::Unshared => Some(()),
    }
}

fn seek_test<'d>(
    test: &Test,
    of: ResourceType,
    extractor: &'d Extractor,
    names: &mut Vec<&'d str>,
) -> Option<()> {
    for key in test.parameters.iter().filter(|key| key.resource_type == of) {
        if &*key.code == LAST_UPDATED {
            return None;
        }
        if let Some(at) = extractor.place(of, &key.code) {
            names.extend(extractor.properties(of, at)?);
        }
    }
    // What a reference within the resource leads to.
    names.push("contained");
    Some(())
}
