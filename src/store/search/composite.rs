//! Composites: FHIR's own are kept for their first part, the rest under a parameter of its own for each;
//! those beside FHIR's own have all parts in one row (`combination`).
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#composite> (rest 4.127 to 4.131)

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::search::request::ParameterKey;
use crate::search::request::compare::{AskedReference, AskedToken, AskedUnit, Comparison};
use crate::store::Stored;
use crate::store::hash::Hasher;

use super::atom::{Atom, Parameter};
use super::compile::Compiler;

mod combination;
mod element;

pub(super) use element::Element;

/// The first part: its hashes, and its system where that counts.
struct First {
    hashes: Vec<i64>,
    system: Option<i32>,
}

impl Compiler<'_, '_> {
    /// Adds the atoms of a composite, whose values are in `stored` for each type.
    pub(super) fn composite(
        &mut self,
        parts: &[Comparison],
        (keys, stored): (&[ParameterKey], &[(ResourceType, Stored)]),
        atoms: &mut Vec<Atom>,
    ) -> Result<(), Error> {
        let (together, apart): (Vec<_>, Vec<_>) =
            stored.iter().partition(|(_, stored)| stored.is_together);
        if !together.is_empty() {
            let own = together.iter().map(|(_, stored)| self.hasher.combination(stored.own));
            let hashes = own.collect();
            atoms.push(self.combination(parts, hashes)?);
        }
        if let [first, Comparison::Quantity { unit: AskedUnit::OfSystem(_), .. }] = parts {
            // Where the body has them differs from type to type.
            for (of, stored) in apart {
                let element = Some(self.element(first, keys, *of)?);
                let parameter = Parameter { element, ..Parameter::of(vec![stored.clone()]) };
                self.by_first(parts, &parameter, atoms)?;
            }
            return Ok(());
        }
        let apart: Vec<Stored> = apart.into_iter().map(|(_, stored)| stored.clone()).collect();
        if apart.is_empty() {
            return Ok(());
        }
        self.by_first(parts, &Parameter::of(apart), atoms)
    }

    /// Adds the atoms of a composite that is kept for its first part.
    fn by_first(
        &mut self,
        parts: &[Comparison],
        parameter: &Parameter,
        atoms: &mut Vec<Atom>,
    ) -> Result<(), Error> {
        let [first, rest @ ..] = parts else {
            return Err(Error::internal("a composite has no parts"));
        };
        let first = self.first(first, parameter)?;
        // Rows of numbers have the first part's system in a column of their own.
        let has_column = rest
            .iter()
            .all(|part| matches!(part, Comparison::Number { .. } | Comparison::Quantity { .. }));
        let (system, first_system) = match first.system {
            Some(system) if !has_column => (system, None),
            other => (0, other),
        };
        let is_bare = first.system == Some(0) && !has_column;
        let behind = first.hashes.iter().map(|&first| {
            if is_bare { self.hasher.behind_bare(first) } else { self.hasher.behind(first, system) }
        });
        let element = parameter.element.clone();
        let parameter = Parameter { first_system, element, ..Parameter::plain(behind) };
        match rest {
            [second] => self.comparison(second, &parameter, atoms),
            [
                Comparison::Number { prefix, asked },
                Comparison::Number { prefix: other, asked: by },
            ] => {
                atoms.push(self.two_numbers(((*prefix, asked), (*other, by)), &parameter));
                Ok(())
            }
            _ => Err(Error::NotSupported("a composite of these parts has no index".to_owned())),
        }
    }

    fn first(&self, first: &Comparison, parameter: &Parameter) -> Result<First, Error> {
        let hashes =
            |of: &dyn Fn(i64) -> Vec<i64>| parameter.values().into_iter().flat_map(of).collect();
        let token = |parameter, code| self.hasher.token(parameter, code);
        Ok(match first {
            Comparison::Token(AskedToken::Code(codes)) => First {
                hashes: hashes(&|of| codes.iter().map(|code| token(of, code)).collect()),
                system: None,
            },
            Comparison::Token(AskedToken::WithoutSystem(codes)) => First {
                hashes: hashes(&|of| codes.iter().map(|code| token(of, code)).collect()),
                system: Some(0),
            },
            Comparison::Token(AskedToken::Coded { system, code }) => First {
                hashes: hashes(&|of| vec![token(of, code)]),
                system: Some(self.hasher.system(Some(system))),
            },
            Comparison::Reference(AskedReference::Local { resource_type, id, version: None }) => {
                let identity = self.hasher.identity(*resource_type, id);
                First { hashes: hashes(&|of| vec![Hasher::reference(of, identity)]), system: None }
            }
            Comparison::Reference(AskedReference::Url(url)) => {
                First { hashes: hashes(&|of| vec![self.hasher.url(of, url)]), system: None }
            }
            _ => {
                return Err(Error::NotSupported(
                    "the first part of a composite must be a whole code or a reference to a \
                     resource here"
                        .to_owned(),
                ));
            }
        })
    }
}
