//! `ConceptMap/$translate`: what a code is in another code system.
//!
//! Who asks in R5's words (`sourceCode`, `targetCode`) is answered in them.
//!
//! Spec: <https://hl7.org/fhir/R4/conceptmap-operation-translate.html>

use crate::fhir::IssueCode;
use crate::fhir::json::{Object, Value};
use crate::terminology::Image;
use crate::terminology::concept_map::{ConceptMap, Group, Other, Target, Unmapped};
use crate::terminology::value_set::canonical;

use super::asked::{Asked, Coding, value};
use super::refusal::Refusal;
use super::validate::MAX_CODINGS;
use super::{Request, Subject, parameter, parameters, parts};

/// Maps that refer to maps: how many for one code.
const MAX_MAPS: usize = 10;
/// Most matches of an answer.
const MAX_MATCHES: usize = 1_000;

/// What is to be translated.
struct Wanted<'r> {
    codings: Vec<Coding<'r>>,
    /// Whether the codes are those of targets.
    is_reverse: bool,
    /// Whether the words are R5's.
    is_r5: bool,
    /// The system of what is looked for.
    system: Option<&'r str>,
    /// Property, and the codes that it has.
    dependencies: Vec<(&'r str, Vec<&'r str>)>,
}

/// One translation.
struct Match<'i> {
    map: &'i ConceptMap,
    equivalence: &'i str,
    /// System, code and display of what was found; nothing for what has no match.
    concept: Option<[Option<&'i str>; 3]>,
    products: &'i [Other],
    /// The code that was translated.
    from: (Option<&'i str>, String),
}

/// Answers `$translate`.
pub(super) fn translate(
    image: &Image,
    asked: Asked<'_>,
    request: &Request<'_>,
) -> Result<Value<'static>, Refusal> {
    let wanted = Wanted::read(asked)?;
    let sent = asked.resource("conceptMap")?.map(ConceptMap::read);
    let maps: Vec<&ConceptMap> = match (&sent, request.subject, asked.text("url")?) {
        (Some(map), ..) => vec![map],
        (None, Subject::Stored(id), _) => vec![named(image, &format!("ConceptMap/{id}"))?],
        (None, Subject::Defined(canonical), _) => vec![named(image, canonical)?],
        (None, Subject::Named, Some(url)) => {
            vec![named(image, &canonical(url, asked.text("conceptMapVersion")?))?]
        }
        (None, Subject::Named, None) => between(image, asked, &wanted)?,
    };
    let mut found = Vec::new();
    for coding in &wanted.codings {
        for map in &maps {
            let mut search = Search { wanted: &wanted, image, coding, seen: Vec::new() };
            search.look_up(map, &mut found);
        }
    }
    Ok(wanted.answer(&found))
}

/// The map of this name.
fn named<'i>(image: &'i Image, name: &str) -> Result<&'i ConceptMap, Refusal> {
    image.concept_map(name).ok_or_else(|| Refusal::no_map(name))
}

/// The maps between two value sets, or all.
fn between<'i>(
    image: &'i Image,
    asked: Asked<'_>,
    wanted: &Wanted<'_>,
) -> Result<Vec<&'i ConceptMap>, Refusal> {
    let either = |one, other| -> Result<Option<&str>, Refusal> {
        Ok(asked.text(one)?.or(asked.text(other)?))
    };
    let (mut source, mut target) =
        (either("source", "sourceScope")?, either("target", "targetScope")?);
    if wanted.is_reverse && !wanted.is_r5 {
        std::mem::swap(&mut source, &mut target);
    }
    let fits = |has: Option<&str>, asked: Option<&str>| asked.is_none_or(|it| has == Some(it));
    let of =
        |it: &&ConceptMap| fits(it.source.as_deref(), source) && fits(it.target.as_deref(), target);
    Ok(image.concept_maps().filter(of).collect())
}

