//! What the authorization server offers, as clients look it up.
//!
//! Every URL is made of the configured base: what a request says of the host does not count.
//!
//! Spec: SMART App Launch 2.2 Conformance, RFC 8414, OpenID Connect Discovery, security D1 to D7

use serde_json::{Map, Value, json};

use crate::access::scope::{Context, ScopeSet, SmartScope, Special};
use crate::config::Registration;
use crate::error::Error;
use crate::store::oauth::key;

use super::client::jwk::Algorithm;
use super::{Authority, Settings};

/// That users choose an encounter for apps that ask for one.
pub const CHOICE_OF_ENCOUNTER: &str = "context-standalone-encounter";
/// That users choose a patient for apps that ask for one.
pub const CHOICE_OF_PATIENT: &str = "context-standalone-patient";
/// That apps may ask by a form.
pub const AUTHORIZE_POST: &str = "authorize-post";
/// That apps hear whether they have to show whose record it is.
pub const BANNER: &str = "context-banner";
/// That an EHR hands over an encounter.
pub const EHR_ENCOUNTER: &str = "context-ehr-encounter";
/// That an EHR hands over a patient.
pub const EHR_PATIENT: &str = "context-ehr-patient";
/// That apps hear how our pages look.
pub const STYLE: &str = "context-style";
/// That an EHR launches apps.
pub const LAUNCH_EHR: &str = "launch-ehr";
/// That apps begin by themselves.
pub const LAUNCH_STANDALONE: &str = "launch-standalone";
/// That apps hear who the user is.
pub const OPENID: &str = "sso-openid-connect";
/// That apps keep state of their own here, as Basic resources.
pub const APP_STATE: &str = "smart-app-state";
/// That scopes in the grammar of version 2 are granted.
pub const V2: &str = "permission-v2";

const OFFLINE: &str = "permission-offline";
const ONLINE: &str = "permission-online";
const OF_PATIENT: &str = "permission-patient";
const OF_USER: &str = "permission-user";
const V1: &str = "permission-v1";

/// Capabilities, each of which can be switched off.
pub const CAPABILITIES: &[&str] = &[
    AUTHORIZE_POST,
    "client-confidential-asymmetric",
    "client-confidential-symmetric",
    "client-public",
    BANNER,
    EHR_ENCOUNTER,
    EHR_PATIENT,
    CHOICE_OF_ENCOUNTER,
    CHOICE_OF_PATIENT,
    STYLE,
    LAUNCH_EHR,
    LAUNCH_STANDALONE,
    OFFLINE,
    ONLINE,
    OF_PATIENT,
    OF_USER,
    V1,
    V2,
    APP_STATE,
    OPENID,
];

/// Scopes that can be granted, as they are told: with the capabilities that [`needed`] has for each.
const SCOPES: &[(&str, &[&str])] = &[
    ("openid", &[OPENID]),
    ("fhirUser", &[OPENID]),
    ("profile", &[OPENID]),
    ("launch", &[LAUNCH_EHR]),
    ("launch/patient", &[CHOICE_OF_PATIENT]),
    ("launch/encounter", &[CHOICE_OF_ENCOUNTER]),
    ("offline_access", &[OFFLINE]),
    ("online_access", &[ONLINE]),
    ("patient/*.rs", &[OF_PATIENT, V2]),
    ("patient/*.cruds", &[OF_PATIENT, V2]),
    ("patient/*.read", &[OF_PATIENT, V1]),
    ("user/*.rs", &[OF_USER, V2]),
    ("user/*.cruds", &[OF_USER, V2]),
    ("user/*.read", &[OF_USER, V1]),
    ("system/*.rs", &[V2]),
    ("system/*.cruds", &[V2]),
    ("system/*.read", &[V1]),
];

