//! LOINC as CSV, with parts and the hierarchy by system.

use std::io::{self, Write as _};
use std::path::Path;

use super::{Random, close, create, phrase};

const SCALES: [&str; 5] = ["Qn", "Ord", "Nom", "Nar", "OrdQn"];
const KINDS: [&str; 5] = ["MCnc", "SCnc", "Pres", "Susc", "Find"];
const CLASSES: [&str; 4] = ["CHEM", "MICRO", "BP.ATOM", "DRUG/TOX"];
/// Codes below each part of the hierarchy.
const BELOW: u32 = 50;

pub(super) fn write(out: &Path, concepts: u32, seed: u64) -> io::Result<()> {
    write_table(out, concepts, seed)?;
    write_parts(out, concepts.div_ceil(BELOW), seed)?;
    write_hierarchy(out, concepts)
}

fn code(at: u32) -> String {
    checked(u64::from(at) + 1_000)
}

fn part(at: u32) -> String {
    format!("LP{}", checked(u64::from(at) + 10_000))
}

/// A number with its check digit (modulus 10).
fn checked(number: u64) -> String {
    let digits = number.to_string();
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0') * if place.is_multiple_of(2) { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum();
    format!("{digits}-{}", (10 - sum % 10) % 10)
}

fn write_table(out: &Path, concepts: u32, seed: u64) -> io::Result<()> {
    let mut file = create(out, "LoincTable/Loinc.csv")?;
    let columns = "\"LOINC_NUM\",\"COMPONENT\",\"PROPERTY\",\"TIME_ASPCT\",\"SYSTEM\",\"SCALE_TYP\",\
         \"METHOD_TYP\",\"CLASS\",\"VersionLastChanged\",\"STATUS\",\"CLASSTYPE\",\"SHORTNAME\",\
         \"ORDER_OBS\",\"LONG_COMMON_NAME\"";
    write!(file, "{columns}\r\n")?;
    for at in 0..concepts {
        let mut random = Random::new(seed ^ 0x6c6f_696e, u64::from(at));
        let component = phrase(&mut random, 2);
        let (kind, scale) = (*random.pick(&KINDS), *random.pick(&SCALES));
        let class = *random.pick(&CLASSES);
        let status = if random.chance(4) { "DEPRECATED" } else { "ACTIVE" };
        let version = format!("2.{}", random.between(10, 77));
        let (code, words) = (code(at), phrase(&mut random, 3));
        write!(
            file,
            "\"{code}\",\"{component}\",\"{kind}\",\"Pt\",\"Ser/Plas\",\"{scale}\",,\"{class}\",\
             \"{version}\",\"{status}\",1,\"{component} SerPl\",\"Both\",\
             \"{component} [\"\"{words}\"\"] in Serum or Plasma\"\r\n"
        )?;
    }
    close(file)
}

fn write_parts(out: &Path, parts: u32, seed: u64) -> io::Result<()> {
    let mut file = create(out, "AccessoryFiles/PartFile/Part.csv")?;
    write!(
        file,
        "\"PartNumber\",\"PartTypeName\",\"PartName\",\"PartDisplayName\",\"Status\"\r\n"
    )?;
    for at in 0..parts {
        let mut random = Random::new(seed ^ 0x7061_7274, u64::from(at));
        let (number, name) = (part(at), phrase(&mut random, 2));
        write!(file, "\"{number}\",\"COMPONENT\",\"{name}\",\"{name}\",\"ACTIVE\"\r\n")?;
    }
    close(file)
}

fn write_hierarchy(out: &Path, concepts: u32) -> io::Result<()> {
    let name = "AccessoryFiles/ComponentHierarchyBySystem/ComponentHierarchyBySystem.csv";
    let mut file = create(out, name)?;
    write!(file, "PATH_TO_ROOT,SEQUENCE,IMMEDIATE_PARENT,CODE,CODE_TEXT\r\n")?;
    for at in 0..concepts.div_ceil(BELOW) {
        let (above, own) = (at.checked_sub(1).map(|before| part(before / 10)), part(at));
        let above = above.unwrap_or_default();
        write!(file, "{above},{at},{above},{own},Part {at}\r\n")?;
    }
    for at in 0..concepts {
        let (above, own) = (part(at / BELOW), code(at));
        write!(file, "{above},{at},{above},{own},Code {at}\r\n")?;
    }
    close(file)
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn codes_have_their_check_digit() {
        for (number, expected) in [(8_480, "8480-6"), (718, "718-7"), (4_548, "4548-4")] {
            assert_eq!(checked(number), expected);
        }
    }
}
