//! From a query to the one that the index answers.

use std::ops::Bound;

use tantivy::query::{
    AllQuery, BooleanQuery, BoostQuery, DisjunctionMaxQuery, Occur, PhrasePrefixQuery, PhraseQuery,
    Query, RangeQuery, TermQuery, TermSetQuery,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{Searcher, TantivyError, Term};

use crate::fhir::ResourceType;

use super::FullTextError;
use super::analyze::{Analyzer, Chunk, named, start};
use super::query::Node;

/// Most words that the end of a phrase may stand for in one part of the index: what stands for more is
/// refused, as the rest of them would not be looked for.
const MAX_EXPANSIONS: u32 = 1_000;

/// Where and how words are looked for.
pub(super) struct Target<'a> {
    /// The fields, at least one: each word, phrase or beginning may stand in any of them.
    pub(super) fields: Vec<Field>,
    /// The parameter whose texts are meant.
    pub(super) parameter: Option<&'a str>,
    /// How the field's words were made.
    pub(super) analyzer: Analyzer,
    /// The index as it is.
    pub(super) searcher: &'a Searcher,
}

impl Target<'_> {
    /// The query for `node`.
    ///
    /// # Errors
    /// [`FullTextError::TooCostly`] where the end of a phrase stands for too many words.
    pub(super) fn asked(&self, node: &Node) -> Result<Box<dyn Query>, FullTextError> {
        if self.has_wide_end(node)? {
            return Err(FullTextError::TooCostly(MAX_EXPANSIONS));
        }
        Ok(self.query(node))
    }

    /// Whether there are more words than are looked for where a phrase ends with the beginning of one.
    fn has_wide_end(&self, node: &Node) -> Result<bool, TantivyError> {
        match node {
            Node::All(nodes) | Node::Any(nodes) => {
                for node in nodes {
                    if self.has_wide_end(node)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Node::Not(inner) => self.has_wide_end(inner),
            Node::Phrase(_) | Node::Word(_) => Ok(false),
            Node::Prefix(chunk) => match &chunk.parts[..] {
                [_, .., last] => self.is_wide(last),
                _ => Ok(false),
            },
        }
    }

    /// Whether more words begin so than are looked for in one of the fields.
    fn is_wide(&self, beginning: &str) -> Result<bool, TantivyError> {
        for field in &self.fields {
            if self.is_wide_in(*field, beginning)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_wide_in(&self, field: Field, beginning: &str) -> Result<bool, TantivyError> {
        let first = self.term(field, beginning);
        let last = self.term(field, &format!("{beginning}{}", char::MAX));
        for segment in self.searcher.segment_readers() {
            let words = segment.inverted_index(field)?;
            let range = words.terms().range().ge(first.serialized_value_bytes());
            let mut range = range.le(last.serialized_value_bytes()).into_stream()?;
            let mut count = 0;
            while count <= MAX_EXPANSIONS && range.advance() {
                count += 1;
            }
            if count > MAX_EXPANSIONS {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn query(&self, node: &Node) -> Box<dyn Query> {
        match node {
            Node::All(nodes) => self.all(nodes),
            Node::Any(nodes) => any(nodes.iter().map(|node| self.query(node)).collect()),
            Node::Not(_) => self.all(std::slice::from_ref(node)),
            Node::Phrase(chunks) => {
                let parts: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.parts).collect();
                let wholes: Vec<_> = chunks.iter().flat_map(wholes).collect();
                let mut found = vec![self.phrase(&parts)];
                if wholes != parts {
                    found.push(self.phrase(&wholes));
                }
                any(found)
            }
            Node::Prefix(chunk) => alternatives(chunk, |parts| self.prefix(parts)),
            Node::Word(chunk) => alternatives(chunk, |parts| self.word(parts)),
        }
    }

    /// The query for texts that begin so.
    pub(super) fn beginning(&self, text: &str) -> Box<dyn Query> {
        self.prefix(&[&start(text)])
    }

    fn all(&self, nodes: &[Node]) -> Box<dyn Query> {
        let mut clauses: Vec<_> = nodes
            .iter()
            .map(|node| match node {
                Node::Not(inner) => (Occur::MustNot, self.query(inner)),
                _ => (Occur::Must, self.query(node)),
            })
            .collect();
        if clauses.iter().all(|(occur, _)| *occur == Occur::MustNot) {
            clauses.push((Occur::Must, Box::new(AllQuery)));
        }
        Box::new(BooleanQuery::new(clauses))
    }

    fn word(&self, parts: &[&String]) -> Box<dyn Query> {
        match parts {
            [word] => {
                let stem = self.analyzer.stem(word);
                self.exact(stem.as_ref().unwrap_or(word))
            }
            _ => self.phrase(parts),
        }
    }

    fn phrase(&self, parts: &[&String]) -> Box<dyn Query> {
        match parts {
            [word] => self.exact(word),
            _ => self.somewhere(|field| {
                let terms = parts.iter().map(|part| self.term(field, part)).collect();
                Box::new(PhraseQuery::new(terms))
            }),
        }
    }

    fn prefix(&self, parts: &[&String]) -> Box<dyn Query> {
        if let [word] = parts {
            let last = format!("{word}{}", char::MAX);
            return self.somewhere(|field| {
                let (from, to) = (self.term(field, word), self.term(field, &last));
                Box::new(RangeQuery::new(Bound::Included(from), Bound::Included(to)))
            });
        }
        self.somewhere(|field| {
            let terms = parts.iter().map(|part| self.term(field, part)).collect();
            let mut query = PhrasePrefixQuery::new(terms);
            query.set_max_expansions(MAX_EXPANSIONS);
            Box::new(query)
        })
    }

    fn exact(&self, word: &str) -> Box<dyn Query> {
        self.somewhere(|field| {
            Box::new(TermQuery::new(self.term(field, word), IndexRecordOption::WithFreqs))
        })
    }

    /// What `query` finds in one of the fields. It fits as well as in the best of them: a narrative that
    /// repeats what the elements say makes nothing fit better.
    fn somewhere(&self, query: impl Fn(Field) -> Box<dyn Query>) -> Box<dyn Query> {
        match &self.fields[..] {
            [only] => query(*only),
            all => {
                let each = all.iter().map(|field| query(*field)).collect();
                Box::new(DisjunctionMaxQuery::new(each))
            }
        }
    }

    fn term(&self, field: Field, word: &str) -> Term {
        match self.parameter {
            Some(parameter) => Term::from_field_text(field, &named(parameter, word)),
            None => Term::from_field_text(field, word),
        }
    }
}

/// `query` among resources of these types; of all when there are none.
pub(super) fn of_types(
    query: Box<dyn Query>,
    field: Field,
    types: &[ResourceType],
) -> Box<dyn Query> {
    if types.is_empty() {
        return query;
    }
    let codes = types.iter().map(|of| Term::from_field_i64(field, i64::from(of.code())));
    // The type says nothing about how well the words fit.
    let of_types = BoostQuery::new(Box::new(TermSetQuery::new(codes)), 0.0);
    Box::new(BooleanQuery::intersection(vec![query, Box::new(of_types)]))
}

/// The parts side by side, or all as one.
fn alternatives(chunk: &Chunk, query: impl Fn(&[&String]) -> Box<dyn Query>) -> Box<dyn Query> {
    let mut found = vec![query(&chunk.parts.iter().collect::<Vec<_>>())];
    found.extend(chunk.whole.iter().map(|whole| query(&[whole])));
    any(found)
}

fn wholes(chunk: &Chunk) -> impl Iterator<Item = &String> {
    let parts = if chunk.whole.is_some() { &[][..] } else { &chunk.parts[..] };
    chunk.whole.iter().chain(parts)
}

fn any(mut queries: Vec<Box<dyn Query>>) -> Box<dyn Query> {
    match queries.pop() {
        Some(only) if queries.is_empty() => only,
        last => {
            queries.extend(last);
            Box::new(BooleanQuery::union(queries))
        }
    }
}
