//! What each kind of row is found by: keyed hashes over parameter and value.
//!
//! Every hash but a resource's identity starts from [`Hasher::parameter`], so a hash belongs to one
//! parameter of one type. The hash of a reference is the target's identity combined with the
//! parameter's: a join can make it from `srow.idh`, for chains and includes.
//!
//! A composite is kept under a parameter of its own for each first part ([`Hasher::behind`]): the
//! rest of it is then a row like any other.

use std::hash::Hasher as _;

use crate::fhir::{ResourceType, VersionId};
use crate::search::values::token::{Case, Code};

use crate::store::hash::Hasher;

impl Hasher {
    /// A parameter of a type.
    pub fn parameter(&self, resource_type: ResourceType, code: &str) -> i64 {
        let mut hasher = self.start(b'p');
        hasher.write_i16(resource_type.code());
        hasher.write(code.as_bytes());
        hasher.finish().cast_signed()
    }

    /// The parameter that holds what stands behind a first part in a composite: `first` is the
    /// hash of that part alone (a token's without its system).
    ///
    /// With the system of the first part too, where the row has no column for it (`tok`, `dat`,
    /// `str`): those rows are written twice, with 0 and with the system.
    pub fn behind(&self, first: i64, system: i32) -> i64 {
        let mut hasher = self.start(b'm');
        hasher.write_i64(first);
        hasher.write_i32(system);
        hasher.finish().cast_signed()
    }

    /// The same parameter of a contained resource: no search finds it that does not ask for it.
    pub fn inside(&self, parameter: i64) -> i64 {
        self.of(b'f', parameter, &[])
    }

    /// What stands for the identity of a contained resource: its id within its container.
    pub fn contained(&self, container: i64, id: &str) -> i64 {
        self.of(b'j', container, &[id])
    }

    /// The parameter that holds what stands behind a first part that has no system.
    pub fn behind_bare(&self, first: i64) -> i64 {
        self.of(b'a', first, &[])
    }

    /// `srow.toks`: the parameter has a value.
    pub fn present(&self, parameter: i64) -> i64 {
        self.of(b'e', parameter, &[])
    }

    /// `tok`: the parameter has no value.
    pub fn absent(&self, parameter: i64) -> i64 {
        self.of(b'w', parameter, &[])
    }

    /// `tok`: the parameter has a value, and that is no code.
    pub fn codeless(&self, parameter: i64) -> i64 {
        self.of(b'h', parameter, &[])
    }

    /// `srow.toks`: a token of this system.
    pub fn of_system(&self, parameter: i64, system: &str) -> i64 {
        self.of(b'y', parameter, &[system])
    }

    /// `srow.toks`: the row `h` of `tok` with this `sysh`, which is not 0. For tokens and canonicals.
    pub fn qualified(&self, h: i64, system: i32) -> i64 {
        let mut hasher = self.start(b'q');
        hasher.write_i64(h);
        hasher.write_i32(system);
        hasher.finish().cast_signed()
    }

    /// `tok.sysh` of a token or identifier: its system under the parameter, 0 for none. It tells what
    /// [`Hasher::of_system`] tells in fewer bits: a row that is found by it alone is asked for that too.
    pub fn token_system(&self, parameter: i64, system: Option<&str>) -> i32 {
        system.map_or(0, |system| Self::shortened(self.of_system(parameter, system)))
    }

    /// What `tok.sysh` has of a sign of a system. Never 0, which is none.
    pub fn shortened(of_system: i64) -> i32 {
        match of_system as i32 {
            0 => 1,
            hash => hash,
        }
    }

    /// `tok.sysh` of a canonical: its version; `num.y`: a system. 0 for none, which no text has.
    pub fn system(&self, system: Option<&str>) -> i32 {
        let Some(system) = system else { return 0 };
        let mut hasher = self.start(b'z');
        hasher.write(system.as_bytes());
        Self::shortened(hasher.finish().cast_signed())
    }

    /// `num.u`, `num.n`: the code or the name of a unit.
    pub fn unit(&self, unit: Option<&str>) -> i32 {
        self.system(unit)
    }

    /// `tok`: a token; its system is in `sysh`.
    pub fn token(&self, parameter: i64, code: &Code<'_>) -> i64 {
        let domain = if code.case == Case::Sensitive { b't' } else { b'k' };
        self.of(domain, parameter, &[&code.text])
    }

    /// `tok`: an identifier with its type.
    pub fn of_type(
        &self,
        parameter: i64,
        system: Option<&str>,
        code: &Code<'_>,
        value: &str,
    ) -> i64 {
        self.of(b'o', self.token(parameter, code), &[system.unwrap_or_default(), value])
    }

    /// `tok`: a reference to the resource with this identity, of whatever version.
    pub fn reference(parameter: i64, identity: i64) -> i64 {
        parameter ^ identity
    }

    /// `tok`: a reference to one version.
    pub fn reference_version(&self, parameter: i64, identity: i64, version: VersionId) -> i64 {
        let mut hasher = self.start(b'v');
        hasher.write_i64(parameter ^ identity);
        hasher.write_i32(version.0);
        hasher.finish().cast_signed()
    }

    /// `tok`: a reference by the target's identifier; its system is in `sysh`.
    pub fn identifier(&self, parameter: i64, value: &str) -> i64 {
        self.of(b'n', parameter, &[value])
    }

