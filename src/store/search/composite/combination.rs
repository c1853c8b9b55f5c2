//! Composites of which one row has all parts: any parts in any order, which hold for one element.
//!
//! The row is found by the text of the first part that has one, as far as the question names it, and by
//! the lower end of the first date or number behind that; then the parts are compared as JSON. So a search
//! looks at the rows of one code, name or reference, and at all of the parameter's where there is none:
//! like any other condition that no index answers.

use crate::error::Error;
use crate::search::request::compare::{
    AskedReference, AskedToken, AskedUnit, AskedUri, Comparison, Part,
};
use crate::search::request::prefix::Prefix;
use crate::search::values::date::DateRange;
use crate::search::values::number::Asked;
use crate::search::values::token::Code;
use crate::store::index::MAX_STRING;
use crate::store::index::combination::{
    BEFORE_END, BEHIND_ENDS, code_text, moment, sorted_moment, sorted_number, target_text, text,
};

use super::super::atom::{Atom, HERE};
use super::super::compile::Compiler;
use super::super::sql::Bind;
use super::super::string::range;
use super::super::{date, number};

/// What `str.v` has to be.
enum FoundBy {
    /// One of these.
    Any(Vec<String>),
    /// A text that begins so.
    Begins(String),
    /// Whatever it is.
    Unknown,
}

impl Compiler<'_, '_> {
    /// The atom of a composite whose rows are under `hashes`.
    pub(super) fn combination(
        &mut self,
        parts: &[Comparison],
        hashes: Vec<i64>,
    ) -> Result<Atom, Error> {
        let mut all = Vec::with_capacity(parts.len());
        for (at, asked) in parts.iter().enumerate() {
            all.push(self.part(asked, &format!("g.p->{at}"))?);
        }
        let found_by = self.is_found_by(parts);
        // Texts of other rows are no JSON, whatever is asked of a row first.
        let is_here = self.binds.is_one_of(&format!("{HERE}h"), &hashes);
        let condition = format!(
            "{found_by}EXISTS (SELECT FROM (SELECT CASE WHEN {is_here} THEN {HERE}whole::jsonb END \
             OFFSET 0) g(p) WHERE {})",
            all.join(" AND ")
        );
        Ok(Atom::value("str", hashes, condition))
    }

    /// The condition that an index serves (`.. AND `).
    fn is_found_by(&mut self, parts: &[Comparison]) -> String {
        let ends = parts.iter().find_map(lower_bounds);
        let texts = match parts.iter().find_map(|part| self.found_by(part)) {
            Some(FoundBy::Any(texts)) => texts,
            Some(FoundBy::Begins(text)) => {
                return format!("{} AND ", range(&text, &mut self.binds));
            }
            Some(FoundBy::Unknown) => return String::new(),
            None => vec![String::new()],
        };
        let Some((from, to)) = ends else {
            return format!("{HERE}v = ANY ({}) AND ", self.binds.add(Bind::Texts(texts)));
        };
        let mut any = Vec::with_capacity(texts.len());
        for text in texts {
            let from = format!("{text}{BEFORE_END}{}", from.as_deref().unwrap_or_default());
            let to = match &to {
                Some(to) => format!("{text}{BEFORE_END}{to}"),
                None => format!("{text}{BEHIND_ENDS}"),
            };
            let (from, to) = (self.binds.text(from), self.binds.text(to));
            any.push(format!("({HERE}v >= {from} AND {HERE}v <= {to})"));
        }
        format!("({}) AND ", any.join(" OR "))
    }

