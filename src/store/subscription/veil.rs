//! Values of headers: kept sealed for the party that sent them, shown to nobody else.
//!
//! A header of a channel is often a secret of the receiver. So it is sealed before it is stored, bound to the
//! resource, its name and its party: whatever shows a stored text shows nothing, and who takes it over into a
//! version of its own is found out. The same header is sealed to the same text, so that an update which changes
//! nothing is seen to be one.
//!
//! Spec: rest 8.6; security H20

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

use crate::fhir::LogicalId;

/// What a sealed value begins with.
const SEALED: &str = "kiln-sealed:";
/// What others are shown in the place of a value.
pub const HIDDEN: &str = "***";

/// Seals and opens headers of one Subscription.
pub struct Veil {
    key: LessSafeKey,
    once: hmac::Key,
    place: String,
}

/// An opened header.
#[derive(Debug, Eq, PartialEq)]
pub struct Opened {
    /// Whose it is.
    pub party: String,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Veil {
    /// For the resource with this id, by a secret of the deployment.
    ///
    /// # Panics
    /// Never: a key of this cipher is as long as a digest.
    pub fn new(secret: &[u8; 32], id: &LogicalId) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let of = |purpose: &[u8]| hmac::sign(&root, purpose);
        let key = UnboundKey::new(&AES_256_GCM, of(b"seal").as_ref());
        Self {
            key: LessSafeKey::new(key.expect("a digest of 32 bytes")),
            once: hmac::Key::new(hmac::HMAC_SHA256, of(b"once").as_ref()),
            place: format!("Subscription/{id}"),
        }
    }

    /// Seals a header for a party.
    ///
    /// # Panics
    /// Never: headers are far shorter than the most that the cipher takes.
    pub fn seal(&self, party: &str, name: &str, value: &str) -> String {
        let place = self.place_of(name);
        let mut text = format!("{party}\0{value}").into_bytes();
        let made = hmac::sign(&self.once, &[place.as_bytes(), b"\0", &text].concat());
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&made.as_ref()[..NONCE_LEN]);
        // Made of what is sealed: it comes again with the same text alone.
        let once = Nonce::assume_unique_for_key(nonce);
        let sealed =
            self.key.seal_in_place_append_tag(once, Aad::from(place.as_bytes()), &mut text);
        sealed.expect("a header is shorter than what can be sealed");
        let sealed = [&nonce[..], &text].concat();
        format!("{name}: {SEALED}{}", URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens a header that was sealed for this resource; none for any other text.
    pub fn open(&self, line: &str) -> Option<Opened> {
        let (name, value) = parts(line)?;
        let sealed = URL_SAFE_NO_PAD.decode(value.strip_prefix(SEALED)?).ok()?;
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut rest = rest.to_vec();
        let place = self.place_of(name);
        let text = self.key.open_in_place(nonce, Aad::from(place.as_bytes()), &mut rest).ok()?;
        let (party, value) = std::str::from_utf8(text).ok()?.split_once('\0')?;
        let [party, name, value] = [party, name, value].map(str::to_owned);
        Some(Opened { party, name, value })
    }

    fn place_of(&self, name: &str) -> String {
        format!("{} {}", self.place, name.to_ascii_lowercase())
    }
}

/// Name and value of a header line.
pub fn parts(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim(), value.trim()))
}

/// Whether a header line has a value that was sealed, or looks like one.
pub fn is_sealed(line: &str) -> bool {
    parts(line).is_some_and(|(_, value)| value.starts_with(SEALED))
}

/// A header line as others are shown it.
pub fn hidden(line: &str) -> String {
    parts(line).map_or_else(|| HIDDEN.to_owned(), |(name, _)| format!("{name}: {HIDDEN}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veil(secret: u8, id: &str) -> Veil {
        Veil::new(&[secret; 32], &id.parse().expect("an id"))
    }

    #[test]
    fn a_header_opens_at_its_place_only_and_tells_whose_it_is() {
        let own = veil(1, "s");
        let sealed = own.seal("user:ada app", "Authorization", "Bearer canary");
        assert!(!sealed.contains("canary") && !sealed.contains("ada"), "{sealed}");
        assert!(sealed.starts_with("Authorization: kiln-sealed:"), "{sealed}");
        let opened = own.open(&sealed).expect("it opens");
        let found = [&*opened.party, &*opened.name, &*opened.value];
        assert_eq!(found, ["user:ada app", "Authorization", "Bearer canary"]);
        // The same is sealed to the same, and anything else to something else.
        assert_eq!(sealed, own.seal("user:ada app", "Authorization", "Bearer canary"));
        for (party, name, value) in [
            ("user:bob app", "Authorization", "Bearer canary"),
            ("user:ada app", "X-Authorization", "Bearer canary"),
            ("user:ada app", "Authorization", "Bearer canaries"),
        ] {
            let other = own.seal(party, name, value);
            let text = |line: &str| line.split_once(": ").map(|(_, text)| text.to_owned());
            assert_ne!(text(&sealed), text(&other), "{party} {name} {value}");
        }
        for (veil, line) in [
            (veil(2, "s"), sealed.clone()),
            (veil(1, "t"), sealed.clone()),
            (veil(1, "s"), sealed.replace("Authorization", "Cookie")),
            (veil(1, "s"), sealed[..sealed.len() - 2].to_owned()),
            (veil(1, "s"), "Authorization: kiln-sealed:".to_owned()),
            (veil(1, "s"), "Authorization: Bearer canary".to_owned()),
            (veil(1, "s"), "no header".to_owned()),
        ] {
            assert_eq!(veil.open(&line), None, "{line}");
        }
    }

    #[test]
    fn others_are_shown_the_name() {
        for (line, shown, sealed) in [
            ("Authorization: kiln-sealed:abc", "Authorization: ***", true),
            ("X-A:b", "X-A: ***", false),
            ("no header", "***", false),
        ] {
            assert_eq!((hidden(line).as_str(), is_sealed(line)), (shown, sealed), "{line}");
        }
    }
}
