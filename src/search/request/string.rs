//! Strings: how they begin, end, or are; names by their sound.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#string> (rest 4.68 to 4.80)

use crate::search::values::phonetic;
use crate::search::values::string::fold;

use super::Filter;
use super::compare::{Comparison, Part};
use super::criterion::{Criteria, Raw, Refusal, collect, unfit};
use super::fault::Reason;
use super::parameter::Parameter;

impl Criteria<'_> {
    /// Text that is compared as it is, or without what does not count.
    pub(super) fn string(raw: Raw<'_>, part: Part, is_exact: bool) -> Result<Comparison, Reason> {
        let plain = raw.plain()?;
        let text = if is_exact { plain } else { fold(&plain).into() };
        if text.is_empty() {
            return Err(raw.wrong("a text"));
        }
        Ok(Comparison::String { part, text, is_exact })
    }

    pub(super) fn string_by(
        &mut self,
        parameter: &Parameter<'_>,
        modifier: &str,
        value: &str,
    ) -> Result<Filter, Refusal> {
        let is_plain = !parameter.shape().is_phonetic;
        let (part, is_exact) = match modifier {
            "contains" if is_plain => (Part::Any, false),
            "exact" if is_plain => (Part::Whole, true),
            _ if is_plain => return Err(unfit(modifier, ":contains, :exact, :missing").into()),
            _ => return Err(unfit(modifier, ":missing").into()),
        };
        self.any_of(parameter, value, |_, raw| Ok(vec![Self::string(raw, part, is_exact)?]))
    }

    /// Each word of a value sounds like a word of the name.
    pub(super) fn phonetic(
        &mut self,
        parameter: &Parameter<'_>,
        value: &str,
    ) -> Result<Filter, Refusal> {
        let values = self.values(value)?;
        let filters = collect(values, |raw| {
            let sounds = |key: String| {
                let text = key.into();
                parameter.test(vec![Comparison::String {
                    part: Part::Whole,
                    text,
                    is_exact: false,
                }])
            };
            let mut words: Vec<_> = phonetic::keys(&raw.plain()?).into_iter().map(sounds).collect();
            match words.len() {
                0 => Err(raw.wrong("a name")),
                1 => Ok(words.remove(0)),
                _ => Ok(Filter::All(words)),
            }
        })?;
        Ok(Filter::any(filters))
    }
}
