//! One search for each type of parameter, each modifier and each parameter of the result.

use super::known::{Known, text_at, token_at};
use super::query::{Expects, Query, encoded, escaped};
use crate::fhir::json::Value;

/// One search a kind, in values that `known` has.
pub(super) fn queries(known: &Known) -> Vec<Query> {
    let mut all = strings(known);
    all.extend(tokens(known));
    all.extend(dates(known));
    all.extend(numbers(known));
    all.extend(references(known));
    all.extend(others(known));
    all.extend(words(known));
    all.extend(results(known));
    all
}

fn strings(known: &Known) -> Vec<Query> {
    let families = known.texts("Patient", "name.family");
    vec![
        Query::each("string", &families, |it| format!("/Patient?family={it}&_count=20")),
        Query::each("string:exact", &families, |it| {
            format!("/Patient?family:exact={it}&_count=20")
        }),
        Query::each("string:contains", &known.texts("Patient", "address.city"), |it| {
            let letters = it.len().min(4);
            let part = it.get(1..letters).filter(|part| !part.contains('%')).unwrap_or(it);
            format!("/Patient?address-city:contains={part}&_count=20")
        }),
        Query::one("string:missing", "/Patient?family:missing=false&_count=20"),
    ]
}

fn tokens(known: &Known) -> Vec<Query> {
    let ask = |code: &String| format!("/Observation?code={code}&_count=20");
    let systems = systems(&known.codes);
    let bare: Vec<String> = known.texts("Observation", "code.coding.code");
    let typed = known.pairs("Patient", of_type);
    let set = "http%3A%2F%2Fhl7.org%2Ffhir%2FValueSet%2Fadministrative-gender";
    vec![
        Query::each("token", &known.codes, ask),
        Query::each("token, code alone", &bare, ask),
        Query::each("token, no system", &bare, |code| {
            format!("/Observation?code=%7C{code}&_count=20")
        })
        .expecting(Expects::Anything),
        Query::each("token, system alone", &systems, |system| {
            format!("/Observation?code={system}%7C&_count=20")
        }),
        Query::one(
            "token, several",
            known
                .codes
                .iter()
                .take(3)
                .fold("/Observation?_count=20&_sort=-date&code=".to_owned(), |path, code| {
                    format!("{path}{}{code}", if path.ends_with('=') { "" } else { "," })
                }),
        ),
        Query::each("token:not", &known.codes, |code| {
            format!("/Observation?code:not={code}&_count=20")
        }),
        Query::each("token:missing", &known.codes, |code| {
            format!("/Observation?code={code}&value-concept:missing=true&_count=20")
        })
        .expecting(Expects::Anything),
        Query::each("token:of-type", &typed, |it| format!("/Patient?identifier:of-type={it}")),
        Query::one("token:in", format!("/Patient?gender:in={set}&_count=20")),
        Query::one("token:not-in", format!("/Patient?gender:not-in={set}&_count=20"))
            .expecting(Expects::Anything),
        Query::each("token:below", &known.tokens("Encounter", "class"), |it| {
            format!("/Encounter?class:below={it}&_count=20")
        }),
        Query::each("token:above", &known.tokens("Encounter", "class"), |it| {
            format!("/Encounter?class:above={it}&_count=20")
        }),
    ]
}

fn dates(known: &Known) -> Vec<Query> {
    let days: Vec<&str> = known.readings.iter().map(|it| &*it.day).collect();
    let ask = |name, prefix: &'static str| {
        Query::each(name, &days, move |day| format!("/Observation?date={prefix}{day}&_count=20"))
    };
    let births = known.texts("Patient", "birthDate");
    vec![
        Query::each("date", &births, |it| format!("/Patient?birthdate={it}&_count=20")),
        Query::each("date ge lt", &births, |it| {
            let year: u32 = it.get(..4).and_then(|year| year.parse().ok()).unwrap_or(1970);
            format!("/Patient?birthdate=ge{year}&birthdate=lt{}&_count=20", year + 1)
        }),
        ask("date eq, primary", ""),
        ask("date ne, primary", "ne"),
        ask("date ge, primary", "ge"),
        ask("date le, primary", "le"),
        ask("date gt, primary", "gt").expecting(Expects::Anything),
        ask("date lt, primary", "lt").expecting(Expects::Anything),
        ask("date sa, primary", "sa").expecting(Expects::Anything),
        ask("date eb, primary", "eb").expecting(Expects::Anything),
        ask("date ap, primary", "ap"),
        Query::one("date:missing", "/Condition?onset-date:missing=false&_count=20")
            .expecting(Expects::Anything),
    ]
}

