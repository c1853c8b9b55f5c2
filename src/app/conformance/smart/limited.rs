//! What a person does not grant is not there: whole types, and types but for sub-categories.

use super::super::report::{Found, ensure};
use super::Suite;
use super::agent::Choice;
use super::launch::{Tokens, Wish};
use super::options::Apps;
use super::scope;
use super::standalone::{IDENTITY, SEARCHES, everything};

/// What the limited app is granted.
const GRANTED: &[&str] = &["Condition", "Observation", "Patient"];

impl Suite {
    pub(super) async fn limited(&mut self, apps: &Apps, before: Option<&Tokens>) {
        self.report.enter("limited app");
        let app = apps.public.as_ref().or(apps.secret.as_ref()).or(apps.key.as_ref());
        let (Some(app), Some(_)) = (app, before) else {
            let why = "no standalone launch worked";
            self.report.skip("I0.2.5", "types that are not granted are refused", why);
            self.report.skip("I0.2.6", "sub-categories are granted", why);
            return;
        };
        let wish = Wish::new(app, everything("rs")).choosing(Choice::Only(GRANTED));
        let launched = self.launch(&wish).await;
        let found =
            launched.as_ref().map_err(Clone::clone).and_then(|tokens| only(tokens, GRANTED));
        self.report.must("I0.2.5", "the token has the types that were granted", found);
        if let Ok(tokens) = launched {
            self.refused_types(&tokens).await;
        }
        self.report.enter("choice of sub-categories");
        let asked =
            format!("{IDENTITY} patient/Condition.rs patient/Observation.rs patient/Patient.rs");
        let wish = Wish::new(app, asked).choosing(Choice::Granular);
        let found = self.launch(&wish).await.and_then(|tokens| granular(tokens.scope()));
        self.report.must("I0.2.6", "sub-categories are granted", found);
        self.report.enter("");
    }

    async fn refused_types(&mut self, tokens: &Tokens) {
        let Some(patient) = tokens.patient() else { return };
        for (name, query) in SEARCHES {
            let (check, statuses): (_, &[u16]) = if GRANTED.contains(name) {
                ("types that are granted answer", &[200])
            } else {
                ("types that are not granted are refused", &[401, 403])
            };
            let path = format!("{name}?{}", query.replace("{}", patient));
            let answer = self.fhir(&path, tokens.access()).await;
            let found = answer.and_then(|answer| answer.expect(statuses));
            self.report.must("I0.2.5", check, found);
        }
    }
}

fn only(tokens: &Tokens, granted: &[&str]) -> Found {
    let scopes = scope::resource_scopes(tokens.scope());
    let more = scopes.iter().find(|scope| !granted.contains(&scope.resource));
    ensure(more.is_none(), || format!("{more:?} is granted as well"))?;
    granted.iter().try_for_each(|name| {
        let is_there = scopes.iter().any(|scope| scope.resource == *name);
        ensure(is_there, || format!("{name} is not granted"))
    })
}

/// Whether Condition and Observation are granted by sub-categories alone, and Patient whole.
fn granular(granted: &str) -> Found {
    let scopes = scope::resource_scopes(granted);
    for name in ["Condition", "Observation"] {
        let whole = scopes.iter().any(|it| it.covers(name) && it.query.is_none());
        ensure(!whole, || format!("{name} is granted whole: {granted}"))?;
        let part = scopes.iter().any(|it| it.covers(name) && it.query.is_some());
        ensure(part, || format!("no sub-category of {name} is granted: {granted}"))?;
    }
    let patient = scopes.iter().any(|it| it.resource == "Patient" && it.is_v2());
    ensure(patient, || format!("no scope of version 2 for Patient is granted: {granted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_of_sub_categories_has_no_whole_type() {
        let parts = "patient/Condition.rs?category=a patient/Observation.rs?category=b";
        assert_eq!(granular(&format!("openid {parts} patient/Patient.rs")), Ok(()));
        assert!(granular(parts).is_err());
        assert!(granular(&format!("{parts} patient/Patient.read")).is_err());
        assert!(granular(&format!("{parts} patient/Patient.rs patient/*.rs")).is_err());
        assert!(granular(&format!("{parts} patient/Patient.rs patient/Condition.rs")).is_err());
    }
}
