//! Names by their sound: Soundex, a key for each word.
//!
//! Spec: <https://hl7.org/fhir/R4/patient.html#search> (`phonetic`; rest 4.77 leaves the choice)

use super::string::fold;

/// The Soundex keys of the words in `text`; a word that is not Latin is its own key.
pub fn keys(text: &str) -> Vec<String> {
    let parts = text.split(|letter: char| letter.is_whitespace() || letter == '-');
    parts.map(fold).filter(|word| !word.is_empty()).map(|word| key(&word)).collect()
}

/// The first letter and three digits for the consonants after it.
fn key(word: &str) -> String {
    let Some(first) = word.bytes().next().filter(u8::is_ascii_lowercase) else {
        return word.to_owned();
    };
    let mut key = String::from(char::from(first));
    let mut last = digit(first);
    for letter in word.bytes().skip(1).filter(u8::is_ascii_lowercase) {
        let next = digit(letter);
        if let Some(next) = next
            && last != Some(next)
        {
            key.push(next);
        }
        // h and w do not part consonants of one group, vowels do.
        if !matches!(letter, b'h' | b'w') {
            last = next;
        }
        if key.len() == 4 {
            break;
        }
    }
    while key.len() < 4 {
        key.push('0');
    }
    key
}

fn digit(letter: u8) -> Option<char> {
    Some(match letter {
        b'b' | b'f' | b'p' | b'v' => '1',
        b'c' | b'g' | b'j' | b'k' | b'q' | b's' | b'x' | b'z' => '2',
        b'd' | b't' => '3',
        b'l' => '4',
        b'm' | b'n' => '5',
        b'r' => '6',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_sound_alike_have_one_key() {
        for (text, expected) in [
            ("Robert", &["r163"][..]),
            ("Rupert", &["r163"]),
            ("Ashcraft", &["a261"]),
            ("Tymczak", &["t522"]),
            ("Pfister", &["p236"]),
            ("Honeyman", &["h555"]),
            ("Müller", &["m460"]),
            ("Lee", &["l000"]),
            ("O'Brien Smith-Jones", &["o165", "s530", "j520"]),
            ("王", &["王"]),
            ("", &[]),
        ] {
            assert_eq!(keys(text), expected, "{text:?}");
        }
    }
}
