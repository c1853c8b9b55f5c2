//! `ValueSet/$expand`: the codes of a value set, page by page.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset-operation-expand.html>

use std::rc::Rc;

use crate::fhir::json::{self, Object, Value};
use crate::spec::terminology::TerminologyFault;
use crate::terminology::Image;
use crate::terminology::builtin;
use crate::terminology::code_system::{CodeSystem, Content};
use crate::terminology::expand::{Expansion, SNOMED};
use crate::terminology::scope::{Scope, Used};
use crate::terminology::set::{CodeSet, Entry};
use crate::terminology::value_set::{SHOWN, ValueSet, canonical};

use super::asked::{Asked, needed, value};
use super::contained::{Shown, Wanted};
use super::display::Names;
use super::refusal::Refusal;
use super::{Request, Subject, languages, parameter, scope};

/// Parameters that an expansion tells again, with the type of their value.
pub(super) const REPEATED: [(&str, &str); 15] = [
    ("activeOnly", "valueBoolean"),
    ("check-system-version", "valueUri"),
    ("count", "valueInteger"),
    ("date", "valueDateTime"),
    ("designation", "valueString"),
    ("exclude-system", "valueUri"),
    ("excludeNested", "valueBoolean"),
    ("excludeNotForUI", "valueBoolean"),
    ("excludePostCoordinated", "valueBoolean"),
    ("filter", "valueString"),
    ("force-system-version", "valueUri"),
    ("includeDefinition", "valueBoolean"),
    ("includeDesignations", "valueBoolean"),
    ("offset", "valueInteger"),
    ("system-version", "valueUri"),
];
/// Most words of a text filter.
const MAX_WORDS: usize = 16;
/// How much more the names of a code cost to look through than its place.
const READING: usize = 4;

/// Which value set is asked for.
pub(super) struct Which<'i> {
    /// By what it was named.
    pub(super) name: String,
    /// `None` for one that only its name describes.
    pub(super) value_set: Option<&'i ValueSet>,
}

impl<'i> Which<'i> {
    /// By the parameters or the path; `inline` is the one that was sent along.
    pub(super) fn find(
        image: &'i Image,
        asked: Asked<'_>,
        request: &Request<'_>,
        inline: Option<&'i ValueSet>,
    ) -> Result<Self, Refusal> {
        if let Some(value_set) = inline {
            let name = value_set.url.as_deref().unwrap_or("(the value set that was sent)");
            return Ok(Self { name: name.to_owned(), value_set: Some(value_set) });
        }
        let name = match request.subject {
            Subject::Stored(id) => format!("ValueSet/{id}"),
            Subject::Defined(canonical) => canonical.to_owned(),
            Subject::Named => {
                let url = asked.text("url")?;
                let url = needed(url, "the value set (`url`, `valueSet` or `context`)")?;
                canonical(url, asked.text("valueSetVersion")?)
            }
        };
        let value_set = image.value_set(&name);
        Ok(Self { name, value_set })
    }
}

/// The value set that was sent along, read by itself.
pub(super) fn inline(asked: Asked<'_>) -> Result<Option<ValueSet>, Refusal> {
    let Some(resource) = asked.resource("valueSet")? else { return Ok(None) };
    if resource.str_at("resourceType") != Some("ValueSet") {
        return Err(Refusal::malformed("the parameter valueSet is no ValueSet"));
    }
    let owner = resource.str_at("url").map(str::to_owned);
    let by_id = || resource.str_at("id").map(|id| format!("ValueSet/{id}"));
    let owner = owner.or_else(by_id).unwrap_or_default();
    Ok(Some(ValueSet::read(resource, &owner)))
}

