//! Uris and canonicals.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#uri> (rest 4.125, 4.141 to 4.145, 4.165)

use crate::fhir::Canonical;
use crate::fhir::reference::Target;
use crate::search::extract::{Kind, Shape};
use crate::search::values::uri::is_hierarchical;

use super::Filter;
use super::compare::{AskedUri, Comparison};
use super::criterion::{Criteria, Raw, Refusal, collect, unfit};
use super::fault::Reason;
use super::parameter::Parameter;

/// Longest uri of `:above`, in characters: each of its beginnings is looked for.
const MAX_BEGINNINGS: usize = 2_000;

impl Criteria<'_> {
    pub(super) fn uri_by(
        &mut self,
        parameter: &Parameter<'_>,
        modifier: Option<&str>,
        value: &str,
    ) -> Result<Filter, Refusal> {
        let shape = parameter.shape();
        match modifier {
            None if &*parameter.code == "url" && value.contains('|') => {
                self.versioned(parameter, value)
            }
            None if &*parameter.code == "_source" => self.any_of(parameter, value, |_, raw| {
                let text = raw.plain()?;
                // The fragment of a source counts only when it is asked for.
                let mut found = vec![is(Canonical::literal(&text))];
                if !text.contains('#') {
                    found.push(AskedUri::Below(format!("{text}#").into()));
                }
                Ok(found.into_iter().map(Comparison::Uri).collect())
            }),
            None => self.any_of(parameter, value, |criteria, raw| criteria.uri(shape, raw)),
            Some("above") => self.any_of(parameter, value, |_, raw| {
                let text = raw.plain()?;
                let (count, limit) = (text.chars().count(), MAX_BEGINNINGS);
                if count > limit {
                    let what = "characters of a uri whose beginnings are looked for";
                    return Err(Reason::TooMany { what, count, limit });
                }
                Ok(within(text, AskedUri::Above))
            }),
            Some("below") => self.any_of(parameter, value, |_, raw| {
                let text = raw.plain()?;
                Ok(match version_below(&text) {
                    Some(found) if shape.may_be(Kind::Canonical) => vec![Comparison::Uri(found)],
                    _ => within(text, AskedUri::Below),
                })
            }),
            Some(modifier) => Err(unfit(modifier, ":above, :below, :missing").into()),
        }
    }

    pub(super) fn uri(&self, shape: &Shape<'_>, raw: Raw<'_>) -> Result<Vec<Comparison>, Reason> {
        let text = raw.plain()?;
        let mut found = Vec::new();
        let parsed = Canonical::parse(&text);
        if shape.may_be(Kind::Canonical) {
            found.push(is(parsed));
            // What is here may also be named by its path alone (rest 4.125).
            let base = self.context.extractor.base();
            if let Target::Local { .. } = Target::parse(parsed.url, base)
                && !parsed.url.contains("://")
            {
                let url = format!("{base}/{}", parsed.url);
                found.push(is(Canonical { url: &url, ..parsed }));
            }
        }
        let literal = Canonical::literal(&text);
        if shape.may_be(Kind::Uri) && (found.is_empty() || parsed != literal) {
            found.push(is(literal));
        }
        Ok(found.into_iter().map(Comparison::Uri).collect())
    }

    /// `url=http://..|1.0`: the version is another parameter of what has a url (rest 4.145).
    fn versioned(&mut self, url: &Parameter<'_>, value: &str) -> Result<Filter, Refusal> {
        let types: Vec<_> = url.keys.iter().map(|key| key.resource_type).collect();
        let version = Parameter::find(self.context.extractor, &types, "version");
        let values = self.values(value)?;
        let filters = collect(values, |raw| {
            let text = raw.plain()?;
            let parsed = Canonical::parse(&text);
            match (&version, parsed.version) {
                (Ok(parameter), Some(version)) => {
                    let address = is(Canonical::literal(parsed.url));
                    let text = super::escape::Escaped(version).to_string();
                    let asked = self.plain(parameter.shapes(), Raw { text: &text, ..raw })?;
                    let address = url.test(vec![Comparison::Uri(address)]);
                    Ok(Filter::All(vec![address, parameter.test(asked)]))
                }
                _ => Ok(url.test(self.uri(url.shape(), raw)?)),
            }
        })?;
        Ok(Filter::any(filters))
    }
}

/// A uri that is looked for as it is; a canonical of any version, unless one is named.
pub(super) fn is(canonical: Canonical<'_>) -> AskedUri {
    AskedUri::Is {
        url: canonical.url.into(),
        version: canonical.version.map(Into::into),
        is_version_below: false,
        fragment: canonical.fragment.map(Into::into),
    }
}

/// A canonical whose version begins so (rest 4.121); `None` without a version.
pub(super) fn version_below(text: &str) -> Option<AskedUri> {
    let Canonical { url, version: Some(version), .. } = Canonical::parse(text) else {
        return None;
    };
    let (url, version) = (url.into(), Some(version.into()));
    Some(AskedUri::Is { url, version, is_version_below: true, fragment: None })
}

/// What has no hierarchy is neither above nor below anything (rest 4.142).
pub(super) fn within(text: Box<str>, form: fn(Box<str>) -> AskedUri) -> Vec<Comparison> {
    if is_hierarchical(&text) { vec![Comparison::Uri(form(text))] } else { Vec::new() }
}
