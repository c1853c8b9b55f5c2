//! What a grant comes down to: rules, of which those that cover an interaction decide how far it goes.
//!
//! Rules of different scopes are never mixed: each grants its own actions with its own resources, and
//! what is reached is what one of them reaches.

mod rule;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::fhir::{LogicalId, ResourceType};
use crate::search::extract::Extractor;
use crate::search::request::compare::{AskedToken, Comparison};
use crate::search::request::{Filter, ParameterKey, Test};
use crate::spec::search_parameter::SearchType;

use rule::{Compiled, Rule, Whose};

use super::consent::{Act, Denial, Expression, constant, token};
use super::grant::{AppState, Grant, GrantError, User};
use super::interaction::{Interaction, Kind};
use super::membership;
use super::need::{self, Need};
use super::restriction::{Belonging, Clause, Limits, Restriction, Withheld};
use super::roles::{Clearance, Panel, Role, Roles};
use super::scope::{Actions, Context, Special};

/// What a grant allows.
#[derive(Debug)]
pub(super) struct Policy {
    rules: Vec<Rule>,
    clearance: Clearance,
    /// What tells that a resource is more confidential than that.
    labels: Option<Arc<Filter>>,
    /// Whether messages of feeds are its business: those of all patients, so that no user has it.
    keeps_messages: bool,
    /// What tells that a Basic resource is the state of another app.
    foreign_state: Option<Arc<Filter>>,
    /// Whether a client acts by itself, for nobody.
    is_service: bool,
    /// Whether the glass was broken.
    is_emergency: bool,
    /// What patients deny, those together who deny the same.
    denied: Vec<Denied>,
    /// Types that the operator wants asked for by name.
    by_name: Arc<[ResourceType]>,
    extractor: Arc<Extractor>,
    /// What was worked out of it before: a grant asks the same again and again.
    reached: RwLock<HashMap<Interaction, Option<Restriction>>>,
}

/// What some patients deny.
#[derive(Debug)]
struct Denied {
    patients: Arc<[i64]>,
    /// The same by their ids, each at the place of its hash.
    ids: Arc<[LogicalId]>,
    act: Act,
    of: Expression,
}

/// A patient, by hash and id.
type Who<'d> = (i64, &'d LogicalId);

/// The type that apps keep state as.
const BASIC: &str = "Basic";
/// How many different things patients may deny before all of the others' is kept back.
const MOST_DENIED: usize = 100;
/// How many conditions one patient may deny by before all of the patient's is kept back.
const MOST_CONDITIONS: usize = 100;
/// Most interactions whose reach is kept of one grant.
const MOST_REACHED: usize = 256;

impl Policy {
    /// Works out what a grant allows.
    ///
    /// # Errors
    /// [`GrantError`] when scopes ask for a context that the grant does not have.
    pub(super) fn of(grant: &Grant, roles: &Roles) -> Result<Self, GrantError> {
        let is_open = |user: &User| roles.are_open(&user.roles, &grant.scopes);
        if grant.reason.is_none() && grant.user.as_ref().is_some_and(is_open) {
            return Err(GrantError::NoReason);
        }
        let extractor = roles.extractor().clone();
        let mut all = Vec::new();
        for scope in grant.scopes.resources() {
            match scope.context {
                Context::Patient => {
                    let (_, patient) = grant.patient.as_ref().ok_or(GrantError::NoPatient)?;
                    let whose = Whose::Patients(Arc::new([*patient]));
                    let rule = Rule::of(scope, (whose, is_for_oneself(grant)), &extractor);
                    all.extend(rule.into_iter().flat_map(|it| it.with_survivor(grant)));
                }
                Context::System => {
                    all.extend(Rule::of(scope, (Whose::Everyones, false), &extractor));
                }
                Context::User => {
                    let user = grant.user.as_ref().ok_or(GrantError::NoUser)?;
                    for role in user.roles.iter().filter_map(|name| roles.get(name)) {
                        let writes = role.keeps || role.panel == Panel::Own;
                        all.extend(Rule::of_role(scope, (role, writes), user, &extractor));
                    }
                }
            }
        }
        all.extend(own_resource(grant));
        let clearance = clearance(grant, roles);
        let labels = labels(clearance).map(Arc::new);
        let keeps_messages = grant.user.is_none() && grant.scopes.has(Special::Messages);
        let is_service = grant.user.is_none() && grant.patient.is_none();
        let denied = denied(grant, roles);
        let foreign_state = foreign_state(&grant.state).map(Arc::new);
        Ok(Self {
            rules: all,
            clearance,
            labels,
            keeps_messages,
            foreign_state,
            is_service,
            is_emergency: grant.is_emergency,
            denied,
            by_name: roles.by_name().clone(),
            extractor,
            reached: RwLock::default(),
        })
    }

