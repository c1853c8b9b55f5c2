//! `near`: a place and how far from it.
//!
//! Spec: <https://hl7.org/fhir/R4/location.html#positional> (rest 4.146 to 4.148)

use crate::fhirpath::Decimal;

use super::compare::Comparison;
use super::criterion::{Criteria, Raw};
use super::fault::Reason;

/// How far is near where the query does not say, in kilometres.
const DEFAULT_KM: &str = "50";

impl Criteria<'_> {
    /// `latitude|longitude[|distance[|units]]`; the units are UCUM's, else kilometres.
    pub(super) fn near(&self, raw: Raw<'_>) -> Result<Comparison, Reason> {
        let wrong = || raw.wrong("a place: latitude|longitude[|distance[|units]]");
        let parts = raw.parts()?;
        let (Some(latitude), Some(longitude), 2..=4) = (parts.first(), parts.get(1), parts.len())
        else {
            return Err(wrong());
        };
        let degrees = |text: &str, most: &str| {
            let (value, most) = (Decimal::parse(text)?, Decimal::parse(most)?);
            (most.negated() <= value && value <= most).then_some(value)
        };
        let latitude = degrees(latitude, "90").ok_or_else(|| raw.wrong("at -90 to 90 degrees"))?;
        let longitude =
            degrees(longitude, "180").ok_or_else(|| raw.wrong("at -180 to 180 degrees"))?;
        let given = |at: usize| parts.get(at).map(|part| &**part).filter(|part| !part.is_empty());
        let distance = Decimal::parse(given(2).unwrap_or(DEFAULT_KM)).ok_or_else(wrong)?;
        let unit = given(3).unwrap_or("km");
        let metres = self.context.extractor.units().to_base(distance, unit);
        let metres = metres.filter(|(_, base)| &**base == "m");
        let metres = metres.and_then(|(value, _)| value.to_string().parse::<f64>().ok());
        let metres = metres.filter(|metres| metres.is_finite() && *metres >= 0.0);
        let metres = metres.ok_or_else(|| raw.wrong("at a distance in UCUM units of length"))?;
        Ok(Comparison::Position { latitude, longitude, metres })
    }
}
