//! Scopes as far as a client must read them.

/// `patient/Observation.rs?category=x`, taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Scope<'a> {
    pub(super) context: &'a str,
    pub(super) resource: &'a str,
    pub(super) permission: &'a str,
    pub(super) query: Option<&'a str>,
}

impl<'a> Scope<'a> {
    /// Reads a scope on resources; others are `None`.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        let (context, rest) = path.split_once('/')?;
        let (resource, permission) = rest.split_once('.')?;
        let is_known = matches!(context, "patient" | "user" | "system" | "*");
        let is_type = !resource.is_empty()
            && resource.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'*');
        (is_known && is_type).then_some(Self { context, resource, permission, query })
    }

    /// Whether it is written as SMART 2 does.
    pub(super) fn is_v2(&self) -> bool {
        !self.permission.is_empty() && self.permission.bytes().all(|byte| b"cruds".contains(&byte))
    }

    /// Whether it lets its holder read and search.
    pub(super) fn is_readable(&self) -> bool {
        matches!(self.permission, "read" | "*")
            || (self.is_v2() && self.permission.contains('r') && self.permission.contains('s'))
    }

    pub(super) fn covers(&self, resource: &str) -> bool {
        self.resource == "*" || self.resource == resource
    }
}

/// The scopes on resources in a scope string.
pub(super) fn resource_scopes(text: &str) -> Vec<Scope<'_>> {
    text.split_whitespace().filter_map(Scope::of).collect()
}

/// Whether `scopes` name `scope` literally.
pub(super) fn names(scopes: &str, scope: &str) -> bool {
    scopes.split_whitespace().any(|known| known == scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_taken_apart() {
        for (text, v2, readable) in [
            ("patient/Observation.rs?category=a|b", true, true),
            ("user/*.cruds", true, true),
            ("system/Patient.c", true, false),
            ("patient/Patient.read", false, true),
            ("patient/Patient.*", false, true),
        ] {
            let scope = Scope::of(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((scope.is_v2(), scope.is_readable()), (v2, readable), "{text}");
        }
        for text in ["openid", "launch/patient", "patient/", "pat/Patient.rs", "patient/P_.rs"] {
            assert_eq!(Scope::of(text), None, "{text}");
        }
        assert!(Scope::of("patient/*.rs").is_some_and(|scope| scope.covers("Patient")));
        assert!(names("openid launch/patient", "launch/patient"));
        assert!(!names("openid launch/patient", "launch"));
    }
}