    /// The condition that the part at `at` of a row is what is asked for.
    fn part(&mut self, asked: &Comparison, at: &str) -> Result<String, Error> {
        Ok(match asked {
            Comparison::Date { prefix, range } => self.date_part(*prefix, range, at),
            Comparison::Number { prefix, asked } => self.between(*prefix, asked, at, ("l", "h")),
            Comparison::Quantity { prefix, asked, unit } => {
                self.quantity_part((*prefix, asked), unit, at)
            }
            Comparison::Reference(AskedReference::Canonical(asked)) | Comparison::Uri(asked) => {
                self.uri_part(asked, at)?
            }
            Comparison::Reference(AskedReference::Local { resource_type, id, version }) => {
                let target = self.is("r", at, target_text(*resource_type, id));
                match version {
                    Some(version) => {
                        format!("{target} AND {}", self.is("v", at, version.to_string()))
                    }
                    None => target,
                }
            }
            Comparison::Reference(AskedReference::Url(url)) => {
                let url = text(self.hasher, url).into_owned();
                self.is("u", at, url)
            }
            Comparison::String { part: Part::Start, text, is_exact: false } => {
                if text.len() > MAX_STRING {
                    return Err(Error::NotSupported(format!(
                        "a text in a composite has at most {MAX_STRING} bytes"
                    )));
                }
                format!("starts_with({at}->>'t', {})", self.binds.text(&**text))
            }
            Comparison::Token(asked) => self.token_part(asked, at)?,
            Comparison::Composite(_)
            | Comparison::In { .. }
            | Comparison::Position { .. }
            | Comparison::Present
            | Comparison::Reference(AskedReference::Identifier(_))
            | Comparison::String { .. }
            | Comparison::Subsumes { .. }
            | Comparison::Text(_) => return Err(none()),
        })
    }

    /// A text of the part is this one.
    fn is(&mut self, name: &str, at: &str, text: String) -> String {
        let (name, text) = (self.binds.text(name), self.binds.text(text));
        format!("{at}->>{name} = {text}")
    }

    fn date_part(&mut self, prefix: Prefix, range: &DateRange, at: &str) -> String {
        let (low, high) = (format!("({at}->>'l')::bigint"), format!("({at}->>'h')::bigint"));
        let mut bound = |edge| self.binds.long(moment(edge));
        let condition = date::compare(prefix, range, &low, &high, &mut bound);
        format!("({condition})")
    }

    /// The number whose ends are called so compares as was asked.
    fn between(
        &mut self,
        prefix: Prefix,
        asked: &Asked,
        at: &str,
        (low, high): (&str, &str),
    ) -> String {
        let low = format!("({at}->>{})::numeric", self.binds.text(low));
        let high = format!("({at}->>{})::numeric", self.binds.text(high));
        let condition = number::compare(prefix, asked, &low, &high, &mut self.binds);
        format!("({condition})")
    }

    fn quantity_part(
        &mut self,
        (prefix, given): (Prefix, &Asked),
        unit: &AskedUnit,
        at: &str,
    ) -> String {
        let hasher = self.hasher;
        let kept = |of: &str| text(hasher, of).into_owned();
        match unit {
            AskedUnit::Any => self.between(prefix, given, at, ("l", "h")),
            AskedUnit::Base { asked, unit } => {
                let compared = self.between(prefix, asked, at, ("bl", "bh"));
                format!("{compared} AND {}", self.is("b", at, unit.to_string()))
            }
            AskedUnit::Coded { system, code } => {
                let (system, code) = (kept(system), kept(code));
                let compared = self.between(prefix, given, at, ("l", "h"));
                let of_system = self.is("s", at, system);
                format!("{compared} AND {of_system} AND {}", self.is("c", at, code))
            }
            AskedUnit::Named(name) => {
                let name = kept(name);
                let compared = self.between(prefix, given, at, ("l", "h"));
                let is_code = self.is("c", at, name.clone());
                let is_name = self.is("n", at, name);
                format!("{compared} AND ({is_code} OR {is_name})")
            }
            AskedUnit::OfSystem(system) => {
                let system = kept(system);
                let compared = self.between(prefix, given, at, ("l", "h"));
                format!("{compared} AND {}", self.is("s", at, system))
            }
        }
    }

