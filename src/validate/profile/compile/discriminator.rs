//! What tells the slices of an element apart: the paths of its discriminators, and for each slice
//! what has to stand there.
//!
//! Spec: <https://hl7.org/fhir/R4/profiling.html#discriminator>

use std::cell::Cell;
use std::sync::Arc;

use crate::fhir::json::Value;
use crate::fhir::schema::Schema;
use crate::spec::structure::{DiscriminatorKind, Element, ElementType, Strength};

use super::super::rules::{Step, Test};
use super::Compiler;
use super::outline::Outline;

/// How far below the place of a discriminator its value may be told.
const MAX_INNER: usize = 3;
/// How often the look for the value of a slice goes on in another profile: profiles may lead to each
/// other without end.
const MAX_THROUGH: u8 = 100;

/// A discriminator whose path was read.
pub(super) struct Parsed {
    kind: DiscriminatorKind,
    pub(super) path: Vec<Step>,
}

/// The discriminators of an element; `None` when they tell nothing that a program understands.
pub(super) fn told(compiler: &Compiler<'_>, element: &Element) -> Option<Vec<Parsed>> {
    let named = element.slicing.as_ref().map_or(&[][..], |slicing| &slicing.discriminators);
    if named.is_empty() {
        // What everybody means without saying it.
        let told = match element.name() {
            "extension" | "modifierExtension" => {
                let path = vec![Step::Element("url".into())];
                Parsed { kind: DiscriminatorKind::Value, path }
            }
            name if name.ends_with("[x]") => {
                Parsed { kind: DiscriminatorKind::Type, path: Vec::new() }
            }
            _ => return None,
        };
        return Some(vec![told]);
    }
    let told = named.iter().map(|discriminator| {
        let path = steps(&discriminator.path, compiler.schema)?;
        Some(Parsed { kind: discriminator.kind, path })
    });
    told.collect()
}

/// The tests of a slice, one for each discriminator.
pub(super) fn tests(
    compiler: &Compiler<'_>,
    told: &[Parsed],
    outline: &Outline,
    slice: usize,
) -> Vec<Test> {
    let test = |told: &Parsed| {
        let left = Cell::new(MAX_THROUGH);
        let at = Spot { outline, left: &left, at: slice, given: None, is_target: false };
        test_at(compiler, told.kind, &told.path, &at)
    };
    told.iter().map(test).collect()
}

/// A place in a structure.
struct Spot<'o> {
    outline: &'o Outline,
    /// How often it may still go on in another profile.
    left: &'o Cell<u8>,
    at: usize,
    /// What a pattern further up says of it.
    given: Option<Value<'static>>,
    /// Whether it is what the reference here points to.
    is_target: bool,
}

impl Spot<'_> {
    fn element(&self) -> Option<&Element> {
        self.outline.element(self.at)
    }

    fn value(&self) -> Option<&Value<'static>> {
        let element = self.element()?;
        element.fixed.as_ref().or(element.pattern.as_ref()).or(self.given.as_ref())
    }
}

fn test_at(
    compiler: &Compiler<'_>,
    kind: DiscriminatorKind,
    path: &[Step],
    spot: &Spot<'_>,
) -> Test {
    let Some((step, rest)) = path.split_first() else {
        return here(compiler, kind, spot, MAX_INNER);
    };
    match step {
        Step::Element(name) => element_step(compiler, kind, (name, rest), spot),
        Step::Extension(url) => extension_step(compiler, kind, (url, rest), spot),
        Step::OfType(of) => {
            let name = &compiler.schema.get(*of).name;
            let is_it = |&at: &usize| {
                let types = spot.outline.element(at).map_or(&[][..], |element| &element.types);
                matches!(types, [only] if only.code == *name)
            };
            let at = spot.outline.slices(spot.at).iter().copied().find(is_it).unwrap_or(spot.at);
            test_at(compiler, kind, rest, &Spot { at, given: None, ..*spot })
        }
        Step::Resolve if rest.is_empty() => {
            here(compiler, kind, &Spot { is_target: true, given: None, ..*spot }, MAX_INNER)
        }
        Step::Resolve => through(
            compiler,
            spot,
            |of| &of.target_profiles,
            |spot| test_at(compiler, kind, rest, spot),
        ),
    }
}

