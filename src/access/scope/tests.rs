use super::*;
use crate::spec::Spec;

fn known() -> SearchParameters {
    Spec::r4().expect("the pack of R4").search_parameters.clone()
}

#[test]
fn a_token_is_a_scope_as_a_whole_or_not_at_all() {
    let known = known();
    for (text, expected) in [
        ("patient/Observation.rs", true),
        ("patient/*.cruds", true),
        ("user/Patient.c", true),
        ("system/*.read", true),
        ("system/Patient.*", true),
        ("patient/Observation.rs?category=laboratory", true),
        ("patient/Observation.rs?category=http://x|a,b&code=1", true),
        ("patient/Observation.rs?_tag=x", true),
        ("patient/*.rs?_security=x", true),
        ("patient/Observation.rs?subject=Patient/1", true),
        // Dates, numbers and quantities, with prefixes.
        ("patient/Observation.rs?date=2024", true),
        ("patient/Observation.rs?date=ge2024-01&date=lt2025", true),
        ("patient/Observation.rs?date=ge2024-01-01T00:00:00%2B01:00", true),
        ("patient/Patient.rs?birthdate=le2000-02-03,ge2010", true),
        ("patient/Observation.rs?value-quantity=gt5.4|http://unitsofmeasure.org|mg", true),
        ("patient/Observation.rs?value-quantity=5||mg", true),
        ("patient/Observation.rs?value-quantity=ap5", true),
        ("patient/RiskAssessment.rs?probability=gt0.8,eq5e-1", true),
        ("patient/Observation.rs?date=soon", false),
        ("patient/Observation.rs?date=ge", false),
        ("patient/Observation.rs?date=2024,soon", false),
        ("patient/Observation.rs?date:missing=false", false),
        ("patient/RiskAssessment.rs?probability=.8", false),
        ("patient/Observation.rs?value-quantity=many|http://unitsofmeasure.org|mg", false),
        // These depend on the day, or on when something was stored.
        ("patient/Observation.rs?date=ap2024", false),
        ("patient/Observation.rs?_lastUpdated=ge2024", false),
        ("patient/*.rs?_lastUpdated=ge2024", false),
        ("openid", true),
        ("launch/patient", true),
        ("system/__introspect", true),
        // Order, repetition, nothing.
        ("patient/Observation.dus", false),
        ("patient/Observation.sr", false),
        ("patient/Observation.rr", false),
        ("patient/Observation.", false),
        // A beginning is not a scope.
        ("patient/Observation.read-only", false),
        ("patient/Observation.rs?active", false),
        ("patient/Observation.rs?", false),
        ("patient/Observation.rs?category=", false),
        ("patient/Observation.rs?category=a,", false),
        ("patient/Observation.rsx", false),
        ("patient/Observation.rs;user/*.rs", false),
        ("patient/Foo.rs", false),
        ("patient/observation.rs", false),
        ("Patient/Observation.rs", false),
        ("patient/Observation", false),
        ("patient/.rs", false),
        ("tenant/Observation.rs", false),
        ("openid2", false),
        ("OPENID", false),
        ("launch/Patient", false),
        // Beyond plain parameters of the type.
        ("patient/Observation.rs?subject.name=a", false),
        ("patient/Observation.rs?category:not=a", false),
        ("patient/Observation.rs?_has:Group:member:_id=1", false),
        ("patient/Observation.rs?_include=Observation:subject", false),
        ("patient/Observation.rs?_revinclude=Provenance:target", false),
        ("patient/Observation.rs?_count=1", false),
        ("patient/Observation.rs?_content=a", false),
        ("patient/Observation.rs?_filter=a", false),
        ("patient/Observation.rs?birthdate=2000", false),
        ("patient/Observation.rs?category=a&unknown=b", false),
        ("patient/Observation.rs?code-value-quantity=a$1", false),
        ("patient/*.rs?category=a", false),
        ("patient/Observation.read?category=a", false),
        ("patient/Observation.*?category=a", false),
    ] {
        assert_eq!(SmartScope::parse(text, &known).is_some(), expected, "{text:?}");
    }
}

