//! JSON and XML, in and out: the two formats, and the XML mapping.
//!
//! JSON is the form of [`super::json`] itself; XML is read into the same tree and written from
//! it, driven by the element table. The only module that knows the XML library.
//!
//! Layer: 0. No I/O.
//!
//! Spec: <https://hl7.org/fhir/R4/formats.html>

pub mod xml;

/// A format that resources come and go in.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Format {
    /// <https://hl7.org/fhir/R4/json.html>
    Json,
    /// <https://hl7.org/fhir/R4/xml.html>
    Xml,
}

impl Format {
    /// FHIR's media type for the format.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/fhir+json",
            Self::Xml => "application/fhir+xml",
        }
    }

    /// The format that a media type names, without its parameters and in any case of letters:
    /// FHIR's own, the generic ones and those of DSTU2.
    pub fn from_media_type(essence: &str) -> Option<Self> {
        let names = [
            ("application/fhir+json", Self::Json),
            ("application/json", Self::Json),
            ("application/json+fhir", Self::Json),
            ("text/json", Self::Json),
            ("application/fhir+xml", Self::Xml),
            ("application/xml", Self::Xml),
            ("application/xml+fhir", Self::Xml),
            ("text/xml", Self::Xml),
        ];
        let found = names.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(essence));
        Some(found?.1)
    }

    /// The format that the parameter `_format` names: a media type (a `+` may have become a
    /// space on the way), `json` or `xml`.
    pub fn from_parameter(value: &str) -> Option<Self> {
        match value {
            "json" => Some(Self::Json),
            "xml" => Some(Self::Xml),
            other => Self::from_media_type(&other.replace(' ', "+")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_of_a_format_is_known() {
        for (name, expected) in [
            ("json", Some(Format::Json)),
            ("application/fhir+json", Some(Format::Json)),
            ("application/fhir json", Some(Format::Json)),
            ("Application/FHIR+JSON", Some(Format::Json)),
            ("text/json", Some(Format::Json)),
            ("xml", Some(Format::Xml)),
            ("application/xml+fhir", Some(Format::Xml)),
            ("text/xml", Some(Format::Xml)),
            ("application/fhir+turtle", None),
            ("text/html", None),
            ("", None),
        ] {
            assert_eq!(Format::from_parameter(name), expected, "{name}");
        }
        for format in [Format::Json, Format::Xml] {
            assert_eq!(Format::from_media_type(format.media_type()), Some(format));
        }
    }
}