/// The capabilities that a scope belongs to.
fn needed(scope: &SmartScope) -> Vec<&'static str> {
    match scope {
        SmartScope::Resource(scope) => {
            let version = if scope.is_of_version_one() { V1 } else { V2 };
            let context = match scope.context {
                Context::Patient => Some(OF_PATIENT),
                Context::System => None,
                Context::User => Some(OF_USER),
            };
            context.into_iter().chain([version]).collect()
        }
        SmartScope::Special(special) => match special {
            Special::FhirUser | Special::OpenId | Special::Profile => vec![OPENID],
            Special::Launch => vec![LAUNCH_EHR],
            Special::LaunchEncounter => vec![CHOICE_OF_ENCOUNTER],
            Special::LaunchPatient => vec![CHOICE_OF_PATIENT],
            Special::OfflineAccess => vec![OFFLINE],
            Special::OnlineAccess => vec![ONLINE],
            Special::Administer
            | Special::AdministerAsUser
            | Special::Introspect
            | Special::MakeLaunch
            | Special::Messages => Vec::new(),
        },
    }
}

/// How long a replaced key is published, in milliseconds: longer than any id_token counts.
pub(super) const OVERLAP: i64 = 24 * 60 * 60 * 1000;

impl Settings {
    /// Whether a capability is switched on.
    pub fn offers(&self, capability: &str) -> bool {
        !self.without.iter().any(|name| name == capability)
    }

    /// The token endpoint.
    pub fn token_endpoint(&self) -> String {
        format!("{}/token", self.issuer)
    }

    /// What is registered where, beside the issuer: name and URL of each endpoint.
    pub fn endpoints(&self) -> Vec<(&'static str, String)> {
        let at = |path: &str| format!("{}/{path}", self.issuer);
        let mut all = vec![
            ("authorization_endpoint", at("authorize")),
            ("token_endpoint", self.token_endpoint()),
            ("introspection_endpoint", at("introspect")),
            ("revocation_endpoint", at("revoke")),
            ("management_endpoint", at("apps")),
        ];
        if self.registration != Registration::Off {
            all.push(("registration_endpoint", at("register")));
        }
        all
    }

    /// Of scopes those that belong to nothing that is switched off: no other can be granted.
    #[must_use]
    pub fn offered(&self, scopes: &ScopeSet) -> ScopeSet {
        scopes.filtered(|scope| needed(scope).into_iter().all(|capability| self.offers(capability)))
    }

    fn scopes(&self) -> Vec<&'static str> {
        let is_on = |(_, needed): &&(&str, &[&str])| {
            needed.iter().all(|capability| self.offers(capability))
        };
        SCOPES.iter().filter(is_on).map(|(scope, _)| *scope).collect()
    }

    fn client_methods(&self) -> Vec<&'static str> {
        let mut methods = Vec::new();
        if self.offers("client-public") {
            methods.push("none");
        }
        if self.offers("client-confidential-symmetric") {
            methods.extend(["client_secret_basic", "client_secret_post"]);
        }
        if self.offers("client-confidential-asymmetric") {
            methods.push("private_key_jwt");
        }
        methods
    }

    /// What both documents say.
    fn common(&self) -> Map<String, Value> {
        let mut all = Map::new();
        for (name, url) in self.endpoints() {
            all.insert(name.to_owned(), json!(url));
        }
        let grants = ["authorization_code", "client_credentials", "refresh_token"];
        for (name, value) in [
            ("grant_types_supported", json!(grants)),
            ("response_types_supported", json!(["code"])),
            ("response_modes_supported", json!(["query"])),
            ("code_challenge_methods_supported", json!(["S256"])),
            ("token_endpoint_auth_methods_supported", json!(self.client_methods())),
            ("token_endpoint_auth_signing_alg_values_supported", json!(Algorithm::NAMES)),
            ("scopes_supported", json!(self.scopes())),
            ("authorization_response_iss_parameter_supported", json!(true)),
        ] {
            all.insert(name.to_owned(), value);
        }
        if self.offers(OPENID) {
            all.insert("issuer".to_owned(), json!(self.issuer));
            all.insert("jwks_uri".to_owned(), json!(format!("{}/jwks", self.issuer)));
        }
        all
    }

    /// `/.well-known/smart-configuration` of the FHIR base.
    pub fn smart_configuration(&self) -> Value {
        let mut all = self.common();
        let capabilities = CAPABILITIES.iter().filter(|name| self.offers(name));
        all.insert("capabilities".to_owned(), capabilities.copied().collect());
        for (name, value) in self.brand_members() {
            all.insert(name.to_owned(), value);
        }
        all.into()
    }

    /// `/.well-known/openid-configuration` of the issuer.
    pub fn openid_configuration(&self) -> Value {
        let mut all = self.common();
        all.insert("issuer".to_owned(), json!(self.issuer));
        let claims =
            ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "fhirUser", "profile"];
        for (name, value) in [
            ("subject_types_supported", json!(["public"])),
            ("id_token_signing_alg_values_supported", json!(["RS256"])),
            ("claims_supported", json!(claims)),
            ("claims_parameter_supported", json!(false)),
            ("request_parameter_supported", json!(false)),
            ("request_uri_parameter_supported", json!(false)),
        ] {
            all.insert(name.to_owned(), value);
        }
        all.into()
    }
}

