//! Profiles that are changed by the program: a code more, with all else as somebody wrote it.

use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value};

use crate::hl7v2::tables::Target;

use super::site::Matching;

/// Where a code stands in a profile.
#[derive(Clone, Copy, Debug)]
pub struct CodePlace<'a> {
    /// The code set of the maps.
    pub set: &'a str,
    /// The sender's name for the code system.
    pub system: &'a str,
    /// The code.
    pub code: &'a str,
}

/// A profile for one sender that has nothing of its own yet.
pub fn begun(id: &str, application: &str, facility: &str) -> String {
    let mut matching = InlineTable::new();
    matching.insert("app", application.into());
    matching.insert("facility", facility.into());
    let mut site = Table::new();
    site.insert("id", Item::Value(id.into()));
    site.insert("match", Item::Value(Value::InlineTable(matching)));
    let mut document = DocumentMut::new();
    document.insert("site", Item::Table(site));
    document.to_string()
}

/// A profile with a code more, or with another target for one; `None` when there is no room for it:
/// it is no profile.
pub fn with_code(text: &str, place: CodePlace<'_>, target: &Target) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    let CodePlace { set, system, code } = place;
    let mut at: &mut dyn TableLike = document.as_table_mut();
    for key in ["codes", set, system] {
        let made = || {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        };
        at = at.entry(key).or_insert_with(made).as_table_like_mut()?;
    }
    let mut row = InlineTable::new();
    row.insert("code", target.code.as_str().into());
    row.insert("system", target.system.as_str().into());
    if let Some(display) = &target.display {
        row.insert("display", display.as_str().into());
    }
    at.insert(code, Item::Value(Value::InlineTable(row)));
    Some(document.to_string())
}

/// For whom a profile is, whatever else is wrong with it.
pub fn matching(text: &str) -> Matching {
    let document: Option<DocumentMut> = text.parse().ok();
    let table = document.as_ref().and_then(|it| it.get("site")).and_then(|site| site.get("match"));
    let word = |key: &str| {
        let item = table.and_then(|table| table.get(key));
        item.and_then(Item::as_str).unwrap_or_default().to_owned()
    };
    Matching {
        application: word("app"),
        facility: word("facility"),
        listener: word("listener"),
        certificate: word("certificate"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_added_beside_all_that_somebody_wrote() {
        let target = Target {
            code: "718-7".to_owned(),
            system: "http://loinc.org".to_owned(),
            display: Some("Hemoglobin".to_owned()),
        };
        let place = CodePlace { set: "lab-test", system: "99 \"S", code: "H.B" };
        let begun = begun("lab", "LAB", "S|T");
        let profile =
            format!("# ours\n{begun}\n[codes.lab-test.\"99X\"]\nA = [\"1\", \"u\"] # one\n");
        let changed = with_code(&profile, place, &target).unwrap();
        assert!(changed.starts_with("# ours\n[site]\nid = \"lab\"\n"), "{changed}");
        assert!(changed.contains("A = [\"1\", \"u\"] # one\n"), "{changed}");
        let again: DocumentMut = changed.parse().unwrap();
        let row = &again["codes"]["lab-test"]["99 \"S"]["H.B"];
        assert_eq!(row["code"].as_str(), Some("718-7"));
        assert_eq!(row["display"].as_str(), Some("Hemoglobin"));
        assert_eq!(again["site"]["match"]["facility"].as_str(), Some("S|T"));
        // The same place once more has another target, and no second row.
        let other = Target { code: "1-1".to_owned(), display: None, ..target };
        let changed = with_code(&changed, place, &other).unwrap();
        assert_eq!(changed.matches("H.B").count(), 1, "{changed}");
        assert_eq!(with_code("codes = 1", place, &other), None);
        assert_eq!(with_code("no toml", place, &other), None);
        assert_eq!(matching(&changed).application, "LAB");
        assert!(matching("no toml").is_empty());
    }
}
