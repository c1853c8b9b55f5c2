use std::sync::LazyLock;

use uuid::Uuid;

use super::*;
use crate::access::consent::Expression;
use crate::access::grant::Panels;
use crate::access::interaction::Kind;
use crate::access::restriction::{Limits, Members};
use crate::fhir::LogicalId;
use crate::fhir::datetime::Zone;
use crate::search::extract::Settings;
use crate::search::values::quantity::Ucum;
use crate::spec::Spec;
use crate::spec::codes::Codes;

static ROLES: LazyLock<Roles> = LazyLock::new(|| {
    let spec = Spec::r4().expect("the embedded pack");
    let codes = Codes::r4().expect("the embedded pack");
    let settings = Settings { base: "".into(), units: Box::new(Ucum), zone: Zone::UTC };
    let extractor = Extractor::new(spec, codes, settings).expect("all of R4 compiles");
    Roles::load(None, Arc::new(extractor)).expect("the built-in roles")
});

fn id(text: &str) -> LogicalId {
    text.parse().expect("an id")
}

/// A grant of these scopes to patient `a` (7), and to a user with a role where there is one.
fn grant(scopes: &str, role: Option<&str>) -> Grant {
    let user = role.map(|role| User {
        roles: vec![role.to_owned()],
        fhir_user: Some(match role {
            "patient" => (ResourceType::PATIENT, id("a")),
            _ => (ResourceType::PRACTITIONER, id("doc")),
        }),
        panels: Panels { own: vec![7], ..Panels::default() },
        ..User::default()
    });
    Grant {
        token: Uuid::nil(),
        token_name: None,
        client: "app".to_owned(),
        user,
        scopes: ROLES.scopes(scopes),
        patient: Some((id("a"), 7)),
        purpose: None,
        reason: Some("to test it".to_owned()),
        survivor: None,
        is_emergency: false,
        is_fhir_user_readable: false,
        denials: Arc::default(),
        state: AppState::default(),
    }
}

/// How far a grant goes, in a word.
fn reach(grant: &Grant, kind: Kind, of: &str) -> &'static str {
    let policy = Policy::of(grant, &ROLES).expect("a policy");
    let of = (!of.is_empty()).then(|| of.parse().expect(of));
    match policy.reach(Interaction { kind, resource_type: of }) {
        None => "refused",
        Some(Restriction::Everything) => "everything",
        Some(Restriction::Limited(limits)) => word(&limits),
    }
}

fn word(limits: &Limits) -> &'static str {
    match &limits.clauses[..] {
        [] => "nothing",
        [clause] if !clause.is_plain() => "criteria",
        [clause] => match clause.members {
            Members::Collections(_) => "collections",
            Members::Context(_) => "context",
            Members::Documents(_) => "documents",
            Members::Everyone => "withheld",
            Members::InPart(_) => "in part",
            Members::OwnOrNobodys(_) => "own or nobody's",
            Members::Patients(_) => "patients",
            Members::Targets(_) => "targets",
            Members::Themselves(_) => "themselves",
        },
        _ => "several",
    }
}

