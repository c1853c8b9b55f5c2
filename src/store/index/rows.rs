//! The rows of one resource, hashed: everything but the key that it will be stored under.

use std::borrow::Cow;

use crate::fhir::json::{Object, Value};
use crate::fhir::{Canonical, Instant, LogicalId, ResourceType};
use crate::search::extract::{
    Extraction, Extractor, IndexEntry, IndexValue, Parameter, QuantityValue, ReferenceValue, View,
};
use crate::search::values::number::NumberRange;
use crate::spec::search_parameter::SearchType;
use crate::store::hash::Hasher;
use crate::store::rows::Edge;

use super::codes::{Code, Codes};
use super::combination;
use super::indexer::Name;
use super::inside::ContainedRows;

/// Longest beginning of a string that is indexed, in bytes: a B-tree takes 2,704 in all.
pub(in crate::store) const MAX_STRING: usize = 1_000;

/// The parameter of the profiles that a resource claims: `meta_use` has their texts, `res.meta` what they sort by.
pub(in crate::store) const PROFILE: &str = "_profile";

/// Parameters without rows: other tables know them.
const UNINDEXED: [&str; 2] = ["_id", "_lastUpdated"];

/// The rows of a version of a resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IndexRows {
    /// `s`: the start of the primary date.
    pub(super) start: Edge,
    /// `hi`: its end; [`Edge::Past`] where there is no such date.
    pub(super) end: Edge,
    /// `tok`: hash and system, sorted, each once.
    pub(super) tokens: Vec<(i64, i32)>,
    /// The beginning of `comp.toks` and `srow.toks`: references to resources, sorted, each once.
    pub(super) links: Vec<i64>,
    /// The rest of `comp.toks`: what says which other tokens there are; sorted, each once.
    pub(super) marks: Vec<i64>,
    /// `srow.present`: which parameters have a value, as far as they have a bit there.
    pub(super) present: i64,
    /// The rest of `srow.toks`: which others have a value, and tokens of which systems.
    pub(super) signs: Vec<i64>,
    /// `num`
    pub(super) numbers: Vec<NumberRow>,
    /// `dat`: hash, from, to.
    pub(super) dates: Vec<(i64, Option<Instant>, Option<Instant>)>,
    /// `str`
    pub(super) strings: Vec<StringRow>,
    /// `srow.keys`, as JSON.
    pub(super) keys: Option<String>,
    /// Which of `tokens` are codes of parameters of tokens.
    pub(super) codes: Vec<Code>,
    /// Which of `tokens` say that a parameter has no value.
    pub(super) lacking: Vec<i64>,
    /// The rows of the contained resources, in the order of their places.
    pub(super) contained: Vec<ContainedRows>,
    /// Whether something of the resource is not in them, as it could not be extracted.
    pub(in crate::store) lacks_some: bool,
    /// Of which search parameters they are.
    pub(in crate::store) epoch: i64,
}

/// A row of `num`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct NumberRow {
    pub(super) h: i64,
    /// System of a composite's first part.
    pub(super) y: i32,
    /// Code of the unit.
    pub(super) u: i32,
    /// Name of the unit.
    pub(super) n: i32,
    /// As PostgreSQL reads it.
    pub(super) low: String,
    pub(super) high: String,
}

/// A row of `str`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct StringRow {
    pub(super) h: i64,
    pub(super) value: String,
    pub(super) exact: Option<String>,
    pub(super) whole: Option<String>,
}

