//! Standalone launches: each kind of client once, with all that a patient's app asks for.

use super::super::http::Call;
use super::super::report::ensure;
use super::super::url;
use super::agent::Choice;
use super::apps::App;
use super::discovery::is_shared;
use super::launch::{Tokens, Wish};
use super::options::Apps;
use super::scope::{self, Scope};
use super::{Suite, tokens};

/// The types of US Core in a patient's compartment, with a first search of each; `{}` is the patient.
pub(super) const SEARCHES: &[(&str, &str)] = &[
    ("Patient", "_id={}"),
    ("AllergyIntolerance", "patient={}"),
    ("CarePlan", "patient={}&category=assess-plan"),
    ("CareTeam", "patient={}&status=active"),
    ("Condition", "patient={}"),
    ("Coverage", "patient={}"),
    ("Device", "patient={}"),
    ("DiagnosticReport", "patient={}&category=LAB"),
    ("DocumentReference", "patient={}"),
    ("Encounter", "patient={}"),
    ("Goal", "patient={}"),
    ("Immunization", "patient={}"),
    ("MedicationDispense", "patient={}"),
    ("MedicationRequest", "patient={}&intent=order"),
    ("Observation", "patient={}&category=laboratory"),
    ("Procedure", "patient={}"),
    ("QuestionnaireResponse", "patient={}"),
    ("RelatedPerson", "patient={}"),
    ("ServiceRequest", "patient={}"),
    ("Specimen", "patient={}"),
];

/// Types beside the compartment that an app asks for with them.
pub(super) const BESIDE: &[&str] =
    &["Location", "Medication", "Organization", "Practitioner", "PractitionerRole", "Provenance"];

/// What a launch asks for beside data.
pub(super) const IDENTITY: &str = "launch/patient openid fhirUser offline_access";

/// All that an app of a patient asks for, each scope ending in `permission`.
pub(super) fn everything(permission: &str) -> String {
    let types = SEARCHES.iter().map(|(name, _)| *name).chain(BESIDE.iter().copied());
    let scopes: Vec<_> = types.map(|name| format!("patient/{name}.{permission}")).collect();
    format!("{IDENTITY} {}", scopes.join(" "))
}

impl Suite {
    /// Launches with each client; gives the tokens of the last that worked.
    pub(super) async fn standalone(&mut self, apps: &Apps) -> Option<Tokens> {
        let mut last = None;
        for (kind, app) in
            [("public", &apps.public), ("symmetric", &apps.secret), ("asymmetric", &apps.key)]
        {
            self.report.enter(format!("standalone, {kind}"));
            let Some(app) = app else {
                self.report.skip("I0.1.5", "launch", format!("no {kind} client is given"));
                continue;
            };
            if !self.agent.is_there() {
                let why = "neither --user nor --authorize-by-hand is given";
                self.report.skip("I0.1.5", "launch", why);
                continue;
            }
            let wish = Wish::new(app, everything("rs"));
            let launched = self.launch(&wish).await;
            let found = launched.as_ref().map(|_| ()).map_err(Clone::clone);
            self.report.must("I0.1.5", "a code comes and is exchanged", found);
            let Ok(tokens) = launched else { continue };
            self.launched(app, &tokens).await;
            last = Some(self.openid(app, &tokens).await.refreshed(self, app).await);
        }
        if let Some(app) = apps.public.as_ref().or(apps.secret.as_ref()).or(apps.key.as_ref()) {
            self.first_version(app).await;
        }
        self.report.enter("");
        last
    }