#[test]
fn scopes_allow_what_they_say_and_no_more() {
    for (scopes, role, kind, of, expected) in [
        ("patient/*.cruds", None, Kind::Read, "Observation", "patients"),
        ("patient/*.cruds", None, Kind::SearchType, "Patient", "themselves"),
        ("patient/*.cruds", None, Kind::Read, "Practitioner", "everything"),
        ("patient/*.cruds", None, Kind::Read, "Device", "own or nobody's"),
        ("patient/*.cruds", None, Kind::Read, "Provenance", "targets"),
        ("patient/*.cruds", None, Kind::Read, "Binary", "context"),
        ("patient/*.cruds", None, Kind::Read, "Bundle", "documents"),
        ("patient/*.cruds", None, Kind::Read, "List", "collections"),
        ("patient/*.cruds", None, Kind::Read, "AuditEvent", "refused"),
        ("patient/AuditEvent.r", None, Kind::Read, "AuditEvent", "nothing"),
        ("patient/*.cruds", None, Kind::Update, "Task", "refused"),
        ("patient/*.cruds", None, Kind::Update, "Consent", "refused"),
        ("patient/Consent.cruds", None, Kind::Update, "Consent", "patients"),
        ("patient/*.cruds", None, Kind::MetaDelete, "Observation", "refused"),
        ("patient/*.cruds", None, Kind::Reindex, "", "refused"),
        ("patient/*.cruds", None, Kind::Transaction, "", "nothing"),
        ("patient/*.cruds", None, Kind::HistorySystem, "", "nothing"),
        ("patient/Observation.rs", None, Kind::HistorySystem, "", "refused"),
        ("patient/Observation.r", None, Kind::SearchType, "Observation", "refused"),
        ("patient/Observation.r", None, Kind::Vread, "Observation", "patients"),
        ("patient/Observation.r", None, Kind::Meta, "Observation", "refused"),
        ("patient/Observation.rs", None, Kind::Meta, "Observation", "patients"),
        ("patient/Observation.s", None, Kind::Everything, "Observation", "refused"),
        ("patient/Observation.rs", None, Kind::Everything, "Observation", "patients"),
        ("patient/Observation.rs", None, Kind::Everything, "Patient", "refused"),
        ("patient/Patient.s", None, Kind::Summary, "Patient", "refused"),
        ("patient/Observation.r?code=a", None, Kind::Read, "Observation", "criteria"),
        (
            "patient/Observation.r?code=a patient/Observation.r",
            None,
            Kind::Read,
            "Observation",
            "patients",
        ),
        (
            "patient/Observation.r?code=a patient/Observation.r?code=b",
            None,
            Kind::Read,
            "Observation",
            "criteria",
        ),
        ("patient/*.rs?_tag=a", None, Kind::Read, "Observation", "criteria"),
        ("", None, Kind::Read, "Observation", "refused"),
        ("", None, Kind::Capabilities, "", "everything"),
        ("system/*.cruds", None, Kind::Reindex, "", "everything"),
        ("system/*.cruds", None, Kind::Transaction, "", "everything"),
        ("system/*.cruds", None, Kind::Create, "AuditEvent", "everything"),
        ("system/*.cruds", None, Kind::Create, "Consent", "refused"),
        ("system/*.rs", None, Kind::Reindex, "", "refused"),
        ("system/*.rs", None, Kind::HistorySystem, "", "everything"),
        ("user/*.cruds", Some("nobody"), Kind::Read, "Observation", "refused"),
        ("user/*.cruds", Some("patient"), Kind::Read, "Observation", "patients"),
        ("user/*.cruds", Some("patient"), Kind::Update, "Observation", "refused"),
        ("user/*.cruds", Some("patient"), Kind::Create, "Consent", "patients"),
        ("user/*.cruds", Some("practitioner"), Kind::Read, "Observation", "withheld"),
        ("user/*.cruds", Some("practitioner"), Kind::Create, "Consent", "refused"),
        ("user/*.cruds", Some("practitioner"), Kind::Reindex, "", "refused"),
        ("user/*.cruds", Some("administrator"), Kind::Reindex, "", "everything"),
        ("user/*.cruds", Some("administrator"), Kind::Create, "AuditEvent", "refused"),
        ("user/*.cruds", Some("administrator"), Kind::Read, "AuditEvent", "everything"),
        ("user/*.rs", Some("auditor"), Kind::SearchType, "AuditEvent", "withheld"),
        ("user/*.rs", Some("practitioner"), Kind::Read, "AuditEvent", "refused"),
        ("user/AuditEvent.rs", Some("practitioner"), Kind::SearchType, "AuditEvent", "refused"),
        ("user/*.rs", Some("patient"), Kind::Read, "AuditEvent", "refused"),
        ("user/*.cruds", Some("privacy"), Kind::Create, "Consent", "everything"),
        ("user/*.cruds", Some("privacy"), Kind::Read, "Observation", "refused"),
        ("user/Observation.r", Some("administrator"), Kind::Read, "Patient", "refused"),
    ] {
        let found = reach(&grant(scopes, role), kind, of);
        assert_eq!(found, expected, "{scopes} of {role:?}: {kind:?} {of}");
    }
}

