//! Consents as they are written, and what they deny to somebody.
//!
//! The provision at the root is the rule, those in it are exceptions to it, and so on inwards. Within
//! a provision all that is said must hold; of repetitions one. Of several consents each denies for
//! itself. A deny whose limits cannot be told holds without them; a permit then does not hold.

use crate::fhir::datetime::Zone;
use crate::fhir::json::Value;
use crate::fhir::reference::Target;
use crate::fhir::{Instant, LogicalId, ResourceType};
use crate::search::values::date::DateRange;

use super::{Act, Expression};

const SCOPES: &str = "http://terminology.hl7.org/CodeSystem/consentscope";
const TYPES: &str = "http://hl7.org/fhir/resource-types";

/// The purposes of use in an emergency, of v3-ActReason.
pub const EMERGENCIES: [&str; 2] = ["BTG", "ETREAT"];

/// How deep provisions are followed; what lies deeper cannot be told.
const MAX_DEPTH: usize = 16;

/// What of a provision is understood; anything else in it makes it one whose limits cannot be told.
const KNOWN: [&str; 12] = [
    "id",
    "type",
    "period",
    "actor",
    "action",
    "securityLabel",
    "purpose",
    "class",
    "code",
    "data",
    "dataPeriod",
    "provision",
];

/// A consent in force as to privacy.
#[derive(Clone, Debug, PartialEq)]
pub struct Directive {
    /// Whose it is.
    pub patient: LogicalId,
    root: Provision,
}

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asker<'a> {
    /// The resource that stands for the user.
    pub user: Option<&'a (ResourceType, LogicalId)>,
    /// The user's organizations.
    pub organizations: &'a [LogicalId],
    /// The purpose of use, as its code.
    pub purpose: Option<&'a str>,
}

/// Who wants to do what, and when.
struct Case<'a> {
    asker: &'a Asker<'a>,
    act: Act,
    now: Instant,
}

#[derive(Clone, Debug, PartialEq)]
struct Provision {
    is_deny: bool,
    period: Option<DateRange>,
    actors: Vec<Option<(ResourceType, LogicalId)>>,
    /// What it is about; `None` among them: an action that is not known. Without any: about everything.
    actions: Option<Vec<Option<Act>>>,
    purposes: Vec<Box<str>>,
    /// What must hold for the resources.
    of: Expression,
    exceptions: Vec<Provision>,
}

impl Directive {
    /// Reads a Consent resource; `None` when it is not in force, or not about privacy.
    pub fn read(consent: &Value<'_>, base: &str) -> Option<Self> {
        if consent.str_at("status") != Some("active") {
            return None;
        }
        let is_privacy = |coding: &Value<'_>| {
            coding.str_at("code") == Some("patient-privacy")
                && coding.str_at("system").is_none_or(|system| system == SCOPES)
        };
        let scope = consent.get("scope")?;
        if !scope.items_at("coding").iter().any(is_privacy) {
            return None;
        }
        let (ResourceType::PATIENT, patient) = local(consent.get("patient")?, base)? else {
            return None;
        };
        let root = Provision::read(consent.get("provision")?, false, base, 0);
        Some(Self { patient, root })
    }

    /// Whether its rule is to permit; what it denies are exceptions then.
    pub fn permits(&self) -> bool {
        !self.root.is_deny
    }

    /// What it forbids to somebody in an emergency too: where it denies and names such a purpose. `None`:
    /// nothing, or nobody asks because of an emergency.
    pub fn forbids(&self, asker: &Asker<'_>, now: Instant) -> Option<Expression> {
        asker.purpose.filter(|purpose| EMERGENCIES.contains(purpose))?;
        // Whoever names one of them means both: who asks chooses among them.
        let mut all: Vec<Expression> = Vec::new();
        for purpose in EMERGENCIES {
            let asker = Asker { purpose: Some(purpose), ..*asker };
            let of = simplify(self.root.forbids(&Case { asker: &asker, act: Act::Read, now }));
            if !all.contains(&of) {
                all.push(of);
            }
        }
        let expression = simplify(Expression::Any(all));
        (expression != Expression::Any(Vec::new())).then_some(expression)
    }

    /// With what it denies an act to somebody at a moment; `None`: with nothing.
    pub fn denies(&self, act: Act, asker: &Asker<'_>, now: Instant) -> Option<Expression> {
        let expression = simplify(self.root.denies(&Case { asker, act, now }));
        (expression != Expression::Any(Vec::new())).then_some(expression)
    }
}

