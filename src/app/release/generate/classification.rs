//! ICD-10-CM's order file and CVX.

use std::io::{self, Write as _};
use std::path::Path;

use super::{Random, close, create, phrase};

/// Codes below a category, and below each of those.
const BELOW: u32 = 6;
/// What a category has with all that is below it.
const IN_CATEGORY: u32 = 1 + BELOW + BELOW * BELOW;

pub(super) fn icd10cm(out: &Path, concepts: u32, seed: u64) -> io::Result<()> {
    let mut file = create(out, "icd10cm_order_2024.txt")?;
    let mut random = Random::new(seed ^ 0x6963_6431, 0);
    let mut number = 0;
    let mut line = |code: &str, is_billable: bool| {
        number += 1;
        let long = phrase(&mut random, 7);
        let short: String = long.chars().take(60).collect();
        let flag = u8::from(is_billable);
        writeln!(file, "{number:05} {code:<7} {flag} {short:<60} {long}")
    };
    // There are 2,600 categories of a letter and two digits.
    for category in 0..concepts.div_ceil(IN_CATEGORY).min(2_600) {
        let letter = char::from(b'A' + (category / 100) as u8);
        let code = format!("{letter}{:02}", category % 100);
        line(&code, false)?;
        for middle in 0..BELOW {
            let code = format!("{code}{middle}");
            line(&code, false)?;
            for last in 0..BELOW {
                line(&format!("{code}{last}"), true)?;
            }
        }
    }
    close(file)
}

pub(super) fn cvx(out: &Path, concepts: u32, seed: u64) -> io::Result<()> {
    let mut file = create(out, "cvx.txt")?;
    for at in 1..=concepts {
        let mut random = Random::new(seed ^ 0x6376_7831, u64::from(at));
        let (short, full) = (phrase(&mut random, 2), phrase(&mut random, 6));
        let status = if random.chance(30) { "Inactive" } else { "Active" };
        let (month, day) = (random.between(1, 12), random.between(1, 28));
        writeln!(file, "{at:02} |{short}|{full}||{status}|0|2023/{month:02}/{day:02}")?;
    }
    close(file)
}
