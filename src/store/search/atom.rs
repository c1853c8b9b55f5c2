//! Atoms: the rows of the index by which one comparison holds.

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::search::extract;
use crate::search::request::compare::{AskedToken, Comparison};
use crate::search::request::{ParameterKey, Test};
use crate::store::Stored;

use super::compile::Compiler;
use super::composite::Element;

/// One of these makes a comparison hold.
#[derive(Clone, Debug)]
pub(super) enum Atom {
    /// A row of `tok`; `mark` is what tells it in `toks`, where something does.
    Token { h: i64, system: Option<i32>, mark: Option<i64> },
    /// A parameter of a type has a value: a code of `srow.rt`, and a bit of `srow.present`.
    Present(i16, i64),
    /// Something that only `srow.toks` knows.
    Sign(i64),
    /// The same of a system, which rows of `tok` name too.
    System(i64),
    /// A row of another table that is found by one of these hashes and by a condition, in which
    /// [`HERE`] is the row.
    Value {
        table: &'static str,
        hashes: Vec<i64>,
        condition: String,
        /// The same in parts, each of which an index serves.
        parts: Vec<String>,
    },
    /// A condition over the row of `srow`.
    Resource { condition: String },
}

/// What stands for the row in the condition of an atom.
pub(super) const HERE: &str = "%row.";

/// Where an atom looks.
pub(super) struct From {
    pub(super) table: &'static str,
    pub(super) alias: String,
}

/// The parameter of a comparison as its rows have it.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    /// Where its values are: for each type; of a composite's rest, for each first part.
    pub(super) stored: Vec<Stored>,
    /// `num.y`: the system of a composite's first part, where it counts.
    pub(super) first_system: Option<i32>,
    /// Of what a composite has behind its first part: the elements of the body that have both.
    pub(super) element: Option<Element>,
    /// Whether its strings are how words sound: each is whole.
    pub(super) is_phonetic: bool,
}

impl Parameter {
    /// One whose values are in all of these places.
    pub(super) fn of(stored: Vec<Stored>) -> Self {
        Self { stored, first_system: None, element: None, is_phonetic: false }
    }

    /// One that has values of its own under each of these hashes.
    pub(super) fn plain(hashes: impl IntoIterator<Item = i64>) -> Self {
        let (bit, parts, is_together) = (None, Vec::new(), false);
        let plain = |own| Stored { own, bit, parts: parts.clone(), is_together };
        Self::of(hashes.into_iter().map(plain).collect())
    }

    /// The hashes under which its values are, where those are no references.
    pub(super) fn values(&self) -> Vec<i64> {
        self.hashes(|stored| stored.parts.iter().map(|(part, _)| *part).collect())
    }

    /// The hashes under which references to resources of a type here are.
    pub(super) fn to(&self, of: ResourceType) -> Vec<i64> {
        let is_to = |target: &Option<ResourceType>| target.is_none_or(|target| target == of);
        let mut all: Vec<i64> = Vec::new();
        for stored in &self.stored {
            if stored.parts.is_empty() {
                all.push(stored.own);
            }
            let fitting = stored.parts.iter().filter(|(_, target)| is_to(target));
            all.extend(fitting.map(|(part, _)| *part));
        }
        sorted(all)
    }

    /// The hashes under which references to what is elsewhere are.
    pub(super) fn elsewhere(&self) -> Vec<i64> {
        self.hashes(|stored| {
            let is_narrowed = stored.parts.iter().any(|(_, target)| target.is_some());
            let parts = stored.parts.iter().map(|(part, _)| *part);
            if is_narrowed { vec![stored.own] } else { parts.collect() }
        })
    }

    fn hashes(&self, parts: impl Fn(&Stored) -> Vec<i64>) -> Vec<i64> {
        let of = |stored: &Stored| {
            if stored.parts.is_empty() { vec![stored.own] } else { parts(stored) }
        };
        sorted(self.stored.iter().flat_map(of).collect())
    }
}