impl Provision {
    fn read(value: &Value<'_>, parent_denies: bool, base: &str, depth: usize) -> Self {
        // A root without a type permits; an exception without one is the opposite of what it is in.
        let is_deny = match value.str_at("type") {
            Some("deny") => true,
            Some("permit") => false,
            _ => depth > 0 && !parent_denies,
        };
        let items = |name: &str| value.items_at(name).iter();
        let mut all = vec![
            any(items("securityLabel").map(label).collect()),
            any(items("class").map(class).collect()),
            any(items("code").map(code).collect()),
            any(items("data").map(|data| named(data, base)).collect()),
            value.get("dataPeriod").map_or(Expression::All(Vec::new()), of_time),
        ];
        let is_known = |(name, _): (&str, &Value<'_>)| KNOWN.contains(&name);
        let is_understood = value.as_object().is_some_and(|it| it.iter().all(is_known));
        if !is_understood || depth >= MAX_DEPTH {
            all.push(Expression::Unknown);
        }
        let actors = items("actor").map(|actor| local(actor.get("reference")?, base)).collect();
        let exceptions = if depth >= MAX_DEPTH {
            Vec::new()
        } else {
            items("provision").map(|it| Self::read(it, is_deny, base, depth + 1)).collect()
        };
        Self {
            is_deny,
            period: value.get("period").and_then(|period| DateRange::of_period(period, Zone::UTC)),
            actors,
            actions: acts(value.items_at("action")),
            purposes: items("purpose").map(|it| it.str_at("code").unwrap_or("").into()).collect(),
            of: Expression::All(all),
            exceptions,
        }
    }

    /// What it denies: as a deny what it matches but for its exceptions; as a permit what those deny.
    fn denies(&self, case: &Case<'_>) -> Expression {
        let exceptions = |is_deny: bool| {
            let others = self.exceptions.iter().filter(move |it| it.is_deny == is_deny);
            Expression::Any(others.map(|it| it.holds(case)).collect())
        };
        let matched = self.matches(case);
        if self.is_deny {
            let rest = Expression::Not(Box::new(exceptions(false)));
            Expression::All(vec![matched, Expression::Any(vec![rest, exceptions(true)])])
        } else {
            Expression::All(vec![matched, exceptions(true)])
        }
    }

    /// What of that it does for a purpose that it names.
    fn forbids(&self, case: &Case<'_>) -> Expression {
        let names = self.purposes.iter().any(|purpose| case.asker.purpose == Some(&**purpose));
        if self.is_deny && names {
            return self.denies(case);
        }
        let inner = self.exceptions.iter().map(|it| it.forbids(case)).collect();
        Expression::All(vec![self.matches(case), Expression::Any(inner)])
    }

    /// What its own type holds for: what it matches but for exceptions of the other type.
    fn holds(&self, case: &Case<'_>) -> Expression {
        let others = self.exceptions.iter().filter(|it| it.is_deny != self.is_deny);
        let others = Expression::Any(others.map(|it| it.holds(case)).collect());
        Expression::All(vec![self.matches(case), Expression::Not(Box::new(others))])
    }

    /// Whether it is about an act; `None`: cannot be told.
    fn is_about(&self, act: Act) -> Option<bool> {
        let Some(actions) = &self.actions else { return Some(true) };
        if actions.contains(&Some(act)) {
            return Some(true);
        }
        (!actions.is_empty() && actions.iter().all(Option::is_some)).then_some(false)
    }

    fn matches(&self, case: &Case<'_>) -> Expression {
        let asker = case.asker;
        let mut all = vec![self.of.clone()];
        all.push(truth(Some(self.period.is_none_or(|period| period.has(case.now)))));
        all.push(truth(self.is_about(case.act)));
        if !self.purposes.is_empty() {
            let is_one = |purpose: &str| self.purposes.iter().any(|it| **it == *purpose);
            all.push(truth(asker.purpose.map(is_one)));
        }
        if !self.actors.is_empty() {
            all.push(any(self
                .actors
                .iter()
                .map(|actor| truth(asker.is(actor.as_ref())))
                .collect()));
        }
        Expression::All(all)
    }
}

impl Asker<'_> {
    /// Whether an actor is who asks; `None`: cannot be told.
    fn is(&self, actor: Option<&(ResourceType, LogicalId)>) -> Option<bool> {
        let (of, id) = actor?;
        match *of {
            ResourceType::PATIENT | ResourceType::PRACTITIONER | ResourceType::RELATED_PERSON => {
                Some(self.user.is_some_and(|(user, own)| user == of && own == id))
            }
            of if of.as_str() == "Organization" => Some(self.organizations.contains(id)),
            _ => None,
        }
    }
}

