//! The mix: the searches that the storage was designed for.

use super::known::{Known, text_at};
use super::query::{Expects, Query};

/// The searches of the mix, in values that `known` has.
pub(super) fn queries(known: &Known) -> Vec<Query> {
    let mut all = patients(known);
    all.extend(observations(known));
    all.extend(links(known));
    all.extend(pages(known));
    all
}

fn patients(known: &Known) -> Vec<Query> {
    vec![
        Query::each("name", &known.texts("Patient", "name.family"), |name| {
            format!("/Patient?name={name}&_count=20")
        }),
        Query::each("identifier", &known.tokens("Patient", "identifier"), |token| {
            format!("/Patient?identifier={token}")
        }),
    ]
}

fn observations(known: &Known) -> Vec<Query> {
    let readings = &known.readings;
    let codes = &known.codes;
    vec![
        Query::each("patient+category sorted", readings, |it| {
            let (patient, category) = (&it.patient, &it.category);
            format!("/Observation?patient={patient}&category={category}&_sort=-date&_count=20")
        }),
        Query::each("patient+code+date", readings, |it| {
            let (patient, code, year) = (&it.patient, &it.code, &it.day[..4]);
            format!("/Observation?patient={patient}&code={code}&date=ge{year}&_count=20")
        }),
        Query::each("code+quantity", readings, |it| {
            let (code, value, unit) = (&it.code, &it.value, &it.unit);
            format!("/Observation?code={code}&value-quantity=ge{value}%7C{unit}&_count=20")
        }),
        Query::each("code+quantity sorted", readings, |it| {
            let (code, value, unit) = (&it.code, &it.value, &it.unit);
            let path = format!("/Observation?code={code}&value-quantity=ge{value}%7C{unit}");
            format!("{path}&_sort=-date&_count=20")
        }),
        Query::each("count of a token", codes, |code| {
            format!("/Observation?code={code}&_summary=count")
        })
        .expecting(Expects::Total),
        Query::each("two tokens sorted", readings, |it| {
            let (code, category) = (&it.code, &it.category);
            let path = format!("/Observation?code={code}&category={category}&status=final");
            format!("{path}&_sort=-date&_count=20")
        }),
        Query::each("count of two tokens", readings, |it| {
            let (code, category) = (&it.code, &it.category);
            format!("/Observation?code={code}&category={category}&_summary=count")
        })
        .expecting(Expects::Total),
        Query::each("code sorted, rare", rare(codes), |code| {
            format!("/Observation?code={code}&_sort=-date&_count=20")
        }),
        Query::each("code sorted, popular", popular(codes), |code| {
            format!("/Observation?code={code}&_sort=-date&_count=20")
        }),
    ]
}

fn links(known: &Known) -> Vec<Query> {
    let families = known.pairs("Patient", |patient| text_at(patient, "name.family"));
    let visited = known.targets("Encounter", "subject", "Patient");
    let measured = known.targets("Observation", "subject", "Patient");
    vec![
        Query::each("chain, selective", &families, |family| {
            format!("/Encounter?patient.family={family}&_sort=-date&_count=20")
        }),
        Query::one("chain, unselective", "/Encounter?patient.gender=female&_sort=-date&_count=20"),
        Query::each("_has, rare", rare(&known.problems), |code| {
            format!("/Patient?_has:Condition:patient:code={code}&_count=20")
        }),
        Query::each("_has, popular", popular(&known.codes), |code| {
            format!("/Patient?_has:Observation:patient:code={code}&_count=20")
        }),
        Query::each("_revinclude", &visited, |id| {
            format!("/Patient?_id={id}&_revinclude=Encounter:patient")
        }),
        Query::each("compartment, one type", &measured, |id| {
            format!("/Patient/{id}/Observation?_count=50")
        }),
        Query::each("compartment, all types", &measured, |id| format!("/Patient/{id}/*?_count=50")),
    ]
}

fn pages(known: &Known) -> Vec<Query> {
    let changed = known.texts("Observation", "meta.lastUpdated");
    vec![Query::each("_lastUpdated page", &changed, |at| {
        format!("/Observation?_lastUpdated=ge{at}&_sort=_lastUpdated&_count=50")
    })]
}

/// The rarest tenth.
fn rare(codes: &[String]) -> &[String] {
    &codes[codes.len() - codes.len().div_ceil(10)..]
}

/// The most frequent tenth.
fn popular(codes: &[String]) -> &[String] {
    &codes[..codes.len().div_ceil(10)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_rare_and_a_tenth_is_popular() {
        let codes: Vec<String> = (0..21).map(|at| at.to_string()).collect();
        assert_eq!(popular(&codes), ["0", "1", "2"]);
        assert_eq!(rare(&codes), ["18", "19", "20"]);
        assert!(rare(&[]).is_empty() && popular(&[]).is_empty());
    }
}
