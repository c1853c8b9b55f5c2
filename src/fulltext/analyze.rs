//! From text to words: what the index keeps and what a query looks for.
//!
//! A word is a run of letters and digits, folded as strings are ([`fold`]): no case, accents, width.
//! Punctuation parts words. What it parts without white space is kept whole too, beside the first
//! part and the last, so that `O'Brien Smith` is found by `brien`, `o'brien` and "obrien smith". Scripts that write without spaces (Han,
//! kana) give a word for each character; a query of several looks for them side by side.

use tantivy::tokenizer::{
    Language, RawTokenizer, Stemmer, TextAnalyzer, Token, TokenStream, Tokenizer,
};
use unicode_normalization::char::is_combining_mark;

use crate::search::values::string::fold;

/// The longest word in bytes; a longer one is cut, in the index as in the query.
const MAX_WORD_BYTES: usize = 100;
/// Most parts of a compound that is kept whole too.
const MAX_JOINED_PARTS: usize = 4;
/// Stands between a parameter's name and its text.
const NAME_END: char = '\u{1f}';
/// Stands before a text that is kept whole, to be found by its beginning.
const START: char = '\u{1e}';
/// The longest beginning that is kept, in bytes.
const MAX_START_BYTES: usize = 250;

/// One word of a text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Word {
    /// Folded.
    pub(super) text: String,
    /// Its place among the words.
    pub(super) position: usize,
}

/// The parts of a run of text without white space.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Chunk {
    /// Its words, in order.
    pub(super) parts: Vec<String>,
    /// All of them as one, where punctuation parts them.
    pub(super) whole: Option<String>,
}

/// The words of a text without white space.
pub(super) fn chunk(text: &str) -> Chunk {
    let mut parts = Vec::new();
    let mut dense = false;
    for run in text.split(|letter| !is_word(letter)).filter(|run| !run.is_empty()) {
        let mut start = 0;
        for (at, letter) in run.char_indices().filter(|(_, letter)| is_dense(*letter)) {
            dense = true;
            push(&mut parts, &run[start..at]);
            start = at + letter.len_utf8();
            push(&mut parts, &run[at..start]);
        }
        push(&mut parts, &run[start..]);
    }
    // Numbers with points and dates are not meant without them.
    let is_digits = || parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    let joins = !dense && (2..=MAX_JOINED_PARTS).contains(&parts.len()) && !is_digits();
    let whole = joins.then(|| cut(parts.concat()));
    Chunk { parts, whole }
}

fn push(parts: &mut Vec<String>, run: &str) {
    let word = fold(run);
    // Of marks without a letter nothing is left.
    if !word.is_empty() {
        parts.push(cut(word.into_owned()));
    }
}

fn cut(mut word: String) -> String {
    word.truncate(word.floor_char_boundary(MAX_WORD_BYTES));
    word
}

/// Letters, digits, the marks on them, and what has no shape and parts nothing.
fn is_word(letter: char) -> bool {
    letter.is_alphanumeric()
        || !letter.is_ascii()
            && (is_combining_mark(letter)
                || matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}'))
}

/// Characters that are words by themselves: Han, kana.
fn is_dense(letter: char) -> bool {
    matches!(letter,
        '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9d}'
        | '\u{20000}'..='\u{3134f}')
}

/// The languages whose words can be brought to their stems.
const LANGUAGES: &[(&str, Language)] = &[
    ("arabic", Language::Arabic),
    ("danish", Language::Danish),
    ("dutch", Language::Dutch),
    ("english", Language::English),
    ("finnish", Language::Finnish),
    ("french", Language::French),
    ("german", Language::German),
    ("greek", Language::Greek),
    ("hungarian", Language::Hungarian),
    ("italian", Language::Italian),
    ("norwegian", Language::Norwegian),
    ("portuguese", Language::Portuguese),
    ("romanian", Language::Romanian),
    ("russian", Language::Russian),
    ("spanish", Language::Spanish),
    ("swedish", Language::Swedish),
    ("tamil", Language::Tamil),
    ("turkish", Language::Turkish),
];

/// The names of the languages that [`Analyzer::new`] takes.
pub(super) fn languages() -> impl Iterator<Item = &'static str> {
    LANGUAGES.iter().map(|(name, _)| *name)
}

/// Makes words of texts; with a language it adds the stem of each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Analyzer {
    language: Option<Language>,
    is_named: bool,
}

impl Analyzer {
    /// An analyzer without stems, or with those of a language; `None` when nobody knows it.
    pub(super) fn new(language: Option<&str>) -> Option<Self> {
        let Some(name) = language else { return Some(Self::default()) };
        let (_, language) = *LANGUAGES.iter().find(|(known, _)| *known == name)?;
        Some(Self { language: Some(language), is_named: false })
    }

    /// The same for texts that begin with the name of a parameter ([`named`]): it begins each word.
    pub(super) fn of_named(self) -> Self {
        Self { is_named: true, ..self }
    }

    /// The stem of a word, where it differs.
    pub(super) fn stem(self, word: &str) -> Option<String> {
        stem(&mut self.stemmer()?, word)
    }