    /// How far it goes with an interaction; `None`: it does not allow that at all.
    pub(super) fn reach(&self, interaction: Interaction) -> Option<Restriction> {
        let known = self.reached.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(reach) = known.get(&interaction) {
            return reach.clone();
        }
        drop(known);
        let reach = self.work_out(interaction);
        let mut known = self.reached.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MOST_REACHED {
            known.insert(interaction, reach.clone());
        }
        reach
    }

    fn work_out(&self, interaction: Interaction) -> Option<Restriction> {
        // A record to take along, whole or in short, is an export, and the glass is broken for none.
        let takes_along = matches!(interaction.kind, Kind::Everything | Kind::Summary);
        if self.is_emergency && takes_along {
            return None;
        }
        match need::of(interaction.kind) {
            Need::Nothing => Some(Restriction::Everything),
            Need::Export => self.exports(interaction.resource_type).then(|| self.frame()),
            Need::Frame => Some(self.frame()),
            Need::Administration => self.is_unlimited().then_some(Restriction::Everything),
            Need::Messages => {
                (self.keeps_messages || self.is_unlimited()).then_some(Restriction::Everything)
            }
            Need::All(actions) => self
                .clauses(interaction, |own| own.has(actions))
                .map(|it| self.limit(it, interaction)),
            Need::Any(actions) => self
                .clauses(interaction, |own| !own.and(actions).is_empty())
                .map(|it| self.limit(it, interaction)),
        }
    }

    /// Whether a type, or any, may be exported: by scopes of the system over all of it. What of it is
    /// shown is as for a search.
    fn exports(&self, of: Option<ResourceType>) -> bool {
        let reading = Actions::R.or(Actions::S);
        let is_whole = |rule: &&Rule| {
            rule.context == Context::System && matches!(rule.criteria, Compiled::None)
        };
        let grants = |rule: &Rule| match of {
            Some(of) => rule.actions_with(Some(of)).has(reading),
            None => rule.actions.has(reading),
        };
        self.is_service && self.rules.iter().filter(is_whole).any(grants)
    }

    /// A frame shows nothing by itself, so nobody needs more of it than they may do anyway.
    fn frame(&self) -> Restriction {
        if self.is_unlimited() { Restriction::Everything } else { Restriction::nothing() }
    }

    /// Whether it allows everything with everything, as far as nothing is hidden from it.
    fn is_unlimited(&self) -> bool {
        let is_all = |rule: &Rule| {
            rule.context != Context::Patient
                && rule.resource_type.is_none()
                && rule.actions == Actions::ALL
                && matches!((&rule.whose, &rule.criteria), (Whose::Everyones, Compiled::None))
        };
        // What may be seen and not be changed is asked of each change by itself.
        let is_hidden = self.denied.iter().any(|denied| denied.act == Act::Read);
        self.rules.iter().any(is_all) && self.clearance == Clearance::V && !is_hidden
    }

    /// What the rules that cover an interaction reach; `None`: none covers it.
    fn clauses(
        &self,
        interaction: Interaction,
        has: impl Fn(Actions) -> bool,
    ) -> Option<Vec<Clause>> {
        let mut is_covered = false;
        let mut clauses = Vec::new();
        let is_by_name = interaction.resource_type.is_some_and(|of| self.by_name.contains(&of));
        for rule in &self.rules {
            let is_of_patient = rule.context == Context::Patient;
            if is_of_patient && !need::is_for_patients(interaction.kind) {
                continue;
            }
            if is_of_patient && is_by_name && rule.resource_type.is_none() {
                continue;
            }
            if !has(rule.actions_with(interaction.resource_type)) || !rule.may(interaction) {
                continue;
            }
            is_covered = true;
            clauses.extend(rule.clause(interaction.resource_type));
        }
        is_covered.then_some(clauses)
    }

    fn limit(&self, clauses: Vec<Clause>, interaction: Interaction) -> Restriction {
        let kind = interaction.kind;
        let withheld =
            interaction.resource_type.map_or_else(Vec::new, |of| self.withheld(of, kind));
        let clauses = self.without_foreign_state(clauses, interaction.resource_type);
        if interaction.resource_type.is_none()
            && (self.clearance < Clearance::V
                || self.denied.iter().any(|denied| denied.act.hides_from(kind))
                || self.kept_from_others().is_some())
        {
            // Labels, denials and state of apps are asked of each type by itself.
            return Restriction::nothing();
        }
        Restriction::of(membership::in_part(clauses, interaction), withheld)
    }