impl<'r> Wanted<'r> {
    fn read(asked: Asked<'r>) -> Result<Self, Refusal> {
        let reversed =
            codings(asked, "targetCode", "targetCoding", "targetCodeableConcept", "targetSystem")?;
        let forward =
            codings(asked, "sourceCode", "sourceCoding", "sourceCodeableConcept", "sourceSystem")?;
        let plain = codings(asked, "code", "coding", "codeableConcept", "system")?;
        let is_r5 = plain.is_none();
        if asked.text("code")?.is_some() && asked.text("system")?.is_none() {
            return Err(Refusal::malformed_as(IssueCode::Required, "a code needs its system"));
        }
        let of_r5 = |name, other| -> Result<Option<&'r str>, Refusal> {
            Ok(asked.text(name)?.or(asked.text(other)?))
        };
        let (codings, is_reverse, system) = match (plain, forward, reversed) {
            (Some(codings), None, None) => {
                let is_reverse = asked.flag("reverse")? == Some(true);
                (codings, is_reverse, of_r5("targetsystem", "targetSystem")?)
            }
            (None, Some(codings), None) => (codings, false, of_r5("targetSystem", "targetsystem")?),
            (None, None, Some(codings)) => (codings, true, asked.text("sourceSystem")?),
            _ => {
                let text = "one of code, coding and codeableConcept is needed";
                return Err(Refusal::malformed_as(IssueCode::Required, text));
            }
        };
        let dependencies: Vec<(_, Vec<_>)> =
            asked.all("dependency").filter_map(dependency).collect();
        let lists = dependencies.iter().map(|(_, codes)| codes.len());
        if lists.chain([codings.len()]).any(|count| count > MAX_CODINGS) {
            let text = format!("a concept with more than {MAX_CODINGS} codings is not translated");
            return Err(Refusal::malformed(text));
        }
        Ok(Self { codings, is_reverse, is_r5, system, dependencies })
    }

    /// Whether all that a mapping depends on was given.
    fn is_met(&self, depends_on: &[Other]) -> bool {
        depends_on.iter().all(|other| {
            let mut given = self.dependencies.iter();
            given.any(|(property, codes)| {
                *property == &*other.property && codes.contains(&&*other.value)
            })
        })
    }

    fn answer(&self, found: &[Match<'_>]) -> Value<'static> {
        let is_one = |it: &Match<'_>| !matches!(it.equivalence, "unmatched" | "disjoint");
        let result = found.iter().any(is_one);
        let mut answer = vec![parameter("result", "valueBoolean", result)];
        if !result {
            let what = if found.is_empty() { "has no mapping" } else { "has no match" };
            let codes: Vec<&str> = self.codings.iter().map(|it| it.code).collect();
            let text = format!("{} {what}", codes.join(", "));
            answer.push(parameter("message", "valueString", text));
        }
        answer.extend(found.iter().map(|it| parts("match", self.parts(it))));
        parameters(answer)
    }

    fn parts(&self, found: &Match<'_>) -> Vec<Value<'static>> {
        let own = [found.from.0, Some(&*found.from.1), None];
        let mut told = vec![parameter("equivalence", "valueCode", found.equivalence.to_owned())];
        let concept = found
            .concept
            .map(|[system, code, display]| [system, Some(code.unwrap_or(&found.from.1)), display]);
        // R5 tells both ends when it is asked for the source.
        let (concept, source) = match (self.is_r5 && self.is_reverse, concept) {
            (true, concept) => (Some(own), concept),
            (false, concept) => (concept, None),
        };
        told.extend(concept.map(|it| parameter("concept", "valueCoding", coded(it))));
        told.extend(found.products.iter().map(product));
        told.extend(source.map(|it| parameter("source", "valueCoding", coded(it))));
        if self.is_r5 {
            told.push(parameter("originMap", "valueCanonical", found.map.canonical()));
        } else if found.map.url.is_some() {
            told.push(parameter("source", "valueUri", found.map.canonical()));
        }
        told
    }
}

/// The search for one code.
struct Search<'s, 'i> {
    wanted: &'s Wanted<'s>,
    image: &'i Image,
    coding: &'s Coding<'s>,
    /// The maps that were looked through: each is once, however often others refer to it.
    seen: Vec<*const ConceptMap>,
}

impl<'i> Search<'_, 'i> {
    fn look_up(&mut self, map: &'i ConceptMap, found: &mut Vec<Match<'i>>) {
        let is_seen = self.seen.contains(&std::ptr::from_ref(map));
        if is_seen || self.seen.len() == MAX_MAPS {
            return;
        }
        self.seen.push(map);
        let (wanted, coding) = (self.wanted, self.coding);
        let fits = |has: Option<&str>, asked: Option<&str>| asked.is_none_or(|it| has == Some(it));
        for group in &map.groups {
            let (from, to) = (group.source.as_deref(), group.target.as_deref());
            let (from, to) = if wanted.is_reverse { (to, from) } else { (from, to) };
            let is_of = fits(from, coding.system) && fits(to, wanted.system);
            if found.len() >= MAX_MATCHES || !is_of {
                continue;
            }
            let code = (from, coding.code.to_owned());
            if wanted.is_reverse {
                for (source, target) in group.sources(coding.code) {
                    let concept = Some([to, Some(source), None]);
                    let equivalence = reversed(&target.equivalence);
                    let from = code.clone();
                    found.push(Match { map, equivalence, concept, products: &[], from });
                }
                continue;
            }
            match (group.targets(coding.code), &group.unmapped) {
                (Some(targets), _) => {
                    let usable = targets.iter().filter(|it| wanted.is_met(&it.depends_on));
                    found.extend(usable.map(|it| matched(map, group, it, code.clone())));
                }
                (None, Some(unmapped)) => self.unmapped(map, group, unmapped, found),
                (None, None) => {}
            }
        }
    }

    fn unmapped(
        &mut self,
        map: &'i ConceptMap,
        group: &'i Group,
        unmapped: &'i Unmapped,
        found: &mut Vec<Match<'i>>,
    ) {
        let to = group.target.as_deref();
        let from = (group.source.as_deref(), self.coding.code.to_owned());
        let (equivalence, concept) = match &*unmapped.mode {
            // The code itself, which is told by what was translated.
            "provided" => ("equal", Some([to, None, None])),
            "fixed" => {
                ("inexact", Some([to, unmapped.code.as_deref(), unmapped.display.as_deref()]))
            }
            "other-map" => {
                let other = unmapped.url.as_deref().and_then(|url| self.image.concept_map(url));
                if let Some(other) = other {
                    self.look_up(other, found);
                }
                return;
            }
            _ => return,
        };
        found.push(Match { map, equivalence, concept, products: &[], from });
    }
}

fn matched<'i>(
    map: &'i ConceptMap,
    group: &'i Group,
    target: &'i Target,
    from: (Option<&'i str>, String),
) -> Match<'i> {
    let concept = target
        .code
        .as_deref()
        .map(|code| [group.target.as_deref(), Some(code), target.display.as_deref()]);
    Match { map, equivalence: &target.equivalence, concept, products: &target.products, from }
}

