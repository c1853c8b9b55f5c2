//! The forms of an HTML page: enough to fill them in as a person would.
//!
//! It reads tags, not text: scripts, styles and comments are passed over, and what is not a form
//! or part of one is ignored. Pages that build their forms by script have none for it.

/// One form of a page.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Form {
    /// As written; empty means the page itself.
    pub(super) action: String,
    pub(super) is_post: bool,
    pub(super) fields: Vec<Field>,
}

/// An input, a button, or an option of a choice.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: String,
    /// `type` of an input, `submit` of a button, `option` of a select.
    pub(super) kind: String,
    /// A box that is ticked, or an option that is chosen.
    pub(super) is_on: bool,
}

impl Form {
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name == name)
    }

    /// The values of the fields named `name`.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |field| field.name == name).map(|field| field.value.as_str())
    }

    /// What is sent without a change: buttons are left out, and boxes that are not ticked.
    pub(super) fn defaults(&self) -> Vec<(String, String)> {
        let sent = |field: &&Field| match field.kind.as_str() {
            "submit" | "button" | "image" | "reset" | "file" => false,
            "checkbox" | "radio" | "option" => field.is_on,
            _ => true,
        };
        let named = self.fields.iter().filter(|field| !field.name.is_empty());
        named.filter(sent).map(|field| (field.name.clone(), field.value.clone())).collect()
    }
}

/// Reads the forms of `page` in their order.
pub(super) fn forms(page: &str) -> Vec<Form> {
    let mut found = Vec::new();
    let mut open: Option<Form> = None;
    let mut select = String::new();
    for tag in (Tags { rest: page }) {
        match (tag.name.as_str(), open.as_mut()) {
            ("form", _) => {
                found.extend(open.take());
                open = Some(Form {
                    action: tag.attribute("action").unwrap_or_default(),
                    is_post: tag
                        .attribute("method")
                        .is_some_and(|it| it.eq_ignore_ascii_case("post")),
                    fields: Vec::new(),
                });
            }
            ("/form", _) => found.extend(open.take()),
            ("select", Some(_)) => select = tag.attribute("name").unwrap_or_default(),
            (name @ ("input" | "button" | "textarea" | "option"), Some(form)) => {
                form.fields.push(field(name, &tag, &select));
            }
            _ => {}
        }
    }
    found.extend(open);
    found
}

fn field(element: &str, tag: &Tag, select: &str) -> Field {
    let given = tag.attribute("type").map(|kind| kind.to_ascii_lowercase());
    let kind = match element {
        "button" => given.unwrap_or_else(|| "submit".to_owned()),
        "input" => given.unwrap_or_else(|| "text".to_owned()),
        other => other.to_owned(),
    };
    let name = match element {
        "option" => select.to_owned(),
        _ => tag.attribute("name").unwrap_or_default(),
    };
    let fallback = if kind == "checkbox" { "on" } else { "" };
    Field {
        name,
        value: tag.attribute("value").unwrap_or_else(|| fallback.to_owned()),
        is_on: tag.attribute("checked").is_some() || tag.attribute("selected").is_some(),
        kind,
    }
}

/// A tag: its name in lower case, with `/` before it where it closes.
struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn attribute(&self, name: &str) -> Option<String> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

/// The tags of a page.
struct Tags<'a> {
    rest: &'a str,
}

impl Iterator for Tags<'_> {
    type Item = Tag;

    fn next(&mut self) -> Option<Tag> {
        loop {
            let at = self.rest.find('<')?;
            let after = &self.rest[at + 1..];
            if let Some(comment) = after.strip_prefix("!--") {
                self.rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
                continue;
            }
            let is_tag = after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
            if !is_tag {
                self.rest = after;
                continue;
            }
            let (tag, rest) = read_tag(after);
            self.rest = rest;
            if matches!(tag.name.as_str(), "script" | "style") {
                let end = format!("</{}", tag.name);
                let closing = self.rest.to_ascii_lowercase().find(&end);
                self.rest = closing.map_or("", |at| &self.rest[at..]);
                continue;
            }
            return Some(tag);
        }
    }
}

