//! What a summary of a record is made of: the newest of some kinds of resources, and who and what these refer to.
//!
//! Each kind is one search under the permit, with a bound, and what is referred to is met type by type, in so many
//! rounds at most: so there are about twenty statements, and never many more, however much there is or is missing.
//! What the caller does not reach is not among it; a type that is not granted at all says so, for the caller knows
//! what is granted.
//!
//! Spec: <http://hl7.org/fhir/uv/ips/STU1.1/>

use std::collections::{BTreeSet, HashSet};

use crate::access::interaction::Kind;
use crate::access::{Disclosed, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::json::{self, Value};
use crate::fhir::{LogicalId, ResourceType, Version};
use crate::search::request::compare::{AskedReference, Comparison};
use crate::search::request::{Filter, ParameterKey, SearchRequest, SortKey, Test};
use crate::spec::search_parameter::SearchType;
use crate::store::search::{Paging, SearchPage};
use crate::store::{Store, WriteTx};

use super::beyond::{PIECE, Sought};
use super::{Source, request};

/// Most rounds of looking for what is referred to, each for some of one type: what comes along is found in a few,
/// and what leads nowhere is no reason for more.
const MOST_ROUNDS: usize = 48;

/// Whose summary it is.
#[derive(Clone, Debug)]
pub enum SummaryOf {
    /// Of the one patient for whom these hold.
    Identified(Vec<Filter>),
    /// Of this patient.
    Patient(LogicalId),
}

/// What belongs to a summary.
#[derive(Clone, Debug)]
pub struct SummaryPlan {
    /// Whose it is.
    pub of: SummaryOf,
    /// What it shows, of each kind.
    pub parts: Vec<SummaryPart>,
    /// What comes along where it is referred to.
    pub along: Vec<SummaryAlong>,
    /// Most that comes along.
    pub most_along: usize,
}

/// One kind of what a summary shows.
#[derive(Clone, Debug)]
pub struct SummaryPart {
    /// Its type, which has a parameter `patient`.
    pub of: ResourceType,
    /// Which of the patient's.
    pub filters: Vec<Filter>,
    /// In which order they are looked at.
    pub sort: Vec<SortKey>,
    /// How many are looked at.
    pub count: u32,
    /// How many are shown of these.
    pub most: usize,
    /// Whether only the first of each code is shown.
    pub is_latest: bool,
    /// What is shown, where filters do not tell.
    pub keeps: fn(&Value<'_>) -> bool,
}

/// What comes along of a type.
#[derive(Clone, Debug)]
pub struct SummaryAlong {
    /// The type.
    pub of: ResourceType,
    /// Which of it.
    pub filters: Vec<Filter>,
    /// Whether only what is of the patient: the type has a parameter `patient` then.
    pub is_of_patient: bool,
}

/// What was found for a summary.
#[derive(Debug)]
pub struct Gathered {
    /// Whose it is.
    pub patient: Version,
    /// What was found of each part, in their order.
    pub parts: Vec<GatheredPart>,
    /// What these refer to.
    pub along: Vec<Version>,
}

/// What was found of one kind.
#[derive(Debug)]
pub struct GatheredPart {
    /// The type.
    pub of: ResourceType,
    /// What is shown; `None`: the type is not granted.
    pub versions: Option<Vec<Version>>,
    /// Whether there is more of it than was looked at, or than is shown.
    pub has_more: bool,
}

impl Store {
    /// What belongs to a summary, as far as the permit, one for `$summary`, reaches.
    ///
    /// # Errors
    /// Those of [`Store::current`] of the patient; [`Error::MultipleMatches`] when several are identified so.
    pub async fn summary(
        &self,
        plan: &SummaryPlan,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<Gathered>, Error> {
        let gathering = Gathering { source: Source::Apart, store: self.clone(), plan, permit };
        let (found, disclosed) = gathering.all().await?;
        Ok(Unaudited::new(found, disclosed))
    }
}

impl WriteTx {
    /// The same as this unit's own writes left it, for an entry of a transaction.
    ///
    /// # Errors
    /// As [`Store::summary`].
    pub async fn summary(
        &mut self,
        plan: &SummaryPlan,
        permit: &Permit<'_>,
    ) -> Result<(Gathered, Disclosed), Error> {
        let store = self.store().clone();
        Gathering { source: Source::Within(self), store, plan, permit }.all().await
    }
}

/// A summary at work.
struct Gathering<'w, 'gate> {
    source: Source<'w>,
    store: Store,
    plan: &'w SummaryPlan,
    permit: &'w Permit<'gate>,
}

impl Gathering<'_, '_> {
    async fn all(mut self) -> Result<(Gathered, Disclosed), Error> {
        let plan = self.plan;
        let (patient, mut disclosed) = self.patient().await?;
        let mut parts = Vec::with_capacity(plan.parts.len());
        for part in &plan.parts {
            let mut found = GatheredPart { of: part.of, versions: None, has_more: false };
            if self.is_granted(part.of) {
                let filters = [part.filters.clone(), vec![of_patient(part.of, &patient)]].concat();
                let asked =
                    SearchRequest { sort: part.sort.clone(), ..request(vec![part.of], filters) };
                let (page, told) = self.find(&asked, part.count).await?;
                disclosed.patients.extend(told.patients);
                let (versions, has_more) = part.chosen(page)?;
                (found.versions, found.has_more) = (Some(versions), has_more);
            }
            parts.push(found);
        }
        let along = self.along(&patient, &parts, &mut disclosed).await?;
        disclosed.patients.sort_unstable();
        disclosed.patients.dedup();
        Ok((Gathered { patient, parts, along }, disclosed))
    }

    /// Whose summary it is, who is there.
    async fn patient(&mut self) -> Result<(Version, Disclosed), Error> {
        let filters = match &self.plan.of {
            SummaryOf::Patient(id) => {
                return match &mut self.source {
                    Source::Apart => self.store.shown(id, self.permit).await,
                    Source::Within(tx) => tx.read(id, self.permit).await,
                };
            }
            SummaryOf::Identified(filters) => filters.clone(),
        };
        let (page, told) = self.find(&request(vec![ResourceType::PATIENT], filters), 2).await?;
        if page.matches.len() > 1 {
            let text = "several patients have this identifier: ask for one by its id";
            return Err(Error::MultipleMatches(text.to_owned()));
        }
        let unknown = || Error::NotFound("a Patient with this identifier".to_owned());
        let version = page.matches.into_iter().next().ok_or_else(unknown)?.version;
        let id = version.identity.id.clone();
        let subject = Some((ResourceType::PATIENT, id, Some(version.version)));
        Ok((version, Disclosed { subject, ..told }))
    }

    /// What the patient and what is shown refer to, and what that refers to in turn.
    async fn along(
        &mut self,
        patient: &Version,
        parts: &[GatheredPart],
        disclosed: &mut Disclosed,
    ) -> Result<Vec<Version>, Error> {
        let plan = self.plan;
        let granted = plan.along.iter().map(|it| it.of).filter(|of| self.is_granted(*of));
        let mut sought = Sought::new(granted.collect::<BTreeSet<_>>()).at_most(MOST_ROUNDS);
        let known = self.store.parameters()?;
        let base = known.extractor.base();
        let shown = || parts.iter().filter_map(|part| part.versions.as_ref()).flatten();
        shown().chain([patient]).for_each(|version| sought.has(version.identity.clone()));
        for body in shown().chain([patient]).filter_map(|version| version.body.as_deref()) {
            sought.add(body, base, |_| true);
        }
        let mut along: Vec<Version> = Vec::new();
        while let Some((of, some)) = sought.take().filter(|_| along.len() < plan.most_along) {
            let Some(rule) = plan.along.iter().find(|it| it.of == of) else { continue };
            let ids = some.iter().map(|identity| identity.id.as_str().into()).collect();
            let mut filters = vec![Filter::Id(ids)];
            filters.extend(rule.filters.iter().cloned());
            filters.extend(rule.is_of_patient.then(|| of_patient(of, patient)));
            let (page, told) = self.find(&request(vec![of], filters), PIECE).await?;
            disclosed.patients.extend(told.patients);
            for found in page.matches.into_iter().take(plan.most_along - along.len()) {
                if let Some(body) = found.version.body.as_deref() {
                    sought.add(body, base, |_| true);
                }
                along.push(found.version);
            }
        }
        Ok(along)
    }

    async fn find(
        &mut self,
        request: &SearchRequest,
        count: u32,
    ) -> Result<(SearchPage, Disclosed), Error> {
        let paging = Paging { count, ..Paging::default() };
        let definitions = self.store.definitions()?;
        match &mut self.source {
            Source::Apart => {
                self.store.search_page(request, &paging, definitions, self.permit).await
            }
            Source::Within(tx) => tx.search(request, &paging, definitions, self.permit).await,
        }
    }

    /// Whether the caller may search and read a type.
    fn is_granted(&self, of: ResourceType) -> bool {
        self.permit.derive(Kind::Everything, of).is_ok()
    }
}

impl SummaryPart {
    /// What is shown of a page, in its order, and whether that is not all there is.
    fn chosen(&self, page: SearchPage) -> Result<(Vec<Version>, bool), Error> {
        let mut has_more = page.next.is_some();
        let (mut seen, mut chosen) = (HashSet::new(), Vec::new());
        for version in page.matches.into_iter().map(|found| found.version) {
            let Some(body) = version.body.as_deref() else { continue };
            let value = json::parse(body).map_err(Error::internal)?;
            let is_old = self.is_latest && code(&value).is_some_and(|code| !seen.insert(code));
            if is_old || !(self.keeps)(&value) {
                continue;
            }
            if chosen.len() == self.most {
                has_more = true;
                break;
            }
            chosen.push(version);
        }
        Ok((chosen, has_more))
    }
}

/// That something is of the patient.
fn of_patient(of: ResourceType, patient: &Version) -> Filter {
    let id = patient.identity.id.clone();
    let reference =
        AskedReference::Local { resource_type: ResourceType::PATIENT, id, version: None };
    Filter::Test(Test {
        parameters: vec![ParameterKey { resource_type: of, code: "patient".into() }],
        search_type: SearchType::Reference,
        any: vec![Comparison::Reference(reference)],
    })
}

/// What tells which code a resource has: its first coding, else its text.
fn code(value: &Value<'_>) -> Option<String> {
    let code = value.get("code")?;
    let coded = code.items_at("coding").iter().find_map(|coding| {
        let system = coding.str_at("system").unwrap_or_default();
        Some(format!("{system}|{}", coding.str_at("code")?))
    });
    coded.or_else(|| code.str_at("text").map(str::to_lowercase))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::fhir::{Identity, Instant, Operation, VersionId};
    use crate::store::search::Match;

    use super::*;

    fn page(bodies: &[&'static str], next: Option<&str>) -> SearchPage {
        let found = |(at, body): (usize, &&'static str)| {
            let id = at.to_string().parse().expect("an id");
            Match::beside(Version {
                identity: Identity { resource_type: ResourceType::OBSERVATION, id },
                version: VersionId(1),
                last_updated: Instant::from_micros(0),
                operation: Operation::Created,
                is_relabeled: false,
                meta: None,
                body: Some(Bytes::from_static(body.as_bytes())),
            })
        };
        let matches = bodies.iter().enumerate().map(found).collect();
        SearchPage { matches, next: next.map(str::to_owned), ..SearchPage::default() }
    }

    fn part(most: usize, is_latest: bool) -> SummaryPart {
        SummaryPart {
            of: ResourceType::OBSERVATION,
            filters: Vec::new(),
            sort: Vec::new(),
            count: 9,
            most,
            is_latest,
            keeps: |value| value.get("not").is_none(),
        }
    }

    #[test]
    fn the_first_of_each_code_is_chosen_up_to_a_bound() {
        const A: &str = r#"{"code":{"coding":[{"system":"s","code":"a"}]}}"#;
        const B: &str = r#"{"code":{"coding":[{"code":"b"}],"text":"a"}}"#;
        const TEXT: &str = r#"{"code":{"text":"Same"}}"#;
        const NONE: &str = r#"{"code":{}}"#;
        const NOT: &str = r#"{"code":{"text":"same"},"not":1}"#;
        for (bodies, most, is_latest, next, expected, has_more) in [
            (&[A, B, A, TEXT, B][..], 9, true, None, &[0, 1, 3][..], false),
            (&[A, B, A], 9, false, None, &[0, 1, 2], false),
            (&[A, A, A], 1, true, None, &[0], false),
            (&[A, B], 1, true, None, &[0], true),
            (&[A], 1, true, Some("c"), &[0], true),
            (&[NONE, NONE], 9, true, None, &[0, 1], false),
            // What is not shown is the newest all the same: what was before it counts no more.
            (&[NOT, TEXT], 9, true, None, &[], false),
        ] {
            let (chosen, more) = part(most, is_latest).chosen(page(bodies, next)).expect("JSON");
            let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
            let ids: Vec<&str> = chosen.iter().map(|it| it.identity.id.as_str()).collect();
            assert_eq!((ids, more), (expected.iter().map(|it| &**it).collect(), has_more));
        }
    }
}
