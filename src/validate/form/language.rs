//! Whether a text is a well-formed BCP 47 language tag.
//!
//! Spec: <https://www.rfc-editor.org/rfc/rfc5646#section-2.1>, rest 7.18

/// The registered tags that do not follow the grammar, in lower case.
const IRREGULAR: [&str; 17] = [
    "en-gb-oed",
    "i-ami",
    "i-bnn",
    "i-default",
    "i-enochian",
    "i-hak",
    "i-klingon",
    "i-lux",
    "i-mingo",
    "i-navajo",
    "i-pwn",
    "i-tao",
    "i-tay",
    "i-tsu",
    "sgn-be-fr",
    "sgn-be-nl",
    "sgn-ch-de",
];

/// Longest tag that is looked at.
const MAX_LEN: usize = 128;

/// Whether `tag` follows the grammar of language tags, in whatever case.
pub(super) fn is_tag(tag: &str) -> bool {
    if tag.len() > MAX_LEN || !tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        return false;
    }
    let tag = tag.to_ascii_lowercase();
    let subtags: Vec<&str> = tag.split('-').collect();
    let fits = subtags.iter().all(|part| (1..=8).contains(&part.len()));
    fits && (is_regular(&subtags) || IRREGULAR.contains(&&*tag))
}

fn is_regular(subtags: &[&str]) -> bool {
    let mut rest = Rest(subtags);
    if rest.0.first() == Some(&"x") {
        return rest.0.len() > 1;
    }
    let Some(language) = rest.take(|part| part.len() >= 2 && is_alpha(part)) else { return false };
    if language.len() <= 3 {
        // Up to three extended subtags, of which the registry uses one.
        let mut left = 3;
        while left > 0 && rest.take(|part| part.len() == 3 && is_alpha(part)).is_some() {
            left -= 1;
        }
    }
    rest.take(|part| part.len() == 4 && is_alpha(part));
    rest.take(|part| match part.len() {
        2 => is_alpha(part),
        3 => part.bytes().all(|byte| byte.is_ascii_digit()),
        _ => false,
    });
    let mut variants = Vec::new();
    while let Some(variant) = rest.take(is_variant) {
        variants.push(variant);
    }
    let mut singletons = Vec::new();
    while let Some(singleton) = rest.take(|part| part.len() == 1 && part != "x") {
        singletons.push(singleton);
        if rest.take(|part| part.len() >= 2).is_none() {
            return false;
        }
        while rest.take(|part| part.len() >= 2).is_some() {}
    }
    let is_private = rest.0.first() == Some(&"x") && rest.0.len() > 1;
    (rest.0.is_empty() || is_private) && is_distinct(variants) && is_distinct(singletons)
}

/// The subtags that are still to be read.
struct Rest<'r, 't>(&'r [&'t str]);

impl<'t> Rest<'_, 't> {
    /// The next subtag, when it fits.
    fn take(&mut self, fits: impl FnOnce(&str) -> bool) -> Option<&'t str> {
        let (first, rest) = self.0.split_first()?;
        if fits(first) {
            self.0 = rest;
            Some(*first)
        } else {
            None
        }
    }
}

fn is_alpha(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn is_variant(part: &str) -> bool {
    let starts_with_digit = part.starts_with(|first: char| first.is_ascii_digit());
    part.len() >= 5 || (part.len() == 4 && starts_with_digit)
}

fn is_distinct(mut parts: Vec<&str>) -> bool {
    let count = parts.len();
    parts.sort_unstable();
    parts.dedup();
    parts.len() == count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_tag_follows_its_grammar() {
        for (tag, valid) in [
            ("en", true),
            ("EN-us", true),
            ("pt-BR", true),
            ("zh-Hant-TW", true),
            ("zh-cmn-Hans-CN", true),
            ("es-419", true),
            ("de-CH-1996", true),
            ("sl-rozaj-biske", true),
            ("de-DE-u-co-phonebk", true),
            ("en-a-bbb-x-a-ccc", true),
            ("x-whatever", true),
            ("i-klingon", true),
            ("zh-min-nan", true),
            ("art-lojban", true),
            ("qaa", true),
            ("", false),
            ("e", false),
            ("en_US", false),
            ("en-", false),
            ("-en", false),
            ("en--US", false),
            ("english language", false),
            ("englishlanguage", false),
            ("12", false),
            ("a-DE", false),
            ("x", false),
            ("en-x", false),
            ("en-a", false),
            ("de-419-DE", false),
            ("de-1996-1996", false),
            ("en-a-bb-a-cc", false),
            ("en-US\u{e9}", false),
        ] {
            assert_eq!(is_tag(tag), valid, "{tag:?}");
        }
    }
}