    /// All words of a text: each with its position, a stem at that of its
    /// word, a whole at those of its first and last part.
    pub(super) fn words(self, text: &str) -> Vec<Word> {
        let (name, text) = match text.split_once(NAME_END) {
            Some((name, text)) if self.is_named => (name, text),
            _ => ("", text),
        };
        let mut stemmer = self.stemmer();
        let mut words = Vec::new();
        let mut position = 0;
        if self.is_named {
            words.push(Word { text: named(name, &start(text)), position });
        }
        for run in text.split_whitespace() {
            let Chunk { parts, whole } = chunk(run);
            let ends = [0, parts.len().saturating_sub(1)];
            for (at, part) in parts.into_iter().enumerate() {
                let whole = whole.clone().filter(|_| ends.contains(&at));
                let stem = stemmer.as_mut().and_then(|stemmer| stem(stemmer, &part));
                for text in [Some(part), whole, stem].into_iter().flatten() {
                    let text = if self.is_named { named(name, &text) } else { text };
                    words.push(Word { text, position });
                }
                position += 1;
            }
        }
        words
    }

    fn stemmer(self) -> Option<TextAnalyzer> {
        let stemmer = Stemmer::new(self.language?);
        Some(TextAnalyzer::builder(RawTokenizer::default()).filter(stemmer).build())
    }
}

fn stem(stemmer: &mut TextAnalyzer, word: &str) -> Option<String> {
    let mut stream = stemmer.token_stream(word);
    let stem = stream.next().map(|token| token.text.clone());
    stem.filter(|stem| stem != word && !stem.is_empty())
}

/// The beginning of a text as it is kept and looked for: folded, and cut.
pub(super) fn start(text: &str) -> String {
    let folded = fold(text);
    format!("{START}{}", &folded[..folded.floor_char_boundary(MAX_START_BYTES)])
}

/// A parameter's name before a text or a word.
pub(super) fn named(name: &str, text: &str) -> String {
    format!("{name}{NAME_END}{text}")
}

impl Tokenizer for Analyzer {
    type TokenStream<'a> = Words;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Words {
        Words { rest: self.words(text).into_iter(), token: Token::default() }
    }
}

/// The words of one text, as the index takes them.
pub(super) struct Words {
    rest: std::vec::IntoIter<Word>,
    token: Token,
}

impl TokenStream for Words {
    fn advance(&mut self) -> bool {
        let Some(word) = self.rest.next() else { return false };
        self.token.text = word.text;
        self.token.position = word.position;
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(analyzer: Analyzer, text: &str) -> String {
        let words = analyzer.words(text);
        let each = words.iter().map(|word| format!("{}:{}", word.position, word.text));
        each.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_text_is_its_folded_words() {
        let plain = Analyzer::new(None).expect("plain");
        for (text, expected) in [
            ("Type 2 Diabetes", "0:type 1:2 2:diabetes"),
            ("O'Brien, Müller", "0:o 0:obrien 1:brien 1:obrien 2:muller"),
            ("Mu\u{308}ller STRASSE Straße", "0:muller 1:strasse 2:strasse"),
            ("type-2 x", "0:type 0:type2 1:2 1:type2 2:x"),
            ("1.5 2024-02-29", "0:1 1:5 2:2024 3:02 4:29"),
            ("a.b.c.d.e", "0:a 1:b 2:c 3:d 4:e"),
            ("http://loinc.org", "0:http 0:httploincorg 1:loinc 2:org 2:httploincorg"),
            ("糖尿病 II型", "0:糖 1:尿 2:病 3:ii 4:型"),
            ("ab\u{ad}cd e\u{200b}f", "0:abcd 1:ef"),
            ("a \u{301}\u{302} b-\u{301}", "0:a 1:b"),
            (" -- & ", ""),
            ("", ""),
        ] {
            assert_eq!(shown(plain, text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_long_word_is_cut() {
        let plain = Analyzer::default();
        let words = plain.words(&"é".repeat(1_000));
        assert_eq!(words.len(), 1);
        assert_eq!(words[0].text, "e".repeat(MAX_WORD_BYTES));
    }

    #[test]
    fn stems_come_beside_the_words() {
        let english = Analyzer::new(Some("english")).expect("english");
        for (text, expected) in [
            ("Fractures of bones", "0:fractures 0:fractur 1:of 2:bones 2:bone"),
            ("bone", "0:bone"),
        ] {
            assert_eq!(shown(english, text), expected, "{text:?}");
        }
        assert!(Analyzer::new(Some("klingon")).is_none());
        for language in languages() {
            assert!(Analyzer::new(Some(language)).is_some(), "{language}");
        }
    }

    #[test]
    fn a_named_text_gives_named_words() {
        let analyzer = Analyzer::default().of_named();
        let words = analyzer.words(&named("code", "Heart failure"));
        let texts: Vec<_> = words.into_iter().map(|word| word.text).collect();
        let start = named("code", &start("heart failure"));
        assert_eq!(texts, [start, named("code", "heart"), named("code", "failure")]);
    }
}
