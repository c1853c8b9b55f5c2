//! The segments of a message beside the resources that they make, with the rule behind each element.
//!
//! It is made anew by the maps of now. Where those are not the ones that the message was done by, the
//! page says so.

use std::collections::HashMap;

use crate::engine::MessageView;
use crate::fhir::json::Value;
use crate::hl7v2::charset::Charset;
use crate::hl7v2::er7::{Message, Reading};
use crate::hl7v2::heading::Heading;
use crate::hl7v2::map::{Draft, DraftResource, Write};
use crate::http::oauth::pages::html::Html;
use crate::http::server::Server;

/// Longest field and longest value that are shown whole, in characters.
const LONGEST: usize = 240;

/// An element that was made of a field.
struct Made<'a> {
    resource: &'a DraftResource,
    write: &'a Write,
}

/// Adds the message and what it makes.
pub(super) fn shown(html: Html, server: &Server, view: &MessageView) -> Html {
    let Some(raw) = &view.raw else {
        return html.raw("<p>The text of this message is not kept, or it repeats another.</p>\n");
    };
    let charset = Charset::named(&view.charset).unwrap_or_default();
    let Ok(read) = Charset::read_lossy(raw, charset) else { return unreadable(html, raw) };
    let Ok(message) = Message::parse(&read.text, read.charset, Reading::Lenient) else {
        return unreadable(html, raw);
    };
    let heading = Heading::of(&message);
    let certificate = view.tls_subject.as_deref().unwrap_or_default();
    let maps = server.messages.maps_of(&heading, &view.row.listener, certificate);
    let message = match &maps {
        Some(maps) => message.with_escapes(&maps.site().escapes),
        None => message,
    };
    let draft = maps.as_ref().and_then(|maps| maps.traced(&message)).unwrap_or_default();
    let is_other = view.map_hash.as_ref().is_some_and(|hash| *hash != draft.map_hash);
    let html = html.when(is_other, |html| {
        html.raw("<div class=\"notice\"><p>The maps have changed since: below is what those of ")
            .raw("now make of the message.</p></div>\n")
    });
    let made = by_field(&message, &draft);
    let html = html.raw("<div class=\"beside\">\n");
    let html = segments(html, &message, &made, &draft);
    let html = resources(html, &draft);
    html.raw("</div>\n")
}

fn unreadable(html: Html, raw: &[u8]) -> Html {
    let text: String = raw.iter().take(4_096).map(|byte| char::from(*byte)).collect();
    html.raw("<section aria-labelledby=\"raw\">\n<h2 id=\"raw\">What was received</h2>\n")
        .raw("<pre tabindex=\"0\" aria-label=\"What was received\"><code>")
        .text(&text.replace('\r', "\n"))
        .raw("</code></pre>\n</section>\n")
}

/// `PID` and 5 of `PID-5[*].1`.
fn field_of(source: &str) -> Option<(&str, u16)> {
    let (segment, rest) = source.split_once('-')?;
    let segment = segment.split('[').next().unwrap_or_default();
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((segment, rest[..end].parse().ok()?))
}

/// Elements by the place of the segment in the message, and the field.
fn by_field<'a>(message: &Message<'_>, draft: &'a Draft) -> HashMap<(usize, u16), Vec<Made<'a>>> {
    let mut made: HashMap<_, Vec<Made<'a>>> = HashMap::new();
    for resource in &draft.resources {
        for write in &resource.writes {
            for (name, field) in write.sources.iter().filter_map(|source| field_of(source)) {
                for segment in message.named(name) {
                    let at = segment.position();
                    // What stands for a value is made once, whatever segment it came in first.
                    if write.segments.is_empty() || write.segments.contains(&at) {
                        made.entry((at, field)).or_default().push(Made { resource, write });
                    }
                }
            }
        }
    }
    made
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}... ({} characters)", &text[..end], text.chars().count()),
    }
}

fn segments(
    html: Html,
    message: &Message<'_>,
    made: &HashMap<(usize, u16), Vec<Made<'_>>>,
    draft: &Draft,
) -> Html {
    let html =
        html.raw("<section aria-labelledby=\"segments\">\n<h2 id=\"segments\">The message</h2>\n");
    html.each(message.segments(), |html, segment| {
        let place = segment.place();
        let html = html
            .raw("<h3>")
            .text(&format!("{} {}", place.segment, place.sequence))
            .raw("</h3>\n<table class=\"cards fields\">\n<thead><tr><th scope=\"col\">Field</th>")
            .raw(
                "<th scope=\"col\">Value</th><th scope=\"col\">Makes</th></tr></thead>\n<tbody>\n",
            );
        let valued = segment.fields().filter(|field| field.is_valued() || field.is_null());
        html.each(valued, |html, field| {
            let number = field.place().field;
            let elements = made.get(&(segment.position(), number));
            let place = format!("{}[{}]-{number}", place.segment, place.sequence);
            let unmapped = draft.unmapped.iter().filter_map(|one| one.strip_prefix(&place));
            // The whole field, or repetitions of it: `[2]`.
            let unmapped: Vec<_> =
                unmapped.filter(|rest| rest.is_empty() || rest.starts_with('[')).collect();
            html.raw("<tr><td data-label=\"Field\">")
                .text(&number.to_string())
                .raw("</td><td data-label=\"Value\"><code>")
                .text(&cut(field.raw()))
                .raw("</code></td><td data-label=\"Makes\">")
                .each(unmapped, |html, rest| {
                    let html = html.raw("<em>");
                    let html = if rest.is_empty() { html } else { html.text(rest).raw(" ") };
                    html.raw("not mapped</em> ")
                })
                .each(elements.into_iter().flatten(), element)
                .raw("</td></tr>\n")
        })
        .raw("</tbody></table>\n")
    })
    .raw("</section>\n")
}

