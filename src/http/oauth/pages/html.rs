//! Markup that cannot be injected into: what is not written in this program is escaped.
//!
//! [`Html::raw`] takes literals only, so a text of a client, a user or a record can get into a page
//! by [`Html::text`] and [`Html::attribute`] alone, which escape.

/// A piece of a page.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Html(String);

impl Html {
    /// Nothing.
    pub(in crate::http) fn new() -> Self {
        Self::default()
    }

    /// Markup of this program.
    pub(in crate::http) fn raw(mut self, markup: &'static str) -> Self {
        self.0.push_str(markup);
        self
    }

    /// A text, escaped.
    pub(in crate::http) fn text(mut self, text: &str) -> Self {
        escape(text, &mut self.0);
        self
    }

    /// An attribute, inside a tag: a space, the name, and the value escaped.
    pub(in crate::http) fn attribute(mut self, name: &'static str, value: &str) -> Self {
        self.0.push(' ');
        self.0.push_str(name);
        self.0.push_str("=\"");
        escape(value, &mut self.0);
        self.0.push('"');
        self
    }

    /// Another piece.
    pub(in crate::http) fn with(mut self, piece: &Self) -> Self {
        self.0.push_str(&piece.0);
        self
    }

    /// One piece for each item.
    pub(in crate::http) fn each<T>(
        self,
        items: impl IntoIterator<Item = T>,
        piece: impl Fn(Self, T) -> Self,
    ) -> Self {
        items.into_iter().fold(self, piece)
    }

    /// `piece`, when `holds`.
    pub(in crate::http) fn when(self, holds: bool, piece: impl FnOnce(Self) -> Self) -> Self {
        if holds { piece(self) } else { self }
    }

    /// An element with a text in it.
    pub(in crate::http) fn element(
        self,
        open: &'static str,
        text: &str,
        close: &'static str,
    ) -> Self {
        self.raw(open).text(text).raw(close)
    }

    /// A field of a form that nobody sees.
    pub(in crate::http) fn hidden(self, name: &'static str, value: &str) -> Self {
        self.raw("<input type=\"hidden\"")
            .attribute("name", name)
            .attribute("value", value)
            .raw(">\n")
    }

    /// The text.
    pub(in crate::http) fn into_string(self) -> String {
        self.0
    }
}

/// Escapes for texts and quoted attributes alike. Control characters, which no markup may have, and
/// those that turn the direction of what follows, become visible.
fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            it if it.is_control() => out.push('\u{fffd}'),
            it => out.push(it),
        }
    }
}

/// A field of a form with its label, a hint and what is wrong with it.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Field<'a> {
    /// Its name in the form, and its id in the page.
    pub(in crate::http) name: &'static str,
    /// `text`, `password`, `date`.
    pub(in crate::http) kind: &'static str,
    /// What it is called.
    pub(in crate::http) label: &'static str,
    /// What helps to fill it in.
    pub(in crate::http) hint: &'a str,
    /// What is in it already.
    pub(in crate::http) value: &'a str,
    /// What a browser may fill in by itself.
    pub(in crate::http) autocomplete: &'static str,
    /// More attributes.
    pub(in crate::http) more: &'static str,
}

impl Html {
    /// A field.
    pub(in crate::http) fn field(self, field: Field<'_>) -> Self {
        let Field { name, kind, label, hint, value, autocomplete, more } = field;
        let hint_id = format!("{name}-hint");
        let html = self.raw("<div class=\"field\"><label").attribute("for", name);
        let html = html.raw(">").text(label).raw("</label>\n");
        let html = html.when(!hint.is_empty(), |html| {
            html.raw("<p class=\"hint\"")
                .attribute("id", &hint_id)
                .raw(">")
                .text(hint)
                .raw("</p>\n")
        });
        let html = html.raw("<input").attribute("id", name).attribute("name", name);
        let html = html.attribute("type", kind).attribute("autocomplete", autocomplete);
        let html = html.when(!value.is_empty(), |html| html.attribute("value", value));
        let html = html
            .when(!hint.is_empty(), |html| html.attribute("aria-describedby", &hint_id))
            .raw(" ")
            .raw(more);
        html.raw("></div>\n")
    }

