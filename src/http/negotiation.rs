//! Which form an answer takes and which form a body has: `_format`, `Accept`, `Content-Type`.
//!
//! `_format` beats `Accept` and never touches how a body is read. Nothing is ever sniffed.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#mime-type>, rest 1.12 to 1.28

use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::fhir::codec::Format;
use crate::fhir::{Issue, IssueCode};

use super::outcome::Failure;

/// A name under which an answer can go out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum MediaType {
    /// `application/fhir+json`
    #[default]
    FhirJson,
    /// `application/fhir+xml`
    FhirXml,
    /// `application/json`, answered by the name that was asked for.
    Json,
    /// `text/json`
    TextJson,
    /// `text/xml`
    TextXml,
    /// `application/xml`
    Xml,
}

impl MediaType {
    /// JSON or XML.
    pub fn format(self) -> Format {
        match self {
            Self::FhirJson | Self::Json | Self::TextJson => Format::Json,
            Self::FhirXml | Self::TextXml | Self::Xml => Format::Xml,
        }
    }

    /// The `Content-Type` of an answer.
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::FhirJson => "application/fhir+json;charset=utf-8",
            Self::FhirXml => "application/fhir+xml;charset=utf-8",
            Self::Json => "application/json;charset=utf-8",
            Self::TextJson => "text/json;charset=utf-8",
            Self::TextXml => "text/xml;charset=utf-8",
            Self::Xml => "application/xml;charset=utf-8",
        })
    }

    /// The media type called `name`, today's names and DSTU2's, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        Some(match () {
            () if is("application/fhir+json") || is("application/json+fhir") => Self::FhirJson,
            () if is("application/fhir+xml") || is("application/xml+fhir") => Self::FhirXml,
            () if is("application/json") => Self::Json,
            () if is("text/json") => Self::TextJson,
            () if is("application/xml") => Self::Xml,
            () if is("text/xml") => Self::TextXml,
            () => return None,
        })
    }

    /// Whether only FHIR uses the name, so that it cannot be meant for a Binary's own content.
    pub fn is_fhir(self) -> bool {
        matches!(self, Self::FhirJson | Self::FhirXml)
    }
}

/// Chooses the form of the answer from `_format` (decoded) and the `Accept` headers.
///
/// # Errors
/// [`Failure::NotAcceptable`] when nothing that was asked for is served.
pub fn answer(format: Option<&str>, headers: &HeaderMap) -> Result<MediaType, Failure> {
    if let Some(wanted) = format.filter(|text| !text.is_empty()) {
        return by_format(wanted);
    }
    let mut values = headers.get_all(ACCEPT).iter();
    let Some(first) = values.next() else { return Ok(MediaType::default()) };
    if values.next().is_none() {
        match first.as_bytes() {
            b"*/*" | b"application/fhir+json" | b"" => return Ok(MediaType::FhirJson),
            b"application/json" => return Ok(MediaType::Json),
            b"application/fhir+xml" => return Ok(MediaType::FhirXml),
            _ => {}
        }
    }
    let ranges = ranges(headers);
    let refused = || one_version(headers).err().unwrap_or_else(|| not_acceptable("Accept"));
    best(&ranges).ok_or_else(refused)
}

fn not_acceptable(what: &str) -> Failure {
    let text = format!(
        "{what} asks for a form that is not served: application/fhir+json and \
         application/fhir+xml of FHIR 4.0 are"
    );
    Failure::NotAcceptable(text)
}

/// `_format`: short names, media types, and media types whose `+` was read as a space (rest 1.16).
fn by_format(wanted: &str) -> Result<MediaType, Failure> {
    let (name, parameters) = wanted.split_once(';').unwrap_or((wanted, ""));
    let name = name.trim().replace(' ', "+");
    let version = parameter(parameters, "fhirversion");
    let known = match name.as_str() {
        "json" => Some(MediaType::FhirJson),
        "xml" => Some(MediaType::FhirXml),
        other => MediaType::from_name(other).map(|media_type| match media_type.format() {
            Format::Json => MediaType::FhirJson,
            Format::Xml => MediaType::FhirXml,
        }),
    };
    known.filter(|_| version.is_none_or(is_r4)).ok_or_else(|| not_acceptable("_format"))
}

/// One item of an `Accept` header.
#[derive(Debug)]
pub struct Range<'a> {
    /// The media range without its parameters: `text/html`, `*/*`.
    pub name: &'a str,
    quality: u16,
    version: Option<&'a str>,
}

/// The items of all `Accept` headers, best first, those with `q=0` last.
pub fn ranges(headers: &HeaderMap) -> Vec<Range<'_>> {
    let mut ranges = Vec::new();
    for value in headers.get_all(ACCEPT) {
        for item in value.to_str().unwrap_or_default().split(',') {
            let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
            let quality = parameter(parameters, "q").map_or(1000, thousandths);
            let version = parameter(parameters, "fhirversion");
            if !name.trim().is_empty() {
                ranges.push(Range { name: name.trim(), quality, version });
            }
        }
    }
    ranges.sort_by_key(|range| std::cmp::Reverse(range.quality));
    ranges
}

