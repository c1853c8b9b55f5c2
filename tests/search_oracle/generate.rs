//! Random searches over a world: most values are taken from a resource, so that there is something
//! to find.

use kiln::fhir::ResourceType;
use kiln::spec::search_parameter::SearchType;

use super::judge::PART_OF;
use super::query::{Asked, Clause, Contained, Modifier, Query, System, Total};
use super::random::Random;
use super::world::{World, parameter, parts};
use super::{along, ask, filter, fixed};

/// The parameters that are asked for, by type.
pub(super) const PARAMETERS: &[(&str, &[&str])] = &[
    (
        "Condition",
        &["code", "encounter", "onset-age", "onset-date", "patient", "recorded-date", "subject"],
    ),
    (
        "Encounter",
        &[
            "class",
            "date",
            "length",
            "part-of",
            "patient",
            "service-provider",
            "status",
            "subject",
            "type",
        ],
    ),
    ("List", &["item", "status"]),
    ("Location", &["name", "near", "organization", "partof"]),
    ("Medication", &["code", "ingredient-code", "lot-number", "status"]),
    (
        "MedicationRequest",
        &["authoredon", "code", "intent", "medication", "patient", "status", "subject"],
    ),
    (
        "Observation",
        &[
            "category",
            "code",
            "code-value-concept",
            "code-value-date",
            "code-value-quantity",
            "code-value-string",
            "combo-code",
            "combo-code-value-quantity",
            "combo-value-quantity",
            "component-code",
            "component-code-value-quantity",
            "component-value-quantity",
            "date",
            "encounter",
            "has-member",
            "patient",
            "performer",
            "status",
            "subject",
            "value-concept",
            "value-date",
            "value-quantity",
            "value-string",
        ],
    ),
    ("Organization", &["active", "address", "address-city", "name", "partof", "type"]),
    (
        "Patient",
        &[
            "active",
            "address",
            "address-city",
            "birthdate",
            "death-date",
            "deceased",
            "email",
            "family",
            "gender",
            "general-practitioner",
            "given",
            "identifier",
            "name",
            "organization",
            "phone",
            "telecom",
        ],
    ),
    ("RiskAssessment", &["patient", "probability", "subject"]),
    ("ValueSet", &["code", "name", "reference", "status", "url", "version"]),
];

/// The parameters that every type has.
const COMMON: &[&str] =
    &["_id", "_tag", "_lastUpdated", "_list", "_profile", "_security", "_source"];

/// References to organizations alone, which have parts.
const OF_PARTS: &[&str] = &["organization", "service-provider"];

/// Types with members of the compartments of patients.
const IN_COMPARTMENT: &[&str] = &[
    "Condition",
    "Encounter",
    "List",
    "MedicationRequest",
    "Observation",
    "Patient",
    "RiskAssessment",
];

/// How many chains and `_has` may lie within one another.
const DEPTH: usize = 2;

/// Sort keys, by type, beside `_id` and `_lastUpdated`. Of one comparable value a resource or several.
const KEYS: &[(&str, &[&str])] = &[
    ("Condition", &["code", "onset-age", "onset-date", "recorded-date", "subject"]),
    ("Encounter", &["class", "date", "length", "status"]),
    ("Location", &["name"]),
    ("Medication", &["code", "lot-number", "status"]),
    ("MedicationRequest", &["authoredon", "status"]),
    (
        "Observation",
        &[
            "code",
            "code-value-quantity",
            "component-code-value-quantity",
            "date",
            "status",
            "subject",
            "value-date",
            "value-quantity",
            "value-string",
        ],
    ),
    ("Organization", &["address-city", "name"]),
    ("Patient", &["birthdate", "family", "gender", "given", "organization"]),
    ("RiskAssessment", &["probability"]),
    ("ValueSet", &["name", "status", "url"]),
];

/// A token and the date that resources go by, for orders that find the newest of each code.
const NEWEST: &[(&str, [&str; 2])] = &[
    ("Condition", ["code", "onset-date"]),
    ("Encounter", ["status", "date"]),
    ("MedicationRequest", ["status", "authoredon"]),
    ("Observation", ["status", "date"]),
];

pub(super) fn table(
    table: &'static [(&str, &[&str])],
    of: ResourceType,
) -> &'static [&'static str] {
    let row = table.iter().find(|(name, _)| *name == of.as_str());
    row.map_or(&[], |(_, codes)| codes)
}

