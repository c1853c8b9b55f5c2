//! Page links: a position, sealed so that nobody can make one up or read a key from it.

use crate::store::hash::Hasher;

use super::HistoryScope;

/// Where a page begins: beside the version at `at`, which is not on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Position {
    /// The sort keys of that version.
    pub(super) at: (i64, i64),
    /// Whether the page has the versions that are newer than it, not those that are older.
    pub(super) is_back: bool,
}

/// The letter before the position of a page of newer versions.
const BACK: char = 'b';

/// `position` in the history of `scope`, as an opaque text.
pub(super) fn seal(position: Position, scope: &HistoryScope, hasher: &Hasher) -> String {
    let Position { at, is_back } = position;
    let mask = mask(scope, hasher);
    let (first, second) = (at.0.cast_unsigned() ^ mask.0, at.1.cast_unsigned() ^ mask.1);
    let proof = proof(position, scope, hasher);
    let letter = if is_back { BACK.to_string() } else { String::new() };
    format!("{letter}{first:016x}{second:016x}{proof:016x}")
}

/// The position behind `text`; `None` when this server did not make it for this history.
pub(super) fn open(text: &str, scope: &HistoryScope, hasher: &Hasher) -> Option<Position> {
    let (text, is_back) = match text.strip_prefix(BACK) {
        // Sixteen digits of a position may begin with the same letter.
        Some(rest) if text.len() == 49 => (rest, true),
        _ => (text, false),
    };
    if text.len() != 48 || !text.is_ascii() {
        return None;
    }
    let number = |at: usize| u64::from_str_radix(&text[at..at + 16], 16).ok();
    let mask = mask(scope, hasher);
    let at = ((number(0)? ^ mask.0).cast_signed(), (number(16)? ^ mask.1).cast_signed());
    let position = Position { at, is_back };
    (number(32)? == proof(position, scope, hasher)).then_some(position)
}

fn mask(scope: &HistoryScope, hasher: &Hasher) -> (u64, u64) {
    let name = name(scope);
    (
        hasher.seal(format!("first {name}").as_bytes()),
        hasher.seal(format!("second {name}").as_bytes()),
    )
}

fn proof(position: Position, scope: &HistoryScope, hasher: &Hasher) -> u64 {
    let Position { at, is_back } = position;
    let way = if is_back { " back" } else { "" };
    hasher.seal(format!("{} {} {}{way}", at.0, at.1, name(scope)).as_bytes())
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
        let forth = Position { at: (1_700_000_000_000_000, 42), is_back: false };
        let back = Position { is_back: true, ..forth };
        let text = seal(forth, &patients, &hasher);
        let text_back = seal(back, &patients, &hasher);
        assert_eq!(open(&text, &patients, &hasher), Some(forth));
        assert_eq!(open(&text_back, &patients, &hasher), Some(back));
        assert_eq!(open(&text, &HistoryScope::System, &hasher), None);
        assert_eq!(open(&text, &patients, &Hasher::with_key([8; 16])), None);
        let mut tampered = text.clone();
        let last = if tampered.pop() == Some('0') { '1' } else { '0' };
        tampered.push(last);
        let turned = format!("b{text}");
        for bad in
            [tampered.as_str(), "", "x", &"é".repeat(24), &text[1..], &text_back[1..], &turned]
        {
            assert_eq!(open(bad, &patients, &hasher), None, "{bad:?}");
        }
    }
}