/// Covers in part: security E15.
#[test]
fn exports_are_for_services_and_of_whole_types() {
    let of_service = |scopes: &str| Grant { patient: None, ..grant(scopes, None) };
    for (scopes, of, expected) in [
        ("system/*.rs", "", "nothing"),
        ("system/*.cruds", "", "everything"),
        ("system/*.rs", "Observation", "nothing"),
        ("system/Patient.rs", "", "nothing"),
        ("system/Patient.rs", "Patient", "nothing"),
        ("system/Patient.read", "Patient", "nothing"),
        ("system/Patient.rs", "Observation", "refused"),
        ("system/Patient.r system/Patient.s", "Patient", "refused"),
        ("system/Patient.rs?active=true", "Patient", "refused"),
        ("system/Patient.rs?active=true", "", "refused"),
        ("", "", "refused"),
    ] {
        for kind in [Kind::Export, Kind::ExportCancel, Kind::ExportFile, Kind::ExportStatus] {
            assert_eq!(reach(&of_service(scopes), kind, of), expected, "{scopes}: {kind:?} {of}");
        }
    }
    for (scopes, role) in [
        ("patient/*.cruds", None),
        ("system/*.cruds", None),
        ("user/*.cruds", Some("administrator")),
        ("system/*.cruds", Some("administrator")),
    ] {
        let found = reach(&grant(scopes, role), Kind::Export, "Patient");
        assert_eq!(found, "refused", "{scopes} of {role:?}");
    }
}

#[test]
fn scopes_of_a_context_need_it() {
    let without = |scopes: &str| Grant { patient: None, user: None, ..grant(scopes, None) };
    for (scopes, expected) in [
        ("patient/*.rs", Some(GrantError::NoPatient)),
        ("system/*.rs patient/Observation.r", Some(GrantError::NoPatient)),
        ("user/*.rs", Some(GrantError::NoUser)),
        ("system/*.rs", None),
        ("openid launch/patient", None),
    ] {
        assert_eq!(Policy::of(&without(scopes), &ROLES).err(), expected, "{scopes}");
    }
}

/// What the patient of a number, who is called so too, denies.
fn denial(patient: i64, act: Act, of: Expression) -> Denial {
    let id = patient.to_string().parse().expect("an id");
    Denial { patient, id, act, of, is_binding: false }
}

#[test]
fn nobody_is_denied_ones_own() {
    let all = |patient| denial(patient, Act::Read, Expression::All(Vec::new()));
    let denials: Arc<[Denial]> = Arc::new([all(7), all(8)]);
    for (scopes, role, kept) in [
        ("patient/*.rs", None, 1),
        ("user/*.rs", Some("patient"), 1),
        ("user/*.rs", Some("practitioner"), 2),
        ("patient/*.rs", Some("practitioner"), 2),
    ] {
        let grant = Grant { denials: denials.clone(), ..grant(scopes, role) };
        let policy = Policy::of(&grant, &ROLES).expect("a policy");
        // Who denies the same is asked about once.
        let [Denied { patients, .. }] = &policy.denied[..] else { panic!("{:?}", policy.denied) };
        assert_eq!(patients.len(), kept, "{scopes} {role:?}");
    }
}

#[test]
fn who_denies_by_too_much_is_kept_back_whole() {
    let named = |count: usize| {
        let code = |at: usize| Expression::Code { system: None, code: at.to_string().into() };
        Expression::All(vec![Expression::Any((0..count).map(code).collect())])
    };
    for (counts, whole) in [
        (&[(8, 100)][..], &[][..]),
        (&[(8, 101)], &[8]),
        (&[(8, 10_000), (9, 1)], &[8]),
        // Of one patient all that is denied counts, whichever consent has it.
        (&[(8, 60), (8, 41), (9, 100)], &[8]),
        (&[(8, 101), (9, 101)], &[8, 9]),
    ] {
        let all = counts.iter().map(|(patient, count)| denial(*patient, Act::Read, named(*count)));
        let grant = Grant { denials: all.collect(), ..grant("user/*.rs", Some("practitioner")) };
        let policy = Policy::of(&grant, &ROLES).expect("a policy");
        let denied = policy.denied.iter();
        let unknown = denied.filter(|it| it.of == Expression::Unknown);
        let unknown: Vec<i64> = unknown.flat_map(|it| it.patients.to_vec()).collect();
        assert_eq!(unknown, whole, "{counts:?}");
        let most = policy.denied.iter().map(|it| it.of.conditions()).max();
        assert!(most.is_some_and(|most| most <= 100), "{counts:?}: {most:?}");
    }
}

