//! Strings as search compares them.
//!
//! [`fold`] is locale-free: compatibility decomposition (width, ligatures), accents away, full case
//! folding (`ß` is `ss`, Turkish `ı` and `İ` are `i`), punctuation ignored, white space
//! runs as one space. Marks that are letters to their script (Indic vowels, kana voicing) stay.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#string> (rest 4.68 to 4.74, 4.80)

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

/// The text without what does not count in a comparison.
///
/// A text of nothing but punctuation keeps it: folded to nothing it would begin every text.
pub fn fold(text: &str) -> Cow<'_, str> {
    if is_folded(text) {
        return Cow::Borrowed(text);
    }
    let folded = if text.is_ascii() {
        squeeze(text.chars().map(|letter| letter.to_ascii_lowercase()), false)
    } else {
        squeeze(letters(text), false)
    };
    if folded.is_empty() { Cow::Owned(squeeze(letters(text), true)) } else { Cow::Owned(folded) }
}

/// The folded words after the first, each with what follows it left out.
///
/// What `family=Quinones` needs to find `Carreno Quinones` (rest 4.73); hyphens part words too.
pub fn later_words(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let parts = text.split(|letter: char| letter.is_whitespace() || is_dash(letter));
    parts.filter(|word| !word.is_empty()).skip(1).map(fold).filter(|word| !word.is_empty())
}

/// Whether an ASCII text is its own folded form, as codes in lower case are.
fn is_folded(text: &str) -> bool {
    let bytes = text.as_bytes();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let single = |pair: &[u8]| pair != b"  ";
    bytes.iter().all(|&byte| plain(byte) || byte == b' ')
        && bytes.first() != Some(&b' ')
        && bytes.last() != Some(&b' ')
        && bytes.windows(2).all(single)
}

/// The letters in one case, without width and accents.
fn letters(text: &str) -> impl Iterator<Item = char> {
    let bare = text.nfkd().filter(|&letter| !is_accent(letter));
    // Upper and back again is full case folding: it knows `ß`, final sigma and dotless i.
    let one_case = bare.flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    one_case.filter(|&letter| !is_accent(letter)).flat_map(|letter| {
        let (first, second) = unstroked(letter);
        std::iter::once(first).chain(second)
    })
}

/// Letters that Unicode does not take apart but that people type without the stroke.
fn unstroked(letter: char) -> (char, Option<char>) {
    match letter {
        'ø' => ('o', None),
        'ł' => ('l', None),
        'đ' | 'ð' => ('d', None),
        'ħ' => ('h', None),
        'ŧ' => ('t', None),
        'æ' => ('a', Some('e')),
        'œ' => ('o', Some('e')),
        'þ' => ('t', Some('h')),
        other => (other, None),
    }
}

/// Joins the letters: white space runs to one space, none at the ends, no punctuation.
fn squeeze(letters: impl Iterator<Item = char>, keep_punctuation: bool) -> String {
    let mut out = String::with_capacity(letters.size_hint().0);
    let mut gap = false;
    for letter in letters {
        if letter.is_whitespace() {
            gap = !out.is_empty();
        } else if keep_punctuation || !is_punctuation(letter) {
            if std::mem::take(&mut gap) {
                out.push(' ');
            }
            out.push(letter);
        }
    }
    out
}

/// Diacritics, and the vowel points that Hebrew and Arabic may leave out.
fn is_accent(letter: char) -> bool {
    matches!(letter,
        '\u{300}'..='\u{36f}'
        | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}'..='\u{5c2}' | '\u{5c4}'..='\u{5c5}'
        | '\u{64b}'..='\u{65f}' | '\u{670}'
        | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
        | '\u{fe20}'..='\u{fe2f}')
}

fn is_dash(letter: char) -> bool {
    matches!(letter, '-' | '\u{2010}'..='\u{2015}')
}

/// Punctuation, and characters without a shape of their own. Symbols (`+`, `<`, `%`) count.
fn is_punctuation(letter: char) -> bool {
    matches!(letter,
        '!' | '"' | '#' | '&' | '\'' | '(' | ')' | '*' | ',' | '-' | '.' | '/' | ':' | ';'
        | '?' | '@' | '[' | '\\' | ']' | '^' | '_' | '`' | '{' | '|' | '}'
        | '\u{a1}' | '\u{a7}' | '\u{ab}' | '\u{ad}' | '\u{b4}' | '\u{b6}' | '\u{b7}'
        | '\u{bb}' | '\u{bf}' | '\u{2b9}'..='\u{2bc}' | '\u{2c8}'
        | '\u{55a}'..='\u{55f}' | '\u{5be}' | '\u{5f3}' | '\u{5f4}'
        | '\u{60c}' | '\u{61b}' | '\u{61f}' | '\u{640}'
        | '\u{200b}'..='\u{200f}' | '\u{2010}'..='\u{2027}' | '\u{202a}'..='\u{205e}'
        | '\u{2060}'..='\u{2064}' | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}'
        | '\u{3014}'..='\u{301f}' | '\u{30fb}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_count_is_folded_away() {
        for (text, expected) in [
            ("Eve", "eve"),
            ("eve 2", "eve 2"),
            ("Müller", "muller"),
            ("Mu\u{308}ller", "muller"),
            ("MÜLLER", "muller"),
            ("Straße", "strasse"),
            ("STRASSE", "strasse"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευσ"),
            ("Οδυσσεύς", "οδυσσευσ"),
            ("İstanbul", "istanbul"),
            ("ISTANBUL", "istanbul"),
            ("ısparta", "isparta"),
            ("Søren Kierkegård", "soren kierkegard"),
            ("Łódź", "lodz"),
            ("Æsir Œuvre", "aesir oeuvre"),
            ("ﬁne", "fine"),
            ("ＡＢＣ１２", "abc12"),
            ("ｶﾞ", "カ\u{3099}"),
            ("O'Brien", "obrien"),
            ("O\u{2019}Brien", "obrien"),
            ("Smith-Jones", "smithjones"),
            ("  12,\tMain   St. \n", "12 main st"),
            ("a\u{a0}b", "a b"),
            ("a\u{200b}b\u{ad}c", "abc"),
            ("C++ <5%", "c++ <5%"),
            ("हिन्दी", "हिन्दी"),
            ("שָׁלוֹם", "שלום"),
            ("مُحَمَّد", "محمد"),
            ("---", "---"),
            (" ? ", "?"),
            ("", ""),
            ("  ", ""),
        ] {
            assert_eq!(fold(text), expected, "{text:?}");
        }
    }

    #[test]
    fn folding_twice_is_folding_once() {
        for text in ["Straße-ŉ O’Neil", "ΐ ǰ ẖ", "ǅ ﬃ ㎏", "ⅣŐ", "…!", "Ⓐ ½", "Å K"]
        {
            let once = fold(text).into_owned();
            assert_eq!(fold(&once), once, "{text:?}");
        }
    }

    #[test]
    fn a_later_word_begins_a_value_of_its_own() {
        for (text, expected) in [
            ("Carreno Quinones", &["quinones"][..]),
            ("van der Berg", &["der", "berg"]),
            ("Smith-Jones", &["jones"]),
            ("Müller – Ångström", &["angstrom"]),
            ("Single", &[]),
            ("", &[]),
        ] {
            assert_eq!(later_words(text).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }
}
