//! SMART scopes: what was asked for and granted, as types.
//!
//! A text is cut at white space, and each token is read whole or dropped: a token that begins like
//! a scope and goes on otherwise grants nothing. Scopes print in the version they were asked in.
//!
//! ```text
//! patient/Observation.rs?category=laboratory      version 2
//! user/*.read                                     version 1
//! openid  launch/patient  offline_access          about the launch and the session
//! ```
//!
//! Spec: SMART App Launch 2.2, Scopes and Launch Context.

mod algebra;
mod special;

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::fhir::ResourceType;
use crate::fhir::datetime::DateTime;
use crate::fhir::query::{self, Query};
use crate::search::values::number::Asked;
use crate::spec::search_parameter::{SearchParameters, SearchType};

pub use crate::search::request::prefix::Prefix;
pub use special::Special;

/// Longest scope parameter that is read.
const MAX_BYTES: usize = 16 * 1024;
/// Most scopes that are kept.
const MAX_SCOPES: usize = 500;
/// The parameter of when a version was stored.
const LAST_UPDATED: &str = "_lastUpdated";
/// Most criteria of one scope.
const MAX_CRITERIA: usize = 20;

/// Scopes, in the order in which they were asked for, each once.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct ScopeSet(Vec<SmartScope>);

/// One scope.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum SmartScope {
    /// About resources.
    Resource(ResourceScope),
    /// About the launch, the user or the session.
    Special(Special),
}

/// Which resources somebody may do what with.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ResourceScope {
    /// On whose account.
    pub context: Context,
    /// The type; `None`: every type (`*`).
    pub resource_type: Option<ResourceType>,
    /// What may be done.
    pub actions: Actions,
    /// What must hold for the resources.
    pub criteria: Criteria,
    /// The version it was asked in.
    version: Version,
}

/// On whose account a scope grants.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Context {
    /// The patient in context.
    Patient,
    /// A client by itself.
    System,
    /// The user, as far as its roles go.
    User,
}

/// The grammar of a scope.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Version {
    One,
    Two,
}

/// What may be done with resources: a set of create, read, update, delete and search.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Actions(u8);

/// What must hold for resources: parameters with their values, as in a search. All of them hold. Two
/// that say the same are equal, however they are written.
#[derive(Clone, Debug, Default, Eq)]
pub struct Criteria {
    /// Decoded names and values.
    pairs: Vec<(Box<str>, Box<str>)>,
    /// As asked.
    text: Box<str>,
}

impl PartialEq for Criteria {
    fn eq(&self, other: &Self) -> bool {
        self.pairs == other.pairs
    }
}

impl Hash for Criteria {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pairs.hash(state);
    }
}

impl Context {
    /// As in a scope.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::System => "system",
            Self::User => "user",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Patient, Self::System, Self::User].into_iter().find(|it| it.as_str() == text)
    }
}

impl Actions {
    /// Create.
    pub const C: Self = Self(1);
    /// Read, vread and the history of an instance.
    pub const R: Self = Self(2);
    /// Update and patch.
    pub const U: Self = Self(4);
    /// Delete.
    pub const D: Self = Self(8);
    /// Search, and the history of types and of the system.
    pub const S: Self = Self(16);
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self(31);

    const LETTERS: [(Self, char); 5] =
        [(Self::C, 'c'), (Self::R, 'r'), (Self::U, 'u'), (Self::D, 'd'), (Self::S, 's')];