impl IndexRows {
    /// No rows.
    pub(super) const NOTHING: &'static Self = &Self {
        start: Edge::Past,
        end: Edge::Past,
        tokens: Vec::new(),
        links: Vec::new(),
        marks: Vec::new(),
        present: 0,
        signs: Vec::new(),
        numbers: Vec::new(),
        dates: Vec::new(),
        strings: Vec::new(),
        keys: None,
        codes: Vec::new(),
        lacking: Vec::new(),
        contained: Vec::new(),
        lacks_some: false,
        epoch: 0,
    };

    /// Whether `srow` and `comp` say the same of both.
    pub(super) fn is_same_summary(&self, other: &Self) -> bool {
        (self.start, self.end, self.present, &self.keys)
            == (other.start, other.end, other.present, &other.keys)
            && (&self.links, &self.marks, &self.signs) == (&other.links, &other.marks, &other.signs)
    }

    /// The rows of what was extracted, but for those of contained resources; `own` are the names of
    /// the type's parameters, `home` is the identity of the resource that all of it is in; it is contained there
    /// or is that resource.
    pub(super) fn new(
        extraction: &Extraction<'_>,
        extractor: &Extractor,
        own: &[Name],
        (hasher, home, is_contained): (&Hasher, i64, bool),
    ) -> Self {
        let resource_type = extraction.resource_type;
        let known = extractor.parameters(resource_type);
        let code = |at: u16| &*known[usize::from(at)].code;
        let has_rows = |at: u16| !UNINDEXED.contains(&code(at));
        let has_text = |at: u16| is_contained || code(at) != PROFILE;
        let primary = extractor.primary(resource_type);
        let mut maker = Maker { hasher, home, has_text: true, rows: Self::default() };
        let groups = extraction.rows.chunk_by(|a, b| a.parameter == b.parameter);
        for group in groups.filter(|group| has_rows(group[0].parameter)) {
            let at = group[0].parameter;
            let Name { hash: parameter, bit } = own[usize::from(at)];
            maker.has_text = has_text(at);
            match bit {
                Some(bit) => maker.rows.present |= 1 << bit,
                None => maker.rows.signs.push(hasher.present(parameter)),
            }
            let view = extractor.view(resource_type, at);
            let is_own = |entry: &&IndexEntry<'_>| {
                Some(at) != primary && view.is_none_or(|view| is_beside(view, &entry.value))
            };
            let is_together = known[usize::from(at)].is_together();
            for entry in group.iter().filter(is_own) {
                match &entry.value {
                    IndexValue::Composite(parts) if is_together => {
                        let h = hasher.combination(parameter);
                        maker.rows.strings.extend(combination::row(hasher, h, parts));
                    }
                    value => maker.add(parameter, value),
                }
            }
            if known[usize::from(at)].search_type == SearchType::Token && view.is_none() {
                maker.code(parameter, group);
            }
        }
        let mut rows = maker.rows;
        rows.keys = sort_keys(extraction, own, |at| {
            has_rows(at) && has_text(at) && extractor.view(resource_type, at).is_none()
        });
        if let Some(primary) = extraction.primary {
            rows.start = primary.low.map_or(Edge::Past, Edge::At);
            rows.end = primary.high.map_or(Edge::Future, Edge::At);
        }
        rows.settle();
        rows
    }

    /// Adds the parameters of a type without a value, as far as that is kept; `of_all` are the hashes of all.
    pub(super) fn note_lacking(
        &mut self,
        (known, of_all): (&[Parameter], &[Name]),
        hasher: &Hasher,
        codes: &Codes,
    ) {
        let is_asked = |it: &Parameter| {
            it.search_type != SearchType::Composite && !UNINDEXED.contains(&&*it.code)
        };
        let is_lacking = |of: &Name| match of.bit {
            Some(bit) => (self.present >> bit) & 1 == 0,
            None => self.signs.binary_search(&hasher.present(of.hash)).is_err(),
        };
        let all = known.iter().zip(of_all).filter(|(it, of)| is_asked(it) && is_lacking(of));
        self.lacking = codes.kept(all.map(|(_, of)| hasher.absent(of.hash)));
        self.tokens.extend(self.lacking.iter().map(|h| (*h, 0)));
        self.signs.extend(&self.lacking);
        self.settle();
    }

    /// Adds the resources that it holds.
    pub(super) fn tie(&mut self, hashes: impl Iterator<Item = i64>) {
        let before = self.tokens.len();
        for h in hashes {
            self.tokens.push((h, 0));
            self.marks.push(h);
        }
        if self.tokens.len() > before {
            self.settle();
        }
    }

    /// Brings all lists into an order, each row once, so that two versions can be compared.
    fn settle(&mut self) {
        self.tokens.sort_unstable();
        self.tokens.dedup();
        for marks in [&mut self.links, &mut self.marks, &mut self.signs] {
            marks.sort_unstable();
            marks.dedup();
        }
        self.numbers.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
        self.numbers.dedup();
        self.dates.sort_unstable();
        self.dates.dedup();
        self.strings.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
        self.strings.dedup();
    }
}

impl NumberRow {
    pub(super) fn order(&self) -> (i64, i32, i32, i32, &str, &str) {
        (self.h, self.y, self.u, self.n, &self.low, &self.high)
    }
}

impl StringRow {
    pub(super) fn order(&self) -> (i64, &str, Option<&str>, Option<&str>) {
        (self.h, &self.value, self.exact.as_deref(), self.whole.as_deref())
    }
}

struct Maker<'h> {
    hasher: &'h Hasher,
    /// The identity of the resource, or of the one that contains it.
    home: i64,
    /// Whether the texts of the canonicals at hand are kept here.
    has_text: bool,
    rows: IndexRows,
}

