//! A look at a document's first properties, to tell a Bundle from a resource without parsing it.
//!
//! What is behind the properties that were asked for is not looked at: whoever loads the document
//! parses all of it.

use memchr::memchr2;

/// What a document says of itself.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Head<'d> {
    pub(super) resource_type: Option<&'d str>,
    /// `Bundle.type`; looked for only where the resource type is Bundle or not yet known.
    pub(super) bundle_type: Option<&'d str>,
}

/// Reads `resourceType` and, for a Bundle, `type`; stops as soon as both are known.
///
/// # Errors
/// A sentence, when the text is no JSON object as far as it was read.
pub(super) fn head(document: &[u8]) -> Result<Head<'_>, String> {
    let mut scan = Scan { text: document.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(document), at: 0 };
    let mut head = Head::default();
    scan.expect(b'{')?;
    if scan.peek()? == b'}' {
        return Ok(head);
    }
    loop {
        let name = scan.string()?;
        scan.expect(b':')?;
        let is_text = scan.peek()? == b'"';
        match name {
            "resourceType" if is_text => head.resource_type = Some(scan.string()?),
            "type" if is_text => head.bundle_type = Some(scan.string()?),
            _ => scan.skip_value()?,
        }
        let is_known = match head.resource_type {
            Some("Bundle") => head.bundle_type.is_some(),
            other => other.is_some(),
        };
        if is_known || scan.next()? != b',' {
            return Ok(head);
        }
    }
}

struct Scan<'d> {
    text: &'d [u8],
    at: usize,
}

impl<'d> Scan<'d> {
    /// The next byte that is no white space, not yet taken.
    fn peek(&mut self) -> Result<u8, String> {
        while let Some(byte) = self.text.get(self.at) {
            if !byte.is_ascii_whitespace() {
                return Ok(*byte);
            }
            self.at += 1;
        }
        Err("the document ends too early".to_owned())
    }

    fn next(&mut self) -> Result<u8, String> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    fn expect(&mut self, expected: u8) -> Result<(), String> {
        match self.next()? {
            found if found == expected => Ok(()),
            _ => Err(format!("not a JSON object: no {:?} at byte {}", expected as char, self.at)),
        }
    }

    /// A string, its escapes left as they are: the names asked for have none.
    fn string(&mut self) -> Result<&'d str, String> {
        self.expect(b'"')?;
        let from = self.at;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(found) = memchr2(b'"', b'\\', rest) else {
                return Err("a string does not end".to_owned());
            };
            self.at += found + 1;
            if rest[found] == b'"' {
                let text = &self.text[from..self.at - 1];
                return std::str::from_utf8(text).map_err(|_| "invalid UTF-8".to_owned());
            }
            self.at += 1;
        }
    }

    fn skip_value(&mut self) -> Result<(), String> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                }
                _ => self.at += 1,
            }
            let at_end = matches!(self.text.get(self.at), Some(b',' | b'}' | b']') | None);
            if depth == 0 && (at_end || matches!(self.peek()?, b',' | b'}')) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_found_wherever_it_stands() {
        let bundle = Head { resource_type: Some("Bundle"), bundle_type: Some("transaction") };
        for (text, expected) in [
            (r#"{"resourceType":"Bundle","type":"transaction","entry":["#, Ok(bundle)),
            (
                "\u{feff} { \"entry\" : [{\"type\":\"x\",\"a\":\"\\\"]}\"}, 1 ] , \"n\": 1.5 ,\n\"type\":\"batch\", \"resourceType\" : \"Bundle\"}",
                Ok(Head { resource_type: Some("Bundle"), bundle_type: Some("batch") }),
            ),
            (
                r#"{"active":true,"resourceType":"Patient","#,
                Ok(Head { resource_type: Some("Patient"), bundle_type: None }),
            ),
            ("{}", Ok(Head::default())),
            (r#"{"a":null}"#, Ok(Head::default())),
            ("[]", Err(())),
            ("", Err(())),
            (r#"{"resourceType":"Bun"#, Err(())),
            (r#"{"a":[1,2"#, Err(())),
        ] {
            assert_eq!(head(text.as_bytes()).map_err(|_| ()), expected, "{text}");
        }
    }
}
