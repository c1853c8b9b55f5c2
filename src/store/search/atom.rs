//! Atoms: the rows of the index by which one comparison holds.

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::search::request::Test;
use crate::search::request::compare::Comparison;

use super::compile::Compiler;

/// One of these makes a comparison hold.
#[derive(Clone, Debug)]
pub(super) enum Atom {
    /// A row of `tok`, which `toks` knows as `mark`.
    Token { h: i64, system: Option<i32>, mark: i64 },
    /// Something that only `toks` knows.
    Mark(i64),
    /// A row of another table that is found by one of these hashes and by a condition, in which
    /// [`HERE`] is the row.
    Value { table: &'static str, hashes: Vec<i64>, condition: String },
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
    /// The hashes, one for each type; of a composite's rest, one for each first part.
    pub(super) hashes: Vec<i64>,
    /// `num.y`: the system of a composite's first part, where it counts.
    pub(super) first_system: Option<i32>,
}

impl Compiler<'_, '_> {
    /// The atoms of a test, over resources of `types`.
    pub(super) fn atoms(
        &mut self,
        test: &Test,
        types: &[ResourceType],
    ) -> Result<Vec<Atom>, Error> {
        let hashes = self.parameters(&test.parameters, types);
        let mut atoms = Vec::new();
        if hashes.is_empty() {
            return Ok(atoms);
        }
        let parameter = Parameter { hashes, first_system: None };
        for comparison in &test.any {
            self.comparison(comparison, &parameter, &mut atoms)?;
        }
        Ok(atoms)
    }

    /// Adds the atoms of one comparison.
    pub(super) fn comparison(
        &mut self,
        comparison: &Comparison,
        parameter: &Parameter,
        atoms: &mut Vec<Atom>,
    ) -> Result<(), Error> {
        match comparison {
            Comparison::Composite(parts) => return self.composite(parts, parameter, atoms),
            Comparison::Date { prefix, range } => {
                atoms.push(self.date(*prefix, range, parameter));
            }
            Comparison::In { .. } | Comparison::Subsumes { .. } => {
                return Err(Error::internal("a terminology filter was not answered before"));
            }
            Comparison::Number { prefix, asked } => {
                atoms.extend(self.number(*prefix, asked, parameter));
            }
            Comparison::Position { latitude, longitude, metres } => {
                atoms.push(self.position(*latitude, *longitude, *metres, parameter));
            }
            Comparison::Present => {
                let marks = parameter.hashes.iter().map(|&of| self.hasher.present(of));
                atoms.extend(marks.map(Atom::Mark));
            }
            Comparison::Quantity { prefix, asked, unit } => {
                atoms.extend(self.quantity(*prefix, asked, unit, parameter));
            }
            Comparison::Reference(asked) => return self.reference(asked, parameter, atoms),
            Comparison::String { part, text, is_exact } => {
                let hashes = parameter.hashes.iter().map(|&of| self.hasher.string(of)).collect();
                atoms.push(self.string(*part, text, *is_exact, hashes));
            }
            Comparison::Text(text) => {
                let hashes = parameter.hashes.iter().map(|&of| self.hasher.text(of)).collect();
                atoms.push(self.text_begins(text, hashes));
            }
            Comparison::Token(asked) => return self.token(asked, parameter, atoms),
            Comparison::Uri(asked) => self.uri(asked, parameter, atoms),
        }
        Ok(())
    }

    /// Where a row of the atom is looked up, and what holds for it beside its `rid` (` AND ..`);
    /// `None` for what `toks` knows.
    pub(super) fn looked_up(&mut self, atom: &Atom) -> Option<(From, String)> {
        match atom {
            Atom::Token { .. } | Atom::Mark(_) => None,
            Atom::Value { table, hashes, condition } => {
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

/// ` AND condition` about the row called `alias`.
fn here(condition: &str, alias: &str) -> String {
    if condition.is_empty() {
        return String::new();
    }
    format!(" AND {}", condition.replace(HERE, &format!("{alias}.")))
}
