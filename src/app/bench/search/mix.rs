//! The mix: the searches that the storage was designed for.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::known::{Known, Reading, text_at};
use super::query::{Expects, Query};

/// Pairs of a patient and a code that are asked for.
const REPEATED: usize = 20;

/// The searches of the mix, in values that `known` has.
pub(super) fn queries(known: &Known) -> Vec<Query> {
    let mut all = patients(known);
    all.extend(observations(known));
    all.extend(links(known));
    all.extend(pages(known));
    all
}

/// The pages with the closest goal, asked once more without the total, which the floor has not.
pub(super) fn without_totals(queries: &[Query]) -> Vec<Query> {
    let named = |query: &Query| {
        let name = match query.name {
            "code+quantity sorted" => "code+quantity sorted, no total",
            "patient+category sorted" => "patient+category sorted, no total",
            "patient+code+date" => "patient+code+date, no total",
            "token" => "token, no total",
            _ => return None,
        };
        let paths = query.paths.iter().map(|path| format!("{path}&_total=none")).collect();
        Some(Query { name, expects: query.expects, paths })
    };
    queries.iter().filter_map(named).collect()
}

/// How many times as long as its floor a search may take.
pub(super) fn goal(name: &str) -> f64 {
    match name.trim_end_matches(", no total") {
        "code+quantity sorted" | "patient+category sorted" | "patient+code+date" | "token" => 3.0,
        "_has, rare" | "chain by identifier" | "chain, selective" => 10.0,
        _ => 50.0,
    }
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
        Query::each("patient+code+date", &repeated(readings), |it| {
            let (patient, code) = (&it.patient, &it.code);
            format!("/Observation?patient={patient}&code={code}&date=ge1990&_count=20")
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

/// A reading of each of the pairs of patient and code that come most often: enough for a page.
fn repeated(readings: &[Reading]) -> Vec<&Reading> {
    let mut pairs: BTreeMap<(&str, &str), Vec<&Reading>> = BTreeMap::new();
    for reading in readings {
        pairs.entry((&reading.patient, &reading.code)).or_default().push(reading);
    }
    let mut pairs: Vec<_> = pairs.into_values().collect();
    pairs.sort_by_key(|same| Reverse(same.len()));
    pairs.into_iter().take(REPEATED).map(|same| same[0]).collect()
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
    fn what_was_measured_most_often_fills_a_page() {
        let reading = |patient: &str, code: &str| Reading {
            patient: patient.to_owned(),
            code: code.to_owned(),
            ..Reading::default()
        };
        let readings = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "x"), ("a", "x"), ("a", "x")];
        let readings = readings.map(|(patient, code)| reading(patient, code));
        let found = repeated(&readings);
        let pairs: Vec<_> = found.iter().map(|it| (&*it.patient, &*it.code)).collect();
        assert_eq!(pairs, [("a", "x"), ("b", "x"), ("a", "y")]);
    }

    #[test]
    fn the_closest_bounded_pages_are_asked_without_their_totals_too() {
        let all = ["token", "name"].map(|name| Query::one(name, "/Observation?code=x"));
        let found = without_totals(&all);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "token, no total");
        assert_eq!(found[0].paths, ["/Observation?code=x&_total=none"]);
        assert!((goal(found[0].name) - goal("token")).abs() < f64::EPSILON);
    }

    #[test]
    fn a_tenth_is_rare_and_a_tenth_is_popular() {
        let codes: Vec<String> = (0..21).map(|at| at.to_string()).collect();
        assert_eq!(popular(&codes), ["0", "1", "2"]);
        assert_eq!(rare(&codes), ["18", "19", "20"]);
        assert!(rare(&[]).is_empty() && popular(&[]).is_empty());
    }
}
