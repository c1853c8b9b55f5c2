//! Texts that open something in a browser: cookies, links, launches. Whoever holds one may use it, so
//! they are kept as SHA-256 only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};

use crate::oauth::secret;

/// The longest that is looked up.
const LONGEST: usize = 128;

/// What is kept of one that came in; none when it cannot be one.
pub fn hash_of(text: &str) -> Option<[u8; 32]> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    ((1..=LONGEST).contains(&text.len()) && text.bytes().all(is_plain))
        .then(|| Sha256::digest(text.as_bytes()).into())
}

/// What the forms of a session must repeat: only who can read its pages knows it, and it does not
/// tell the cookie.
pub fn csrf(cookie: &SecretString) -> String {
    let text = cookie.expose_secret();
    URL_SAFE_NO_PAD.encode(Sha256::new().chain_update("kiln form ").chain_update(text).finalize())
}

/// Whether a form repeats it.
pub fn is_csrf(cookie: &SecretString, sent: &str) -> bool {
    let expected = csrf(cookie);
    secret::is_same(expected.as_bytes(), sent.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_handle_is_looked_up() {
        assert_eq!(hash_of("a-_9"), Some(Sha256::digest("a-_9").into()));
        for text in ["", "a b", "a\0", "a=", &"x".repeat(129)] {
            assert_eq!(hash_of(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_form_repeats_what_belongs_to_its_cookie() {
        let [one, two] = ["one", "two"].map(|text| SecretString::from(text.to_owned()));
        assert!(is_csrf(&one, &csrf(&one)));
        assert!(!is_csrf(&one, &csrf(&two)));
        assert!(!is_csrf(&one, ""));
        assert!(!csrf(&one).contains("one"));
    }
}