#[test]
fn who_keeps_consents_and_the_record_is_denied_nothing() {
    let of = Expression::All(Vec::new());
    let denials: Arc<[Denial]> = Arc::new([denial(8, Act::Read, of)]);
    for (roles, count) in
        [(&["privacy"][..], 0), (&["auditor", "privacy"], 0), (&["privacy", "practitioner"], 1)]
    {
        let mut grant = Grant { denials: denials.clone(), ..grant("user/*.rs", Some("privacy")) };
        let user = grant.user.as_mut().expect("a user");
        user.roles = roles.iter().map(|&role| role.to_owned()).collect();
        let policy = Policy::of(&grant, &ROLES).expect("a policy");
        assert_eq!(policy.denied.len(), count, "{roles:?}");
    }
}

#[test]
fn what_is_forbidden_in_an_emergency_too_counts_in_it() {
    let all = || denial(7, Act::Read, Expression::All(Vec::new()));
    for (is_emergency, is_binding, count) in [(true, false, 0), (true, true, 1), (false, true, 0)] {
        let denials: Arc<[Denial]> = Arc::new([Denial { is_binding, ..all() }]);
        let grant = Grant { is_emergency, denials, ..grant("patient/*.rs", None) };
        let policy = Policy::of(&grant, &ROLES).expect("a policy");
        assert_eq!(policy.denied.len(), count, "{is_emergency} {is_binding}");
    }
}

#[test]
fn what_is_denied_to_writers_alone_hides_nothing_from_readers() {
    let all = |act| denial(8, act, Expression::All(Vec::new()));
    let denials: Arc<[Denial]> = Arc::new([all(Act::Collect), all(Act::Correct)]);
    let grant = Grant { denials, ..grant("user/*.cruds", Some("practitioner")) };
    let policy = Policy::of(&grant, &ROLES).expect("a policy");
    let of: ResourceType = "Observation".parse().expect("a type");
    let withheld = |kind: Kind| {
        let reach = policy.reach(kind.of(of)).expect("a reach");
        reach
            .limits()
            .map_or(0, |limits| limits.withheld.iter().filter(|it| it.patients.is_some()).count())
    };
    for (kind, count) in [
        (Kind::Read, 0),
        (Kind::SearchType, 0),
        (Kind::HistoryInstance, 0),
        (Kind::Create, 0),
        (Kind::Update, 1),
        (Kind::Patch, 1),
        (Kind::Delete, 1),
        (Kind::MetaAdd, 1),
    ] {
        assert_eq!(withheld(kind), count, "{kind:?}");
    }
    for act in [Act::Collect, Act::Correct] {
        let kept = policy.kept_from(act, of);
        let limits = kept.limits().expect("limits");
        assert!(limits.clauses.is_empty() && limits.denied().eq([8]), "{act:?}");
    }
    assert_eq!(policy.kept_from(Act::Read, of), Restriction::nothing());
}

#[test]
fn what_others_deny_costs_nothing_where_they_are_not_reached() {
    let all = |patient| denial(patient, Act::Read, Expression::All(Vec::new()));
    let denials: Arc<[Denial]> = Arc::new([all(7), all(8)]);
    let withheld = |role, of: &str| {
        let grant = Grant { denials: denials.clone(), ..grant("patient/*.rs", role) };
        let policy = Policy::of(&grant, &ROLES).expect("a policy");
        let of: ResourceType = of.parse().expect(of);
        let limits = policy.reach(Kind::Read.of(of)).expect("a reach").limits().cloned();
        let limits = limits.unwrap_or_default();
        for one in &limits.withheld {
            let named: Vec<i64> =
                one.ids.iter().filter_map(|id| id.as_str().parse().ok()).collect();
            assert_eq!(one.patients.as_deref().unwrap_or_default(), named, "{of}");
        }
        limits.denied().collect::<Vec<_>>()
    };
    assert!(withheld(None, "Observation").is_empty());
    assert_eq!(withheld(Some("practitioner"), "Observation"), [7]);
    assert_eq!(withheld(Some("practitioner"), "Patient"), [7]);
    // What is nobody's may be of somebody who is not reached.
    assert_eq!(withheld(None, "Device"), [8]);
}

