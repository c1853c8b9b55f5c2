use super::*;

fn sort(url: &str) -> String {
    let shown = |key: &SortKey| {
        let by = match &key.by {
            SortBy::Distance => "distance".to_owned(),
            SortBy::Id => "id".to_owned(),
            SortBy::LastUpdated => "updated".to_owned(),
            SortBy::Parameter(of, kind) => format!("{} ({})", keys(of), kind.as_str()),
            SortBy::Present(of) => format!("{}?", keys(of)),
            SortBy::Score => "score".to_owned(),
        };
        format!("{}{by}", if key.is_descending { "-" } else { "" })
    };
    request(url).sort.iter().map(shown).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_order_has_the_keys_that_are_known() {
    for (url, expected) in [
        ("Patient", ""),
        (
            "Observation?_sort=status,-date,category",
            "status (token), -date (date), category (token)",
        ),
        ("Patient?_sort=name&_sort=-birthdate", "name (string), -birthdate (date)"),
        ("Patient?_sort=-_lastUpdated,_id,_score", "-updated, id, score"),
        ("Patient?_sort=foo,-name,", "-name (string)"),
        ("Location?near=1|2&_sort=near", "distance"),
        ("Location?_sort=near", ""),
        (
            "Observation?_sort=-code-value-quantity,_id",
            "-code-value-quantity?, -code (token), -value-quantity (quantity), id",
        ),
        (
            "?_type=Questionnaire,ValueSet&_sort=context-type-value",
            "context-type-value@Questionnaire+ValueSet?, context-type@Questionnaire+ValueSet (token), \
             context@Questionnaire+ValueSet (token)",
        ),
        ("?_type=Condition,Observation&_sort=-code", "-code@Condition+Observation (token)"),
        ("?_type=Patient,Observation&_sort=birthdate", ""),
        (
            "Observation?_sort=value-quantity,subject",
            "value-quantity (quantity), subject (reference)",
        ),
    ] {
        assert_eq!(sort(url), expected, "{url}");
    }
    let found = request("Patient?_sort=foo,-name,bar&_sort=x");
    assert_eq!(found.shown, [("_sort".into(), "-name".into())]);
    let told: Vec<_> = found.notices.iter().map(|it| it.reason.to_string()).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].starts_with("foo: "), "{told:?}");
}

#[test]
fn parameters_about_the_answer_are_told_apart() {
    let found = request(
        "Patient?_count=10&_total=accurate&_summary=text&_elements=id,name&_explain=true\
         &_contained=both&_containedType=contained&_format=json&_pretty=true&_cursor=x",
    );
    assert_eq!((found.count, found.total), (Some(10), Total::Accurate));
    assert_eq!(found.contained, ContainedMode::Both { shows_container: false });
    assert!(found.explain && !found.counts_only);
    assert_eq!(found.filters, []);
    let names: Vec<_> = found.shown.iter().map(|(name, _)| &**name).collect();
    let expected =
        ["_count", "_total", "_summary", "_elements", "_explain", "_contained", "_containedType"];
    assert_eq!(names, expected);
    assert_eq!(found.notices, []);
}

#[test]
fn the_total_alone_is_asked_for_in_two_ways() {
    for (url, counts_only, count) in [
        ("Patient?_summary=count", true, None),
        ("Patient?_count=0", true, Some(0)),
        ("Patient?_summary=count&_count=5", true, Some(5)),
        ("Patient?_count=5&_count=5", false, Some(5)),
        ("Patient?_count=99999999999", false, Some(u32::MAX)),
        ("Patient?_count=", false, None),
    ] {
        let found = request(url);
        assert_eq!((found.counts_only, found.count), (counts_only, count), "{url}");
    }
    for (url, expected) in [
        ("Patient?_total=none", Total::None),
        ("Patient?_total=estimate", Total::Estimate),
        ("Patient", Total::Unspecified),
    ] {
        assert_eq!(request(url).total, expected, "{url}");
    }
    for (url, expected) in [
        ("Patient?_contained=false", ContainedMode::Outside),
        ("Patient?_contained=true", ContainedMode::Inside { shows_container: true }),
        ("Patient?_containedType=contained", ContainedMode::Outside),
    ] {
        assert_eq!(request(url).contained, expected, "{url}");
    }
}

#[test]
fn includes_name_a_type_a_reference_and_a_target() {
    let shown = |include: &Include| {
        let of = |it: Option<ResourceType>| it.map_or("*", ResourceType::as_str);
        format!(
            "{}{}{}:{}:{}",
            if include.is_reverse { "rev " } else { "" },
            if include.is_iterated { "again " } else { "" },
            of(include.source),
            include.code.as_deref().unwrap_or("*"),
            of(include.target),
        )
    };
    for (url, expected) in [
        ("Observation?_include=Observation:subject", "Observation:subject:*"),
        ("Observation?_include=Observation:subject:Patient", "Observation:subject:Patient"),
        ("Observation?_include=Observation:*", "Observation:*:*"),
        ("Observation?_include=*", "*:*:*"),
        ("Observation?_revinclude=*:*", "rev *:*:*"),
        ("Patient?_revinclude=Provenance:target", "rev Provenance:target:*"),
        ("Patient?_revinclude:iterate=Observation:*", "rev again Observation:*:*"),
        ("Observation?_include:recurse=Patient:organization", "again Patient:organization:*"),
        (
            "Observation?_include:iterate=Patient:link&_include:iterate=Patient:link",
            "again Patient:link:*",
        ),
        ("PlanDefinition?_include=PlanDefinition:depends-on", "PlanDefinition:depends-on:*"),
        ("Observation?_include=Patient:organization", ""),
    ] {
        let found = request(url).includes;
        assert_eq!(found.iter().map(shown).collect::<Vec<_>>().join(" "), expected, "{url}");
    }
    assert_eq!(request("Observation?_include=Patient:organization").notices.len(), 1);
}

#[test]
fn what_was_not_understood_is_not_shown() {
    let found = request("Patient?bonkers=foobar&...=foobar&name=&name=x&gender:not=male&_count=3");
    let shown: Vec<_> = found.shown.iter().map(|(a, b)| format!("{a}={b}")).collect();
    assert_eq!(shown, ["name=x", "gender:not=male", "_count=3"]);
    let told: Vec<_> = found.notices.iter().map(|it| &*it.parameter).collect();
    assert_eq!(told, ["bonkers", "...", "name"]);
    assert!(found.notices.iter().all(|notice| notice.is_ignored));
}
