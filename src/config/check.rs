//! What settings must have to do with each other.

use super::derived::TENANT;
use super::{AuthMode, Config, ConfigError, Registration, Tenancy, TenancyMode, WorkingHours};

/// Most links that a chain can be allowed: what compiles one bounds its depth too.
const MOST_LINKS: u32 = 16;

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
        let tls = &self.tls;
        pair("tls.certificate", tls.certificate.is_some() == tls.key.is_some())?;
        if tls.client_authorities.is_some() && tls.certificate.is_none() {
            return rule("tls.client_authorities", "means nothing without `tls.key`".to_owned());
        }
        self.check_feed()?;
        self.check_tenancy()?;
        self.check_administration()?;
        if let Some(reason) = self.http.base_url.as_deref().and_then(unfit_base) {
            return rule("http.base_url", reason);
        }
        self.check_outlets()?;
        self.check_graphql()?;
        if let Err(reason) = self.validation.policies() {
            return rule("validation.exceptions", reason);
        }
        if self.http.default_page > self.http.max_page {
            return rule("http.default_page", "is larger than `http.max_page`".to_owned());
        }
        if self.search.max_chain.get() > MOST_LINKS {
            let reason = format!("is more than {MOST_LINKS}: each link is a query within another");
            return rule("search.max_chain", reason);
        }
        if self.database.owner_url.is_some() && self.database.url.is_none() {
            return rule("database.owner_url", "means nothing without `database.url`".to_owned());
        }
        if self.otel.endpoint.is_some() && !cfg!(feature = "otel") {
            return rule("otel.endpoint", "this binary was built without OpenTelemetry".to_owned());
        }
        Ok(())
    }

    /// What tenants need.
    fn check_tenancy(&self) -> Result<(), ConfigError> {
        let rule = |key, reason: &str| Err(ConfigError::Rule { key, reason: reason.to_owned() });
        let Tenancy { mode, header, base_url, .. } = &self.tenancy;
        self.check_tenants()?;
        if !self.has_tenants() {
            return Ok(());
        }
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if header.is_empty() || !header.bytes().all(is_plain) {
            return rule("tenancy.header", "is a name of a header, in lower case");
        }
        match base_url {
            None if *mode == TenancyMode::Header => {
                return rule(
                    "tenancy.base_url",
                    "is what `tenancy.mode = \"header\"` needs: where do clients see a tenant?",
                );
            }
            Some(each) if each.matches(TENANT).count() != 1 => {
                return rule("tenancy.base_url", "has `{tenant}` once: no two share an address");
            }
            Some(each) => {
                if let Some(reason) = unfit_base(&each.replace(TENANT, "a")) {
                    return Err(ConfigError::Rule { key: "tenancy.base_url", reason });
                }
            }
            None => {}
        }
        if self.hl7v2.listen.is_some() {
            return rule(
                "hl7v2.listen",
                "has no tenant: where there are tenants, each has its own, `tenants.NAME.mllp`",
            );
        }
        if self.trusted.values().any(|it| it.audience.is_some()) {
            return rule(
                "trusted",
                "an `audience` would let a token in at each tenant: a token is for one base",
            );
        }
        Ok(())
    }

    /// What the listener for administration needs.
    fn check_administration(&self) -> Result<(), ConfigError> {
        let key = "administration.listen";
        let rule = |reason: &str| Err(ConfigError::Rule { key, reason: reason.to_owned() });
        let Some(address) = self.administration.listen else { return Ok(()) };
        if self.auth.mode == AuthMode::Off {
            return rule(
                "means nothing with `auth.mode = \"off\"`: there are no tokens to ask for",
            );
        }
        if address.ip().is_loopback() {
            return Ok(());
        }
        if !self.administration.beyond_loopback {
            return rule(
                "can be reached from other machines; listen on 127.0.0.1, or set \
                 `administration.beyond_loopback`",
            );
        }
        if self.tls.certificate.is_none() {
            return rule("needs `tls.certificate` where other machines can reach it");
        }
        Ok(())
    }

    /// What tokens need.
    fn check_smart(&self) -> Result<(), ConfigError> {
        let rule = |key, reason: &str| Err(ConfigError::Rule { key, reason: reason.to_owned() });
        let tenants = self.tenancy.base_url.as_deref().filter(|_| self.has_tenants());
        let told = tenants.or(self.http.base_url.as_deref());
        let is_told = told.is_some_and(|it| it.starts_with("https://"));
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

    /// Where events and alerts go.
    fn check_outlets(&self) -> Result<(), ConfigError> {
        let rule = |key, reason: &str| Err(ConfigError::Rule { key, reason: reason.to_owned() });
        let atna = &self.atna;
        pair("atna.certificate", atna.certificate.is_some() == atna.key.is_some())?;
        if let Some(repository) = &atna.repository {
            if let Some(reason) = unfit_base(repository) {
                return Err(ConfigError::Rule { key: "atna.repository", reason });
            }
            if !is_sent_to(repository) {
                return rule("atna.repository", "is an address that begins with https://");
            }
            // Each event would be the cause of the next.
            if self.is_own_base(repository) {
                return rule(
                    "atna.repository",
                    "is this server itself, which has the events already",
                );
            }
        }
        self.check_checkpoints()?;
        self.check_subscriptions()?;
        if !atna.syslog.as_deref().is_none_or(has_port) {
            return rule("atna.syslog", "is a host and a port, such as syslog.example.org:6514");
        }
        if !self.alerts.webhook.as_deref().is_none_or(is_sent_to) {
            return rule("alerts.webhook", "is an address that begins with https://");
        }
        match self.alerts.working_hours.as_deref().map(WorkingHours::parse) {
            Some(None) => rule("alerts.working_hours", "are two times of day, such as 07:00-19:00"),
            _ => Ok(()),
        }
    }

    /// Whether an address is this server's, or that of one of its tenants.
    fn is_own_base(&self, address: &str) -> bool {
        let address = address.trim_end_matches('/');
        let listen = self.http.listen;
        if address == self.base_url(listen) {
            return true;
        }
        let each = self.has_tenants().then(|| self.of_tenant(TENANT).base_url(listen));
        let around = each.as_deref().and_then(|each| each.split_once(TENANT));
        let name = around.and_then(|(before, behind)| {
            address.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind))
        });
        name.is_some_and(|name| !name.is_empty() && !name.contains(['/', '.', ':']))
    }

    /// What tokens of outside authorization servers need.
    fn check_trusted(&self) -> Result<(), ConfigError> {
        let rule = |reason: String| Err(ConfigError::Rule { key: "trusted", reason });
        let asked = self.trusted.values().filter(|it| it.introspection_uri.is_some());
        let are_several_asked = asked.clone().count() > 1;
        for (name, server) in &self.trusted {
            let is_asked = server.introspection_uri.is_some();
            let Some(issuer) = &server.issuer else {
                return rule(format!("`{name}` needs an `issuer`: whose tokens are they?"));
            };
            if self.trusted.values().filter(|it| it.issuer.as_ref() == Some(issuer)).count() > 1 {
                return rule(format!("`{name}` has an issuer that another one has too"));
            }
            if !is_asked && server.jwks_uri.is_none() {
                return rule(format!("`{name}` needs `jwks_uri` or `introspection_uri`"));
            }
            if is_asked && (server.client_id.is_none() || server.client_secret.is_none()) {
                return rule(format!(
                    "`{name}` needs `client_id` and `client_secret` for its `introspection_uri`"
                ));
            }
            if !is_asked || !are_several_asked {
                continue;
            }
            let Some(own) = server.token_prefix.as_deref().filter(|own| !own.is_empty()) else {
                return rule(format!(
                    "`{name}` needs `token_prefix`, as several servers are asked about tokens"
                ));
            };
            let prefixes = asked.clone().filter_map(|it| it.token_prefix.as_deref());
            if prefixes.filter(|other| other.starts_with(own)).count() > 1 {
                return rule(format!("`{name}` has a `token_prefix` that another one begins with"));
            }
        }
        Ok(())
    }
}

