//! SNOMED CT in release format 2.

use std::io::{self, Write as _};
use std::path::Path;

use super::{Random, close, create, phrase};

/// As many as the international edition has in use.
pub(in crate::app) const CONCEPTS: u32 = 350_000;
/// Concepts below each, on average: seven levels of them.
const FANOUT: u32 = 6;

const ROOT: &str = "138875005";
const FINDING: &str = "404684003";
const IS_A: &str = "116680003";
const MODULE: &str = "900000000000207008";
const INFERRED: &str = "900000000000011006";
const SOME: &str = "900000000000451002";
const PRIMITIVE: &str = "900000000000074008";
const DEFINED: &str = "900000000000073002";
const FULLY_SPECIFIED: &str = "900000000000003001";
const SYNONYM: &str = "900000000000013009";
const CASE_INSENSITIVE: &str = "900000000000448009";
const PREFERRED: &str = "900000000000548007";
const ACCEPTABLE: &str = "900000000000549004";
const LANGUAGES: [&str; 2] = ["900000000000509007", "900000000000508004"];
const DATE: &str = "20240101";

/// Relationships other than `is a`: finding site, morphology, agent, method, interprets.
const ATTRIBUTES: [&str; 5] = ["363698007", "116676008", "246075003", "260686004", "363714003"];
const TAGS: [&str; 5] = ["disorder", "finding", "procedure", "body structure", "substance"];

/// Which concepts there are and how they hang together.
#[derive(Clone, Copy, Debug)]
pub(in crate::app) struct Plan {
    concepts: u32,
    seed: u64,
}

impl Plan {
    /// A plan for so many concepts.
    pub(in crate::app) fn new(concepts: u32, seed: u64) -> Self {
        Self { concepts: concepts.max(2), seed }
    }

    /// The numbers of the concepts directly above one in use.
    pub(in crate::app) fn parents(&self, at: u32) -> Vec<u32> {
        let Some(before) = at.checked_sub(1) else { return Vec::new() };
        let first = before / FANOUT;
        let mut random = Random::new(self.seed, u64::from(at));
        let mut parents = vec![first];
        if first > 20 && random.chance(35) {
            parents.push(first - random.between(1, 20) as u32);
        }
        parents
    }

    /// Whether a concept is in use; those that are not have nothing below them.
    pub(in crate::app) fn is_active(&self, at: u32) -> bool {
        at <= self.concepts / 10 * 9 || !at.is_multiple_of(3)
    }

    /// How many concepts are below one or are it, for each number below `end`.
    pub(in crate::app) fn sizes(&self, end: u32) -> Vec<usize> {
        let mut children: Vec<Vec<u32>> = vec![Vec::new(); self.concepts as usize];
        for at in (0..self.concepts).filter(|at| self.is_active(*at)) {
            for parent in self.parents(at) {
                children[parent as usize].push(at);
            }
        }
        let size = |start: u32| {
            let mut seen = vec![false; children.len()];
            let (mut rest, mut count) = (vec![start], 0);
            while let Some(at) = rest.pop() {
                if !std::mem::replace(&mut seen[at as usize], true) {
                    count += 1;
                    rest.extend(&children[at as usize]);
                }
            }
            count
        };
        (0..end.min(self.concepts)).map(size).collect()
    }
}

/// The code of a concept by its number; 0 is the root.
pub(in crate::app) fn code(at: u32) -> String {
    match at {
        0 => ROOT.to_owned(),
        1 => FINDING.to_owned(),
        _ => sctid(10_000_000 + 37 * u64::from(at), "00"),
    }
}

/// An identifier: an item of a partition, with its check digit.
fn sctid(item: u64, partition: &str) -> String {
    let digits = format!("{item}{partition}");
    let check = verhoeff(digits.as_bytes());
    format!("{digits}{check}")
}

/// How Verhoeff's scheme permutes digits, and what undoes a sum.
const PERMUTATION: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
const INVERSE: [u8; 10] = [0, 4, 3, 2, 1, 5, 6, 7, 8, 9];

/// The check digit by Verhoeff's scheme of digits.
fn verhoeff(digits: &[u8]) -> u8 {
    // The dihedral group of the pentagon, and the permutation that is applied place by place.
    let times = |one: u8, other: u8| match (one < 5, other < 5) {
        (true, true) => (one + other) % 5,
        (true, false) => 5 + (one + other - 5) % 5,
        (false, true) => 5 + (one - other) % 5,
        (false, false) => (one + 5 - other) % 5,
    };
    let mut check = 0;
    for (place, digit) in digits.iter().rev().enumerate() {
        let mut digit = digit - b'0';
        for _ in 0..(place + 1) % 8 {
            digit = PERMUTATION[digit as usize];
        }
        check = times(check, digit);
    }
    INVERSE[check as usize]
}