/// Reads a tag after its `<`; gives what follows its `>`.
fn read_tag(text: &str) -> (Tag, &str) {
    let end = text.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(text.len());
    let name = text[..end].trim_end_matches('/').to_ascii_lowercase();
    let mut tag = Tag { name, attributes: Vec::new() };
    let mut rest = &text[end..];
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if rest.is_empty() {
            return (tag, rest);
        }
        if let Some(after) = rest.strip_prefix('>') {
            return (tag, after);
        }
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '=' | '>' | '/'));
        // A stray `=` must not keep the reader in its place.
        let end = end.unwrap_or(rest.len()).max(rest.chars().next().map_or(0, char::len_utf8));
        let name = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let value = match rest.strip_prefix('=') {
            Some(after) => {
                let (value, after) = read_value(after.trim_start());
                rest = after;
                unescape(value)
            }
            None => String::new(),
        };
        tag.attributes.push((name, value));
    }
}

fn read_value(text: &str) -> (&str, &str) {
    if let Some(quote @ ('"' | '\'')) = text.chars().next() {
        let inner = &text[1..];
        inner.find(quote).map_or((inner, ""), |end| (&inner[..end], &inner[end + 1..]))
    } else {
        let end = text.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(text.len());
        text.split_at(end)
    }
}

/// The character references that templates write: by number, and the five of XML.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').filter(|end| *end <= 10);
        let character = end.and_then(|end| character(&rest[1..end]));
        if let (Some(character), Some(end)) = (character, end) {
            out.push(character);
            rest = &rest[end + 1..];
        } else {
            out.push('&');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

fn character(name: &str) -> Option<char> {
    let number =
        |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    match name {
        "amp" => Some('&'),
        "apos" => Some('\''),
        "gt" => Some('>'),
        "lt" => Some('<'),
        "quot" => Some('"'),
        _ => match name.strip_prefix('#')?.strip_prefix(['x', 'X']) {
            Some(digits) => number(digits, 16),
            None => number(&name[1..], 10),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<!doctype html><html><head><style>form{}<input name=no></style>
        <script>"<form><input name=no>"</script></head><body>
        <!-- <form action="/no"><input name=no></form> -->
        <FORM action="/auth/consent?a=1&amp;b=&#x32;" METHOD='post'>
        <input type=hidden name=csrf value="t&quot;o&#39;k&unknown;">
        <input type="checkbox" name="scope" value="openid" checked>
        <input type="checkbox" name="scope" value="patient/Observation.rs?category=a|b"/>
        <select name="role"><option value="a">A<option value="b" selected>B</select>
        <input name="note"><button name=decision value=allow>Allow</button>
        <button name=decision value=deny type=submit>Deny</button></form>
        <form><input type=radio name=patient value=p1></form>1 < 2 <p = x>"#;

    #[test]
    fn forms_are_read_with_what_a_browser_would_send() {
        let forms = forms(PAGE);
        assert_eq!(forms.len(), 2);
        let consent = &forms[0];
        assert_eq!((consent.action.as_str(), consent.is_post), ("/auth/consent?a=1&b=2", true));
        let scopes: Vec<_> = consent.values("scope").collect();
        assert_eq!(scopes, ["openid", "patient/Observation.rs?category=a|b"]);
        assert_eq!(consent.values("decision").collect::<Vec<_>>(), ["allow", "deny"]);
        let sent = consent.defaults();
        let expected =
            [("csrf", "t\"o'k&unknown;"), ("scope", "openid"), ("role", "b"), ("note", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(sent, expected);
        assert!(forms[1].has("patient") && !forms[1].is_post && forms[1].defaults().is_empty());
    }

    #[test]
    fn broken_pages_are_read_to_their_end() {
        for page in
            ["<", "<form", "<form action=", "<input =\"", "<form ==>", "<script>", "<!--", "&"]
        {
            assert!(forms(page).len() <= 1, "{page}");
        }
    }
}