/// Answers `$expand`.
pub(super) fn expand(
    image: &Image,
    asked: Asked<'_>,
    request: &Request<'_>,
) -> Result<Value<'static>, Refusal> {
    let inline = inline(asked)?;
    let which = Which::find(image, asked, request, inline.as_ref())?;
    let needed = which.value_set.map_or(&[][..], |it| &it.supplements);
    let scope = scope(image, asked, request, needed)?;
    let own = which.value_set.and_then(|it| it.display_language.as_deref());
    let wanted = Wanted {
        designations: asked.texts("designation").collect(),
        with_designations: asked.flag("includeDesignations")? == Some(true),
        properties: asked.texts("property").collect(),
        languages: languages(asked, request, own)?,
    };
    let mut expansion = Expansion::of(&scope, &which.name, request.limit).with_fragments();
    let set = match which.value_set {
        Some(value_set) => expansion.value_set(&which.name, value_set)?,
        None => expansion.named(&which.name)?,
    };
    if let Some(system) = set.systems.first() {
        return Err(unlisted(system).into());
    }
    let entries = chosen(&scope, &mut expansion, &set, asked, &wanted)?;
    let (offset, count) = (asked.count("offset")?, asked.count("count")?);
    if count.is_none() && entries.len() > request.limit {
        let what = which.name.clone();
        return Err(TerminologyFault::TooCostly { what, limit: request.limit }.into());
    }
    let is_paged = offset.is_some() || count.is_some();
    let page = entries
        .iter()
        .skip(offset.unwrap_or(0))
        .take(count.unwrap_or(usize::MAX).min(request.limit));
    let page: Vec<Entry<'_>> = page.copied().collect();
    // A page of a tree would not be one.
    let is_nested = asked.flag("excludeNested")? == Some(false) && !is_paged;
    let mut shown = Shown::new(&scope, &wanted);
    let contains = if is_nested { shown.nested(&page) } else { shown.flat(&page) };
    let used = expansion.used;
    let mut parameters = repeated(asked);
    let languages = wanted.languages.text.clone();
    parameters.extend(languages.map(|it| parameter("displayLanguage", "valueCode", it)));
    parameters.extend(told(&scope, &used));
    let fragments = used.systems.iter().filter(|it| it.content == Content::Part);
    let mut told = Object::new().with_some("extension", extensions(&shown, fragments));
    told.set("identifier", format!("urn:uuid:{}", request.identifier));
    told.set("timestamp", request.now.to_owned());
    told.set("total", Value::Number(entries.len().to_string().into()));
    if is_paged {
        told.set("offset", Value::Number(offset.unwrap_or(0).to_string().into()));
    }
    if !parameters.is_empty() {
        told.set("parameter", parameters);
    }
    if !contains.is_empty() {
        told.set("contains", contains);
    }
    answer(&which, asked.flag("includeDefinition")? == Some(true), told)
}

/// The value set around its expansion.
fn answer(
    which: &Which<'_>,
    is_whole: bool,
    expansion: Object<'static>,
) -> Result<Value<'static>, Refusal> {
    let mut object = match which.value_set {
        Some(value_set) => {
            let source = json::parse(value_set.source.as_bytes());
            let source = source.map_err(|_| Refusal::malformed("the value set cannot be read"))?;
            source.as_object().cloned().unwrap_or_else(Object::new).into_owned()
        }
        None => Object::new().with("url", which.name.clone()),
    };
    if !is_whole {
        object.retain(|name, _| SHOWN.contains(&name));
    }
    if !object.contains("status") {
        object.set("status", "active");
    }
    object.set_first("resourceType", "ValueSet");
    object.set("expansion", expansion);
    Ok(object.into())
}

/// A value set with all of a system of which nobody has a list.
fn unlisted(system: &str) -> TerminologyFault {
    match builtin::name(system) {
        Some(_) => TerminologyFault::Laborious(system.to_owned()),
        None => TerminologyFault::UnknownSystem(system.to_owned()),
    }
}

/// What of the set the text filter and the flags let pass.
fn chosen<'i>(
    scope: &Scope<'i>,
    expansion: &mut Expansion<'_, 'i>,
    set: &Rc<CodeSet<'i>>,
    asked: Asked<'_>,
    wanted: &Wanted<'_>,
) -> Result<Vec<Entry<'i>>, Refusal> {
    let filter = asked.text("filter")?.unwrap_or_default().to_lowercase();
    let words: Vec<&str> = filter.split_whitespace().collect();
    if words.len() > MAX_WORDS {
        return Err(Refusal::malformed(format!("a filter has at most {MAX_WORDS} words")));
    }
    let is_active_only = asked.flag("activeOnly")? == Some(true);
    let is_for_use = asked.flag("excludeNotForUI")? == Some(true);
    let is_plain = asked.flag("excludePostCoordinated")? == Some(true);
    if !words.is_empty() {
        expansion.spend(set.entries.len().saturating_mul(READING * words.len()))?;
    }
    let passes = |entry: &&Entry<'i>| {
        let is_left_out = is_active_only && entry.is_inactive()
            || is_for_use && entry.is_abstract()
            || is_plain && is_composed(scope, entry);
        !is_left_out && (words.is_empty() || matches(scope, entry, &words, wanted))
    };
    Ok(set.entries.iter().filter(passes).copied().collect())
}