    async fn launched(&mut self, app: &App, tokens: &Tokens) {
        tokens::check_launch(&mut self.report, tokens, "launch/patient");
        if app.is_public() {
            let origin = url::origin(&self.options.redirect_uri);
            self.report.must(
                "I0.1.7",
                "CORS of the token endpoint",
                is_shared(&tokens.answer, origin),
            );
        }
        let granted = scope::resource_scopes(tokens.scope());
        let missing: Vec<_> = SEARCHES
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !granted.iter().any(|scope| is_for(scope, "patient", name)))
            .collect();
        let found = ensure(missing.is_empty(), || {
            format!("no patient/ scope is granted for {}", missing.join(", "))
        });
        self.report.must("I0.2.2", "each type of the compartment is granted", found);
        let is_granted = |name: &str| granted.iter().any(|scope| is_beside(scope, name));
        let missing: Vec<_> = BESIDE.iter().copied().filter(|name| !is_granted(name)).collect();
        let found = ensure(missing.is_empty(), || {
            format!("no scope is granted for {}", missing.join(", "))
        });
        self.report.must("I0.2.2", "each type beside the compartment is granted", found);
        self.in_context(tokens).await;
        self.searches(tokens).await;
    }

    /// The patient in context, with the token and without one.
    async fn in_context(&mut self, tokens: &Tokens) {
        let patient = tokens.patient().ok_or_else(|| "no patient in the token response".to_owned());
        let found = match &patient {
            Ok(patient) => self
                .fhir(&format!("Patient/{patient}"), tokens.access())
                .await
                .and_then(|answer| answer.expect(&[200])),
            Err(why) => Err(why.clone()),
        };
        self.report.must("I0.2.3", "the patient in context is readable", found);
        if let Ok(patient) = patient {
            let call = Call::get(format!("{}/Patient/{patient}", self.base));
            let found = self.http.send(call).await.and_then(|answer| answer.expect(&[401]));
            self.report.must("I0.2.3", "without a token the answer is 401", found);
        }
    }

    /// The first search of each type, which every granted type must answer.
    async fn searches(&mut self, tokens: &Tokens) {
        let Some(patient) = tokens.patient() else { return };
        let granted = scope::resource_scopes(tokens.scope());
        for (name, query) in SEARCHES {
            if !granted.iter().any(|scope| scope.is_readable() && scope.covers(name)) {
                continue;
            }
            let path = format!("{name}?{}", query.replace("{}", patient));
            let found =
                self.fhir(&path, tokens.access()).await.and_then(|answer| answer.expect(&[200]));
            self.report.must("I0.2.5", "every granted type is searchable", found);
        }
    }

    /// An app that asks as version 1 of SMART did.
    async fn first_version(&mut self, app: &App) {
        self.report.enter(format!("scopes of version 1, {}", app.kind()));
        if !self.agent.is_there() {
            let why = "neither --user nor --authorize-by-hand is given";
            self.report.skip("I0.2.7", "launch", why);
            return;
        }
        let wish = Wish::new(app, everything("read")).choosing(Choice::All);
        let launched = self.launch(&wish).await;
        let found = launched.as_ref().map(|_| ()).map_err(Clone::clone);
        self.report.must("I0.2.7", "a code comes and is exchanged", found);
        let Ok(tokens) = launched else { return };
        let Some(patient) = tokens.patient() else {
            let found = Err("no patient in the token response".to_owned());
            self.report.must("I0.2.7", "every type is searchable", found);
            return;
        };
        for (name, query) in SEARCHES {
            let path = format!("{name}?{}", query.replace("{}", patient));
            let found =
                self.fhir(&path, tokens.access()).await.and_then(|answer| answer.expect(&[200]));
            self.report.must("I0.2.7", "every type is searchable", found);
        }
    }
}

/// Whether the scope lets an app read a type beside the compartment: Location as of the patient, others as of the
/// user too.
fn is_beside(scope: &Scope<'_>, resource: &str) -> bool {
    let is_of_user = resource != "Location" && is_for(scope, "user", resource);
    is_for(scope, "patient", resource) || is_of_user
}

/// Whether the scope lets an app of `context` read `resource`.
fn is_for(scope: &Scope<'_>, context: &str, resource: &str) -> bool {
    scope.context == context && scope.is_readable() && scope.covers(resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_beside_the_compartment_may_be_of_the_user_but_for_places() {
        for (text, name, expected) in [
            ("patient/Location.rs", "Location", true),
            ("user/Location.rs", "Location", false),
            ("user/Practitioner.rs", "Practitioner", true),
            ("patient/*.rs", "Provenance", true),
            ("system/Provenance.rs", "Provenance", false),
            ("patient/Provenance.r", "Provenance", false),
        ] {
            let scope = Scope::of(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(is_beside(&scope, name), expected, "{text}");
        }
    }

    #[test]
    fn an_app_asks_for_identity_and_for_each_type_once() {
        let asked = everything("rs");
        assert!(
            asked.starts_with("launch/patient openid fhirUser offline_access patient/Patient.rs ")
        );
        let mut scopes: Vec<_> = asked.split(' ').collect();
        assert_eq!(scopes.len(), 4 + SEARCHES.len() + BESIDE.len());
        scopes.sort_unstable();
        scopes.dedup();
        assert_eq!(scopes.len(), 4 + SEARCHES.len() + BESIDE.len());
        assert!(everything("read").contains("patient/Goal.read"));
    }
}