impl Range<'_> {
    /// Whether the client refuses the range (`q=0`).
    pub fn is_refused(&self) -> bool {
        self.quality == 0
    }
}

/// The best form among `ranges`; a browser, which names HTML first, gets JSON where it takes anything.
fn best(ranges: &[Range<'_>]) -> Option<MediaType> {
    let refused = |media_type: MediaType| {
        ranges
            .iter()
            .any(|range| range.is_refused() && MediaType::from_name(range.name) == Some(media_type))
    };
    let wild = || {
        let defaults = [MediaType::FhirJson, MediaType::FhirXml];
        defaults.into_iter().find(|&media_type| !refused(media_type))
    };
    let wanted = || ranges.iter().filter(|range| !range.is_refused());
    let from_browser = wanted().any(|range| range.name.eq_ignore_ascii_case("text/html"));
    if from_browser && wanted().any(|range| range.name == "*/*") {
        return wild();
    }
    wanted().filter(|range| range.version.is_none_or(is_r4)).find_map(|range| match range.name {
        "*/*" | "application/*" => wild(),
        "text/*" => Some(MediaType::TextJson),
        name => MediaType::from_name(name),
    })
}

/// `q` in thousandths; an unreadable one counts as 1.
fn thousandths(text: &str) -> u16 {
    let quality: f32 = text.parse().unwrap_or(1.0);
    (quality.clamp(0.0, 1.0) * 1000.0) as u16
}

/// The value of the parameter `name` (lower case) in `a=b; c="d"`, without quotes.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|item| {
        let (key, value) = item.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

fn is_r4(version: &str) -> bool {
    matches!(version, "4.0" | "4.0.0" | "4.0.1")
}

/// What a body claims to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ContentType<'a> {
    /// The media type without its parameters, as sent.
    pub name: &'a str,
    /// Its parameters as sent.
    pub parameters: &'a str,
}

impl<'a> ContentType<'a> {
    /// Reads `Content-Type`; `None` when it was not sent.
    pub fn read(headers: &'a HeaderMap) -> Option<Self> {
        let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
        Some(Self { name: name.trim(), parameters }).filter(|found| !found.name.is_empty())
    }

    /// Whether the media type is `name`.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Checks the parameters that every FHIR body must keep: UTF-8 and FHIR 4.0.
    ///
    /// # Errors
    /// [`Failure::UnsupportedMediaType`], or 400 when `Accept` names another FHIR version.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Failure> {
        if let Some(charset) = parameter(self.parameters, "charset")
            && !charset.eq_ignore_ascii_case("utf-8")
        {
            let text = format!("charset {charset:?} is not read: FHIR is UTF-8");
            return Err(Failure::UnsupportedMediaType(text));
        }
        one_version(headers)?;
        match parameter(self.parameters, "fhirversion") {
            Some(version) if !is_r4(version) => {
                let text = format!("fhirVersion {version} is not served: 4.0 is");
                Err(Failure::UnsupportedMediaType(text))
            }
            _ => Ok(()),
        }
    }
}

/// A request is of one FHIR version, in what it sends and in what it takes (rest 1.27).
fn one_version(headers: &HeaderMap) -> Result<(), Failure> {
    let sent = ContentType::read(headers);
    let Some(version) = sent.and_then(|sent| parameter(sent.parameters, "fhirversion")) else {
        return Ok(());
    };
    let accepted = ranges(headers);
    let mut others = accepted.iter().filter_map(|range| range.version);
    match others.find(|other| is_r4(other) != is_r4(version)) {
        Some(other) => {
            let text = format!("fhirVersion is {version} in Content-Type and {other} in Accept");
            Err(Failure::from(Issue::error(IssueCode::Invalid, text)))
        }
        None => Ok(()),
    }
}