fn sorted(mut hashes: Vec<i64>) -> Vec<i64> {
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

impl Compiler<'_, '_> {
    /// The atoms of a test, over resources of `types`. A primary date has none: see
    /// [`Compiler::span`].
    pub(super) fn atoms(
        &mut self,
        test: &Test,
        types: &[ResourceType],
    ) -> Result<Vec<Atom>, Error> {
        let stored = self.stored(&test.parameters, types);
        let dated = self.without_primary(&stored);
        let present: Vec<Atom> = stored.iter().map(|(of, it)| self.present(*of, it)).collect();
        let is_phonetic = test.parameters.iter().any(|key| self.is_phonetic(key));
        let all = stored.iter().map(|(_, stored)| stored.clone()).collect();
        let parameter = Parameter { is_phonetic, ..Parameter::of(all) };
        let dated = Parameter::plain(dated);
        let mut atoms = Vec::new();
        for comparison in &test.any {
            let is_date = matches!(comparison, Comparison::Date { .. });
            let parameter = if is_date { &dated } else { &parameter };
            if *comparison == Comparison::Present {
                atoms.extend_from_slice(&present);
            } else if let Some(begun) = self.begun(test, comparison) {
                atoms.extend(begun);
            } else if let Comparison::Composite(parts) = comparison {
                self.composite(parts, (&test.parameters, &stored), &mut atoms)?;
            } else if let Comparison::Token(AskedToken::Begins { system, code }) = comparison {
                let asked = (&**system, code);
                atoms.extend(self.codes_begin(asked, (&test.parameters, &stored))?);
            } else if !parameter.stored.is_empty() {
                self.comparison(comparison, parameter, &mut atoms)?;
            }
        }
        Ok(atoms)
    }

    /// That a parameter of a type has a value.
    fn present(&self, of: ResourceType, stored: &Stored) -> Atom {
        match stored.bit {
            Some(bit) => Atom::Present(self.code(of), 1 << bit),
            None => Atom::Sign(self.hasher.present(stored.own)),
        }
    }

    fn is_phonetic(&self, key: &ParameterKey) -> bool {
        let extractor = &self.parameters.extractor;
        let place = extractor.place(key.resource_type, &key.code).map(usize::from);
        let known = extractor.parameters(key.resource_type);
        place.and_then(|at| known.get(at)).is_some_and(extract::Parameter::is_phonetic)
    }

    /// Adds the atoms of one comparison.
    pub(super) fn comparison(
        &mut self,
        comparison: &Comparison,
        parameter: &Parameter,
        atoms: &mut Vec<Atom>,
    ) -> Result<(), Error> {
        match comparison {
            Comparison::Composite(_) => {
                return Err(Error::internal("a part of a composite is none itself"));
            }
            Comparison::Date { prefix, range } => {
                atoms.push(self.date(*prefix, range, parameter));
            }
            Comparison::In { .. } | Comparison::Subsumes { .. } => {
                return Err(Error::internal("a terminology filter was not answered before"));
            }
            Comparison::Number { prefix, asked } => {
                atoms.push(self.number(*prefix, asked, parameter));
            }
            Comparison::Position { latitude, longitude, metres } => {
                atoms.push(self.position(*latitude, *longitude, *metres, parameter));
            }
            Comparison::Present => {
                return Err(Error::internal(
                    "a part of a composite is there or not with the others",
                ));
            }
            Comparison::Quantity { prefix, asked, unit } => {
                atoms.push(self.quantity(*prefix, asked, unit, parameter));
            }
            Comparison::Reference(asked) => return self.reference(asked, parameter, atoms),
            Comparison::String { part, text, is_exact } => {
                let hashes = parameter.values().into_iter().map(|of| self.hasher.string(of));
                let hashes = hashes.collect();
                atoms.push(self.string(*part, text, (*is_exact, parameter.is_phonetic), hashes));
            }
            Comparison::Text(_) => {
                return Err(Error::internal("a full text filter was not answered before"));
            }
            Comparison::Token(asked) => return self.token(asked, parameter, atoms),
            Comparison::Uri(asked) => self.uri(asked, &parameter.values(), atoms),
        }
        Ok(())
    }

    /// Where a row of the atom is looked up, and what holds for it beside its `rid` (` AND ..`);
    /// `None` for what `toks` and `present` know.
    pub(super) fn looked_up(&mut self, atom: &Atom) -> Option<(From, String)> {
        match atom {
            Atom::Present(..) | Atom::Token { .. } | Atom::Sign(_) | Atom::System(_) => None,
            Atom::Value { table, hashes, condition, .. } => {
                let alias = self.alias();
                let is_here = self.binds.is_one_of(&format!("{alias}.h"), hashes);
                let condition = here(condition, &alias);
                Some((From { table, alias }, format!(" AND {is_here}{condition}")))
            }
            Atom::Resource { condition } => {
                let alias = self.alias();
                let condition = here(condition, &alias);
                Some((From { table: "srow", alias }, condition))
            }
        }
    }
}

impl Atom {
    /// Atoms that an index serves each, of which one holds when this one does.
    pub(super) fn parts(&self) -> Vec<Self> {
        match self {
            Self::Value { table, hashes, parts, .. } if !parts.is_empty() => {
                let one =
                    |condition: &String| Self::value(table, hashes.clone(), condition.clone());
                parts.iter().map(one).collect()
            }
            other => vec![other.clone()],
        }
    }

    /// The sign of the system that it is.
    pub(super) fn system(&self) -> Option<i64> {
        match self {
            Self::System(sign) => Some(*sign),
            _ => None,
        }
    }

    /// A row of a table.
    pub(super) fn value(table: &'static str, hashes: Vec<i64>, condition: String) -> Self {
        Self::Value { table, hashes, condition, parts: Vec::new() }
    }
}

/// ` AND condition` about the row called `alias`.
fn here(condition: &str, alias: &str) -> String {
    if condition.is_empty() {
        return String::new();
    }
    format!(" AND {}", condition.replace(HERE, &format!("{alias}.")))
}