fn element(html: Html, made: &Made<'_>) -> Html {
    html.raw("<span class=\"made\"><a")
        .attribute("href", &format!("#{}", anchor(made.resource)))
        .raw(">")
        .text(&made.resource.resource_type)
        .raw("</a>.")
        .text(&made.write.path)
        .raw("</span> ")
}

/// The id of a resource in the page.
fn anchor(resource: &DraftResource) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("r-{}", resource.name.chars().map(plain).collect::<String>())
}

fn resources(html: Html, draft: &Draft) -> Html {
    let html = html
        .raw("<section aria-labelledby=\"resources\">\n")
        .raw("<h2 id=\"resources\">The resources</h2>\n")
        .when(draft.resources.is_empty(), |html| html.raw("<p>It makes none.</p>\n"));
    html.each(&draft.resources, |html, resource| {
        let body = Value::Object(resource.body.clone());
        let html = html
            .raw("<h3 tabindex=\"-1\"")
            .attribute("id", &anchor(resource))
            .raw(">")
            .text(&resource.resource_type)
            .raw(" <span class=\"soft\">")
            .text(&resource.name)
            .raw("</span></h3>\n<table class=\"cards elements\">\n<thead><tr><th scope=\"col\">Element</th>")
            .raw("<th scope=\"col\">Value</th><th scope=\"col\">Rule</th>")
            .raw("<th scope=\"col\">Reads</th></tr></thead>\n<tbody>\n");
        html.each(&resource.writes, |html, write| {
            let value = value_at(&body, &write.path);
            html.raw("<tr><td data-label=\"Element\">")
                .text(&write.path)
                .raw("</td><td data-label=\"Value\"><code>")
                .text(&cut(&value))
                .raw("</code></td><td data-label=\"Rule\">")
                .text(&write.rule)
                .raw("</td><td data-label=\"Reads\">")
                .text(&write.sources.join(" "))
                .raw("</td></tr>\n")
        })
        .raw("</tbody></table>\n")
    })
    .raw("</section>\n")
}

/// What stands at a path such as `name[0].given`.
fn value_at(resource: &Value<'static>, path: &str) -> String {
    let mut at = resource;
    for step in path.split('.') {
        let (name, number) = match step.split_once('[') {
            Some((name, number)) => (name, number.trim_end_matches(']').parse::<usize>().ok()),
            None => (step, None),
        };
        let Some(found) = at.get(name) else { return String::new() };
        at = match (number, found.as_array()) {
            (Some(number), Some(all)) => match all.get(number) {
                Some(one) => one,
                None => return String::new(),
            },
            _ => found,
        };
    }
    let mut words = Vec::new();
    leaves(at, &mut words);
    words.join(" ")
}

/// What is in a value, without the names of its parts.
fn leaves(value: &Value<'static>, words: &mut Vec<String>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| leaves(one, words)),
        Value::Object(parts) => parts.iter().for_each(|(_, part)| leaves(part, words)),
        leaf => words.push(leaf.as_str().map_or_else(|| leaf.to_text(), str::to_owned)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_say_segment_and_field() {
        for (source, expected) in [
            ("PID-5[*].1", Some(("PID", 5))),
            ("OBX[2]-11", Some(("OBX", 11))),
            ("PID", None),
            ("PID-", None),
            ("", None),
        ] {
            assert_eq!(field_of(source), expected, "{source}");
        }
    }

    #[test]
    fn values_are_found_by_their_paths() {
        let text = br#"{"name":[{"family":"A","given":["B","C"]}],"active":true}"#;
        let resource = crate::fhir::json::parse(text).unwrap().into_owned();
        for (path, expected) in [
            ("active", "true"),
            ("name[0].family", "A"),
            ("name[0].given[1]", "C"),
            ("name[0].given", "B C"),
            ("name", "A B C"),
            ("name[1]", ""),
            ("nothing.at", ""),
        ] {
            assert_eq!(value_at(&resource, path), expected, "{path}");
        }
    }
}