pub(super) fn query(world: &World, random: &mut Random) -> Query {
    if random.chance(8) {
        return query_of_contained(world, random);
    }
    let mut types = vec![some_type(random)];
    if random.chance(8) {
        let other = some_type(random);
        if other != types[0] {
            types.push(other);
        }
    }
    let mut clauses: Vec<Clause> =
        (0..=random.below(3)).filter_map(|_| clause(world, random, &types, DEPTH)).collect();
    let mut sort = Vec::new();
    if random.chance(50) {
        let own: &[&str] = if types.len() == 1 { table(KEYS, types[0]) } else { &[] };
        let keys: Vec<_> = own.iter().chain(&["_id", "_lastUpdated"]).copied().collect();
        for _ in 0..=random.below(3) {
            let key = *random.pick(&keys);
            if sort.iter().all(|(known, _)| *known != key) {
                sort.push((key, random.chance(50)));
            }
        }
    }
    if types.len() == 1 && random.chance(10) {
        let newest = NEWEST.iter().find(|(of, _)| *of == types[0].as_str());
        let keys = newest.map(|(_, [code, date])| [(*code, random.chance(50)), (*date, true)]);
        sort = keys.map_or(sort, Vec::from);
        // What finds few is sorted as a whole.
        if random.chance(70) {
            clauses.clear();
        }
    }
    let count = random.chance(50).then(|| 1 + random.below(7));
    let places = world.of(&[ResourceType::PATIENT]);
    let is_linked = types.len() == 1 && IN_COMPARTMENT.contains(&types[0].as_str());
    let compartment =
        (is_linked && random.chance(10)).then(|| world.docs[*random.pick(&places)].id.clone());
    let total = random.chance(60).then_some(Total::Accurate);
    let total = if random.chance(10) { Some(Total::Estimate) } else { total };
    let along = if random.chance(20) { along::asked(random, &types) } else { Vec::new() };
    Query { types, clauses, sort, count, total, compartment, contained: None, along }
}

/// A search that looks at contained resources.
fn query_of_contained(world: &World, random: &mut Random) -> Query {
    let types = vec!["Medication".parse().unwrap()];
    let clauses = (0..=random.below(3)).filter_map(|_| clause(world, random, &types, DEPTH));
    // What only resources of their own have is refused.
    let is_common = |clause: &Clause| matches!(clause, Clause::Test { code, .. } if COMMON.contains(code) && *code != "_tag");
    // Words are of whole resources.
    let is_of_words = |clause: &Clause| {
        matches!(clause, Clause::Test { modifier: Modifier::Text, .. } | Clause::Words { .. })
    };
    let clauses = clauses.filter(|clause| !is_common(clause) && !is_of_words(clause)).collect();
    let contained = Contained { has_own: random.chance(40), shows_container: random.chance(50) };
    let has_values = !contained.has_own && !contained.shows_container;
    let own: &[&str] = if has_values { table(KEYS, types[0]) } else { &[] };
    let keys: Vec<_> = own.iter().chain(&["_id", "_lastUpdated"]).copied().collect();
    let sort = random.chance(60).then(|| (*random.pick(&keys), random.chance(50)));
    let count = random.chance(50).then(|| 1 + random.below(7));
    let sort = sort.into_iter().collect();
    let total = random.chance(60).then_some(Total::Accurate);
    let contained = Some(contained);
    let (compartment, along) = (None, Vec::new());
    Query { types, clauses, sort, count, total, compartment, contained, along }
}

fn some_type(random: &mut Random) -> ResourceType {
    // Half of the searches ask for the two types with the most parameters.
    match random.below(4) {
        0 => ResourceType::PATIENT,
        1 => "Observation".parse().unwrap(),
        _ => random.pick(PARAMETERS).0.parse().unwrap(),
    }
}