fn element_step(
    compiler: &Compiler<'_>,
    kind: DiscriminatorKind,
    (name, rest): (&str, &[Step]),
    spot: &Spot<'_>,
) -> Test {
    let given = spot.value().and_then(|value| part(value, name)).cloned();
    let Some(child) = spot.outline.child(spot.at, name) else {
        let inside = through(
            compiler,
            spot,
            |of| &of.profiles,
            |spot| test_at(compiler, kind, path_of(name, rest).as_slice(), spot),
        );
        if !inside.is_empty() {
            return inside;
        }
        // The pattern alone tells it.
        let value = given.as_ref().and_then(|given| lead(given, rest));
        return Test { pattern: value.cloned(), ..Test::default() };
    };
    let slices = spot.outline.slices(child).iter().copied();
    let candidates = std::iter::once(child).chain(slices);
    let mut tests = candidates.map(|at| {
        let spot = Spot {
            outline: spot.outline,
            left: spot.left,
            at,
            given: given.clone(),
            is_target: false,
        };
        test_at(compiler, kind, rest, &spot)
    });
    tests.find(|test| !test.is_empty()).unwrap_or_default()
}

fn extension_step(
    compiler: &Compiler<'_>,
    kind: DiscriminatorKind,
    (url, rest): (&str, &[Step]),
    spot: &Spot<'_>,
) -> Test {
    let Some(all) = spot.outline.child(spot.at, "extension") else { return Test::default() };
    let is_it = |&at: &usize| {
        let of_profile = |of: &ElementType| of.profiles.iter().any(|profile| **profile == *url);
        let types = spot.outline.element(at).map_or(&[][..], |element| &element.types);
        let fixed = spot.outline.child(at, "url").and_then(|at| spot.outline.element(at));
        let fixed = fixed.and_then(|element| element.fixed.as_ref()).and_then(Value::as_str);
        types.iter().any(of_profile) || fixed == Some(url)
    };
    let Some(at) = spot.outline.slices(all).iter().copied().find(is_it) else {
        return Test::default();
    };
    let spot = Spot { outline: spot.outline, left: spot.left, at, given: None, is_target: false };
    test_at(compiler, kind, rest, &spot)
}

/// Goes on in the one profile that `profiles` names for the element here.
fn through(
    compiler: &Compiler<'_>,
    spot: &Spot<'_>,
    profiles: impl Fn(&ElementType) -> &Vec<Box<str>>,
    and_then: impl Fn(&Spot<'_>) -> Test,
) -> Test {
    let types = spot.element().map_or(&[][..], |element| &element.types);
    let mut named = types.iter().flat_map(|of| profiles(of).iter());
    let (Some(profile), None) = (named.next(), named.next()) else { return Test::default() };
    let Some(left) = spot.left.get().checked_sub(1) else { return Test::default() };
    spot.left.set(left);
    let Ok(structure) = compiler.library.structure(profile) else { return Test::default() };
    let outline = Outline::new(Arc::clone(&structure));
    and_then(&Spot { outline: &outline, left: spot.left, at: 0, given: None, is_target: false })
}

/// What the slice asks of the place itself.
fn here(compiler: &Compiler<'_>, kind: DiscriminatorKind, spot: &Spot<'_>, depth: usize) -> Test {
    let Some(element) = spot.element() else { return Test::default() };
    match kind {
        DiscriminatorKind::Exists => {
            let exists = match (element.min, element.max) {
                (_, Some(0)) => Some(false),
                (0, _) => None,
                _ => Some(true),
            };
            Test { exists, ..Test::default() }
        }
        DiscriminatorKind::Pattern | DiscriminatorKind::Value => value_here(compiler, spot, depth),
        DiscriminatorKind::Profile => {
            let profiles = element
                .types
                .iter()
                .flat_map(|of| if spot.is_target { &of.target_profiles } else { &of.profiles });
            Test { profiles: profiles.cloned().collect(), ..Test::default() }
        }
        DiscriminatorKind::Type => {
            let named = |name: &str| compiler.schema.by_name(name);
            let targets = || {
                let targets = element.types.iter().flat_map(|of| &of.target_profiles);
                let known = targets.filter_map(|it| compiler.library.structure(it).ok());
                known.filter_map(|structure| named(&structure.type_name)).collect()
            };
            let own = || element.types.iter().filter_map(|of| named(&of.code)).collect();
            let types = if spot.is_target { targets() } else { own() };
            Test { types, ..Test::default() }
        }
    }
}

fn value_here(compiler: &Compiler<'_>, spot: &Spot<'_>, depth: usize) -> Test {
    let Some(element) = spot.element() else { return Test::default() };
    let required = element.binding.as_ref().filter(|it| it.strength == Strength::Required);
    let mut test = Test {
        fixed: element.fixed.clone(),
        pattern: element.pattern.clone().or_else(|| spot.given.clone()),
        value_set: required.and_then(|binding| binding.value_set.clone()),
        ..Test::default()
    };
    if test.fixed.is_some() || test.pattern.is_some() || depth == 0 {
        test.value_set = None;
        return test;
    }
    for &child in spot.outline.children(spot.at) {
        let Some(name) = spot.outline.element(child).map(Element::name) else { continue };
        let slices = spot.outline.slices(child).iter().copied();
        for at in std::iter::once(child).chain(slices) {
            let spot =
                Spot { outline: spot.outline, left: spot.left, at, given: None, is_target: false };
            let inner = value_here(compiler, &spot, depth - 1);
            // Only what is told by a value tells slices apart here: most elements have a binding.
            if inner.fixed.is_some() || inner.pattern.is_some() || !inner.inner.is_empty() {
                let name = name.strip_suffix("[x]").unwrap_or(name);
                test.inner.push((name.into(), inner));
                break;
            }
        }
    }
    if !test.inner.is_empty() {
        test.value_set = None;
    }
    if test.is_empty() {
        return through(
            compiler,
            spot,
            |of| &of.profiles,
            |spot| value_here(compiler, spot, depth - 1),
        );
    }
    test
}

fn path_of(name: &str, rest: &[Step]) -> Vec<Step> {
    std::iter::once(Step::Element(name.into())).chain(rest.iter().cloned()).collect()
}

/// The element `name` of a pattern, the first of several.
fn part<'v>(value: &'v Value<'static>, name: &str) -> Option<&'v Value<'static>> {
    let value = value.as_array().map_or(Some(value), <[_]>::first)?;
    let part = value.get(name)?;
    part.as_array().map_or(Some(part), <[_]>::first)
}

