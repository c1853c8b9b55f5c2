//! `$reindex`: makes the rows of the search index anew, of one resource at once, of a type, of what a
//! search parameter is about or of everything in the background; and tells how far that is.
//!
//! Spec: <https://hl7.org/fhir/R4/async.html> for the answers while it goes on

use crate::access::interaction::Kind;
use crate::access::{Caller, Interaction, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::json::{Object, Value};
use crate::fhir::{Identity, Issue, IssueCode, ResourceType};
use crate::spec::search_parameter::Progress;
use crate::store::{Build, BuildScope};

use super::Engine;

/// What is to be built.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ReindexOf {
    /// One resource; for a SearchParameter, the types that it is a parameter of.
    Instance(Identity),
    /// Everything.
    System,
    /// The resources of these types.
    Types(Vec<ResourceType>),
}

/// How far builds are.
#[derive(Clone, Debug)]
pub struct Reindexing {
    /// Whether nothing is left to do.
    pub has_ended: bool,
    /// How far, in words.
    pub progress: String,
    /// The same as a Parameters resource.
    pub parameters: Value<'static>,
}

impl ReindexOf {
    /// The same with the types that a Parameters resource names.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything else, and for types where there is something already.
    pub fn narrowed(self, parameters: &Value<'_>) -> Result<Self, Error> {
        match (self, types(parameters)?) {
            (of, types) if types.is_empty() => Ok(of),
            (Self::System, types) => Ok(Self::Types(types)),
            _ => {
                let text = "the path says already what is to be built";
                Err(Error::invalid(IssueCode::Invalid, text))
            }
        }
    }

    pub(super) fn interaction(&self) -> Interaction {
        match self {
            Self::Instance(identity) => Kind::Reindex.of(identity.resource_type),
            Self::Types(types) if types.len() == 1 => Kind::Reindex.of(types[0]),
            Self::System | Self::Types(_) => Kind::Reindex.of_system(),
        }
    }
}

impl Engine {
    /// Asks for a build, or does that of one resource; how far it is. A build under way goes on.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Deleted`]; [`Error::Unprocessable`] for a SearchParameter that is
    /// not in force.
    pub async fn reindex(&self, of: &ReindexOf, caller: &Caller) -> Result<Reindexing, Error> {
        let ask = async |permit: &Permit<'_>| {
            let found = match of {
                ReindexOf::Instance(it) => self.store.reindex_one(&it.id, permit).await?,
                ReindexOf::System | ReindexOf::Types(_) => Unaudited::nothing(),
            };
            if let Some(scope) = self.scope(of)? {
                self.store.ask_reindex(&scope, permit).await?;
            }
            self.state(of, found, permit).await
        };
        self.gate.run(of.interaction(), caller, ask).await
    }

    /// How far builds are that were asked for.
    ///
    /// # Errors
    /// As [`Engine::reindex`].
    pub async fn reindexing(&self, of: &ReindexOf, caller: &Caller) -> Result<Reindexing, Error> {
        let look = async |permit: &Permit<'_>| {
            let found = match of {
                ReindexOf::Instance(it) => self.store.current(&it.id, permit).await?.map(drop),
                ReindexOf::System | ReindexOf::Types(_) => Unaudited::nothing(),
            };
            self.state(of, found, permit).await
        };
        self.gate.run(of.interaction(), caller, look).await
    }

    async fn state(
        &self,
        of: &ReindexOf,
        found: Unaudited<()>,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<Reindexing>, Error> {
        let state = match self.scope(of)? {
            Some(scope) => {
                let builds = self.store.reindex_builds(&scope, permit).await?;
                Reindexing::of(&builds, self.progress(of))
            }
            // The rows of a resource are written with each version.
            None => Reindexing::of(&[], None),
        };
        Ok(found.with(state).map(|((), state)| state))
    }

    /// What is built; `None`: no build is needed.
    fn scope(&self, of: &ReindexOf) -> Result<Option<BuildScope>, Error> {
        match of {
            ReindexOf::Instance(it) if it.resource_type == ResourceType::SEARCH_PARAMETER => {
                self.types_of_parameter(it).map(|types| Some(BuildScope::Types(types)))
            }
            ReindexOf::Instance(_) => Ok(None),
            ReindexOf::System => Ok(Some(BuildScope::All)),
            ReindexOf::Types(types) => Ok(Some(BuildScope::Types(types.clone()))),
        }
    }

    /// The types that a stored search parameter is a parameter of.
    fn types_of_parameter(&self, identity: &Identity) -> Result<Vec<ResourceType>, Error> {
        let extractor = self.extractor();
        let has_it = |of: &ResourceType| {
            let mut custom = extractor.parameters(*of).iter().filter_map(|it| it.custom.as_ref());
            custom.any(|custom| *custom.id == *identity.id.as_str())
        };
        let types: Vec<ResourceType> = ResourceType::all().filter(has_it).collect();
        if types.is_empty() {
            let text = format!(
                "{identity} is not in force: it is not active, FHIR has it already, or another \
                 parameter has its code"
            );
            return Err(Error::Unprocessable(vec![Issue::error(IssueCode::BusinessRule, text)]));
        }
        Ok(types)
    }

    /// How far the first build of a stored search parameter is, while it goes on.
    fn progress(&self, of: &ReindexOf) -> Option<(u64, u64)> {
        let ReindexOf::Instance(identity) = of else { return None };
        let extractor = self.extractor();
        let own = ResourceType::all().find_map(|of| {
            let mut custom = extractor.parameters(of).iter().filter_map(|it| it.custom.as_ref());
            let own = custom.find(|custom| *custom.id == *identity.id.as_str())?;
            own.progress.clone()
        });
        own.as_deref().map(Progress::get)
    }
}