/// The form of a body that must be a FHIR resource.
///
/// # Errors
/// [`Failure::UnsupportedMediaType`] for a missing or other `Content-Type`, another charset or
/// FHIR version.
pub fn body(headers: &HeaderMap) -> Result<Format, Failure> {
    let Some(content_type) = ContentType::read(headers) else {
        let what = if headers.contains_key(CONTENT_TYPE) { "no media type" } else { "missing" };
        let text = format!("Content-Type is {what}: application/fhir+json or application/fhir+xml");
        return Err(Failure::UnsupportedMediaType(text));
    };
    let Some(media_type) = MediaType::from_name(content_type.name) else {
        let text = format!(
            "Content-Type {:?} is not read: application/fhir+json and application/fhir+xml are",
            content_type.name
        );
        return Err(Failure::UnsupportedMediaType(text));
    };
    content_type.check(headers)?;
    Ok(media_type.format())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (ACCEPT, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_answer_takes_the_best_form_asked_for() {
        use MediaType::{FhirJson, FhirXml, Json, TextJson, TextXml, Xml};
        for (values, expected) in [
            (&[][..], Some(FhirJson)),
            (&["*/*"], Some(FhirJson)),
            (&["application/fhir+json"], Some(FhirJson)),
            (&["application/fhir+xml"], Some(FhirXml)),
            (&["application/json"], Some(Json)),
            (&["text/json"], Some(TextJson)),
            (&["application/xml"], Some(Xml)),
            (&["text/xml"], Some(TextXml)),
            (&["application/json+fhir"], Some(FhirJson)),
            (&["application/xml+fhir"], Some(FhirXml)),
            (&["Application/FHIR+JSON; charset=utf-16"], Some(FhirJson)),
            (&["application/fhir+xml;q=0.5, application/fhir+json"], Some(FhirJson)),
            (&["application/fhir+xml, application/fhir+json"], Some(FhirXml)),
            (&["application/fhir+json;q=0, */*"], Some(FhirXml)),
            (&["application/fhir+json;q=0"], None),
            (&["application/pdf"], None),
            (&["application/pdf", "application/fhir+xml"], Some(FhirXml)),
            (&["application/pdf, */*;q=0.1"], Some(FhirJson)),
            (&["text/turtle"], None),
            (&["application/fhir+json; fhirVersion=4.0"], Some(FhirJson)),
            (&["application/fhir+json; fhirVersion=3.0"], None),
            (&["application/fhir+json; fhirVersion=5.0"], None),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Some(FhirJson)),
        ] {
            assert_eq!(answer(None, &accept(values)).ok(), expected, "{values:?}");
        }
    }

    #[test]
    fn format_beats_accept_and_forgives_a_raw_plus() {
        use MediaType::{FhirJson, FhirXml};
        let headers = accept(&["application/fhir+xml"]);
        for (format, expected) in [
            ("json", Some(FhirJson)),
            ("application/json", Some(FhirJson)),
            ("application/fhir+json", Some(FhirJson)),
            ("application/fhir json", Some(FhirJson)),
            ("application/fhir+json; fhirVersion=4.0", Some(FhirJson)),
            ("application/fhir+json; fhirVersion=3.0", None),
            ("xml", Some(FhirXml)),
            ("text/xml", Some(FhirXml)),
            ("application/xml", Some(FhirXml)),
            ("application/fhir xml", Some(FhirXml)),
            ("", Some(FhirXml)),
            ("ttl", None),
            ("foo", None),
        ] {
            assert_eq!(answer(Some(format), &headers).ok(), expected, "{format:?}");
        }
    }

    #[test]
    fn two_versions_in_one_request_are_a_bad_request() {
        let json = |version| HeaderValue::from_static(version);
        for (sent, accepted, status) in [
            (
                "application/fhir+json; fhirVersion=4.0",
                "application/fhir+json;fhirVersion=3.0",
                400,
            ),
            ("application/fhir+json", "application/fhir+json;fhirVersion=3.0", 406),
            ("application/fhir+json; fhirVersion=4.0", "application/pdf", 406),
        ] {
            let headers =
                HeaderMap::from_iter([(CONTENT_TYPE, json(sent)), (ACCEPT, json(accepted))]);
            let found = answer(None, &headers).map_err(|failure| failure.status().as_u16());
            assert_eq!(found, Err(status), "{sent} {accepted}");
        }
    }

    #[test]
    fn a_body_must_say_that_it_is_fhir_in_utf_8() {
        for (content_type, accepted, expected) in [
            (None, None, Err(415)),
            (Some("application/fhir+json"), None, Ok(Format::Json)),
            (Some("application/fhir+xml; charset=UTF-8"), None, Ok(Format::Xml)),
            (Some("application/json+fhir"), None, Ok(Format::Json)),
            (Some("application/json;charset=\"utf-8\""), None, Ok(Format::Json)),
            (Some("text/plain"), None, Err(415)),
            (Some("application/fhir+json; charset=ISO-8859-1"), None, Err(415)),
            (Some("application/fhir+json; fhirVersion=4.0"), None, Ok(Format::Json)),
            (Some("application/fhir+json; fhirVersion=3.0"), None, Err(415)),
            (
                Some("application/fhir+json; fhirVersion=3.0"),
                Some("application/fhir+json; fhirVersion=4.0"),
                Err(400),
            ),
            (Some(""), None, Err(415)),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(text) = content_type {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(text));
            }
            if let Some(text) = accepted {
                headers.insert(ACCEPT, HeaderValue::from_static(text));
            }
            let found = body(&headers).map_err(|failure| failure.status().as_u16());
            assert_eq!(found, expected, "{content_type:?} {accepted:?}");
        }
    }

    #[test]
    fn a_content_type_that_is_no_text_is_not_called_missing() {
        for (sent, told) in [(None, "missing"), (Some(&b"text/pl\xe9in"[..]), "no media type")] {
            let sent =
                sent.map(|bytes| (CONTENT_TYPE, HeaderValue::from_bytes(bytes).expect("value")));
            let refused = body(&sent.into_iter().collect());
            let text = match refused {
                Err(Failure::UnsupportedMediaType(text)) => text,
                other => panic!("{other:?}"),
            };
            assert!(text.contains(told), "{text}");
        }
    }
}