fn clause(
    world: &World,
    random: &mut Random,
    types: &[ResourceType],
    depth: usize,
) -> Option<Clause> {
    if types.len() > 1 || random.chance(8) {
        let code = *random.pick(if depth == DEPTH { COMMON } else { &COMMON[..2] });
        return common(world, random, types[0], code);
    }
    let of = types[0];
    match random.below(10) {
        0 | 1 if depth > 0 => chain(world, random, of, depth),
        2 if depth > 0 => has(world, random, of, depth),
        3 if depth == DEPTH && random.chance(60) => {
            Some(Clause::Filter(filter::expression(world, random, of, 2)?))
        }
        3 if depth == DEPTH && random.chance(50) => Some(fixed::words(random)),
        4 if depth == DEPTH && random.chance(40) => shown(world, random, of),
        _ => {
            let code = *random.pick(table(PARAMETERS, of));
            test(world, random, of, code)
        }
    }
}

fn common(
    world: &World,
    random: &mut Random,
    of: ResourceType,
    code: &'static str,
) -> Option<Clause> {
    let some = |random: &mut Random| -> Asked {
        let places = world.of(&[of]);
        let id = world.docs[*random.pick(&places)].id.clone();
        Asked::Text(if random.chance(85) { id } else { "unheard-of".to_owned() })
    };
    match code {
        "_id" => {
            let modifier = if random.chance(20) { Modifier::Not } else { Modifier::None };
            let any = (0..=random.below(4)).map(|_| some(random)).collect();
            Some(Clause::Test { code, modifier, any })
        }
        "_list" => {
            let any = vec![Asked::Text(format!("li{}", random.below(4)))];
            Some(Clause::Test { code, modifier: Modifier::None, any })
        }
        _ => test(world, random, of, code),
    }
}

/// The reference parameters of a type.
pub(super) fn references(of: ResourceType) -> Vec<&'static str> {
    let kind = |code: &str| parameter(of, code).unwrap().search_type;
    let all = table(PARAMETERS, of).iter().copied();
    all.filter(|code| kind(code) == SearchType::Reference).collect()
}

/// The types of the world that a reference parameter may lead to.
pub(super) fn targets(of: ResourceType, code: &str) -> Vec<ResourceType> {
    let allowed = &parameter(of, code).unwrap().targets;
    let all = PARAMETERS.iter().map(|(name, _)| name.parse().unwrap());
    all.filter(|of| allowed.is_empty() || allowed.contains(of)).collect()
}

fn chain(world: &World, random: &mut Random, of: ResourceType, depth: usize) -> Option<Clause> {
    let codes = references(of);
    if codes.is_empty() {
        return None;
    }
    let code = *random.pick(&codes);
    let target = *random.pick(&targets(of, code));
    let inner = Box::new(clause(world, random, &[target], depth - 1)?);
    let is_only = parameter(of, code).unwrap().targets == [target];
    let named = !is_only || random.chance(50);
    Some(Clause::Chain { code, target: named.then_some(target), inner })
}

/// The references, each of a type, that may lead to this type.
pub(super) fn referring(of: ResourceType) -> Vec<(ResourceType, &'static str)> {
    let mut ways = Vec::new();
    for (name, _) in PARAMETERS {
        let source: ResourceType = name.parse().unwrap();
        let codes = references(source).into_iter();
        ways.extend(
            codes.filter(|code| targets(source, code).contains(&of)).map(|code| (source, code)),
        );
    }
    ways
}

fn has(world: &World, random: &mut Random, of: ResourceType, depth: usize) -> Option<Clause> {
    let ways = referring(of);
    if ways.is_empty() {
        return None;
    }
    let (source, code) = *random.pick(&ways);
    Some(Clause::Has {
        source,
        code,
        inner: Box::new(clause(world, random, &[source], depth - 1)?),
    })
}

pub(super) fn test(
    world: &World,
    random: &mut Random,
    of: ResourceType,
    code: &'static str,
) -> Option<Clause> {
    let kind = parameter(of, code)?.search_type;
    let is_plain =
        matches!(kind, SearchType::Composite | SearchType::Special) || code == "_lastUpdated";
    if !is_plain && random.chance(8) {
        let text = if random.chance(50) { "true" } else { "false" };
        return Some(Clause::Test {
            code,
            modifier: Modifier::Missing,
            any: vec![Asked::Text(text.to_owned())],
        });
    }
    let modifier = match modifier(random, kind, code) {
        Modifier::None if kind == SearchType::Reference && random.chance(25) => {
            Modifier::Type(*random.pick(&targets(of, code)))
        }
        modifier => modifier,
    };
    let several = if random.chance(25) { 2 } else { 1 };
    let mut any = Vec::new();
    for _ in 0..several {
        any.push(value(world, random, of, code, modifier)?);
    }
    Some(Clause::Test { code, modifier, any })
}