/// Whether the code is an expression made of others, and not one that its system defines.
fn is_composed(scope: &Scope<'_>, entry: &Entry<'_>) -> bool {
    let has_grammar = || match entry.url {
        // A plain code is a number.
        SNOMED => entry.code.contains(|it: char| !it.is_ascii_digit()),
        url => scope.image.system(url).is_some_and(|it| it.may_compose(entry.code)),
    };
    entry.concept.is_none() && has_grammar()
}

/// Whether each word begins the code or a word of a name.
fn matches(scope: &Scope<'_>, entry: &Entry<'_>, words: &[&str], wanted: &Wanted<'_>) -> bool {
    let names = Names::of(scope, entry.concept, entry.listing, &wanted.languages);
    let names = names.display.into_iter().chain(names.designations.iter().map(|it| it.value));
    let texts: Vec<String> = names.map(str::to_lowercase).collect();
    let code = entry.code.to_lowercase();
    words.iter().all(|word| {
        let begins = |text: &String| {
            let mut parts = text.split(|letter: char| !letter.is_alphanumeric());
            text.split_whitespace().any(|it| it.starts_with(word))
                || parts.any(|it| it.starts_with(word))
        };
        code.starts_with(word) || texts.iter().any(begins)
    })
}

/// The parameters that were asked with.
fn repeated(asked: Asked<'_>) -> Vec<Value<'static>> {
    let mut found = Vec::new();
    for (name, kind) in REPEATED {
        for given in asked.all(name).filter_map(value) {
            let given = match (kind, given) {
                ("valueBoolean", Value::String(text)) => Value::Bool(text == "true"),
                ("valueInteger", Value::String(text)) => Value::Number(text.to_string().into()),
                (_, other) => other.clone().into_owned(),
            };
            found.push(parameter(name, kind, given));
        }
    }
    found
}

/// Which definitions went into the expansion, and which of them are not to be relied on.
fn told(scope: &Scope<'_>, used: &Used<'_>) -> Vec<Value<'static>> {
    let mut found = Vec::new();
    let mut add = |name: &str, canonical: String| {
        found.push(parameter(name, "valueUri", canonical));
    };
    for system in &used.systems {
        add("used-codesystem", system.canonical());
        add("version", system.canonical());
        if system.content == Content::Part {
            add("used-fragment", system.canonical());
        }
        if let Some(word) = system.about.standing.word() {
            add(&format!("warning-{word}"), system.canonical());
        }
        let supplements = scope.supplements_of(&system.url).map(CodeSystem::canonical);
        supplements.for_each(|it| add("used-supplement", it));
    }
    for (value_set, is_imported) in &used.value_sets {
        if *is_imported && value_set.url.is_some() && !value_set.is_contained {
            add("used-valueset", value_set.canonical());
        }
        if let Some(word) = value_set.standing.word() {
            add(&format!("warning-{word}"), value_set.canonical());
        }
    }
    found
}

/// What R4 says by extensions: properties, and that a system is not all here.
fn extensions<'f>(
    shown: &Shown<'_, '_, '_>,
    fragments: impl Iterator<Item = &'f &'f CodeSystem>,
) -> Option<Vec<Value<'static>>> {
    let extension = |url: &str, kind: &'static str, value: Value<'static>| {
        let url = format!("http://hl7.org/fhir/StructureDefinition/{url}");
        Value::from(Object::new().with("url", url).with(kind, value))
    };
    let mut found = shown.properties();
    for system in fragments {
        let reason =
            format!("This extension is based on a fragment of the code system {}", system.url);
        found.push(extension("valueset-unclosed", "valueBoolean", Value::Bool(true)));
        found.push(extension("valueset-unclosed-reason", "valueString", reason.into()));
    }
    (!found.is_empty()).then_some(found)
}