    /// What is in one of both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is here and not there.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `others` are here.
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether nothing is.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Letters in the order `cruds`, each at most once, at least one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = Self::LETTERS.iter();
        let mut actions = Self::NONE;
        for letter in text.chars() {
            let (action, _) = rest.by_ref().find(|(_, known)| *known == letter)?;
            actions = actions.or(*action);
        }
        (!actions.is_empty()).then_some(actions)
    }

    fn parse_one(text: &str) -> Option<Self> {
        Some(match text {
            "*" => Self::ALL,
            "read" => Self::R.or(Self::S),
            "write" => Self::C.or(Self::U).or(Self::D),
            _ => return None,
        })
    }

    /// In the grammar of version 1, where it has a word for them.
    fn as_one(self) -> Option<&'static str> {
        ["*", "read", "write"].into_iter().find(|text| Self::parse_one(text) == Some(self))
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::LETTERS.iter().filter(|(action, _)| self.has(*action)).try_for_each(|(_, letter)| {
            use fmt::Write as _;
            f.write_char(*letter)
        })
    }
}

impl Criteria {
    /// Parameters and values, decoded.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// As they were asked for.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether nothing need hold.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Reads `param=value&..`: plain parameters that a type has, or that all types have.
    fn parse(text: &str, of: Option<ResourceType>, known: &SearchParameters) -> Option<Self> {
        let query = Query::parse(text).ok()?;
        let mut pairs: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (name, value) in query.iter() {
            let parameter = match of {
                Some(of) => known.find(of, name),
                None => known.find_common(name),
            }?;
            let kind = parameter.search_type;
            let are_plain = value.split(',').all(|part| !part.is_empty() && is_plain(kind, part));
            // When a version was stored is not told by what it says.
            if !are_plain || parameter.expression.is_none() || name == LAST_UPDATED {
                return None;
            }
            pairs.push((name.into(), value.into()));
        }
        pairs.sort();
        pairs.dedup();
        let is_sound = !pairs.is_empty() && pairs.len() <= MAX_CRITERIA;
        is_sound.then(|| Self { pairs, text: text.into() })
    }

    /// Whether whatever these hold for, those of `wider` hold for too.
    fn is_within(&self, wider: &Self) -> bool {
        wider.pairs.iter().all(|pair| self.pairs.contains(pair))
    }

    /// Both.
    fn and(&self, other: &Self) -> Self {
        if self.is_within(other) {
            return self.clone();
        }
        if other.is_within(self) {
            return other.clone();
        }
        let mut pairs = [self.pairs.clone(), other.pairs.clone()].concat();
        pairs.sort();
        pairs.dedup();
        Self { pairs, text: format!("{}&{}", self.text, other.text).into() }
    }
}

/// How a value of such a parameter is compared, and the value without what says so.
pub fn prefixed(search_type: SearchType, value: &str) -> (Prefix, &str) {
    match search_type {
        SearchType::Date | SearchType::Number | SearchType::Quantity => Prefix::split(value),
        _ => (Prefix::Eq, value),
    }
}

/// Whether a resource can be held against a value of such a parameter by itself, at any time alike.
fn is_plain(search_type: SearchType, value: &str) -> bool {
    let (prefix, rest) = prefixed(search_type, value);
    match search_type {
        // About when something is depends on when that is asked.
        SearchType::Date => {
            prefix != Prefix::Ap && DateTime::parse_search(&query::date_text(rest)).is_some()
        }
        SearchType::Number => Asked::parse(rest).is_some(),
        SearchType::Quantity => {
            rest.split('|').next().is_some_and(|number| Asked::parse(number).is_some())
        }
        SearchType::Reference | SearchType::String | SearchType::Token | SearchType::Uri => true,
        SearchType::Composite | SearchType::Special => false,
    }
}

impl ResourceScope {
    /// A scope in the grammar of version 2.
    pub fn new(
        context: Context,
        resource_type: Option<ResourceType>,
        actions: Actions,
        criteria: Criteria,
    ) -> Self {
        Self { context, resource_type, actions, criteria, version: Version::Two }
    }