    fn token_part(&mut self, asked: &AskedToken, at: &str) -> Result<String, Error> {
        let of_system = match asked {
            AskedToken::Code(_) => None,
            AskedToken::Coded { system, .. } | AskedToken::System(system) => {
                let system = text(self.hasher, system).into_owned();
                Some(self.is("s", at, system))
            }
            AskedToken::WithoutSystem(_) => Some(format!("{at}->>'s' IS NULL")),
            AskedToken::Begins { .. } | AskedToken::OfType { .. } => return Err(none()),
        };
        let codes = self.codes(asked);
        let is_code = (!codes.is_empty())
            .then(|| format!("{at}->>'c' = ANY ({})", self.binds.add(Bind::Texts(codes))));
        Ok(of_system.into_iter().chain(is_code).collect::<Vec<_>>().join(" AND "))
    }

    /// The codes that a token may be, as rows have them; none where it may be any.
    fn codes(&self, asked: &AskedToken) -> Vec<String> {
        let codes = match asked {
            AskedToken::Code(codes) | AskedToken::WithoutSystem(codes) => &codes[..],
            AskedToken::Coded { code, .. } => std::slice::from_ref(code),
            AskedToken::Begins { .. } | AskedToken::OfType { .. } | AskedToken::System(_) => &[],
        };
        codes.iter().map(|code: &Code<'_>| code_text(self.hasher, code)).collect()
    }

    fn uri_part(&mut self, asked: &AskedUri, at: &str) -> Result<String, Error> {
        let AskedUri::Is { url, version, is_version_below: false, fragment } = asked else {
            return Err(none());
        };
        let texts = self.urls(url, fragment.as_deref().filter(|_| version.is_none()));
        let is_url = format!("{at}->>'u' = ANY ({})", self.binds.add(Bind::Texts(texts)));
        let Some(version) = version else { return Ok(is_url) };
        let version = text(self.hasher, version).into_owned();
        Ok(format!("{is_url} AND {}", self.is("v", at, version)))
    }

    /// A url as rows have it. Without a version, a fragment is stored as a part of it.
    fn urls(&self, url: &str, fragment: Option<&str>) -> Vec<String> {
        let whole = fragment.map(|fragment| format!("{url}#{fragment}"));
        let all = std::iter::once(url).chain(whole.as_deref());
        all.map(|url| text(self.hasher, url).into_owned()).collect()
    }

    /// What rows are found by, as far as a part tells; `None`: they are found by another.
    fn found_by(&self, asked: &Comparison) -> Option<FoundBy> {
        Some(match asked {
            Comparison::Reference(AskedReference::Canonical(asked)) | Comparison::Uri(asked) => {
                let AskedUri::Is { url, version, fragment, .. } = asked else {
                    return Some(FoundBy::Unknown);
                };
                let fragment = fragment.as_deref().filter(|_| version.is_none());
                FoundBy::Any(self.urls(url, fragment))
            }
            Comparison::Reference(AskedReference::Local { resource_type, id, .. }) => {
                FoundBy::Any(vec![target_text(*resource_type, id)])
            }
            Comparison::Reference(AskedReference::Url(url)) => FoundBy::Any(self.urls(url, None)),
            Comparison::Reference(AskedReference::Identifier(_)) => FoundBy::Unknown,
            Comparison::String { text, .. } => FoundBy::Begins(text.to_string()),
            Comparison::Token(asked) => match self.codes(asked) {
                codes if codes.is_empty() => FoundBy::Unknown,
                codes => FoundBy::Any(codes),
            },
            _ => return None,
        })
    }
}

/// The texts between which the lower end of a part sorts that has one.
fn lower_bounds(asked: &Comparison) -> Option<(Option<String>, Option<String>)> {
    match asked {
        Comparison::Date { prefix, range } => {
            let (from, to) = date::lower_bounds(*prefix, range);
            Some((from.map(sorted_moment), to.map(sorted_moment)))
        }
        Comparison::Number { prefix, asked } => {
            let (from, to) = number::lower_bounds(*prefix, asked);
            let sorted = |number| sorted_number(Some(number));
            Some((from.map(sorted), to.map(sorted)))
        }
        _ => None,
    }
}

/// What no part of a composite is.
fn none() -> Error {
    Error::internal("a part of a composite has no modifier")
}