/// How the source stands to the target, from how the target stands to the source.
fn reversed(equivalence: &str) -> &str {
    match equivalence {
        "narrower" => "wider",
        "specializes" => "subsumes",
        "subsumes" => "specializes",
        "wider" => "narrower",
        other => other,
    }
}

fn coded([system, code, display]: [Option<&str>; 3]) -> Object<'static> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Object::new()
        .with_some("system", owned(system))
        .with_some("code", owned(code))
        .with_some("display", owned(display))
}

fn product(other: &Other) -> Value<'static> {
    let concept = [other.system.as_deref(), Some(&*other.value), other.display.as_deref()];
    let element = parameter("element", "valueUri", other.property.to_string());
    parts("product", vec![element, parameter("concept", "valueCoding", coded(concept))])
}

/// The codes of one of the three forms; `None` where none of them is there.
fn codings<'r>(
    asked: Asked<'r>,
    code: &'r str,
    coding: &'r str,
    concept: &'r str,
    system: &'r str,
) -> Result<Option<Vec<Coding<'r>>>, Refusal> {
    Ok(match (asked.text(code)?, asked.coding(coding)?, asked.concept(concept)?) {
        (None, None, None) => None,
        (Some(code), None, None) => {
            let system = asked.text(system)?;
            Some(vec![Coding { system, version: None, code, display: None }])
        }
        (None, Some(coding), None) => Some(vec![coding]),
        (None, None, Some(concept)) => {
            Some(concept.items_at("coding").iter().filter_map(Coding::read).collect())
        }
        _ => return Err(Refusal::malformed("one of code, coding and codeableConcept is enough")),
    })
}

/// The element that a dependency names, with its codes or its text.
fn dependency<'r>(parameter: &'r Value<'r>) -> Option<(&'r str, Vec<&'r str>)> {
    let part = |name| parameter.items_at("part").iter().find(|it| it.str_at("name") == Some(name));
    let concept = value(part("concept")?)?;
    let codes = concept.items_at("coding").iter().filter_map(|it| it.str_at("code"));
    let codes = codes.chain(concept.str_at("text")).chain(concept.str_at("code"));
    Some((value(part("element")?)?.as_str()?, codes.collect()))
}
