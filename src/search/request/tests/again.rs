use super::*;

/// Names and values that fit together in many ways, and some that do not.
const PIECES: &[(&str, &[&str])] = &[
    ("name", &["peter", "a,b", "", r"a\,b", "Müller"]),
    ("name:exact", &["Peter", "a b"]),
    ("birthdate", &["1980", "ge1980-05,lt1981", "ap2000-01-01T10:00 02:00"]),
    ("gender:not", &["male", "male,other"]),
    ("identifier", &["s|v", "|v", "s|"]),
    ("identifier:of-type", &["s|c|v"]),
    ("organization", &["1", "Organization/1", "http://other/Organization/1"]),
    ("organization.name", &["x", "a,b"]),
    ("general-practitioner", &["1", "Practitioner/1/_history/2"]),
    ("_has:Observation:patient:value-quantity", &["5|http://unitsofmeasure.org|kg", "gt1e2"]),
    ("_has:Observation:patient:code-value-quantity", &["a$5", "s|a$lt5||mg,b$1"]),
    ("_id", &["a,b", "a_b"]),
    ("_lastUpdated", &["gt2020"]),
    ("_type", &["Patient", "Patient,Nope", "Nope"]),
    ("_tag:missing", &["true", "false"]),
    ("_filter", &["name eq a and not(gender eq male)", r#"name co "a=b&c""#]),
    ("_content", &["a b, c"]),
    ("_list", &["42"]),
    ("_sort", &["name,-birthdate", "foo,_id", "nope"]),
    ("_count", &["5", "0"]),
    ("_total", &["none", "accurate"]),
    ("_summary", &["count", "text"]),
    ("_include", &["Patient:organization", "*", "Observation:subject"]),
    ("_revinclude:iterate", &["Observation:subject:Patient"]),
    ("_contained", &["true", "both"]),
    ("_containedType", &["contained"]),
    ("_explain", &["true"]),
    ("_format", &["json"]),
    ("bonkers", &["x"]),
    ("bonkers.name:exact", &["x"]),
];

#[test]
fn what_is_shown_is_read_as_the_same_request() {
    let mut state = 7_u64;
    let mut next = |count: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % count as u64) as usize
    };
    let (mut read_count, mut shown_count) = (0, 0);
    for _ in 0..2_000 {
        let pairs: Vec<String> = (0..next(6))
            .map(|_| {
                let (name, values) = PIECES[next(PIECES.len())];
                format!("{}={}", encode(name), encode(values[next(values.len())]))
            })
            .collect();
        let path = ["Patient", "", "Patient/1/*"][next(3)];
        let url = format!("{path}?{}", pairs.join("&"));
        let Ok(found) = read(&url, &context()) else { continue };
        let shown = found.shown.iter().map(|(a, b)| format!("{}={}", encode(a), encode(b)));
        let shown = format!("{path}?{}", shown.collect::<Vec<_>>().join("&"));
        let again = read(&shown, &context()).unwrap_or_else(|it| panic!("{url}: {shown}: {it}"));
        let plain = |request: &SearchRequest| SearchRequest { notices: vec![], ..request.clone() };
        assert_eq!(plain(&again), plain(&found), "{url}: {shown}");
        read_count += 1;
        shown_count += found.shown.len();
    }
    assert!(read_count > 1_000 && shown_count > 2_000, "{read_count} {shown_count}");
}