    /// Reads one scope of resources; `None`: it is none, as a whole.
    pub fn parse(text: &str, known: &SearchParameters) -> Option<Self> {
        let (context, rest) = text.split_once('/')?;
        let context = Context::parse(context)?;
        let (name, rest) = rest.split_once('.')?;
        let resource_type = match name {
            "*" => None,
            name => Some(name.parse().ok()?),
        };
        let (actions, criteria) = match rest.split_once('?') {
            Some((actions, criteria)) => (actions, Some(criteria)),
            None => (rest, None),
        };
        let one = Actions::parse_one(actions).filter(|_| criteria.is_none());
        let version = if one.is_some() { Version::One } else { Version::Two };
        let actions = one.or_else(|| Actions::parse(actions))?;
        let criteria = match criteria {
            Some(criteria) => Criteria::parse(criteria, resource_type, known)?,
            None => Criteria::default(),
        };
        Some(Self { context, resource_type, actions, criteria, version })
    }

    /// Whether it was asked for in the grammar of version 1.
    pub fn is_of_version_one(&self) -> bool {
        self.version == Version::One
    }

    /// Whether it grants something with resources of the type.
    pub fn is_about(&self, of: ResourceType) -> bool {
        self.resource_type.is_none_or(|own| own == of)
    }
}

impl fmt::Display for ResourceScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.resource_type.map_or("*", ResourceType::as_str);
        write!(f, "{}/{name}.", self.context.as_str())?;
        let one = self.actions.as_one().filter(|_| self.version == Version::One);
        match one.filter(|_| self.criteria.is_empty()) {
            Some(one) => f.write_str(one)?,
            None => write!(f, "{}", self.actions)?,
        }
        if self.criteria.is_empty() { Ok(()) } else { write!(f, "?{}", self.criteria.text) }
    }
}

impl SmartScope {
    /// Reads one scope; `None`: nobody knows it.
    pub fn parse(text: &str, known: &SearchParameters) -> Option<Self> {
        if let Some(special) = Special::parse(text) {
            return Some(Self::Special(special));
        }
        ResourceScope::parse(text, known).map(Self::Resource)
    }
}

impl fmt::Display for SmartScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(scope) => scope.fmt(f),
            Self::Special(special) => f.write_str(special.as_str()),
        }
    }
}

impl ScopeSet {
    /// Reads scopes between spaces. What is no scope is left out.
    pub fn parse(text: &str, known: &SearchParameters) -> Self {
        let mut set = Self::default();
        if text.len() > MAX_BYTES {
            return set;
        }
        for token in text.split(' ').filter(|token| !token.is_empty()) {
            if let Some(scope) = SmartScope::parse(token, known) {
                set.add(scope);
            }
        }
        set
    }

    /// Adds a scope unless it is there.
    pub fn add(&mut self, scope: SmartScope) {
        if self.0.len() < MAX_SCOPES && !self.0.contains(&scope) {
            self.0.push(scope);
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &SmartScope> {
        self.0.iter()
    }

    /// Those about resources.
    pub fn resources(&self) -> impl Iterator<Item = &ResourceScope> {
        self.0.iter().filter_map(|scope| match scope {
            SmartScope::Resource(scope) => Some(scope),
            SmartScope::Special(_) => None,
        })
    }

    /// Whether there is one about something other than resources.
    pub fn has(&self, special: Special) -> bool {
        self.0.contains(&SmartScope::Special(special))
    }

    /// Whether one grants on this account.
    pub fn has_context(&self, context: Context) -> bool {
        self.resources().any(|scope| scope.context == context)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those for which `holds`.
    #[must_use]
    pub fn filtered(&self, holds: impl Fn(&SmartScope) -> bool) -> Self {
        Self(self.0.iter().filter(|scope| holds(scope)).cloned().collect())
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, scope) in self.0.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{scope}")?;
        }
        Ok(())
    }
}

impl FromIterator<SmartScope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = SmartScope>>(scopes: I) -> Self {
        let mut set = Self::default();
        scopes.into_iter().for_each(|scope| set.add(scope));
        set
    }
}

#[cfg(test)]
mod tests;
