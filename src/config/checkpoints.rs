//! The rules of `[checkpoints.NAME]`.

use super::check::{has_port, is_sent_to};
use super::{Config, ConfigError};

impl Config {
    /// Each place is one, and can be reached.
    pub(super) fn check_checkpoints(&self) -> Result<(), ConfigError> {
        let rule = |reason: String| Err(ConfigError::Rule { key: "checkpoints", reason });
        for (name, place) in &self.checkpoints {
            match (&place.store, &place.syslog) {
                (Some(store), None) if !is_sent_to(store) || store.contains(['?', '#']) => {
                    return rule(format!(
                        "`{name}`: `store` is an address that begins with https://, without a query"
                    ));
                }
                (None, Some(syslog)) if !has_port(syslog) => {
                    return rule(format!(
                        "`{name}`: `syslog` is a host and a port, such as syslog.example.org:6514"
                    ));
                }
                (Some(_), None) | (None, Some(_)) => {}
                _ => return rule(format!("`{name}` needs a `store` or a `syslog`, and not both")),
            }
            let is_keyed = place.region.is_some() || place.key_id.is_some();
            if place.store.is_none() && (is_keyed || place.secret.is_some()) {
                return rule(format!(
                    "`{name}`: `region`, `key_id` and `secret` are for a `store`"
                ));
            }
            if place.key_id.is_some() != place.secret.is_some() {
                return rule(format!("`{name}`: `key_id` and `secret` go together"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with;

    #[test]
    fn a_place_is_one_that_can_be_reached() {
        let store = ("checkpoints.a.store", "https://s3.example.org/b/kiln");
        let syslog = ("checkpoints.a.syslog", "syslog.example.org:6514");
        let (id, secret) = (("checkpoints.a.key_id", "k"), ("checkpoints.a.secret", "s"));
        for (flags, is_fit) in [
            (vec![], true),
            (vec![store], true),
            (vec![store, id, secret], true),
            (vec![("checkpoints.a.store", "http://127.0.0.1:9000/b")], true),
            (vec![syslog], true),
            (vec![store, ("checkpoints.b.syslog", "h:1")], true),
            (vec![store, syslog], false),
            (vec![id, secret], false),
            (vec![syslog, id, secret], false),
            (vec![syslog, ("checkpoints.a.region", "eu-west-1")], false),
            (vec![store, id], false),
            (vec![store, secret], false),
            (vec![("checkpoints.a.store", "s3.example.org/b")], false),
            (vec![("checkpoints.a.store", "http://s3.example.org/b")], false),
            (vec![("checkpoints.a.store", "https://s3.example.org/b?x=1")], false),
            (vec![("checkpoints.a.syslog", "syslog.example.org")], false),
        ] {
            assert_eq!(with(&flags).check_checkpoints().is_ok(), is_fit, "{flags:?}");
        }
    }
}
