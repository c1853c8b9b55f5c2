//! Whom a user may have in the context of an app: asked when a patient is chosen, and of each token for as long
//! as it counts.
//!
//! Spec: security L12, R6

use crate::fhir::ResourceType;

use super::grant::User;
use super::roles::{Panel, Roles};
use super::scope::{Actions, ResourceScope};

impl Roles {
    /// Whether a user may have a patient, by hash, in the context of an app at this moment: whom our pages would
    /// offer. Patients have themselves, who stands for some has these alone, as far as a role lets read them, and
    /// anybody else has whom a role lets read.
    pub fn offer(&self, user: &User, patient: i64) -> bool {
        let has = |panel: &[i64]| panel.contains(&patient);
        if user.is_patient() {
            return has(&user.panels.own);
        }
        if user.is_proxy() && !has(&user.panels.own) {
            return false;
        }
        let reads = |scope: &ResourceScope| {
            scope.is_about(ResourceType::PATIENT) && scope.actions.has(Actions::R)
        };
        let held = user.roles.iter().filter_map(|name| self.get(name));
        held.filter(|role| role.scopes.resources().any(reads)).any(|role| match role.panel {
            Panel::All => true,
            Panel::CareTeam => has(&user.panels.care_team),
            Panel::Organization => has(&user.panels.organization),
            Panel::Own => has(&user.panels.own),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::grant::Panels;
    use super::super::roles::tests::extractor;
    use super::*;

    /// Covers: security L12.
    #[test]
    fn an_app_is_offered_whom_the_user_has_now_and_nobody_else() {
        let text = r#"
            [roles.desk]
            scopes = ["user/Patient.s", "user/Observation.rs"]
            panel = "all"
            clearance = "N"
            second_factor = false
            [roles.doctor]
            scopes = ["user/*.rs"]
            panel = "all"
            clearance = "N"
            second_factor = false
            [roles.nurse]
            scopes = ["user/*.rs"]
            panel = "care-team"
            clearance = "N"
            second_factor = false
            [roles.ward]
            scopes = ["user/Patient.r"]
            panel = "organization"
            clearance = "N"
            second_factor = false
            [roles.own]
            scopes = ["user/*.rs"]
            panel = "own"
            clearance = "V"
            second_factor = false
        "#;
        let roles = Roles::load(Some(text), extractor()).expect("roles");
        let panels = Panels { care_team: vec![1], organization: vec![2], own: vec![3] };
        for (who, role, offered) in [
            ("Practitioner", "doctor", &[1, 2, 3, 4][..]),
            ("Practitioner", "nurse", &[1]),
            ("Practitioner", "ward", &[2]),
            ("Practitioner", "own", &[3]),
            ("Practitioner", "desk", &[]),
            ("Practitioner", "unknown", &[]),
            ("Patient", "own", &[3]),
            ("Patient", "unknown", &[3]),
            ("RelatedPerson", "own", &[3]),
            ("Person", "own", &[3]),
            ("RelatedPerson", "nurse", &[]),
            ("RelatedPerson", "unknown", &[]),
            // Whoever stands for patients chooses among these, by whatever role.
            ("Patient", "doctor", &[3]),
            ("RelatedPerson", "doctor", &[3]),
            ("Person", "doctor", &[3]),
        ] {
            let user = User {
                fhir_user: Some((who.parse().expect("a type"), "x".parse().expect("an id"))),
                roles: vec![role.to_owned()],
                panels: panels.clone(),
                ..User::default()
            };
            let found: Vec<i64> = (1..=4).filter(|it| roles.offer(&user, *it)).collect();
            assert_eq!(found, offered, "{who} {role}");
        }
        let nobody = User { roles: vec!["doctor".to_owned()], ..User::default() };
        assert!(roles.offer(&nobody, 4), "who is no resource sees by the role");
    }
}