#[test]
fn scopes_print_as_they_were_asked() {
    let known = known();
    for (asked, printed) in [
        ("patient/Patient.read user/*.*", "patient/Patient.read user/*.*"),
        ("openid fhirUser patient/*.rs", "openid fhirUser patient/*.rs"),
        ("  patient/*.rs  nonsense patient/*.rs", "patient/*.rs"),
        (
            "patient/Observation.rs?category=http%3A%2F%2Fx%7Ca",
            "patient/Observation.rs?category=http%3A%2F%2Fx%7Ca",
        ),
        ("patient/Observation.rs\tuser/Patient.rs", ""),
        ("", ""),
    ] {
        assert_eq!(ScopeSet::parse(asked, &known).to_string(), printed, "{asked:?}");
    }
}

#[test]
fn versions_mean_the_same() {
    let known = known();
    for (one, two) in [("read", "rs"), ("write", "cud"), ("*", "cruds")] {
        let actions = |text: &str| {
            let scope = ResourceScope::parse(&format!("user/Patient.{text}"), &known);
            scope.expect(text).actions
        };
        assert_eq!(actions(one), actions(two), "{one}");
    }
}

#[test]
fn what_is_granted_is_what_both_grant() {
    let known = known();
    for (asked, bounds, met) in [
        ("patient/*.rs", "patient/*.cruds", "patient/*.rs"),
        ("patient/*.read", "patient/*.rs", "patient/*.read"),
        ("patient/*.*", "patient/*.rs", "patient/*.read"),
        ("patient/*.*", "patient/*.r", "patient/*.r"),
        ("patient/*.rs", "patient/Observation.r", "patient/Observation.r"),
        ("patient/Observation.rs", "patient/*.s patient/Observation.r", "patient/Observation.rs"),
        ("patient/*.rs", "patient/*.rs patient/Observation.rs", "patient/*.rs"),
        ("patient/*.rs", "user/*.rs", ""),
        ("patient/Observation.c", "patient/*.rs", ""),
        (
            "patient/Observation.rs",
            "patient/Observation.rs?category=a",
            "patient/Observation.rs?category=a",
        ),
        (
            "patient/Observation.rs?category=a",
            "patient/Observation.rs",
            "patient/Observation.rs?category=a",
        ),
        (
            "patient/Observation.rs?category=a",
            "patient/Observation.rs?category=b",
            "patient/Observation.rs?category=a&category=b",
        ),
        ("openid launch patient/*.rs", "launch patient/*.rs", "launch patient/*.rs"),
        ("patient/Patient.rs", "", ""),
    ] {
        let (asked_set, bound) = (ScopeSet::parse(asked, &known), ScopeSet::parse(bounds, &known));
        let intersection = asked_set.intersect(&bound);
        assert_eq!(intersection.to_string(), met, "{asked} in {bounds}");
        assert!(intersection.is_within(&bound), "{asked} in {bounds}");
        assert_eq!(asked_set.is_within(&bound), intersection == asked_set, "{asked} in {bounds}");
    }
}

#[test]
fn a_scope_with_criteria_is_within_one_with_fewer() {
    let known = known();
    for (narrow, wide, expected) in [
        ("patient/Observation.rs?category=a&code=b", "patient/Observation.rs?category=a", true),
        ("patient/Observation.rs?category=a", "patient/Observation.rs?category=a&code=b", false),
        ("patient/Observation.rs?code=b&category=a", "patient/*.rs", true),
        ("patient/*.rs", "patient/Observation.rs", false),
        ("patient/Observation.rs", "patient/Observation.r patient/Observation.s", true),
        ("offline_access", "online_access", false),
    ] {
        let (narrow_set, wide_set) =
            (ScopeSet::parse(narrow, &known), ScopeSet::parse(wide, &known));
        assert_eq!(narrow_set.is_within(&wide_set), expected, "{narrow} in {wide}");
    }
}
