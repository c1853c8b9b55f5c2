//! What every answer to a search must be, and which resources are in it.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html> (rest 4.6, 4.7, 4.27, 4.189, 4.197, 4.215)

use std::collections::BTreeSet;

use kiln::fhir::json::Value;

use crate::harness::client::Answer;

/// Compares the resources of a searchset with `matches`, `ordered` and `included` of `expect`.
///
/// # Errors
/// What differs, or which rule of a searchset the answer breaks.
pub(crate) fn check(
    answer: &Answer,
    expect: &Value<'_>,
    unique: &str,
    base: &str,
) -> Result<(), String> {
    let asked = |name| expect.get(name).map(|value| value.as_str().unwrap_or_default());
    let (matches, ordered, included) = (asked("matches"), asked("ordered"), asked("included"));
    if matches.is_none() && ordered.is_none() && included.is_none() {
        return Ok(());
    }
    if answer.status != 200 {
        return Err(format!("expected a searchset, got status {}", answer.status));
    }
    let bundle = answer.json();
    let found = Found::read(&bundle, base)?;
    let full = |text: &str| -> Vec<String> {
        text.split_whitespace().map(|id| format!("{unique}-{id}")).collect()
    };
    if let Some(wanted) = ordered.map(full)
        && found.matches != wanted
    {
        return Err(format!("expected in this order {wanted:?}, found {:?}", found.matches));
    }
    for (name, wanted, actual) in
        [("matches", matches, &found.matches), ("included", included, &found.included)]
    {
        let Some(wanted) = wanted.map(full) else { continue };
        let actual: BTreeSet<_> = actual.iter().collect();
        if actual != wanted.iter().collect() {
            return Err(format!("{name}: expected {wanted:?}, found {actual:?}"));
        }
    }
    Ok(())
}

/// The ids in a searchset, in its order.
#[derive(Default)]
struct Found {
    matches: Vec<String>,
    included: Vec<String>,
}

impl Found {
    fn read(bundle: &Value<'_>, base: &str) -> Result<Self, String> {
        for (name, wanted) in [("resourceType", "Bundle"), ("type", "searchset")] {
            if bundle.str_at(name) != Some(wanted) {
                return Err(format!("{name} is not {wanted}"));
            }
        }
        if bundle.get("entry").is_some_and(|entry| entry.as_array().is_none_or(<[_]>::is_empty)) {
            return Err("entry is there and empty".to_owned());
        }
        let links: Vec<_> =
            bundle.items_at("link").iter().filter_map(|link| link.str_at("relation")).collect();
        if !links.contains(&"self") {
            return Err("no self link".to_owned());
        }
        let mut found = Self::default();
        let mut seen = BTreeSet::new();
        for entry in bundle.items_at("entry") {
            found.add(entry, base, &mut seen)?;
        }
        let total = bundle.get("total").and_then(Value::as_number);
        let is_whole = !links.iter().any(|link| ["next", "previous"].contains(link));
        match total {
            Some(total) if is_whole && total != found.matches.len().to_string() => {
                Err(format!("total {total} of {} matches", found.matches.len()))
            }
            _ => Ok(found),
        }
    }

    fn add(
        &mut self,
        entry: &Value<'_>,
        base: &str,
        seen: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        let resource = entry.get("resource").ok_or("an entry without a resource")?;
        let of = resource.str_at("resourceType").unwrap_or_default();
        let mode = entry.get("search").and_then(|search| search.str_at("mode"));
        if mode == Some("outcome") && of == "OperationOutcome" {
            return Ok(());
        }
        let id = resource.str_at("id").ok_or("an entry without an id")?;
        let url = entry.str_at("fullUrl").unwrap_or_default();
        // A contained resource has the URL of its container and its own id behind it (rest 4.176).
        let container = url.strip_suffix(&format!("#{id}")).and_then(|url| url.strip_prefix(base));
        let is_contained = container.is_some_and(|path| path.split('/').count() == 3);
        if url != format!("{base}/{of}/{id}") && !is_contained {
            return Err(format!("{of}/{id} has the fullUrl {url:?}"));
        }
        // Once in each version (bdl-7).
        let version = resource.get("meta").and_then(|meta| meta.str_at("versionId"));
        if !seen.insert(format!("{url} {}", version.unwrap_or_default())) {
            return Err(format!("{of}/{id} is there twice"));
        }
        if entry.get("request").is_some() || entry.get("response").is_some() {
            return Err(format!("{of}/{id} has a request or response"));
        }
        match mode {
            Some("match") => self.matches.push(id.to_owned()),
            Some("include") => self.included.push(id.to_owned()),
            other => return Err(format!("{of}/{id} has the mode {other:?}")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln::fhir::json::parse;

    #[test]
    fn an_answer_that_breaks_a_rule_of_searchsets_is_refused() {
        const BASE: &str = "http://h/fhir";
        let link = r#""link":[{"relation":"self","url":"u"}]"#;
        let entry = |url: &str, more: &str| {
            format!(
                r#"{{"fullUrl":"{url}","resource":{{"resourceType":"Patient","id":"u-1"}},{more}}}"#
            )
        };
        let good = entry("http://h/fhir/Patient/u-1", r#""search":{"mode":"match"}"#);
        let bundle =
            |more: &str| format!(r#"{{"resourceType":"Bundle","type":"searchset",{more}}}"#);
        for (json, expect, holds) in [
            (bundle(&format!(r#"{link},"entry":[{good}]"#)), r#"{"matches":"1"}"#, true),
            (
                bundle(&format!(r#"{link},"entry":[{good}]"#)),
                r#"{"matches":"1","included":""}"#,
                true,
            ),
            (bundle(&format!(r#"{link},"entry":[{good}]"#)), r#"{"matches":""}"#, false),
            (bundle(&format!(r#"{link},"entry":[{good}]"#)), r#"{"ordered":"1 2"}"#, false),
            (bundle(&format!(r#"{link},"entry":[{good}]"#)), r#"{"included":"1"}"#, false),
            (bundle(&format!(r#"{link},"total":2,"entry":[{good}]"#)), r#"{"matches":"1"}"#, false),
            (bundle(&format!(r#"{link},"entry":[{good},{good}]"#)), r#"{"matches":"1"}"#, false),
            (bundle(&format!(r#""entry":[{good}]"#)), r#"{"matches":"1"}"#, false),
            (bundle(&format!(r#"{link},"entry":[]"#)), r#"{"matches":""}"#, false),
            (bundle(link), r#"{"matches":""}"#, true),
            (
                bundle(&format!(
                    r#"{link},"entry":[{}]"#,
                    entry("http://other/Patient/u-1", r#""search":{"mode":"match"}"#)
                )),
                r#"{"matches":"1"}"#,
                false,
            ),
            (
                bundle(&format!(
                    r#"{link},"entry":[{}]"#,
                    entry("http://h/fhir/Patient/u-1", r#""search":{"score":1}"#)
                )),
                r#"{"matches":"1"}"#,
                false,
            ),
        ] {
            let answer = Answer {
                status: 200,
                headers: hyper::header::HeaderMap::new(),
                body: json.clone().into(),
            };
            let expect = parse(expect.as_bytes()).unwrap();
            let found = check(&answer, &expect, "u", BASE);
            assert_eq!(found.is_ok(), holds, "{json} {found:?}");
        }
    }
}