pub(super) fn write(out: &Path, concepts: u32, seed: u64) -> io::Result<()> {
    let plan = Plan::new(concepts, seed);
    let folder = out.join("Snapshot");
    write_concepts(&folder, &plan)?;
    write_descriptions(&folder, &plan)?;
    write_relationships(&folder, &plan)
}

fn write_concepts(folder: &Path, plan: &Plan) -> io::Result<()> {
    let mut file = create(folder, &format!("Terminology/sct2_Concept_Snapshot_INT_{DATE}.txt"))?;
    write!(file, "id\teffectiveTime\tactive\tmoduleId\tdefinitionStatusId\r\n")?;
    for at in 0..plan.concepts {
        let (id, active) = (code(at), u8::from(plan.is_active(at)));
        let status = if at.is_multiple_of(3) { DEFINED } else { PRIMITIVE };
        write!(file, "{id}\t{DATE}\t{active}\t{MODULE}\t{status}\r\n")?;
    }
    close(file)
}

fn write_descriptions(folder: &Path, plan: &Plan) -> io::Result<()> {
    let name = format!("Terminology/sct2_Description_Snapshot-en_INT_{DATE}.txt");
    let mut file = create(folder, &name)?;
    let columns = "conceptId\tlanguageCode\ttypeId\tterm\tcaseSignificanceId";
    write!(file, "id\teffectiveTime\tactive\tmoduleId\t{columns}\r\n")?;
    let name = format!("Refset/Language/der2_cRefset_LanguageSnapshot-en_INT_{DATE}.txt");
    let mut refset = create(folder, &name)?;
    let columns = "refsetId\treferencedComponentId\tacceptabilityId";
    write!(refset, "id\teffectiveTime\tactive\tmoduleId\t{columns}\r\n")?;
    let mut item = 20_000_000;
    for at in 0..plan.concepts {
        let mut random = Random::new(plan.seed ^ 0x6465_7363, u64::from(at));
        let concept = code(at);
        let words = random.around(2, 6);
        let preferred = phrase(&mut random, words);
        let full = format!("{preferred} ({})", random.pick(&TAGS));
        let mut terms = vec![(FULLY_SPECIFIED, full, PREFERRED), (SYNONYM, preferred, PREFERRED)];
        if random.chance(90) {
            terms.push((SYNONYM, phrase(&mut random, words), ACCEPTABLE));
        }
        for (kind, term, acceptability) in terms {
            item += 1;
            let id = sctid(item, "01");
            let end = format!("{concept}\ten\t{kind}\t{term}\t{CASE_INSENSITIVE}");
            write!(file, "{id}\t{DATE}\t1\t{MODULE}\t{end}\r\n")?;
            for language in LANGUAGES {
                let row = random.uuid();
                write!(
                    refset,
                    "{row}\t{DATE}\t1\t{MODULE}\t{language}\t{id}\t{acceptability}\r\n"
                )?;
            }
        }
    }
    close(file)?;
    close(refset)
}

fn write_relationships(folder: &Path, plan: &Plan) -> io::Result<()> {
    let name = format!("Terminology/sct2_Relationship_Snapshot_INT_{DATE}.txt");
    let mut file = create(folder, &name)?;
    let columns =
        "sourceId\tdestinationId\trelationshipGroup\ttypeId\tcharacteristicTypeId\tmodifierId";
    write!(file, "id\teffectiveTime\tactive\tmoduleId\t{columns}\r\n")?;
    let mut item = 30_000_000;
    for at in (1..plan.concepts).filter(|at| plan.is_active(*at)) {
        let mut random = Random::new(plan.seed ^ 0x7265_6c61, u64::from(at));
        let parents = plan.parents(at).into_iter().map(|parent| (0, IS_A, parent));
        let attributes: Vec<_> = (0..random.between(0, 3))
            .map(|_| {
                let to = random.between(0, i64::from(plan.concepts) - 1) as u32;
                (random.between(1, 2), *random.pick(&ATTRIBUTES), to)
            })
            .collect();
        for (group, kind, to) in parents.chain(attributes) {
            item += 1;
            let (id, source, to) = (sctid(item, "02"), code(at), code(to));
            let end = format!("{source}\t{to}\t{group}\t{kind}\t{INFERRED}\t{SOME}");
            write!(file, "{id}\t{DATE}\t1\t{MODULE}\t{end}\r\n")?;
        }
    }
    close(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_their_check_digit() {
        for id in [ROOT, FINDING, IS_A, MODULE, PREFERRED, "22298006", "73211009"] {
            let (digits, check) = id.split_at(id.len() - 1);
            assert_eq!(verhoeff(digits.as_bytes()).to_string(), check, "{id}");
        }
    }

    #[test]
    fn sizes_count_what_is_below() {
        let plan = Plan::new(1_000, 1);
        let sizes = plan.sizes(10);
        let active = (0..1_000).filter(|at| plan.is_active(*at)).count();
        assert_eq!(sizes[0], active);
        assert!(sizes[1..5].iter().all(|size| *size > 100), "{sizes:?}");
    }
}