fn numbers(known: &Known) -> Vec<Query> {
    let readings = &known.readings;
    let ask = |name, prefix: &'static str| {
        Query::each(name, readings, move |it| {
            let (value, unit) = (&it.value, &it.unit);
            format!("/Observation?value-quantity={prefix}{value}%7C{unit}&_count=20")
        })
    };
    let pressure = known.pairs("Observation", component);
    let risks = known.texts("RiskAssessment", PROBABILITY);
    // Before and after a number there may be none.
    let prefixes = [
        ("number ne", "ne"),
        ("number gt", "gt"),
        ("number ge", "ge"),
        ("number lt", "lt"),
        ("number le", "le"),
        ("number sa", "sa"),
        ("number eb", "eb"),
        ("number ap", "ap"),
    ];
    let mut all: Vec<Query> = prefixes
        .into_iter()
        .map(|(name, prefix)| {
            let is_sure = matches!(prefix, "ge" | "le" | "ap");
            let expects = if is_sure { Expects::Matches } else { Expects::Anything };
            Query::each(name, &risks, |it| {
                format!("/RiskAssessment?probability={prefix}{it}&_count=20")
            })
            .expecting(expects)
        })
        .collect();
    all.extend([
        Query::one("number:missing", "/RiskAssessment?probability:missing=false&_count=20")
            .expecting(Expects::Anything),
        Query::one("quantity:missing", "/Observation?value-quantity:missing=false&_count=20"),
        Query::each("number", &risks, |it| format!("/RiskAssessment?probability={it}")),
        ask("quantity", ""),
        ask("quantity ge", "ge"),
        ask("quantity ap", "ap"),
        Query::each("quantity, value alone", readings, |it| {
            format!("/Observation?value-quantity={}&_count=20", it.value)
        }),
        Query::each("composite", readings, |it| {
            let (code, value, unit) = (&it.code, &it.value, &it.unit);
            format!("/Observation?code-value-quantity={code}$ge{value}%7C{unit}&_count=20")
        }),
        Query::each("composite of components", &pressure, |(code, value)| {
            format!("/Observation?component-code-value-quantity={code}$ge{value}&_count=20")
        }),
        Query::each("near", &known.pairs("Location", position), |it| {
            format!("/Location?near={it}%7C50%7Ckm&_count=20")
        }),
        Query::each("sorted by near", &known.pairs("Location", position), |it| {
            format!("/Location?near={it}%7C50%7Ckm&_sort=near&_count=20")
        }),
    ]);
    all
}

const PROBABILITY: &str = "prediction.probabilityDecimal";

