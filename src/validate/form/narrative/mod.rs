//! The narrative: one XHTML `div` with formatting and nothing that acts.
//!
//! A scanner that never builds a tree: it keeps the names of the open elements and looks at each
//! tag, attribute and reference once. The text is not changed.
//!
//! Spec: <https://hl7.org/fhir/R4/narrative.html>, rest 7.60 to 7.65

mod allowed;
mod scan;

use crate::fhir::IssueCode;
use crate::fhir::primitive;

use scan::Scanner;

/// The namespace of the root.
const XHTML: &str = "http://www.w3.org/1999/xhtml";

/// Why a text is not a narrative.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Fault {
    /// [`IssueCode::Structure`] when it is not XML, else [`IssueCode::Invariant`].
    pub(super) code: IssueCode,
    /// What is wrong.
    pub(super) rule: String,
}

impl Fault {
    fn form(rule: impl Into<String>) -> Self {
        Self { code: IssueCode::Structure, rule: rule.into() }
    }

    fn txt1(rule: &str) -> Self {
        Self { code: IssueCode::Invariant, rule: format!("{rule} (txt-1)") }
    }
}

type Step<T> = Result<T, Fault>;

/// Checks the text of a `Narrative.div`.
pub(super) fn check(text: &str) -> Step<()> {
    if text.is_empty() {
        return Err(Fault { code: IssueCode::Value, rule: "a value must not be empty".to_owned() });
    }
    if primitive::has_control(text.as_bytes()) {
        return Err(Fault::form("the narrative must not hold control characters"));
    }
    let mut scanner = Scanner::new(text);
    let mut open: Vec<&str> = Vec::new();
    let mut is_closed = false;
    let mut has_content = false;
    loop {
        let before = scanner.text()?;
        let is_blank = before.trim_ascii().is_empty();
        if open.is_empty() && !is_blank {
            return Err(Fault::form("the narrative is one div and nothing around it"));
        }
        has_content |= !is_blank;
        if scanner.is_at_end() {
            break;
        }
        match scanner.tag()? {
            Tag::Comment => {}
            Tag::Close(name) => {
                if open.pop() != Some(name) {
                    return Err(Fault::form("the tags of the narrative do not match"));
                }
                is_closed = open.is_empty();
            }
            Tag::Open { name, namespace, is_empty } => {
                if is_closed {
                    return Err(Fault::form("the narrative is one div and nothing around it"));
                }
                element(name, namespace, open.is_empty())?;
                has_content |= name == "img";
                if is_empty {
                    is_closed = open.is_empty();
                } else {
                    open.push(name);
                }
            }
        }
    }
    if !is_closed {
        return Err(Fault::form("the narrative is one div, opened and closed"));
    }
    if !has_content {
        let rule = "the narrative has text or an image (txt-2)".to_owned();
        return Err(Fault { code: IssueCode::Invariant, rule });
    }
    Ok(())
}

/// What the attributes `href` and `src` of a narrative name inside the resource, with the `#`.
///
/// <https://hl7.org/fhir/R4/narrative.html#linking>
pub(super) fn fragments(text: &str) -> impl Iterator<Item = &str> {
    // A quote ends the value; a text between tags that looks like one does no harm.
    let parts = ["href=\"#", "src=\"#", "href='#", "src='#"].into_iter();
    parts.flat_map(move |start| {
        let found = text.match_indices(start);
        found.filter_map(move |(at, start)| {
            let quote = start.as_bytes()[start.len() - 2];
            let from = at + start.len() - 1;
            let length = text.get(from..)?.bytes().position(|byte| byte == quote)?;
            text.get(from..from + length)
        })
    })
}

/// One piece of markup.
enum Tag<'t> {
    Close(&'t str),
    Comment,
    Open { name: &'t str, namespace: Option<&'t str>, is_empty: bool },
}