/// The parameters `type` of a Parameters resource; there are no others.
fn types(parameters: &Value<'_>) -> Result<Vec<ResourceType>, Error> {
    if parameters.str_at("resourceType") != Some("Parameters") {
        let text = "this operation takes a Parameters resource, or nothing";
        return Err(Error::invalid(IssueCode::Invalid, text));
    }
    let mut types = Vec::new();
    for (at, one) in parameters.items_at("parameter").iter().enumerate() {
        let name = one.str_at("name").unwrap_or_default();
        let value = one.str_at("valueCode").and_then(|code| code.parse().ok());
        let Some(of) = value.filter(|_| name == "type") else {
            let text =
                format!("{name:?}: the one parameter is `type`, a code of a type of resource");
            let place = format!("Parameters.parameter[{at}]");
            return Err(Error::invalid_at(IssueCode::Invalid, text, place));
        };
        types.push(of);
    }
    types.dedup();
    Ok(types)
}

impl Reindexing {
    /// `first`: how far the first build of a search parameter is, while that goes on.
    fn of(builds: &[Build], first: Option<(u64, u64)>) -> Self {
        let has_ended = first.is_none() && builds.iter().all(|build| build.has_ended);
        let open = || builds.iter().filter(|build| !build.has_ended);
        let (done, total) = match first {
            Some(first) => first,
            None => open().fold((0, 0), |(done, total), it| (done + it.done, total + it.total)),
        };
        let mut parts = vec![part("status", "valueCode", status(has_ended, true).into())];
        if let Some((done, total)) = first {
            parts.push(part("done", "valueUnsignedInt", done.into()));
            if total > 0 {
                parts.push(part("total", "valueUnsignedInt", total.into()));
            }
        }
        parts.extend(builds.iter().map(build));
        let is_counted = first.is_some() || open().all(|build| build.has_begun);
        let progress = match total {
            0 => "the resources are not counted yet".to_owned(),
            _ if !is_counted => format!("{done} resources, of which not all are counted yet"),
            total => format!("{done} of {total} resources"),
        };
        let parameters = Object::new().with("resourceType", "Parameters").with("parameter", parts);
        Self { has_ended, progress, parameters: parameters.into() }
    }
}

/// A build as a part of the answer.
fn build(build: &Build) -> Value<'static> {
    let status = status(build.has_ended, build.has_begun);
    let mut parts = Vec::new();
    if let Some(of) = build.resource_type {
        parts.push(part("type", "valueCode", of.as_str().into()));
    }
    parts.push(part("status", "valueCode", status.into()));
    parts.push(part("requested", "valueInstant", build.asked.to_string().into()));
    parts.push(part("done", "valueUnsignedInt", build.done.into()));
    if build.has_begun {
        parts.push(part("total", "valueUnsignedInt", build.total.into()));
        parts.push(part("skipped", "valueUnsignedInt", build.skipped.into()));
    }
    Object::new().with("name", "build").with("part", parts).into()
}

/// In the words of Task.status.
fn status(has_ended: bool, has_begun: bool) -> &'static str {
    match (has_ended, has_begun) {
        (true, _) => "completed",
        (false, true) => "in-progress",
        (false, false) => "requested",
    }
}

fn part(name: &'static str, kind: &'static str, value: Value<'static>) -> Value<'static> {
    Object::new().with("name", name).with(kind, value).into()
}

#[cfg(test)]
mod tests {
    use crate::fhir::Instant;

    use super::*;

    fn build(done: u64, total: Option<u64>) -> Build {
        Build {
            resource_type: Some(ResourceType::PATIENT),
            asked: Instant::from_micros(0),
            done,
            total: total.unwrap_or_default(),
            skipped: 0,
            has_begun: total.is_some(),
            has_ended: false,
        }
    }

    #[test]
    fn nothing_is_told_of_a_number_that_is_not_known_yet() {
        for (builds, first, progress, total) in [
            (vec![build(0, None)], None, "the resources are not counted yet", None),
            (vec![build(3, Some(9))], None, "3 of 9 resources", None),
            (
                vec![build(3, Some(9)), build(0, None)],
                None,
                "3 resources, of which not all are counted yet",
                None,
            ),
            (vec![], Some((0, 0)), "the resources are not counted yet", None),
            (vec![], Some((0, 9)), "0 of 9 resources", Some("9")),
        ] {
            let state = Reindexing::of(&builds, first);
            assert_eq!(state.progress, progress);
            let parts = state.parameters.items_at("parameter").iter();
            let told = parts.filter(|part| part.str_at("name") == Some("total"));
            let told: Vec<_> = told.filter_map(|part| part.get("valueUnsignedInt")).collect();
            assert_eq!(told.first().map(|it| it.to_text()).as_deref(), total, "{progress}");
        }
    }
}