/// A certificate and its key, neither of which is of use alone: `name` is that of the certificate.
pub(super) fn pair(name: &'static str, is_whole: bool) -> Result<(), ConfigError> {
    let section = name.trim_end_matches("certificate");
    let reason = || format!("and `{section}key` go together");
    if is_whole { Ok(()) } else { Err(ConfigError::Rule { key: name, reason: reason() }) }
}

/// Longest time that a code may count.
const MAX_CODE_SECONDS: u32 = 60;

/// Whether the server sends data to an address: by TLS, or to this machine.
pub(super) fn is_sent_to(url: &str) -> bool {
    let here = |rest: &str| {
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        host == "localhost" || host.starts_with("127.") || rest.starts_with("[::1]")
    };
    url.starts_with("https://") || url.strip_prefix("http://").is_some_and(here)
}

/// Whether a text is a host and a port.
pub(super) fn has_port(place: &str) -> bool {
    place
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

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
    fn outside_servers_are_told_apart() {
        let keys =
            [("trusted.a.issuer", "https://a.org"), ("trusted.a.jwks_uri", "https://a.org/k")];
        let asked = |prefix: &'static str| {
            let mut all = vec![
                ("trusted.b.issuer", "https://b.org"),
                ("trusted.b.introspection_uri", "https://b.org/i"),
                ("trusted.b.client_id", "kiln"),
                ("trusted.b.client_secret", "s"),
                ("trusted.b.token_prefix", prefix),
            ];
            all.retain(|(_, value)| !value.is_empty());
            all
        };
        let also = |prefix: &'static str| {
            let mut all = vec![
                ("trusted.c.issuer", "https://c.org"),
                ("trusted.c.introspection_uri", "https://c.org/i"),
                ("trusted.c.client_id", "kiln"),
                ("trusted.c.client_secret", "s"),
                ("trusted.c.token_prefix", prefix),
            ];
            all.retain(|(_, value)| !value.is_empty());
            all
        };
        for (flags, named) in [
            (keys.to_vec(), None),
            ([keys.to_vec(), asked("")].concat(), None),
            ([asked("b_"), also("c_")].concat(), None),
            ([asked("b_"), also("")].concat(), Some("`c` needs `token_prefix`")),
            ([asked("b_"), also("b_")].concat(), Some("another one begins with")),
            ([asked("b_"), also("b_x")].concat(), Some("`b` has a `token_prefix`")),
            (vec![("trusted.a.issuer", "x")], Some("`a` needs `jwks_uri`")),
            (vec![("trusted.a.jwks_uri", "x")], Some("`a` needs an `issuer`")),
            (
                vec![("trusted.a.issuer", "x"), ("trusted.a.introspection_uri", "x")],
                Some("`client_id` and `client_secret`"),
            ),
            (
                [
                    keys.to_vec(),
                    vec![("trusted.b.issuer", "https://a.org"), ("trusted.b.jwks_uri", "x")],
                ]
                .concat(),
                Some("another one has too"),
            ),
        ] {
            let said = with(&flags).check().err().map(|error| error.to_string());
            let is_said = match (&said, named) {
                (None, None) => true,
                (Some(said), Some(named)) => said.contains(named),
                _ => false,
            };
            assert!(is_said, "{flags:?}: {said:?}");
        }
    }

    /// What a check says of settings: the key that it names.
    fn refused(flags: &[(&str, &str)]) -> Option<&'static str> {
        with(flags).check().err().map(|error| match error {
            ConfigError::Rule { key, .. } => key,
            other => panic!("{flags:?}: {other}"),
        })
    }

    #[test]
    fn check_refuses_what_cannot_work_and_names_the_key() {
        let off = ("auth.mode", "off");
        let cases = [
            (vec![], None),
            (vec![("http.listen", "0.0.0.0:8080")], Some("http.base_url")),
            (vec![("graphql.max_depth", "64")], None),
            (vec![("graphql.max_depth", "65")], Some("graphql.max_depth")),
            (vec![("http.listen", "0.0.0.0:8080"), ("http.base_url", "https://h/fhir")], None),
            (vec![("auth.registration", "token")], Some("auth.registration_token")),
            (vec![("auth.code_seconds", "61")], Some("auth.code_seconds")),
            (vec![("administration.listen", "[::1]:9091")], None),
            (vec![("administration.listen", "0.0.0.0:9091")], Some("administration.listen")),
            (
                vec![
                    ("administration.listen", "0.0.0.0:9091"),
                    ("administration.beyond_loopback", "true"),
                ],
                Some("administration.listen"),
            ),
            (
                vec![
                    ("administration.listen", "0.0.0.0:9091"),
                    ("administration.beyond_loopback", "true"),
                    ("tls.certificate", "c.pem"),
                    ("tls.key", "k.pem"),
                ],
                None,
            ),
            (vec![off, ("administration.listen", "127.0.0.1:9091")], Some("administration.listen")),
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
        ];
        for (flags, expected) in cases {
            assert_eq!(refused(&flags), expected, "{flags:?}");
        }
    }

    #[test]
    fn check_refuses_doors_that_cannot_work() {
        let off = ("auth.mode", "off");
        let cases = [
            (vec![off, ("hl7v2.certificate", "c.pem")], Some("hl7v2.certificate")),
            (vec![off, ("hl7v2.client_authorities", "c.pem")], Some("hl7v2.client_authorities")),
            (vec![off, ("hl7v2.senders", "a=B|C")], Some("hl7v2.senders")),
            (vec![off, ("hl7v2.listen", "0.0.0.0:2575")], Some("hl7v2.listen")),
            (vec![off, ("hl7v2.listen", "0.0.0.0:2575"), ("hl7v2.allow", "10.0.0.0/8")], None),
            (vec![off, ("hl7v2.listen", "127.0.0.1:2575")], None),
            (vec![off, ("tls.certificate", "c.pem")], Some("tls.certificate")),
            (vec![off, ("tls.client_authorities", "c.pem")], Some("tls.client_authorities")),
            (vec![off, ("atna.certificate", "c.pem")], Some("atna.certificate")),
            (vec![off, ("atna.repository", "audit.example.org")], Some("atna.repository")),
            (vec![off, ("atna.syslog", "syslog.example.org")], Some("atna.syslog")),
            (vec![off, ("atna.syslog", "[::1]:6514")], None),
            (
                vec![
                    off,
                    ("http.base_url", "https://h/fhir"),
                    ("atna.repository", "https://h/fhir/"),
                ],
                Some("atna.repository"),
            ),
            (
                vec![off, ("atna.repository", "http://audit.example.org/fhir")],
                Some("atna.repository"),
            ),
            (vec![off, ("atna.repository", "http://127.0.0.1:8090/fhir")], None),
            (vec![off, ("search.max_chain", "17")], Some("search.max_chain")),
            (vec![off, ("search.max_chain", "16")], None),
            (vec![off, ("alerts.webhook", "h/x")], Some("alerts.webhook")),
            (
                vec![off, ("alerts.webhook", "http://localhost.example.org/x")],
                Some("alerts.webhook"),
            ),
            (vec![off, ("alerts.webhook", "http://localhost:9/x")], None),
            (vec![off, ("alerts.working_hours", "07:00-19:00")], None),
            (vec![off, ("alerts.working_hours", "7-25")], Some("alerts.working_hours")),
        ];
        for (flags, expected) in cases {
            assert_eq!(refused(&flags), expected, "{flags:?}");
        }
    }

    #[test]
    fn check_refuses_tenants_that_could_meet() {
        let (path, header) = (("tenancy.mode", "path"), ("tenancy.mode", "header"));
        let each = ("tenancy.base_url", "https://{tenant}.example.org/fhir");
        for (flags, expected) in [
            (vec![path], None),
            (vec![path, each], None),
            (vec![header, each], None),
            (vec![header], Some("tenancy.base_url")),
            (vec![header, ("tenancy.base_url", "https://h/fhir")], Some("tenancy.base_url")),
            (vec![path, ("tenancy.base_url", "{tenant}/fhir")], Some("tenancy.base_url")),
            (vec![path, ("tenancy.header", "X Y")], Some("tenancy.header")),
            (
                vec![path, each, ("atna.repository", "https://a.example.org/fhir/")],
                Some("atna.repository"),
            ),
            (vec![path, each, ("atna.repository", "https://a.b.example.org/fhir")], None),
            (vec![path, each, ("atna.repository", "https://a.example.org/r4")], None),
            (vec![each, ("atna.repository", "https://a.example.org/fhir")], None),
            (
                vec![
                    path,
                    ("http.base_url", "https://h/fhir"),
                    ("atna.repository", "https://h/t/a/fhir"),
                ],
                Some("atna.repository"),
            ),
            (vec![path, ("hl7v2.listen", "127.0.0.1:2575")], Some("hl7v2.listen")),
            (
                vec![
                    path,
                    ("trusted.a.issuer", "https://a.org"),
                    ("trusted.a.jwks_uri", "https://a.org/k"),
                    ("trusted.a.audience", "https://h/fhir"),
                ],
                Some("trusted"),
            ),
        ] {
            assert_eq!(refused(&flags), expected, "{flags:?}");
        }
    }
}
