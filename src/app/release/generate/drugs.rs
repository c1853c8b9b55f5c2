//! RxNorm as RRF.

use std::io::{self, Write as _};
use std::path::Path;

use super::{Random, close, create, phrase};

/// Drugs of each ingredient.
const DRUGS: u32 = 9;

pub(super) fn write(out: &Path, concepts: u32, seed: u64) -> io::Result<()> {
    let mut names = create(out, "rrf/RXNCONSO.RRF")?;
    let mut relations = create(out, "rrf/RXNREL.RRF")?;
    for at in 0..concepts {
        let mut random = Random::new(seed ^ 0x7278_6e6f, u64::from(at));
        let (code, ingredient) = (code(at), at - at % (DRUGS + 1));
        let (kind, name) = if at == ingredient {
            ("IN", phrase(&mut random, 1))
        } else {
            let name = phrase(&mut Random::new(seed ^ 0x7278_6e6f, u64::from(ingredient)), 1);
            ("SCD", format!("{name} {} MG Oral Tablet", 5 * random.between(1, 200)))
        };
        let suppress = if random.chance(5) { "O" } else { "N" };
        let mut row = |source: &str, kind: &str, name: &str, atom: u32| {
            let middle = format!("{atom}||{code}||{source}|{kind}|{code}|{name}");
            writeln!(names, "{code}|ENG|P|L0|PF|S0|N|{middle}||{suppress}|4096|")
        };
        row("RXNORM", kind, &name, 3 * at)?;
        row("RXNORM", "SY", &phrase(&mut random, 2), 3 * at + 1)?;
        row("MTHSPL", "SU", &name.to_uppercase(), 3 * at + 2)?;
        if at != ingredient {
            let to = self::code(ingredient);
            let end = "1||RXNORM|RXNORM|||N||";
            writeln!(relations, "{to}||CUI|RO|{code}||CUI|has_ingredient|{end}")?;
            writeln!(relations, "{code}||CUI|RO|{to}||CUI|ingredient_of|{end}")?;
        }
    }
    close(names)?;
    close(relations)?;
    let mut sources = create(out, "rrf/RXNSAB.RRF")?;
    writeln!(sources, "C0|C1|RXNORM_20AA|RXNORM|RxNorm|RXNORM|20AA_240101F||||")?;
    close(sources)
}

fn code(at: u32) -> String {
    (u64::from(at) * 13 + 161).to_string()
}