impl Maker<'_> {
    fn add(&mut self, parameter: i64, value: &IndexValue<'_>) {
        match value {
            IndexValue::Composite(parts) => self.composite(parameter, parts),
            IndexValue::Number(range) => self.number(self.hasher.number(parameter), 0, *range),
            IndexValue::Position { latitude, longitude } => {
                let range = NumberRange { low: Some(*latitude), high: Some(*longitude) };
                self.number(self.hasher.position(parameter), 0, range);
            }
            IndexValue::Quantity(quantity) => {
                // No composite's first part needs `y` here: the unit's own system has it.
                self.quantity(parameter, self.hasher.system(quantity.system), quantity);
            }
            // For `:text`, which the full text index answers.
            IndexValue::Text(_) => {}
            IndexValue::Date(_)
            | IndexValue::OfType { .. }
            | IndexValue::Reference(_)
            | IndexValue::String { .. }
            | IndexValue::Token { .. }
            | IndexValue::Uri(_) => self.plain(parameter, value),
        }
    }

    /// A value that is one row, or a row and its text.
    fn plain(&mut self, parameter: i64, value: &IndexValue<'_>) {
        let hasher = self.hasher;
        match value {
            IndexValue::Date(range) => {
                self.rows.dates.push((hasher.date(parameter), range.low, range.high));
            }
            IndexValue::OfType { system, code, value } => {
                self.token(hasher.of_type(parameter, *system, code, value), 0);
            }
            IndexValue::Reference(reference) => self.reference(parameter, reference),
            IndexValue::String { folded, exact } => {
                self.string(hasher.string(parameter), folded, exact.as_deref());
            }
            IndexValue::Token { system, code } => {
                if let Some(system) = system {
                    self.rows.signs.push(hasher.of_system(parameter, system));
                }
                let system = hasher.token_system(parameter, *system);
                self.token(hasher.token(parameter, code), system);
            }
            IndexValue::Uri(canonical) => self.canonical(parameter, canonical),
            IndexValue::Composite(_)
            | IndexValue::Number(_)
            | IndexValue::Position { .. }
            | IndexValue::Quantity(_)
            | IndexValue::Text(_) => {}
        }
    }

    /// Adds which codes a parameter has. A text without a code is one too: for what lacks any other.
    fn code(&mut self, parameter: i64, group: &[IndexEntry<'_>]) {
        let hasher = self.hasher;
        let codes = group.iter().filter_map(|entry| match &entry.value {
            IndexValue::Token { system, code } => Some((
                parameter,
                hasher.token(parameter, code),
                hasher.token_system(parameter, *system),
            )),
            _ => None,
        });
        let before = self.rows.codes.len();
        self.rows.codes.extend(codes);
        if self.rows.codes.len() == before {
            let h = hasher.codeless(parameter);
            self.rows.codes.push((parameter, h, 0));
            self.token(h, 0);
        }
    }

    fn token(&mut self, h: i64, system: i32) {
        self.rows.tokens.push((h, system));
        self.rows.marks.push(h);
        if system != 0 {
            self.rows.marks.push(self.hasher.qualified(h, system));
        }
    }

    fn link(&mut self, h: i64) {
        self.rows.tokens.push((h, 0));
        self.rows.links.push(h);
    }

    fn reference(&mut self, parameter: i64, reference: &ReferenceValue<'_>) {
        let hasher = self.hasher;
        match reference {
            ReferenceValue::Canonical(canonical) => self.canonical(parameter, canonical),
            ReferenceValue::Contained(id) => {
                let target =
                    if id.is_empty() { self.home } else { hasher.contained(self.home, id) };
                self.link(Hasher::reference(parameter, target));
            }
            ReferenceValue::Identifier { system, value } => {
                if let Some(system) = system {
                    self.rows.signs.push(hasher.of_system(parameter, system));
                }
                let system = hasher.token_system(parameter, *system);
                self.token(hasher.identifier(parameter, value), system);
            }
            ReferenceValue::Local { resource_type, id, version } => {
                let identity = hasher.identity(*resource_type, id);
                self.link(Hasher::reference(parameter, identity));
                if let Some(version) = version {
                    self.token(hasher.reference_version(parameter, identity, *version), 0);
                }
            }
            ReferenceValue::Url(url) => self.token(hasher.url(parameter, url), 0),
        }
    }

    fn canonical(&mut self, parameter: i64, canonical: &Canonical<'_>) {
        let hasher = self.hasher;
        self.token(hasher.url(parameter, canonical.url), hasher.system(canonical.version));
        if !self.has_text {
            return;
        }
        let text = match canonical.version {
            Some(version) => Cow::Owned(format!("{}|{version}", canonical.url)),
            None => Cow::Borrowed(canonical.url),
        };
        self.string(hasher.uri_text(parameter), &text, None);
    }

    fn string(&mut self, h: i64, text: &str, exact: Option<&str>) {
        let value = &text[..text.floor_char_boundary(MAX_STRING)];
        self.rows.strings.push(StringRow {
            h,
            value: value.to_owned(),
            exact: exact.map(str::to_owned),
            whole: (value.len() < text.len()).then(|| text.to_owned()),
        });
    }

    fn number(&mut self, h: i64, y: i32, range: NumberRange) {
        let (low, high) = ends(range);
        self.rows.numbers.push(NumberRow { h, y, u: 0, n: 0, low, high });
    }

    fn quantity(&mut self, parameter: i64, y: i32, quantity: &QuantityValue<'_>) {
        let hasher = self.hasher;
        let (low, high) = ends(quantity.range);
        let (u, n) = (hasher.unit(quantity.code), hasher.unit(quantity.unit));
        let given = NumberRow { h: hasher.number(parameter), y, u, n, low, high };
        match (&quantity.base, quantity.system, quantity.code) {
            (Some(base), ..) => {
                self.number(hasher.quantity(parameter, &base.unit), y, base.range);
            }
            (None, Some(system), Some(code)) => {
                let h = hasher.coded_quantity(parameter, system, code);
                self.number(h, y, quantity.range);
            }
            (None, ..) => {}
        }
        self.rows.numbers.push(given);
    }

    /// A composite: its first part makes a parameter of its own, under which the rest is kept.
    fn composite(&mut self, parameter: i64, parts: &[IndexValue<'_>]) {
        let Some((first, rest)) = parts.split_first() else { return };
        let is_token = matches!(first, IndexValue::Token { .. });
        let Some((first, system)) = self.first(parameter, first) else { return };
        let hasher = self.hasher;
        let behind = hasher.behind(first, 0);
        match rest {
            [IndexValue::Quantity(quantity)] => self.quantity(behind, system, quantity),
            [IndexValue::Number(range)] => self.number(hasher.number(behind), system, *range),
            [IndexValue::Number(one), IndexValue::Number(other)] => {
                let range = NumberRange { low: one.low, high: other.low };
                self.number(hasher.position(behind), system, range);
            }
            [second] => {
                self.plain(behind, second);
                if system != 0 {
                    self.plain(hasher.behind(first, system), second);
                } else if is_token {
                    self.plain(hasher.behind_bare(first), second);
                }
            }
            _ => {}
        }
    }

    /// Hash and system of the first part of a composite.
    fn first(&self, parameter: i64, value: &IndexValue<'_>) -> Option<(i64, i32)> {
        let hasher = self.hasher;
        Some(match value {
            IndexValue::Token { system, code } => {
                (hasher.token(parameter, code), hasher.system(*system))
            }
            IndexValue::Reference(ReferenceValue::Local { resource_type, id, .. }) => {
                (self.identity(parameter, *resource_type, id), 0)
            }
            IndexValue::Reference(ReferenceValue::Url(url)) => (hasher.url(parameter, url), 0),
            _ => return None,
        })
    }

    fn identity(&self, parameter: i64, resource_type: ResourceType, id: &LogicalId) -> i64 {
        Hasher::reference(parameter, self.hasher.identity(resource_type, id))
    }
}

/// Whether a value of a view is none of those that it shows: a reference that does not say what it
/// points to in a way that the others could be narrowed by.
fn is_beside(view: &View, value: &IndexValue<'_>) -> bool {
    let is_here = matches!(
        value,
        IndexValue::Reference(ReferenceValue::Contained(_) | ReferenceValue::Local { .. })
    );
    !view.targets.is_empty() && !is_here
}

/// `srow.keys`: smallest and largest, or both in one where they are the same.
fn sort_keys(
    extraction: &Extraction<'_>,
    names: &[Name],
    is_kept: impl Fn(u16) -> bool,
) -> Option<String> {
    let mut keys = Object::new();
    for (at, smallest, largest) in extraction.sort_keys().filter(|(at, ..)| is_kept(*at)) {
        let text = |text: Cow<'_, str>| Value::from(text.into_owned());
        let value = if smallest == largest {
            text(smallest)
        } else {
            Value::Array(vec![text(smallest), text(largest)])
        };
        keys.set(Hasher::sort_name(names[usize::from(at)].hash), value);
    }
    (!keys.is_empty()).then(|| Value::Object(keys).to_text())
}

/// The ends of a range as PostgreSQL reads them.
pub(super) fn ends(range: NumberRange) -> (String, String) {
    (
        range.low.map_or_else(|| "-Infinity".to_owned(), |low| low.to_string()),
        range.high.map_or_else(|| "Infinity".to_owned(), |high| high.to_string()),
    )
}
