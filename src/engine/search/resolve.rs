//! What the store cannot compare itself is looked up first: value sets, hierarchies of codes, words.

use std::cell::Cell;
use std::sync::Arc;

use crate::access::Permit;
use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::query::Query;
use crate::fhir::{IssueCode, ResourceType};
use crate::fulltext::{FullText, FullTextError};
use crate::search::extract::Extractor;
use crate::search::request::compare::{AskedToken, Comparison};
use crate::search::request::{Filter, Keys, SearchRequest, SortBy, Test};
use crate::search::values::token::Code;
use crate::spec::terminology::{Terminology, TerminologyFault};
use crate::terminology::Source;

/// Most codes that a value set or a hierarchy may add to a search.
const MOST_CODES: usize = 10_000;
/// Most resources that words may lead to.
const MOST_HITS: usize = 500_000;
/// Most of them where they are ranked.
const MOST_RANKED: usize = 50_000;

/// Modifiers that need value sets or hierarchies, and a few more that do not.
const ASKING: [&str; 4] = [":in", ":not-in", ":above", ":below"];

/// Who is asked for what is not in the database's index. What is missing is not offered.
#[derive(Clone, Default)]
pub struct Lookups {
    /// Value sets and hierarchies.
    pub terminology: Option<Arc<dyn Terminology>>,
    /// Keeps the answers of `terminology` those of what is stored.
    pub definitions: Option<Arc<dyn Source>>,
    /// Words.
    pub full_text: Option<Arc<FullText>>,
}

