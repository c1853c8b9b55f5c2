//! The highest confidentiality among what a Bundle shows, which the Bundle itself tells.
//!
//! Spec: security S1; DS4P's high-water mark

use crate::access::roles::Clearance;
use crate::engine::EntryResult;
use crate::fhir::Version;
use crate::fhir::json;

use super::search;

/// The highest among these versions; `None` where none has one.
pub(super) fn highest<'v>(versions: impl IntoIterator<Item = &'v Version>) -> Option<Clearance> {
    let metas = versions.into_iter().filter_map(|version| version.meta.as_deref());
    let labelled = metas.filter(|meta| memchr::memmem::find(meta, b"\"security\"").is_some());
    labelled.filter_map(of_meta).max()
}

/// The highest among what the entries of a batch or transaction show.
pub(super) fn highest_of(results: &[EntryResult]) -> Option<Clearance> {
    let label = |result: &EntryResult| match result {
        EntryResult::Document(document) => highest(document.versions()),
        EntryResult::History(page, ..) => highest(&page.versions),
        EntryResult::Read(version) => highest([version]),
        EntryResult::Search(found, _) | EntryResult::Told(found, _) => {
            highest(search::versions(found))
        }
        EntryResult::Written(written) if written.is_readable => highest([&written.version]),
        EntryResult::Answered(_)
        | EntryResult::CapabilityStatement(_)
        | EntryResult::Deleted(_)
        | EntryResult::Failed(_)
        | EntryResult::Meta(_)
        | EntryResult::NotModified(_)
        | EntryResult::Written(_) => None,
    };
    results.iter().filter_map(label).max()
}

fn of_meta(meta: &[u8]) -> Option<Clearance> {
    let meta = json::parse(meta).ok()?;
    let codings = meta.items_at("security").iter();
    let own = codings.filter(|coding| coding.str_at("system") == Some(Clearance::SYSTEM));
    let read = |code: &str| Clearance::ALL.into_iter().find(|it| it.as_str() == code);
    own.filter_map(|coding| read(coding.str_at("code")?)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_label_of_the_system_counts() {
        const SYSTEM: &str = Clearance::SYSTEM;
        for (codings, expected) in [
            (String::new(), None),
            (format!(r#"{{"system":"{SYSTEM}","code":"N"}}"#), Some(Clearance::N)),
            (
                format!(r#"{{"system":"{SYSTEM}","code":"N"}},{{"system":"{SYSTEM}","code":"V"}}"#),
                Some(Clearance::V),
            ),
            (r#"{"system":"urn:x","code":"V"}"#.to_owned(), None),
        ] {
            let meta = format!(r#"{{"security":[{codings}]}}"#);
            assert_eq!(of_meta(meta.as_bytes()), expected, "{meta}");
        }
    }
}