#[test]
fn a_second_role_does_not_clear_what_the_first_may_see_of_oneself() {
    let role = |name: &str| ROLES.get(name).expect(name).clearance;
    let nurse = role("practitioner");
    assert!(nurse < Clearance::V);
    for (scopes, fhir_user, roles, expected) in [
        ("patient/*.rs", "Patient/a", vec!["patient"], Clearance::V),
        ("user/*.rs", "Patient/a", vec!["patient"], Clearance::V),
        ("user/*.rs", "Practitioner/doc", vec!["practitioner"], nurse),
        ("user/*.rs", "Patient/a", vec!["patient", "practitioner"], nurse),
        ("patient/*.rs user/*.rs", "Patient/a", vec!["patient", "practitioner"], nurse),
        ("patient/*.rs", "Patient/a", vec!["patient", "practitioner"], Clearance::V),
        ("patient/*.rs", "Patient/b", vec!["patient", "practitioner"], nurse),
        ("patient/*.rs", "Practitioner/doc", vec!["patient", "practitioner"], nurse),
        ("user/*.rs", "Practitioner/doc", vec![], Clearance::N),
    ] {
        let (of, own) = fhir_user.split_once('/').expect("a reference");
        let mut grant = grant(scopes, Some("patient"));
        let user = grant.user.as_mut().expect("a user");
        user.fhir_user = Some((of.parse().expect(of), id(own)));
        user.roles = roles.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(clearance(&grant, &ROLES), expected, "{scopes} {fhir_user} {roles:?}");
    }
}