impl Authority {
    /// The keys that id_tokens of all nodes are signed with, as a JWKS.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn jwks(&self) -> Result<Value, Error> {
        let since = self.clock.now().plus_millis(-OVERLAP);
        let mut keys = key::published(&self.store, since).await?;
        let own = self.keys.current();
        if !keys.iter().any(|(id, _)| *id == own.id) {
            keys.insert(0, (own.id.clone(), own.jwk.clone()));
        }
        let keys = keys.iter().filter_map(|(_, jwk)| serde_json::from_str::<Value>(jwk).ok());
        Ok(json!({ "keys": keys.collect::<Vec<_>>() }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;
    use crate::spec::Spec;

    #[test]
    fn what_is_switched_off_is_not_offered() {
        let all = settings();
        let offered = |it: &Settings| it.smart_configuration()["capabilities"].clone();
        assert_eq!(offered(&all).as_array().map(Vec::len), Some(CAPABILITIES.len()));
        for capability in CAPABILITIES {
            let one = Settings { without: vec![(*capability).to_owned()], ..settings() };
            let left = offered(&one);
            assert!(!left.as_array().expect("list").contains(&json!(capability)), "{capability}");
        }
        let one = Settings { without: vec!["sso-openid-connect".to_owned()], ..settings() };
        let told = one.smart_configuration();
        assert_eq!((told.get("issuer"), told.get("jwks_uri")), (None, None));
        assert!(!told["scopes_supported"].as_array().expect("list").contains(&json!("openid")));
    }

    /// Covers: security D4.
    #[test]
    fn a_scope_is_told_exactly_where_it_can_be_granted() {
        let spec = Spec::r4().expect("definitions");
        for (text, capabilities) in SCOPES {
            let scopes = ScopeSet::parse(text, &spec.search_parameters);
            let found: Vec<_> = scopes.iter().map(needed).collect();
            assert_eq!(found, [capabilities.to_vec()], "{text}");
        }
        for capability in CAPABILITIES {
            let one = Settings { without: vec![(*capability).to_owned()], ..settings() };
            for (text, _) in SCOPES {
                let scopes = ScopeSet::parse(text, &spec.search_parameters);
                let is_granted = one.offered(&scopes) == scopes;
                assert_eq!(one.scopes().contains(text), is_granted, "{text} {capability}");
            }
        }
    }

    #[test]
    fn every_endpoint_is_below_the_issuer() {
        let settings = settings();
        let told = settings.smart_configuration();
        for (name, url) in settings.endpoints() {
            assert_eq!(told[name], url);
            assert!(url.starts_with("https://h.org/auth/"), "{url}");
        }
        assert_eq!(told.get("registration_endpoint"), None);
        let open = Settings { registration: Registration::Open, ..settings };
        assert_eq!(
            open.smart_configuration()["registration_endpoint"],
            "https://h.org/auth/register"
        );
    }
}