    /// Of whom something may be kept back.
    pub(super) fn deniers(&self) -> impl Iterator<Item = i64> + '_ {
        self.denied.iter().flat_map(|denied| denied.patients.iter().copied())
    }

    /// What tells the state of other apps, for who is not let do everything.
    fn kept_from_others(&self) -> Option<&Arc<Filter>> {
        self.foreign_state.as_ref().filter(|_| !self.is_unlimited())
    }

    /// The same without the state of other apps. It is a criterion of what is reached: of what is withheld of
    /// everybody the store takes it that labels tell.
    fn without_foreign_state(&self, all: Vec<Clause>, of: Option<ResourceType>) -> Vec<Clause> {
        let is_basic = of.is_some_and(|of| of.as_str() == BASIC);
        let Some(foreign) = self.kept_from_others().filter(|_| is_basic) else { return all };
        let is_not = Filter::Not(Box::new((**foreign).clone()));
        let without = |Clause { members, criteria }| {
            let criteria: Arc<[Filter]> =
                criteria.iter().cloned().chain([is_not.clone()]).collect();
            Clause { members, criteria }
        };
        all.into_iter().map(without).collect()
    }

    /// Whether patients keep the party from doing an act with something.
    pub(super) fn is_kept_from(&self, act: Act) -> bool {
        self.denied.iter().any(|denied| denied.act == act)
    }

    /// What patients keep the party from doing an act with. It reaches nothing by itself.
    pub(super) fn kept_from(&self, act: Act, of: ResourceType) -> Restriction {
        let withheld = self.denied(of, |own| own == act).collect();
        Restriction::Limited(Arc::new(Limits { clauses: Vec::new(), withheld }))
    }

    /// What is kept back of a type from interactions of a kind.
    fn withheld(&self, of: ResourceType, kind: Kind) -> Vec<Withheld> {
        let labels = self.labels.iter().cloned();
        let mut all: Vec<Withheld> = labels
            .map(|filter| {
                let (patients, told_by, within) = (None, Belonging::Compartment, None);
                Withheld { patients, ids: Arc::default(), told_by, filter, within }
            })
            .collect();
        all.extend(self.denied(of, |act| act.hides_from(kind)));
        all
    }

    /// What patients deny of a type, as far as it is about such acts.
    fn denied(
        &self,
        of: ResourceType,
        is_meant: impl Fn(Act) -> bool,
    ) -> impl Iterator<Item = Withheld> {
        self.denied.iter().filter(move |denied| is_meant(denied.act)).filter_map(move |denied| {
            let filter = denied.of.filter(of, &self.extractor, true);
            let told_by = Belonging::of(of, &self.extractor);
            let (patients, ids) = (Some(denied.patients.clone()), denied.ids.clone());
            let within = (told_by == Belonging::Parts).then(|| Arc::new(denied.of.clone()));
            // A Binary goes with what it is attached to, whatever is said of Binaries, and a Bundle with what is
            // in it.
            let is_some =
                filter != constant(false) || told_by == Belonging::Attachment || within.is_some();
            is_some.then(|| Withheld { patients, ids, told_by, filter: Arc::new(filter), within })
        })
    }
}

/// The resource that stands for the user may be read by who may know who the user is.
fn own_resource(grant: &Grant) -> Option<Rule> {
    let user = grant.user.as_ref().filter(|_| grant.is_fhir_user_readable)?;
    let (of, id) = user.fhir_user.as_ref()?;
    let filters: Arc<[Filter]> = Arc::new([Filter::Id(vec![id.as_str().into()])]);
    Some(Rule {
        context: Context::User,
        resource_type: Some(*of),
        actions: Actions::R,
        whose: Whose::Everyones,
        criteria: Compiled::ByType(HashMap::from([(*of, filters)])),
        writes_consents: false,
    })
}

/// What tells that a resource is beyond a clearance: the same for all types, so that the store may ask
/// many at once.
fn labels(clearance: Clearance) -> Option<Filter> {
    let types: Vec<ResourceType> = ResourceType::all().collect();
    let beyond = clearance
        .beyond()
        .map(|label| token(&types, "_security", Some(Clearance::SYSTEM), label.as_str()));
    let all: Vec<Filter> = beyond.collect();
    (!all.is_empty()).then_some(Filter::Any(all))
}

/// What tells that a Basic resource is the state of another app.
fn foreign_state(state: &AppState) -> Option<Filter> {
    let of: ResourceType = BASIC.parse().ok()?;
    let key = ParameterKey { resource_type: of, code: "code".into() };
    let any = state.others.iter().cloned().map(|it| Comparison::Token(AskedToken::System(it)));
    let any: Vec<Comparison> = any.collect();
    let parameters = vec![key];
    (!any.is_empty()).then_some(Filter::Test(Test {
        parameters,
        search_type: SearchType::Token,
        any,
    }))
}

/// Whether the user is the patient in context, or stands for that patient at this moment: whose somebody is who
/// stands for another one, or did once, says nothing here.
fn is_for_oneself(grant: &Grant) -> bool {
    let patient = grant.patient.as_ref().map(|(_, hash)| *hash);
    let stands = |user: &User| {
        user.is_proxy() && patient.is_some_and(|patient| user.panels.own.contains(&patient))
    };
    is_patient_itself(grant) || grant.user.as_ref().is_some_and(stands)
}