fn lead<'v>(value: &'v Value<'static>, path: &[Step]) -> Option<&'v Value<'static>> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Element(name) => part(value, name),
        _ => None,
    })
}

/// Reads the path of a discriminator; `None` for what is none.
///
/// <https://hl7.org/fhir/R4/profiling.html#discriminator>
fn steps(path: &str, schema: &Schema) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path.trim();
    while !rest.is_empty() {
        let end = rest.find(['.', '(']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let mut argument = None;
        rest = after;
        if let Some(inside) = after.strip_prefix('(') {
            let (text, after) = inside.split_once(')')?;
            argument = Some(text.trim());
            rest = after;
        }
        rest = match rest.strip_prefix('.') {
            Some(more) => more,
            None if rest.is_empty() => rest,
            None => return None,
        };
        let step = match (name, argument) {
            ("$this", None) => continue,
            ("resolve", Some("")) => Step::Resolve,
            ("extension", Some(url)) => Step::Extension(url.trim_matches(['\'', '"']).into()),
            ("ofType" | "as", Some(name)) => {
                Step::OfType(schema.by_name(name.strip_prefix("FHIR.").unwrap_or(name))?)
            }
            (_, Some(_)) => return None,
            (name, None) => {
                let name = name.strip_suffix("[x]").unwrap_or(name);
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                if name.is_empty() || !name.bytes().all(is_name) {
                    return None;
                }
                Step::Element(name.into())
            }
        };
        steps.push(step);
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    #[test]
    fn the_paths_of_discriminators_are_read() {
        let spec = Spec::r4().expect("the embedded pack");
        let schema = &spec.schema;
        let element = |name: &str| Step::Element(name.into());
        let coding = schema.by_name("Coding").expect("a type");
        for (path, expected) in [
            ("$this", Some(vec![])),
            ("", Some(vec![])),
            ("code", Some(vec![element("code")])),
            ("$this.code.coding", Some(vec![element("code"), element("coding")])),
            ("value[x]", Some(vec![element("value")])),
            ("resolve()", Some(vec![Step::Resolve])),
            ("item.resolve().code", Some(vec![element("item"), Step::Resolve, element("code")])),
            ("extension('http://x.org/a(1)').value", None),
            (
                "extension('http://x.org/a').value",
                Some(vec![Step::Extension("http://x.org/a".into()), element("value")]),
            ),
            ("value.ofType(Coding)", Some(vec![element("value"), Step::OfType(coding)])),
            ("value.as(FHIR.Coding)", Some(vec![element("value"), Step::OfType(coding)])),
            ("value.ofType(Nothing)", None),
            ("where(a = 1)", None),
            ("a-b", None),
            ("a..b", None),
        ] {
            assert_eq!(steps(path, schema), expected, "{path}");
        }
    }
}
