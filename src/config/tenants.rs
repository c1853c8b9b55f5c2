//! What is otherwise for one tenant, `[tenants.NAME]`, and its rules.

use super::{Config, ConfigError, TenantSettings};

/// The section, as messages name it.
const SECTION: &str = "tenants";

impl TenantSettings {
    /// Puts what it says in the place of what counts for all.
    pub(super) fn put_into(&self, config: &mut Config) {
        let feed = &mut config.hl7v2;
        feed.listen = self.mllp;
        // Where answers go is told for a server with one tenant: of several, one could name another's.
        feed.answer_to.clear();
        feed.allow.clone_from(&self.mllp_allow);
        feed.client_authorities.clone_from(&self.mllp_client_authorities);
        feed.senders.clone_from(&self.mllp_senders);
        let limits = &mut config.limits;
        for (all, own) in [
            (&mut limits.requests_per_minute, self.requests_per_minute),
            (&mut limits.requests_at_a_time, self.requests_at_a_time),
            (&mut limits.tokens_per_minute, self.tokens_per_minute),
            (&mut limits.total_per_minute, self.total_per_minute),
            (&mut limits.total_at_a_time, self.total_at_a_time),
        ] {
            if own > 0 {
                *all = own;
            }
        }
    }
}

impl Config {
    /// The rules of `[tenants.NAME]`.
    pub(super) fn check_tenants(&self) -> Result<(), ConfigError> {
        let rule = |reason: String| Err(ConfigError::Rule { key: SECTION, reason });
        if !self.tenants.is_empty() && !self.has_tenants() {
            return rule("means nothing with `tenancy.mode = \"off\"`".to_owned());
        }
        for (name, its) in &self.tenants {
            let Some(address) = its.mllp else { continue };
            let others = self.tenants.iter().filter(|(other, _)| *other != name);
            let has_same = |other: &TenantSettings| other.mllp == its.mllp && address.port() != 0;
            if others.clone().any(|(_, other)| has_same(other)) {
                return rule(format!(
                    "`{name}` has the `mllp` of another one: whose is a message?"
                ));
            }
            if !self.of_tenant(name).hl7v2.is_closed() {
                return rule(format!(
                    "`{name}`: {address} can be reached from other machines: name those that may in \
                     `mllp_allow`, or ask for certificates by `mllp_client_authorities`"
                ));
            }
            let is_encrypted = self.hl7v2.certificate.is_some();
            if its.mllp_client_authorities.is_some() && !is_encrypted {
                return rule(format!(
                    "`{name}`: `mllp_client_authorities` means nothing without `hl7v2.certificate`"
                ));
            }
            if !its.mllp_senders.is_empty() && its.mllp_client_authorities.is_none() {
                return rule(format!(
                    "`{name}`: `mllp_senders` means nothing without `mllp_client_authorities`"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with;

    #[test]
    fn a_tenant_has_limits_and_a_door_of_its_own() {
        let flags = [
            ("tenancy.mode", "path"),
            ("hl7v2.allow", "10.0.0.0/8"),
            ("limits.requests_per_minute", "100"),
            ("limits.tokens_per_minute", "50"),
            ("tenants.north.mllp", "127.0.0.1:2576"),
            ("tenants.north.requests_per_minute", "7"),
            ("tenants.north.total_at_a_time", "3"),
        ];
        let config = with(&flags);
        let (north, south) = (config.of_tenant("north"), config.of_tenant("south"));
        assert_eq!((north.limits.requests_per_minute, south.limits.requests_per_minute), (7, 100));
        assert_eq!((north.limits.tokens_per_minute, south.limits.tokens_per_minute), (50, 50));
        assert_eq!((north.limits.total_at_a_time, south.limits.total_at_a_time), (3, 0));
        assert_eq!(north.hl7v2.listen, "127.0.0.1:2576".parse().ok());
        assert_eq!(south.hl7v2.listen, None);
        assert!(north.hl7v2.allow.is_empty(), "who may send to others may not send here");
    }

    #[test]
    fn doors_of_tenants_are_apart_and_closed() {
        let path = ("tenancy.mode", "path");
        let open = ("tenants.a.mllp", "0.0.0.0:2576");
        for (flags, expected) in [
            (vec![("tenants.a.total_per_minute", "5")], Some("means nothing")),
            (vec![path, ("tenants.a.total_per_minute", "5")], None),
            (vec![path, ("tenants.a.mllp", "127.0.0.1:2576")], None),
            (
                vec![
                    path,
                    ("tenants.a.mllp", "127.0.0.1:2576"),
                    ("tenants.b.mllp", "127.0.0.1:2576"),
                ],
                Some("of another one"),
            ),
            (vec![path, open], Some("other machines")),
            (vec![path, open, ("hl7v2.allow", "10.0.0.0/8")], Some("other machines")),
            (vec![path, open, ("tenants.a.mllp_allow", "10.0.0.0/8")], None),
            (
                vec![path, open, ("tenants.a.mllp_client_authorities", "/a.pem")],
                Some("without `hl7v2.certificate`"),
            ),
            (
                vec![
                    path,
                    open,
                    ("tenants.a.mllp_allow", "10.0.0.0/8"),
                    ("tenants.a.mllp_senders", "a.org=A|B"),
                ],
                Some("`mllp_senders`"),
            ),
        ] {
            let checked = with(&flags).check_tenants();
            let told = checked.map_or_else(|error| error.to_string(), |()| String::new());
            let is_as_expected = expected.map_or(told.is_empty(), |text| told.contains(text));
            assert!(is_as_expected, "{flags:?}: {told}");
        }
    }
}