fn references(known: &Known) -> Vec<Query> {
    let patients = known.targets("Observation", "subject", "Patient");
    let identifiers = known.tokens("Patient", "identifier");
    vec![
        Query::each("reference", &patients, |id| {
            format!("/Observation?subject=Patient/{id}&_count=20")
        }),
        Query::each("reference:Patient", &patients, |id| {
            format!("/Observation?subject:Patient={id}&_count=20")
        }),
        Query::each("reference:identifier", &identifiers, |it| {
            format!("/Observation?subject:identifier={it}&_count=20")
        })
        .expecting(Expects::Anything),
        Query::each("reference:below", &known.texts("Location", "id"), |id| {
            format!("/Encounter?location:below=Location/{id}&_count=20")
        })
        .expecting(Expects::Anything),
        Query::each("reference:above", &known.texts("Location", "id"), |id| {
            format!("/Encounter?location:above=Location/{id}&_count=20")
        })
        .expecting(Expects::Anything),
        Query::one("reference:missing", "/Observation?encounter:missing=true&_count=20")
            .expecting(Expects::Anything),
        Query::each("chain by identifier", &identifiers, |it| {
            format!("/Observation?patient.identifier={it}&_count=20")
        })
        .expecting(Expects::Anything),
        Query::each("chain of two", &known.texts("Organization", "name"), |name| {
            let path = "/Observation?encounter:Encounter.service-provider:Organization";
            format!("{path}.name={name}&_count=20")
        })
        .expecting(Expects::Anything),
        Query::each("_has of two", &known.texts("Practitioner", "name.family"), |name| {
            let path = "/Patient?_has:Encounter:patient:participant:Practitioner";
            format!("{path}.family={name}&_count=20")
        })
        .expecting(Expects::Anything),
        Query::each("_include", &known.codes, |code| {
            format!("/Observation?code={code}&_include=Observation:subject&_count=20")
        }),
        Query::each("_include:iterate", &known.codes, |code| {
            let path = format!("/Observation?code={code}&_include=Observation:encounter");
            format!("{path}&_include:iterate=Encounter:service-provider&_count=20")
        }),
        Query::each(
            "_revinclude:iterate",
            &known.targets("Encounter", "subject", "Patient"),
            |id| {
                let path = format!("/Patient?_id={id}&_revinclude=Encounter:patient");
                format!("{path}&_revinclude:iterate=Observation:encounter")
            },
        ),
        Query::each("_include=*", &known.codes, |code| {
            format!("/Observation?code={code}&_include=*&_count=20")
        }),
    ]
}

fn others(known: &Known) -> Vec<Query> {
    let urls = known.texts("ValueSet", "url");
    let below: Vec<String> =
        urls.iter().filter_map(|it| Some(it.rsplit_once("%2F")?.0.to_owned())).collect();
    let profiles = known.texts("RiskAssessment", "meta.profile");
    let ids = known.texts("Observation", "id");
    vec![
        Query::each("uri", &urls, |it| format!("/ValueSet?url={it}")),
        Query::each("uri:below", &below, |it| format!("/ValueSet?url:below={it}&_count=20")),
        Query::each("uri:above", &urls, |it| format!("/ValueSet?url:above={it}")),
        Query::one("uri:missing", "/ValueSet?url:missing=false&_count=20")
            .expecting(Expects::Anything),
        Query::each("_id", &ids, |id| format!("/Observation?_id={id}")),
        Query::each("_tag", &known.tokens("RiskAssessment", "meta.tag"), |it| {
            format!("/RiskAssessment?_tag={it}&_count=20")
        }),
        Query::each("_security", &known.tokens("RiskAssessment", "meta.security"), |it| {
            format!("/RiskAssessment?_security={it}&_count=20")
        }),
        Query::each("_profile", &profiles, |it| format!("/RiskAssessment?_profile={it}&_count=20")),
        Query::each("_source", &known.texts("RiskAssessment", "meta.source"), |it| {
            format!("/RiskAssessment?_source={it}&_count=20")
        }),
        Query::each("_list", &known.texts("List", "id"), |id| {
            format!("/Patient?_list={id}&_count=20")
        }),
        Query::each("_type, whole system", &known.texts("Observation", "meta.lastUpdated"), |it| {
            format!("/?_type=Patient,Observation&_lastUpdated=ge{it}&_count=20")
        }),
        Query::each("_filter", &known.readings, |it| {
            let (code, day) = (&it.code, &it.day);
            let filter = format!("code%20eq%20{code}%20and%20date%20ge%20{day}");
            format!("/Observation?_filter={filter}&_count=20")
        }),
        Query::each("_filter or", &known.readings, |it| {
            let (code, patient) = (&it.code, &it.patient);
            let filter = format!("code%20eq%20{code}%20or%20subject%20eq%20Patient/{patient}");
            format!("/Observation?_filter={filter}&_count=20")
        }),
    ]
}

