//! What settings must have to do with each other.

use super::{AuthMode, Config, ConfigError, Registration};

impl Config {
    /// Tells whether a server can run with these settings.
    ///
    /// # Errors
    /// [`ConfigError::Rule`] for the first rule that is broken.
    pub fn check(&self) -> Result<(), ConfigError> {
        let rule = |key, reason: String| Err(ConfigError::Rule { key, reason });
        match self.auth.mode {
            AuthMode::Off if !self.http.listen.ip().is_loopback() => {
                return rule(
                    "auth.mode",
                    format!(
                        "\"off\" lets everyone do everything, and {} can be reached from other \
                         machines; listen on 127.0.0.1 or use \"smart\"",
                        self.http.listen
                    ),
                );
            }
            AuthMode::Off => {}
            AuthMode::Smart => self.check_smart()?,
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return rule("tls.certificate", "and `tls.key` go together".to_owned());
        }
        if self.tls.client_authorities.is_some() && self.tls.certificate.is_none() {
            return rule("tls.client_authorities", "means nothing without `tls.key`".to_owned());
        }
        self.check_feed()?;
        if let Some(reason) = self.http.base_url.as_deref().and_then(unfit_base) {
            return rule("http.base_url", reason);
        }
        if let Err(reason) = self.validation.policies() {
            return rule("validation.exceptions", reason);
        }
        if self.http.default_page > self.http.max_page {
            return rule("http.default_page", "is larger than `http.max_page`".to_owned());
        }
        if self.database.owner_url.is_some() && self.database.url.is_none() {
            return rule("database.owner_url", "means nothing without `database.url`".to_owned());
        }
        if self.otel.endpoint.is_some() && !cfg!(feature = "otel") {
            return rule("otel.endpoint", "this binary was built without OpenTelemetry".to_owned());
        }
        Ok(())
    }

    /// What tokens need.
    fn check_smart(&self) -> Result<(), ConfigError> {
        let rule = |key, reason: &str| Err(ConfigError::Rule { key, reason: reason.to_owned() });
        let is_told = self.http.base_url.as_deref().is_some_and(|it| it.starts_with("https://"));
        let is_safe = is_told || self.tls.certificate.is_some();
        if !is_safe && !self.http.listen.ip().is_loopback() {
            return rule(
                "http.base_url",
                "tokens need TLS: set `tls.certificate` and `tls.key`, or the https:// address of the \
                 proxy in front of Kiln; without both it listens on 127.0.0.1 only",
            );
        }
        let has_token = self.auth.registration_token.is_some();
        if self.auth.registration == Registration::Token && !has_token {
            return rule(
                "auth.registration_token",
                "is what `auth.registration = \"token\"` needs",
            );
        }
        if self.upstream.issuer.is_some() != self.upstream.client_id.is_some() {
            return rule("upstream.client_id", "and `upstream.issuer` go together");
        }
        self.check_trusted()?;
        if self.auth.code_seconds.get() > MAX_CODE_SECONDS {
            return rule("auth.code_seconds", "is at most 60");
        }
        Ok(())
    }

    /// What tokens of an outside authorization server need.
    fn check_trusted(&self) -> Result<(), ConfigError> {
        let rule = |key, reason: &str| Err(ConfigError::Rule { key, reason: reason.to_owned() });
        let trusted = &self.trusted;
        let is_asked = trusted.introspection_uri.is_some();
        if trusted.issuer.is_none() && (is_asked || trusted.jwks_uri.is_some()) {
            return rule("trusted.issuer", "says whose tokens count");
        }
        if trusted.issuer.is_some() && !is_asked && trusted.jwks_uri.is_none() {
            return rule(
                "trusted.jwks_uri",
                "or `trusted.introspection_uri` is what the issuer needs",
            );
        }
        if is_asked && (trusted.client_id.is_none() || trusted.client_secret.is_none()) {
            return rule(
                "trusted.client_id",
                "and `trusted.client_secret` are what `trusted.introspection_uri` needs",
            );
        }
        Ok(())
    }
}

/// Longest time that a code may count.
const MAX_CODE_SECONDS: u32 = 60;

/// Says why `base` cannot be a FHIR base.
fn unfit_base(base: &str) -> Option<String> {
    let rest = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"));
    match rest {
        None => Some(format!("{base:?} does not begin with http:// or https://")),
        Some(rest) if rest.starts_with('/') || rest.is_empty() => {
            Some(format!("{base:?} has no host"))
        }
        Some(rest) if rest.contains(['?', '#', ' ']) => {
            Some(format!("{base:?} has a query, a fragment or a space"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with;
    use super::*;

    #[test]
    fn check_refuses_what_cannot_work_and_names_the_key() {
        let off = ("auth.mode", "off");
        let cases = [
            (vec![], None),
            (vec![("http.listen", "0.0.0.0:8080")], Some("http.base_url")),
            (vec![("http.listen", "0.0.0.0:8080"), ("http.base_url", "https://h/fhir")], None),
            (vec![("auth.registration", "token")], Some("auth.registration_token")),
            (vec![("auth.code_seconds", "61")], Some("auth.code_seconds")),
            (vec![off], None),
            (vec![off, ("http.listen", "0.0.0.0:8080")], Some("auth.mode")),
            (vec![off, ("http.listen", "[::1]:8080")], None),
            (vec![off, ("http.default_page", "2000")], Some("http.default_page")),
            (vec![off, ("http.base_url", "fhir.example.org")], Some("http.base_url")),
            (vec![off, ("http.base_url", "https://h/fhir?x")], Some("http.base_url")),
            (vec![off, ("http.base_url", "https:///fhir")], Some("http.base_url")),
            (vec![off, ("http.base_url", "https://h/fhir/")], None),
            (vec![off, ("validation.exceptions", "http://p|1=warn,http://p?x=1=ignore")], None),
            (vec![off, ("validation.exceptions", "http://p")], Some("validation.exceptions")),
            (vec![off, ("validation.exceptions", "=warn")], Some("validation.exceptions")),
            (vec![off, ("validation.exceptions", "p=maybe")], Some("validation.exceptions")),
            (vec![off, ("database.owner_url", "postgres://o@h/d")], Some("database.owner_url")),
            (vec![off, ("hl7v2.certificate", "c.pem")], Some("hl7v2.certificate")),
            (vec![off, ("hl7v2.client_authorities", "c.pem")], Some("hl7v2.client_authorities")),
            (vec![off, ("hl7v2.senders", "a=B|C")], Some("hl7v2.senders")),
            (vec![off, ("hl7v2.listen", "0.0.0.0:2575")], Some("hl7v2.listen")),
            (vec![off, ("hl7v2.listen", "0.0.0.0:2575"), ("hl7v2.allow", "10.0.0.0/8")], None),
            (vec![off, ("hl7v2.listen", "127.0.0.1:2575")], None),
            (vec![off, ("tls.certificate", "c.pem")], Some("tls.certificate")),
            (vec![off, ("tls.client_authorities", "c.pem")], Some("tls.client_authorities")),
        ];
        for (flags, expected) in cases {
            let refused = with(&flags).check().err().map(|error| match error {
                ConfigError::Rule { key, .. } => key,
                other => panic!("{flags:?}: {other}"),
            });
            assert_eq!(refused, expected, "{flags:?}");
        }
    }
}