fn element(name: &str, namespace: Option<&str>, is_root: bool) -> Step<()> {
    if is_root && name != "div" {
        return Err(Fault::txt1("the root of the narrative is a div"));
    }
    if is_root && namespace.is_none() || namespace.is_some_and(|uri| uri != XHTML) {
        return Err(Fault::txt1("the div has the namespace http://www.w3.org/1999/xhtml"));
    }
    if allowed::is_element(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(32).collect();
    Err(Fault::txt1(&format!("<{shown}> is not allowed in a narrative")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn div(inner: &str) -> String {
        format!("<div xmlns=\"{XHTML}\">{inner}</div>")
    }

    #[test]
    fn a_narrative_may_format_text() {
        for inner in [
            "text",
            "<p>a <b>b</b> <i class=\"x\">c</i><br/></p>",
            "<table border='1'><tr><td rowspan=\"2\">1</td></tr></table>",
            "<a name=\"top\"/><a href=\"http://example.org?a=1&amp;b=2\">x</a>",
            "<img src=\"data:image/png;base64,AA==\" alt=\"x\"/>",
            "<img src='#pic' alt=''/>",
            "&lt;script&gt; &nbsp;&eacute; &#160; &#xA0;",
            "<!-- a comment --> x",
            "<p style=\"color: red\" xml:lang=\"en\">x</p>",
            "<p >a</p >",
            "é 日本",
        ] {
            assert_eq!(check(&div(inner)), Ok(()), "{inner}");
        }
        assert_eq!(check(&format!(" \n{}\n", div("x"))), Ok(()));
    }

    #[test]
    fn what_acts_or_is_no_formatting_breaks_txt_1() {
        for inner in [
            "<script>x</script>",
            "<form>x</form>",
            "<input/>",
            "<iframe src='x'/>",
            "<object/>",
            "<P>x</P>",
            "<x:p xmlns:x='u'>x</x:p>",
            "<style>x</style>",
            "<link/>",
            "<svg>x</svg>",
            "<p onclick='x'>x</p>",
            "<img onerror=\"x\" src=\"x\"/>",
            "<p foo='x'>x</p>",
            "<p xmlns='http://example.org'>x</p>",
            "<a href='javascript:x'>x</a>",
            "<a href=' JavaScript:x'>x</a>",
            "<a href='java&#10;script:x'>x</a>",
            "<a href='&#106;avascript&colon;x'>x</a>",
            "<a href='&#x6A;avascript:x'>x</a>",
            "<a href='vbscript:x'>x</a>",
            "<a href='data:text/html,x'>x</a>",
            "<img src='data:text/html,x'/>",
            "<p style='background: url(javascript:x)'>x</p>",
            "<p style='width: expression(x)'>x</p>",
        ] {
            let fault = check(&div(inner)).expect_err(inner);
            let is_entity = inner.contains("&colon;");
            let code = if is_entity { IssueCode::Structure } else { IssueCode::Invariant };
            assert_eq!(fault.code, code, "{inner}: {}", fault.rule);
        }
        for whole in ["<div>x</div>", "<div xmlns='x'>x</div>", "<p xmlns='x'>x</p>", "<p>x</p>"] {
            assert_eq!(check(whole).expect_err(whole).code, IssueCode::Invariant, "{whole}");
        }
    }

    #[test]
    fn a_narrative_has_content() {
        for inner in ["", "  \n", "<p/>", "<!-- x -->", "<p> <b/> </p>"] {
            let fault = check(&div(inner)).expect_err(inner);
            assert!(fault.rule.contains("txt-2"), "{inner}: {}", fault.rule);
        }
    }

    #[test]
    fn what_is_not_xml_is_malformed() {
        for inner in [
            "<p>x",
            "x</p>",
            "<b><i>x</b></i>",
            "<p",
            "<p a>x</p>",
            "<p class=x>x</p>",
            "<p class='x>x</p>",
            "<p class='a'id='b'>x</p>",
            "<p class='a' class='b'>x</p>",
            "<p class='<'>x</p>",
            "a & b",
            "&unknown;",
            "&#0;",
            "&#xD800;",
            "&#x110000;",
            "&#;",
            "&amp",
            "x ]]> y",
            "<![CDATA[x]]>",
            "<?php x ?>",
            "<!DOCTYPE div>",
            "<!-- a -- b -->",
            "<!-- a",
            "<>x</>",
            "< p>x</p>",
            "<1>x</1>",
            "a\u{1}b",
        ] {
            let fault = check(&div(inner)).expect_err(inner);
            assert_eq!(fault.code, IssueCode::Structure, "{inner}: {}", fault.rule);
        }
        let two = format!("{}{}", div("a"), div("b"));
        for whole in ["x", "", " ", "<div", two.as_str(), &format!("x{}", div("a"))] {
            assert!(check(whole).is_err(), "{whole}");
        }
    }
}