    /// `tok`: a uri, a reference to elsewhere, a canonical; a canonical's version is in `sysh`.
    pub fn url(&self, parameter: i64, url: &str) -> i64 {
        self.of(b'u', parameter, &[url])
    }

    /// `tok`: a reference to the resource with this identity, from any element of any type; kept where
    /// references are enforced.
    pub fn tie(&self, identity: i64) -> i64 {
        self.of(b'g', identity, &[])
    }

    /// `dat`
    pub fn date(&self, parameter: i64) -> i64 {
        self.of(b'd', parameter, &[])
    }

    /// `num`: a number; a quantity as it was given.
    pub fn number(&self, parameter: i64) -> i64 {
        self.of(b'0', parameter, &[])
    }

    /// `num`: a quantity in base units.
    pub fn quantity(&self, parameter: i64, base_unit: &str) -> i64 {
        self.of(b'b', parameter, &[base_unit])
    }

    /// `num`: a quantity whose unit does not convert, by system and code.
    pub fn coded_quantity(&self, parameter: i64, system: &str, code: &str) -> i64 {
        self.of(b'c', parameter, &[system, code])
    }

    /// `num`: latitude in `lo`, longitude in `hi`.
    pub fn position(&self, parameter: i64) -> i64 {
        self.of(b'l', parameter, &[])
    }

    /// `str`: a string.
    pub fn string(&self, parameter: i64) -> i64 {
        self.of(b'x', parameter, &[])
    }

    /// `str`: all parts of a composite that has them together.
    pub fn combination(&self, parameter: i64) -> i64 {
        self.of(b'+', parameter, &[])
    }

    /// `str`: a uri as text, or `url|version`.
    pub fn uri_text(&self, parameter: i64) -> i64 {
        self.of(b'r', parameter, &[])
    }

    /// The name of a parameter in `srow.keys`: 32 bits in five letters, because it stands in every row.
    pub fn sort_name(parameter: i64) -> String {
        // None of them needs an escape in JSON.
        const LETTERS: &[u8; 85] =
            b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
        let mut rest = parameter as u32;
        let mut letters = [0; 5];
        for letter in &mut letters {
            *letter = LETTERS[rest as usize % LETTERS.len()];
            rest /= LETTERS.len() as u32;
        }
        letters.into_iter().map(char::from).collect()
    }

    fn of(&self, domain: u8, parameter: i64, texts: &[&str]) -> i64 {
        let mut hasher = self.start(domain);
        hasher.write_i64(parameter);
        for text in texts {
            hasher.write_usize(text.len());
            hasher.write(text.as_bytes());
        }
        hasher.finish().cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn systems_are_told_apart_and_from_none() {
        let hasher = Hasher::with_key([7; 16]);
        let names: Vec<String> = (0..1_000).map(|n| format!("urn:system:{n}")).collect();
        let found: HashSet<i32> = names.iter().map(|name| hasher.system(Some(name))).collect();
        assert_eq!(found.len(), names.len());
        assert!(!found.contains(&hasher.system(None)));
        assert_eq!(hasher.system(None), 0);
    }

    #[test]
    fn a_row_of_tok_names_its_system_under_its_parameter() {
        let hasher = Hasher::with_key([7; 16]);
        let of = |parameter| hasher.token_system(parameter, Some("urn:x"));
        assert_ne!(of(1), of(2));
        assert_eq!(of(1), Hasher::shortened(hasher.of_system(1, "urn:x")));
        assert_eq!(hasher.token_system(1, None), 0);
        assert_eq!((Hasher::shortened(0), Hasher::shortened(1 << 32)), (1, 1));
    }

    #[test]
    fn names_of_parameters_tell_32_bits_apart() {
        let ends = [0, 1, 84, 85, 7_224, 7_225, 52_200_624, 52_200_625, i64::from(u32::MAX)];
        let found: HashSet<String> = ends.into_iter().map(Hasher::sort_name).collect();
        assert_eq!(found.len(), ends.len());
        assert!(found.iter().all(|name| name.len() == 5 && !name.contains(['"', '\\'])));
        assert_eq!(Hasher::sort_name(7 << 32 | 5), Hasher::sort_name(5));
    }

    #[test]
    fn each_kind_of_row_has_hashes_of_its_own() {
        let hasher = Hasher::with_key([7; 16]);
        let (one, other) = (hasher.parameter(ResourceType::PATIENT, "a"), 5);
        let code = |case| Code { text: "x".into(), case };
        let found = HashSet::from([
            one,
            hasher.parameter(ResourceType::PATIENT, "b"),
            hasher.present(one),
            hasher.present(other),
            hasher.absent(one),
            hasher.codeless(one),
            hasher.of_system(one, "x"),
            hasher.token(one, &code(Case::Sensitive)),
            hasher.token(one, &code(Case::Insensitive)),
            hasher.identifier(one, "x"),
            hasher.url(one, "x"),
            hasher.coded_quantity(one, "x", "y"),
            hasher.coded_quantity(one, "xy", ""),
            hasher.string(one),
            hasher.combination(one),
            hasher.number(one),
            hasher.date(one),
            hasher.position(one),
            hasher.uri_text(one),
            hasher.behind(one, 0),
            hasher.behind(one, 1),
            hasher.behind_bare(one),
            hasher.inside(one),
            hasher.contained(one, "x"),
            hasher.qualified(one, 1),
        ]);
        assert_eq!(found.len(), 25);
    }
}