/// Whether the user is the patient in context, or a client acts for the patient alone.
fn is_patient_itself(grant: &Grant) -> bool {
    let Some(user) = &grant.user else { return grant.patient.is_some() };
    match (&user.fhir_user, &grant.patient) {
        (Some((ResourceType::PATIENT, own)), Some((patient, _))) => own == patient,
        (Some((of, _)), None) => *of == ResourceType::PATIENT,
        _ => false,
    }
}

/// The highest confidentiality that is shown: patients see all of their own. Who has another role too
/// sees by that role, for its scopes reach the records of others.
fn clearance(grant: &Grant, roles: &Roles) -> Clearance {
    let Some(user) = &grant.user else { return Clearance::V };
    let held: Vec<&Role> = user.roles.iter().filter_map(|name| roles.get(name)).collect();
    let is_own_alone = !held.is_empty() && held.iter().all(|role| role.panel == Panel::Own);
    let is_about_itself = is_patient_itself(grant) && !grant.scopes.has_context(Context::User);
    let is_emergency = grant.is_emergency && !grant.scopes.has_context(Context::User);
    if is_own_alone || is_about_itself || is_emergency {
        return Clearance::V;
    }
    let others = held.iter().filter(|role| role.panel != Panel::Own);
    others.map(|role| role.clearance).max().unwrap_or(Clearance::N)
}

/// What patients deny to this user; nobody denies oneself anything. Who keeps consents and the record,
/// and has no other role, treats nobody: what patients deny is not about that, and a consent must not
/// hide itself from who has to see to it.
fn denied(grant: &Grant, roles: &Roles) -> Vec<Denied> {
    let keeps = |name: &String| roles.get(name).is_some_and(|role| role.keeps);
    let is_keeper = |user: &User| !user.roles.is_empty() && user.roles.iter().all(keeps);
    if grant.user.as_ref().is_some_and(is_keeper) {
        return Vec::new();
    }
    let own: &[i64] = grant.user.as_ref().map_or(&[], |user| match user.fhir_user {
        Some((ResourceType::PATIENT, _)) => &user.panels.own,
        _ => &[],
    });
    // Whoever broke the glass sees what the patient in context has, as the patient does, but for what the
    // patient forbids in an emergency too.
    let sees_all = grant.is_emergency || is_patient_itself(grant);
    let itself = grant.patient.as_ref().filter(|_| sees_all).map(|it| it.1);
    let survivor = grant.survivor.filter(|_| sees_all);
    let is_own = |denial: &&Denial| {
        let theirs = Some(denial.patient);
        let is_bound = denial.is_binding && grant.is_emergency;
        !is_bound && (own.contains(&denial.patient) || itself == theirs || survivor == theirs)
    };
    let others: Vec<&Denial> = grant.denials.iter().filter(|denial| !is_own(denial)).collect();
    Act::ALL.into_iter().flat_map(|act| grouped(act, &others)).collect()
}

/// What is denied of an act, those patients together who deny the same.
fn grouped(act: Act, denials: &[&Denial]) -> Vec<Denied> {
    let mut conditions = HashMap::<i64, usize>::new();
    for Denial { patient, of, .. } in denials.iter().filter(|denial| denial.act == act) {
        *conditions.entry(*patient).or_default() += of.conditions();
    }
    let (mut groups, mut beyond) = (Vec::<(Vec<Who<'_>>, &Expression)>::new(), Vec::new());
    for Denial { patient, id, of, .. } in denials.iter().filter(|denial| denial.act == act) {
        let who = (*patient, id);
        if conditions.get(patient).is_some_and(|all| *all > MOST_CONDITIONS) {
            beyond.push(who);
            continue;
        }
        let may_be_more = groups.len() < MOST_DENIED;
        match groups.iter_mut().find(|(_, known)| *known == of) {
            Some((patients, _)) => patients.push(who),
            None if may_be_more => groups.push((vec![who], of)),
            // Each is a condition of each statement: of what is beyond, all is kept back.
            None => beyond.push(who),
        }
    }
    if !beyond.is_empty() {
        groups.push((beyond, &Expression::Unknown));
    }
    let sorted = groups.into_iter().map(|(mut patients, of)| {
        patients.sort_unstable();
        patients.dedup();
        let (patients, ids): (Vec<i64>, Vec<LogicalId>) =
            patients.into_iter().map(|(patient, id)| (patient, id.clone())).unzip();
        Denied { patients: patients.into(), ids: ids.into(), act, of: of.clone() }
    });
    sorted.collect()
}

#[cfg(test)]
mod tests;