#[test]
fn the_record_that_took_the_place_is_read_by_scopes_with_criteria_too() {
    for (scopes, of) in [
        ("patient/*.rs", "Observation"),
        ("patient/Observation.rs?category=laboratory", "Observation"),
        ("patient/Observation.cruds?category=laboratory", "Observation"),
    ] {
        let grant = Grant { survivor: Some(9), ..grant(scopes, None) };
        let policy = Policy::of(&grant, &ROLES).expect("a policy");
        let of: ResourceType = of.parse().expect(of);
        let patients = |kind: Kind| -> Vec<i64> {
            let Some(reach) = policy.reach(kind.of(of)) else { return Vec::new() };
            let limits = reach.limits().expect("limits");
            let mut all: Vec<i64> = limits.clauses.iter().flat_map(members).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(patients(Kind::Read), [7, 9], "{scopes}");
        let written = if scopes.contains(".cruds") { vec![7] } else { vec![] };
        assert_eq!(patients(Kind::Update), written, "{scopes}");
        let is_narrow = scopes.contains('?');
        let reach = policy.reach(Kind::Read.of(of)).expect("a reach");
        let clauses = &reach.limits().expect("limits").clauses;
        assert!(clauses.iter().all(|it| it.criteria.is_empty() != is_narrow), "{scopes}");
    }
}

fn members(clause: &Clause) -> Vec<i64> {
    match &clause.members {
        Members::Patients(patients) => patients.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_have_a_scope_of_their_own_for_services() {
    for (scopes, role, expected) in [
        ("system/__messages", None, "everything"),
        ("system/*.cruds", None, "everything"),
        ("system/*.rs", None, "refused"),
        ("system/__introspect", None, "refused"),
        ("user/*.cruds system/__messages", Some("practitioner"), "refused"),
    ] {
        for kind in [Kind::ReceiveMessage, Kind::ReadMessage, Kind::ReplayMessage] {
            assert_eq!(reach(&grant(scopes, role), kind, ""), expected, "{scopes} {kind:?}");
        }
    }
    let grant = grant("system/__messages", None);
    for (kind, of) in [(Kind::Read, "Patient"), (Kind::SearchSystem, ""), (Kind::Admin, "")] {
        assert_ne!(reach(&grant, kind, of), "everything", "{kind:?}");
    }
}

#[test]
fn to_whom_everything_is_open_states_a_reason() {
    for (scopes, role, is_open) in [
        ("user/*.cruds", "administrator", true),
        ("patient/*.rs user/*.*", "administrator", true),
        ("user/*.rs", "administrator", false),
        ("user/Patient.cruds", "administrator", false),
        ("patient/*.cruds", "administrator", false),
        ("user/*.cruds", "practitioner", false),
        ("user/*.cruds", "patient", false),
        ("user/*.cruds", "privacy", false),
    ] {
        let without = Grant { reason: None, ..grant(scopes, Some(role)) };
        let refused = Policy::of(&without, &ROLES).err();
        assert_eq!(refused, is_open.then_some(GrantError::NoReason), "{scopes} {role}");
        assert!(Policy::of(&grant(scopes, Some(role)), &ROLES).is_ok(), "{scopes} {role}");
    }
    // What one role opens and another one shows is open too.
    let mut both = grant("user/*.cruds", Some("practitioner"));
    both.user.as_mut().expect("a user").roles.push("privacy".to_owned());
    assert!(Policy::of(&both, &ROLES).is_ok());
    both.reason = None;
    assert_eq!(Policy::of(&both, &ROLES).err(), Some(GrantError::NoReason));
}

#[test]
fn state_of_other_apps_is_kept_back() {
    let others: Arc<[Box<str>]> = Arc::new(["urn:theirs".into()]);
    let state = AppState { own: Arc::default(), others };
    let read = |of: &str| Interaction { kind: Kind::Read, resource_type: of.parse().ok() };
    for (scopes, role, is_kept_back) in [
        ("user/*.rs", Some("practitioner"), true),
        ("system/*.rs", None, true),
        ("system/*.cruds", None, false),
        ("user/*.cruds", Some("administrator"), false),
    ] {
        let grant = Grant { state: state.clone(), ..grant(scopes, role) };
        let policy = Policy::of(&grant, &ROLES).expect("a policy");
        let is_asked = |of: &str| {
            let reach = policy.reach(read(of)).expect("it is covered");
            format!("{reach:?}").contains("urn:theirs")
        };
        assert_eq!(is_asked("Basic"), is_kept_back, "{scopes} {role:?}");
        assert!(!is_asked("Patient"), "{scopes} {role:?}");
    }
}

#[test]
fn what_is_to_be_asked_for_by_name_no_wildcard_of_a_patient_means() {
    let types = ["Observation", "Task"].map(|name| name.parse().expect(name));
    let roles = ROLES.clone().with_by_name(types);
    for (scopes, role, of, expected) in [
        ("patient/*.rs", None, "Observation", false),
        ("patient/*.rs?_tag=a", None, "Observation", false),
        ("patient/*.rs", None, "Task", false),
        ("patient/*.rs", None, "AuditEvent", false),
        ("patient/*.rs", None, "Condition", true),
        ("patient/*.rs patient/Observation.rs", None, "Observation", true),
        ("system/*.rs", None, "Observation", true),
        ("user/*.rs", Some("practitioner"), "Observation", true),
    ] {
        let policy = Policy::of(&grant(scopes, role), &roles).expect("a policy");
        let of = Some(of.parse().expect(of));
        let reach = policy.reach(Interaction { kind: Kind::Read, resource_type: of });
        assert_eq!(reach.is_some(), expected, "{scopes} {of:?}");
    }
}

#[test]
fn a_denial_of_writing_takes_no_administration() {
    for (act, expected) in
        [(Act::Read, "refused"), (Act::Collect, "everything"), (Act::Correct, "everything")]
    {
        let of = Expression::Unknown;
        let denials: Arc<[Denial]> = Arc::new([denial(8, act, of)]);
        let grant = Grant { denials, ..grant("user/*.cruds", Some("administrator")) };
        assert_eq!(reach(&grant, Kind::Reindex, ""), expected, "{act:?}");
    }
}