fn words(known: &Known) -> Vec<Query> {
    let displays = known.texts("Observation", "code.coding.display");
    // The first word: a text is searched for from the beginning of its words.
    let words: Vec<&str> = displays.iter().map(|it| it.split('%').next().unwrap_or(it)).collect();
    let families = known.texts("Patient", "name.family");
    vec![
        Query::each("token:text", &words, |it| format!("/Observation?code:text={it}&_count=20")),
        Query::each("token:text-advanced", &words, |it| {
            format!("/Observation?code:text-advanced={it}&_count=20")
        }),
        Query::each("_content", &families, |it| format!("/Patient?_content={it}&_count=20")),
        Query::each("_content, sorted by score", &families, |it| {
            format!("/Patient?_content={it}&_sort=_score&_count=20")
        }),
        Query::one("_text", "/RiskAssessment?_text=estimate&_count=20").expecting(
            if known.texts("RiskAssessment", "text.div").is_empty() {
                Expects::Anything
            } else {
                Expects::Matches
            },
        ),
    ]
}

fn results(known: &Known) -> Vec<Query> {
    let ask = |name, rest: &'static str| {
        Query::each(name, &known.codes, move |code| format!("/Observation?code={code}&{rest}"))
    };
    vec![
        Query::one("type, no parameter", "/Observation?_count=20"),
        Query::one("type, sorted by name", "/Patient?_sort=family,given&_count=20"),
        Query::one("type, sorted by date", "/Observation?_sort=date&_count=20"),
        Query::one("type, sorted by birth", "/Patient?_sort=-birthdate&_count=20"),
        Query::one("type, sorted by id", "/Observation?_sort=_id&_count=20"),
        Query::each("sorted by two", &known.problems, |code| {
            format!("/Condition?code={code}&_sort=clinical-status,-onset-date&_count=20")
        }),
        Query::one("type, last changed", "/Observation?_sort=-_lastUpdated&_count=20"),
        ask("_total=none", "_total=none&_count=20"),
        ask("_total=estimate", "_total=estimate&_count=20"),
        ask("_total=accurate", "_total=accurate&_count=20"),
        ask("_summary=true", "_summary=true&_count=20"),
        ask("_elements", "_elements=status,code&_count=20"),
        ask("page of 200", "_count=200"),
    ]
}

/// The different systems of codes, ready for a query string.
fn systems(codes: &[String]) -> Vec<String> {
    let systems = codes.iter().filter_map(|code| Some(code.split_once("%7C")?.0.to_owned()));
    let mut all: Vec<String> = systems.collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// `system|code|value` of the first identifier that has a type.
fn of_type(patient: &Value<'_>) -> Option<String> {
    let mut all = patient.items_at("identifier").iter();
    all.find_map(|identifier| {
        let of = identifier.get("type")?.items_at("coding").first()?;
        let parts = [of.str_at("system")?, of.str_at("code")?, identifier.str_at("value")?];
        Some(encoded(&parts.map(escaped).join("|")))
    })
}

/// Code and value of the first component that has both.
fn component(observation: &Value<'_>) -> Option<(String, String)> {
    let mut all = observation.items_at("component").iter();
    all.find_map(|it| Some((token_at(it, "code.coding")?, text_at(it, "valueQuantity.value")?)))
}

/// `latitude|longitude`.
fn position(location: &Value<'_>) -> Option<String> {
    let at = location.get("position")?;
    Some(format!("{}%7C{}", text_at(at, "latitude")?, text_at(at, "longitude")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;

    #[test]
    fn parts_of_resources_become_values() {
        let text = br#"{"identifier":[{"value":"x"},
            {"type":{"coding":[{"system":"s","code":"MR"}]},"value":"a|b"}],
            "position":{"latitude":42.1,"longitude":-71.5},
            "component":[{"code":{"coding":[{"system":"l","code":"1"}]}},
            {"code":{"coding":[{"system":"l","code":"2"}]},"valueQuantity":{"value":80}}]}"#;
        let resource = parse(text).unwrap();
        assert_eq!(of_type(&resource).as_deref(), Some("s%7CMR%7Ca%5C%7Cb"));
        assert_eq!(position(&resource).as_deref(), Some("42.1%7C-71.5"));
        let expected = ("l%7C2".to_owned(), "80".to_owned());
        assert_eq!(component(&resource), Some(expected));
        let codes = ["a%7C1", "b%7C1", "a%7C2", "none"].map(str::to_owned);
        assert_eq!(systems(&codes), ["a", "b"]);
    }
}