/// One of these, or anything where none is said.
fn any(all: Vec<Expression>) -> Expression {
    if all.is_empty() { Expression::All(Vec::new()) } else { Expression::Any(all) }
}

fn truth(holds: Option<bool>) -> Expression {
    match holds {
        Some(true) => Expression::All(Vec::new()),
        Some(false) => Expression::Any(Vec::new()),
        None => Expression::Unknown,
    }
}

/// What actions are about; `None`: none is said.
fn acts(actions: &[Value<'_>]) -> Option<Vec<Option<Act>>> {
    let codes = actions.iter().flat_map(|action| action.items_at("coding"));
    let codes = codes.filter_map(|coding| coding.str_at("code")).map(Act::of_code);
    (!actions.is_empty()).then(|| codes.collect())
}

fn label(coding: &Value<'_>) -> Expression {
    match coding.str_at("code") {
        Some(code) => {
            Expression::Label { system: coding.str_at("system").map(Into::into), code: code.into() }
        }
        None => Expression::Unknown,
    }
}

fn class(coding: &Value<'_>) -> Expression {
    let of = coding.str_at("code").and_then(|code| code.parse().ok());
    match (coding.str_at("system"), of) {
        (Some(TYPES) | None, Some(of)) => Expression::Types(vec![of]),
        _ => Expression::Unknown,
    }
}

fn code(concept: &Value<'_>) -> Expression {
    let codes = concept.items_at("coding").iter().filter_map(|coding| {
        let code = coding.str_at("code")?.into();
        Some(Expression::Code { system: coding.str_at("system").map(Into::into), code })
    });
    let codes: Vec<Expression> = codes.collect();
    if codes.is_empty() { Expression::Unknown } else { Expression::Any(codes) }
}

/// What a provision names, by its meaning (<http://hl7.org/fhir/R4/valueset-consent-data-meaning.html>).
fn named(data: &Value<'_>, base: &str) -> Expression {
    let target = data.get("reference").and_then(|reference| local(reference, base));
    let Some((of, id)) = target else { return Expression::Unknown };
    let refers = |is_author| Expression::RefersTo { target: (of, id.clone()), is_author };
    match data.str_at("meaning") {
        Some("instance") => Expression::Resource(of, id),
        Some("related") => Expression::Related(of, id),
        Some("dependents") => {
            Expression::Any(vec![refers(false), Expression::Resource(of, id.clone())])
        }
        Some("authoredby") => refers(true),
        _ => Expression::Unknown,
    }
}

fn of_time(period: &Value<'_>) -> Expression {
    DateRange::of_period(period, Zone::UTC).map_or(Expression::Unknown, Expression::Dated)
}

fn local(reference: &Value<'_>, base: &str) -> Option<(ResourceType, LogicalId)> {
    match Target::parse(reference.str_at("reference")?, base) {
        Target::Local { resource_type, id, .. } => Some((resource_type, id)),
        _ => None,
    }
}

/// The same with what is certain folded away.
fn simplify(expression: Expression) -> Expression {
    let (always, never) = (Expression::All(Vec::new()), Expression::Any(Vec::new()));
    match expression {
        Expression::All(all) => {
            let mut all: Vec<_> =
                all.into_iter().map(simplify).filter(|it| *it != always).collect();
            if all.contains(&never) {
                return never;
            }
            if all.len() == 1 { all.remove(0) } else { Expression::All(all) }
        }
        Expression::Any(any) => {
            let mut any: Vec<_> = any.into_iter().map(simplify).filter(|it| *it != never).collect();
            if any.contains(&always) {
                return always;
            }
            if any.len() == 1 { any.remove(0) } else { Expression::Any(any) }
        }
        Expression::Not(inner) => match simplify(*inner) {
            inner if inner == always => never,
            inner if inner == never => always,
            inner => Expression::Not(Box::new(inner)),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json;

    fn consent(provision: &str) -> Directive {
        let text = format!(
            r#"{{"resourceType":"Consent","status":"active","scope":{{"coding":[{{"system":"{SCOPES}","code":"patient-privacy"}}]}},"patient":{{"reference":"Patient/a"}},"provision":{provision}}}"#
        );
        let value = json::parse(text.as_bytes()).expect("JSON").into_owned();
        Directive::read(&value, "http://x/fhir").expect("a consent in force")
    }

    #[test]
    fn a_deny_holds_but_for_its_exceptions() {
        let doc = (ResourceType::PRACTITIONER, "doc".parse().expect("an id"));
        let other = (ResourceType::PRACTITIONER, "other".parse().expect("an id"));
        let always = Some(Expression::All(Vec::new()));
        let label = Expression::Label { system: None, code: "PSY".into() };
        let now = Instant::parse("2024-06-01T00:00:00Z").expect("an instant");
        let permits_doc = r#"{"type":"deny","provision":[{"type":"permit","actor":[{"role":{"text":"x"},"reference":{"reference":"Practitioner/doc"}}]}]}"#;
        for (provision, user, expected) in [
            (r#"{"type":"deny"}"#, &doc, always.clone()),
            (r#"{"type":"permit"}"#, &doc, None),
            ("{}", &doc, None),
            (permits_doc, &doc, None),
            (permits_doc, &other, always.clone()),
            (
                r#"{"type":"permit","provision":[{"type":"deny","securityLabel":[{"code":"PSY"}]}]}"#,
                &doc,
                Some(label.clone()),
            ),
            (r#"{"provision":[{"securityLabel":[{"code":"PSY"}]}]}"#, &doc, Some(label.clone())),
            (r#"{"type":"deny","period":{"start":"2025-01-01"}}"#, &doc, None),
            (
                r#"{"type":"deny","period":{"start":"2024-01-01","end":"2024-12-31"}}"#,
                &doc,
                always.clone(),
            ),
            (r#"{"type":"deny","action":[{"coding":[{"code":"correct"}]}]}"#, &doc, None),
            // What cannot be told counts in a deny, and does not in a permit.
            (r#"{"type":"deny","dataPeriod":{"id":"x"}}"#, &doc, Some(Expression::Unknown)),
            (r#"{"type":"deny","dataOfTheFuture":{"id":"x"}}"#, &doc, Some(Expression::Unknown)),
        ] {
            let asker = Asker { user: Some(user), ..Asker::default() };
            let found = consent(provision).denies(Act::Read, &asker, now);
            assert_eq!(found, expected, "{provision} {user:?}");
        }
    }

    #[test]
    fn an_action_is_about_reading_or_writing() {
        let always = Some(Expression::All(Vec::new()));
        let unknown = Some(Expression::Unknown);
        let now = Instant::parse("2024-06-01T00:00:00Z").expect("an instant");
        let deny = |codes: &[&str]| {
            let coded = codes.iter().map(|code| format!(r#"{{"coding":[{{"code":"{code}"}}]}}"#));
            format!(r#"{{"type":"deny","action":[{}]}}"#, coded.collect::<Vec<_>>().join(","))
        };
        let but = r#"{"type":"deny","provision":[{"type":"permit","action":[{"coding":[{"code":"access"}]}]}]}"#;
        for (provision, [read, collect, correct]) in [
            (r#"{"type":"deny"}"#.to_owned(), [&always, &always, &always]),
            (deny(&["access"]), [&always, &None, &None]),
            (deny(&["use", "correct"]), [&always, &None, &always]),
            (deny(&["collect"]), [&None, &always, &None]),
            (deny(&["correct"]), [&None, &None, &always]),
            (but.to_owned(), [&None, &always, &always]),
            // What is not known may be any of them.
            (deny(&["correct", "sell"]), [&unknown, &unknown, &always]),
            (r#"{"type":"deny","action":[{"text":"sell"}]}"#.to_owned(), [&unknown; 3]),
        ] {
            let consent = consent(&provision);
            for (act, expected) in Act::ALL.into_iter().zip([read, collect, correct]) {
                let found = consent.denies(act, &Asker::default(), now);
                assert_eq!(&found, expected, "{provision} {act:?}");
            }
        }
    }

    #[test]
    fn an_emergency_is_forbidden_where_it_is_named() {
        let always = Some(Expression::All(Vec::new()));
        let label = Expression::Label { system: None, code: "PSY".into() };
        let now = Instant::parse("2024-06-01T00:00:00Z").expect("an instant");
        let named = r#""purpose":[{"code":"BTG"}]"#;
        for (provision, purpose, expected) in [
            (r#"{"type":"deny"}"#.to_owned(), "BTG", None),
            (format!(r#"{{"type":"deny",{named}}}"#), "BTG", always.clone()),
            (format!(r#"{{"type":"deny",{named}}}"#), "ETREAT", always.clone()),
            (format!(r#"{{"type":"deny",{named}}}"#), "TREAT", None),
            (format!(r#"{{"provision":[{{"type":"deny",{named}}}]}}"#), "ETREAT", always.clone()),
            (
                format!(
                    r#"{{"provision":[{{"type":"deny",{named},"securityLabel":[{{"code":"PSY"}}]}}]}}"#
                ),
                "BTG",
                Some(label.clone()),
            ),
            // A denial of all but emergencies, and one that is over.
            (
                format!(r#"{{"type":"deny","provision":[{{"type":"permit",{named}}}]}}"#),
                "BTG",
                None,
            ),
            (format!(r#"{{"type":"deny",{named},"period":{{"end":"2023"}}}}"#), "BTG", None),
            (r#"{"type":"deny","purpose":[{"code":"HMARKT"}]}"#.to_owned(), "BTG", None),
        ] {
            let asker = Asker { purpose: Some(purpose), ..Asker::default() };
            assert_eq!(consent(&provision).forbids(&asker, now), expected, "{provision} {purpose}");
        }
        let text = format!(r#"{{"type":"deny",{named}}}"#);
        assert_eq!(consent(&text).forbids(&Asker::default(), now), None);
    }

    #[test]
    fn what_is_not_in_force_denies_nothing() {
        for text in [
            r#"{"status":"draft","scope":{"coding":[{"code":"patient-privacy"}]},"patient":{"reference":"Patient/a"},"provision":{"type":"deny"}}"#,
            r#"{"status":"active","scope":{"coding":[{"code":"research"}]},"patient":{"reference":"Patient/a"},"provision":{"type":"deny"}}"#,
            r#"{"status":"active","scope":{"coding":[{"code":"patient-privacy"}]},"patient":{"reference":"Patient/a"}}"#,
            r#"{"status":"active","scope":{"coding":[{"code":"patient-privacy"}]},"provision":{"type":"deny"}}"#,
        ] {
            let value = json::parse(text.as_bytes()).expect("JSON");
            assert_eq!(Directive::read(&value, "http://x/fhir"), None, "{text}");
        }
    }
}