/// What a code is called; `None` for types without codes that have a name.
fn shown(world: &World, random: &mut Random, of: ResourceType) -> Option<Clause> {
    let has_names = |code: &&&str| {
        let kind = parameter(of, code).map(|parameter| parameter.search_type);
        kind == Some(SearchType::Token) && **code != "identifier" && !ask::is_code_element(code)
    };
    let codes: Vec<&'static str> =
        table(PARAMETERS, of).iter().filter(has_names).copied().collect();
    let code = *(!codes.is_empty()).then(|| random.pick(&codes))?;
    let any = vec![value(world, random, of, code, Modifier::Text)?];
    Some(Clause::Test { code, modifier: Modifier::Text, any })
}

fn modifier(random: &mut Random, kind: SearchType, code: &str) -> Modifier {
    let choices: &[Modifier] = match kind {
        SearchType::String => {
            &[Modifier::None, Modifier::None, Modifier::Exact, Modifier::Contains]
        }
        SearchType::Token if code == "identifier" => {
            &[Modifier::None, Modifier::None, Modifier::Not, Modifier::OfType]
        }
        SearchType::Token if ask::is_code_element(code) => {
            &[Modifier::None, Modifier::None, Modifier::Not]
        }
        SearchType::Token if code.starts_with('_') => {
            &[Modifier::None, Modifier::None, Modifier::Not]
        }
        SearchType::Token => &[
            Modifier::None,
            Modifier::None,
            Modifier::None,
            Modifier::Not,
            Modifier::In,
            Modifier::NotIn,
            Modifier::Above,
            Modifier::Below,
        ],
        SearchType::Reference if PART_OF.contains(&code) || OF_PARTS.contains(&code) => {
            &[Modifier::None, Modifier::None, Modifier::Above, Modifier::Below]
        }
        SearchType::Reference => {
            &[Modifier::None, Modifier::None, Modifier::None, Modifier::Identifier]
        }
        SearchType::Uri if code == "_profile" => &[Modifier::None, Modifier::None, Modifier::Below],
        SearchType::Uri => &[Modifier::None, Modifier::None, Modifier::Below, Modifier::Above],
        _ => &[Modifier::None],
    };
    *random.pick(choices)
}

/// A value to ask for, from one of the resources of the type where one has it.
fn value(
    world: &World,
    random: &mut Random,
    of: ResourceType,
    code: &'static str,
    modifier: Modifier,
) -> Option<Asked> {
    let places = world.of(&[of]);
    let kind = parameter(of, code)?.search_type;
    match modifier {
        Modifier::In | Modifier::NotIn => return Some(Asked::Text(fixed::set(random))),
        Modifier::Above | Modifier::Below if kind == SearchType::Token => {
            let code = random.pick(fixed::BRANCHES).0.to_owned();
            return Some(Asked::Token { system: System::Named(fixed::TREE.to_owned()), code });
        }
        _ => {}
    }
    for _ in 0..12 {
        let at = *random.pick(&places);
        if kind == SearchType::Reference && matches!(modifier, Modifier::Above | Modifier::Below) {
            let of = if PART_OF.contains(&code) { of } else { targets(of, code)[0] };
            let places = world.of(&[of]);
            let at = *random.pick(&places);
            return Some(Asked::Text(format!("{}/{}", of.as_str(), world.docs[at].id)));
        }
        if kind == SearchType::Composite {
            let elements = world.elements(at, code);
            if elements.is_empty() {
                continue;
            }
            let element = random.pick(&elements);
            let columns: Option<Vec<_>> = element
                .iter()
                .zip(parts(of, code))
                .enumerate()
                .map(|(part, (values, kind))| {
                    let value = (!values.is_empty()).then(|| random.pick(values))?;
                    let code = if part == 0 { ask::FIRST_PART } else { "" };
                    ask::about(world, random, value, kind, code, Modifier::None)
                })
                .collect();
            if let Some(columns) = columns {
                return Some(Asked::Composite(columns));
            }
            continue;
        }
        let values = world.values(at, code);
        if values.is_empty() {
            continue;
        }
        let picked = random.pick(&values);
        if let Some(asked) = ask::about(world, random, picked, kind, code, modifier) {
            return Some(asked);
        }
    }
    None
}