    /// What went wrong, where it is read first.
    pub(in crate::http) fn alert(self, text: Option<&str>) -> Self {
        let Some(text) = text else { return self };
        self.raw("<div class=\"alert\" role=\"alert\" tabindex=\"-1\" id=\"alert\">")
            .raw("<h2>There is a problem</h2>\n")
            .element("<p>", text, "</p></div>\n")
    }
}

/// A whole page: its title is its heading.
pub(in crate::http) fn page(title: &str, content: &Html, with_script: bool) -> String {
    let head = Html::new()
        .raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
        .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
        .raw("<meta name=\"robots\" content=\"noindex\">\n")
        .raw("<meta name=\"color-scheme\" content=\"light dark\">\n<title>")
        .text(title)
        .raw(" - Kiln</title>\n<link rel=\"icon\" href=\"/auth/assets/mark.svg\">\n")
        .raw("<link rel=\"stylesheet\" href=\"/auth/assets/kiln.css\">\n");
    let head = head.when(with_script, |html| {
        html.raw("<script src=\"/auth/assets/security-key.js\" defer></script>\n")
    });
    head.raw("</head>\n<body>\n<a class=\"skip\" href=\"#main\">Skip to the content</a>\n")
        .raw("<header><img src=\"/auth/assets/mark.svg\" alt=\"\" width=\"28\" height=\"28\">")
        .raw("<span>Kiln</span></header>\n<main id=\"main\">\n<h1>")
        .text(title)
        .raw("</h1>\n")
        .with(content)
        .raw("</main>\n</body>\n</html>\n")
        .into_string()
}

/// A whole page for who runs the server: wide, with its ways above.
pub(in crate::http) fn console_page(title: &str, content: &Html, has_session: bool) -> String {
    Html::new()
        .raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
        .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
        .raw("<meta name=\"robots\" content=\"noindex\">\n")
        .raw("<meta name=\"color-scheme\" content=\"light dark\">\n<title>")
        .text(title)
        .raw(" - Kiln</title>\n<link rel=\"icon\" href=\"/v2/assets/mark.svg\">\n")
        .raw("<link rel=\"stylesheet\" href=\"/v2/assets/kiln.css\">\n")
        .raw("<link rel=\"stylesheet\" href=\"/v2/assets/console.css\">\n</head>\n")
        .raw("<body class=\"console\">\n<a class=\"skip\" href=\"#main\">Skip to the content</a>\n")
        .raw("<header><img src=\"/v2/assets/mark.svg\" alt=\"\" width=\"28\" height=\"28\">")
        .raw("<span>Kiln</span><nav aria-label=\"Pages\"><a href=\"/v2\">Messages</a>")
        .when(has_session, |html| html.raw(" <a href=\"/auth/logout\">Log out</a>"))
        .raw("</nav></header>\n<main id=\"main\">\n<h1>")
        .text(title)
        .raw("</h1>\n")
        .with(content)
        .raw("</main>\n</body>\n</html>\n")
        .into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_cannot_end_a_text_or_an_attribute() {
        let nasty = "\"><script>alert('x')</script>&\u{0}\u{202e}";
        let html = Html::new().raw("<p").attribute("title", nasty).raw(">").text(nasty);
        let escaped =
            "&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;\u{fffd}\u{fffd}";
        assert_eq!(html.into_string(), format!("<p title=\"{escaped}\">{escaped}"));
    }

    #[test]
    fn a_field_has_its_label_and_its_hint() {
        let field = Field {
            name: "code",
            kind: "text",
            label: "Code",
            hint: "Six digits",
            value: "<1>",
            autocomplete: "one-time-code",
            more: "required",
        };
        let html = Html::new().field(field).into_string();
        for part in [
            "<label for=\"code\">Code</label>",
            "id=\"code-hint\">Six digits",
            "aria-describedby=\"code-hint\"",
            "value=\"&lt;1&gt;\"",
            " required>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }

    #[test]
    fn a_page_says_its_language_and_has_one_heading_and_no_script() {
        let html = page("A & B", &Html::new().alert(Some("no")), false);
        assert!(html.contains("<html lang=\"en\">") && html.contains("<h1>A &amp; B</h1>"));
        assert!(!html.contains("<script") && !html.contains("style="), "{html}");
        assert!(page("A", &Html::new(), true).contains("<script src="));
    }
}
