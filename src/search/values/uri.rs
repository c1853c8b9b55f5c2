//! Uris: literal texts, some of which are above and below others.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#uri>, <https://hl7.org/fhir/R4/references.html#canonical>
//! (rest 4.121, 4.122, 4.125, 4.141 to 4.145)

/// Whether `version` is asked for by `prefix`: all of it or whole parts of it (`1` finds `1.0`).
pub fn is_version_below(version: &str, prefix: &str) -> bool {
    let rest = version.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || prefix.ends_with('.'))
}

/// Whether a uri takes part in `:above` and `:below`: urns have no hierarchy (rest 4.142).
pub fn is_hierarchical(uri: &str) -> bool {
    !uri.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("urn:")) && uri != "urn"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_prefix_ends_at_a_part() {
        for (version, prefix, expected) in [
            ("1.0", "1", true),
            ("1.1", "1", true),
            ("1", "1", true),
            ("10.0", "1", false),
            ("1.0", "1.", true),
            ("2.1", "1", false),
        ] {
            assert_eq!(is_version_below(version, prefix), expected, "{version} {prefix}");
        }
    }

    #[test]
    fn urns_have_no_hierarchy() {
        for (uri, expected) in [
            ("http://a/b", true),
            ("urn:oid:1.2", false),
            ("URN:uuid:1", false),
            ("urn://localhost/test", false),
            ("urn", false),
            ("ürn", true),
        ] {
            assert_eq!(is_hierarchical(uri), expected, "{uri}");
        }
    }
}
