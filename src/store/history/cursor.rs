//! Page links: a position, sealed so that nobody can make one up or read a key from it.

use crate::store::hash::Hasher;

use super::HistoryScope;

/// The position `at` in the history of `scope`, as an opaque text.
pub(super) fn seal(at: (i64, i64), scope: &HistoryScope, hasher: &Hasher) -> String {
    let mask = mask(scope, hasher);
    let (first, second) = (at.0.cast_unsigned() ^ mask.0, at.1.cast_unsigned() ^ mask.1);
    let proof = proof(at, scope, hasher);
    format!("{first:016x}{second:016x}{proof:016x}")
}

/// The position behind `text`; `None` when this server did not make it for this history.
pub(super) fn open(text: &str, scope: &HistoryScope, hasher: &Hasher) -> Option<(i64, i64)> {
    if text.len() != 48 || !text.is_ascii() {
        return None;
    }
    let number = |at: usize| u64::from_str_radix(&text[at..at + 16], 16).ok();
    let mask = mask(scope, hasher);
    let at = ((number(0)? ^ mask.0).cast_signed(), (number(16)? ^ mask.1).cast_signed());
    (number(32)? == proof(at, scope, hasher)).then_some(at)
}

fn mask(scope: &HistoryScope, hasher: &Hasher) -> (u64, u64) {
    let name = name(scope);
    (
        hasher.seal(format!("first {name}").as_bytes()),
        hasher.seal(format!("second {name}").as_bytes()),
    )
}

fn proof(at: (i64, i64), scope: &HistoryScope, hasher: &Hasher) -> u64 {
    hasher.seal(format!("{} {} {}", at.0, at.1, name(scope)).as_bytes())
}

fn name(scope: &HistoryScope) -> String {
    match scope {
        HistoryScope::Instance(identity) => identity.to_string(),
        HistoryScope::System => String::new(),
        HistoryScope::Type(resource_type) => resource_type.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::ResourceType;

    #[test]
    fn a_cursor_opens_only_where_and_as_it_was_sealed() {
        let hasher = Hasher::with_key([7; 16]);
        let patients = HistoryScope::Type(ResourceType::PATIENT);
        let at = (1_700_000_000_000_000, 42);
        let text = seal(at, &patients, &hasher);
        assert_eq!(open(&text, &patients, &hasher), Some(at));
        assert_eq!(open(&text, &HistoryScope::System, &hasher), None);
        assert_eq!(open(&text, &patients, &Hasher::with_key([8; 16])), None);
        let mut tampered = text.clone();
        let last = if tampered.pop() == Some('0') { '1' } else { '0' };
        tampered.push(last);
        for bad in [tampered.as_str(), "", "x", &"é".repeat(24), &text[1..]] {
            assert_eq!(open(bad, &patients, &hasher), None, "{bad:?}");
        }
    }
}