impl Lookups {
    /// Brings what this query has to ask up to what is stored now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub(super) async fn refresh(&self, query: &Query) -> Result<(), Error> {
        let asks = |name: &str| name == "_filter" || ASKING.iter().any(|it| name.ends_with(it));
        match &self.definitions {
            Some(definitions) if query.iter().any(|(name, _)| asks(name)) => {
                definitions.current().await.map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// Looks up.
pub(super) struct Resolver<'a, 'gate> {
    pub(super) lookups: &'a Lookups,
    pub(super) extractor: &'a Extractor,
    /// Who asks; `None`: in criteria, which have no words.
    pub(super) permit: Option<&'a Permit<'gate>>,
    /// How often it asked.
    pub(super) asked: Cell<usize>,
}

impl Resolver<'_, '_> {
    /// Puts what can be compared in the place of what must be looked up; how many look-ups that took.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a value set that nobody knows or words that are no query;
    /// [`Error::TooCostly`] for too many codes; [`Error::NotSupported`] for what is not offered.
    pub(super) fn resolve(&self, request: &mut SearchRequest) -> Result<usize, Error> {
        let SearchRequest { types, filters, sort, .. } = request;
        let is_ranked = sort.iter().any(|key| key.by == SortBy::Score);
        filters.iter_mut().try_for_each(|of| self.filter(of, types, is_ranked))?;
        Ok(self.asked.get())
    }

    /// A filter of resources of `types`; `is_ranked`: it counts how well each fits.
    fn filter(
        &self,
        found: &mut Filter,
        types: &[ResourceType],
        is_ranked: bool,
    ) -> Result<(), Error> {
        match found {
            Filter::FullText { field, query } if is_ranked => {
                let hits = self.full_text()?.search(field, query, types, MOST_RANKED + 1);
                let hits = few(hits, MOST_RANKED, || self.sees_all(types))?;
                let (rids, scores) = hits.into_iter().unzip();
                *found = Filter::Keys(Keys { rids, scores });
            }
            Filter::FullText { field, query } => {
                let keys = self.full_text()?.keys(field, query, types, MOST_HITS + 1);
                *found = all(few(keys, MOST_HITS, || self.sees_all(types))?);
            }
            Filter::Test(test) if test.any.iter().any(|it| matches!(it, Comparison::Text(_))) => {
                *found = self.texts(test, types)?;
            }
            Filter::Test(test) => {
                self.test(test)?;
                // Nothing is in a value set without codes.
                if test.any.is_empty() {
                    *found = Filter::Any(Vec::new());
                }
            }
            _ => {}
        }
        let mut parts = found.parts_mut(types).into_iter();
        parts.try_for_each(|(part, types)| self.filter(part, &types, is_ranked))
    }

    /// What `:text` on a token finds: a display or text that begins so (rest 4.95).
    fn texts(&self, test: &Test, types: &[ResourceType]) -> Result<Filter, Error> {
        let Some(parameter) = test.parameters.first() else { return Ok(Filter::Any(Vec::new())) };
        let (mut keys, sees_all) = (Vec::new(), || self.sees_all(types));
        for comparison in &test.any {
            if let Comparison::Text(text) = comparison {
                let full_text = self.full_text()?;
                let found = full_text.beginning(&parameter.code, text, types, MOST_HITS + 1);
                keys.append(&mut few(found, MOST_HITS, sees_all)?);
                keys = few(Ok(keys), MOST_HITS, sees_all)?;
            }
        }
        if test.any.len() > 1 {
            keys.sort_unstable();
            keys.dedup();
        }
        Ok(all(keys))
    }

    fn test(&self, test: &mut Test) -> Result<(), Error> {
        let is_looked_up =
            |it: &Comparison| matches!(it, Comparison::In { .. } | Comparison::Subsumes { .. });
        if !test.any.iter().any(is_looked_up) {
            return Ok(());
        }
        let mut any = Vec::with_capacity(test.any.len());
        for comparison in std::mem::take(&mut test.any) {
            match comparison {
                Comparison::In { value_set } => any.extend(self.members(&value_set)?),
                Comparison::Subsumes { is_below, system, code } => {
                    any.extend(self.related(&system, &code, is_below)?);
                }
                other => any.push(other),
            }
        }
        test.any = any;
        Ok(())
    }

    fn members(&self, value_set: &str) -> Result<Vec<Comparison>, Error> {
        let terminology = self.terminology()?;
        let members = terminology.members(value_set, MOST_CODES).map_err(|error| fault(&error))?;
        let codes = members.codes.iter().map(|member| self.coded(&member.system, &member.code));
        let systems = members.systems.iter().map(|system| AskedToken::System(system.clone()));
        Ok(codes.chain(systems).map(Comparison::Token).collect())
    }

    fn related(&self, system: &str, code: &str, is_below: bool) -> Result<Vec<Comparison>, Error> {
        let found = self.terminology()?.subsumed(system, code, is_below, MOST_CODES);
        let codes = found.map_err(|error| fault(&error))?;
        Ok(codes.iter().map(|code| Comparison::Token(self.coded(system, code))).collect())
    }

    fn coded(&self, system: &str, code: &str) -> AskedToken {
        let Code { text, case } = Code::new(code, self.extractor.case(Some(system)));
        let code = Code { text: text.into_owned().into(), case };
        AskedToken::Coded { system: system.into(), code }
    }

    fn terminology(&self) -> Result<&dyn Terminology, Error> {
        self.asked.set(self.asked.get() + 1);
        let missing = || not_offered("a search by value sets and hierarchies of codes");
        self.lookups.terminology.as_deref().ok_or_else(missing)
    }

    /// Whether nothing of these types is out of the caller's reach.
    fn sees_all(&self, types: &[ResourceType]) -> bool {
        let sees = |permit: &Permit<'_>, of: ResourceType| {
            permit.derive(Kind::SearchType, of).is_ok_and(|permit| !permit.is_restricted())
        };
        self.permit.is_some_and(|permit| types.iter().all(|of| sees(permit, *of)))
    }

    fn full_text(&self) -> Result<&FullText, Error> {
        self.asked.set(self.asked.get() + 1);
        let missing = || not_offered("full text search");
        self.lookups.full_text.as_deref().ok_or_else(missing)
    }
}

/// What was found, unless it is more than a statement should have. How many have the words, visible or not, is
/// told only to who sees all.
fn few<T>(
    found: Result<Vec<T>, FullTextError>,
    most: usize,
    sees_all: impl FnOnce() -> bool,
) -> Result<Vec<T>, Error> {
    let found = found.map_err(words)?;
    if found.len() <= most {
        return Ok(found);
    }
    Err(Error::TooCostly(if sees_all() {
        format!("more than {most} resources have these words: ask for more")
    } else {
        "these words say too little: ask for more".to_owned()
    }))
}

/// All of these, none better than another.
fn all(rids: Vec<i64>) -> Filter {
    Filter::Keys(Keys { rids, scores: Vec::new() })
}

fn not_offered(what: &str) -> Error {
    Error::NotSupported(format!("{what} is not offered"))
}

fn fault(fault: &TerminologyFault) -> Error {
    let text = fault.to_string();
    match fault {
        TerminologyFault::Laborious(_) | TerminologyFault::TooCostly { .. } => {
            Error::TooCostly(text)
        }
        TerminologyFault::OtherDate { .. }
        | TerminologyFault::OtherVersion { .. }
        | TerminologyFault::UnknownSupplement(_)
        | TerminologyFault::UnknownSystem(_)
        | TerminologyFault::UnknownValueSet(_)
        | TerminologyFault::UnknownVersion { .. } => Error::invalid(IssueCode::NotFound, text),
        TerminologyFault::Circular(_)
        | TerminologyFault::FilterLacksValue { .. }
        | TerminologyFault::Unsupported { .. } => Error::NotSupported(text),
    }
}

fn words(fault: FullTextError) -> Error {
    match fault {
        FullTextError::Query(fault) => Error::invalid(IssueCode::Invalid, fault.to_string()),
        FullTextError::NotReady | FullTextError::Locked => Error::Unavailable(fault.into()),
        FullTextError::TooCostly(_) => Error::TooCostly(fault.to_string()),
        FullTextError::Broken(_) | FullTextError::Language(_) => Error::internal(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_have_words_is_told_to_who_sees_all() {
        for sees_all in [true, false] {
            assert_eq!(few(Ok(vec![1, 2]), 2, || sees_all).ok(), Some(vec![1, 2]));
            let Err(Error::TooCostly(text)) = few(Ok(vec![1, 2, 3]), 2, || sees_all) else {
                panic!("too many are refused, sees_all: {sees_all}")
            };
            assert_eq!(text.contains('2'), sees_all, "{text}");
        }
    }
}
