//! Names of people and organizations: XPN, XCN, CNN, XON.

use crate::fhir::json::Object;

use super::id::{local, put_extensions};
use super::{Args, Context, Json, Rep, extension, list, object, text, time};

const EXTENSIONS: &str = "http://hl7.org/fhir/StructureDefinition/";
const DEGREES: &str = "http://terminology.hl7.org/CodeSystem/v2-0360";

/// Which component of a type holds which part of a name; 0: none does.
struct Parts {
    family: usize,
    given: usize,
    suffix: usize,
    prefix: usize,
    degree: usize,
    kind: usize,
    range: usize,
    order: usize,
    from: usize,
    professional: usize,
}

const XPN: Parts = Parts {
    family: 1,
    given: 2,
    suffix: 4,
    prefix: 5,
    degree: 6,
    kind: 7,
    range: 10,
    order: 11,
    from: 12,
    professional: 14,
};

const XCN: Parts = Parts {
    family: 2,
    given: 3,
    suffix: 5,
    prefix: 6,
    degree: 0,
    kind: 10,
    range: 17,
    order: 18,
    from: 19,
    professional: 21,
};

fn human_name(rep: &Rep<'_>, parts: &Parts, fixed: &str, context: &Context<'_>) -> Option<Json> {
    let c = |at: usize| if at == 0 { "" } else { rep.c(at) };
    let given = [c(parts.given), c(parts.given + 1)].into_iter().filter_map(text);
    let suffix = [c(parts.suffix), c(parts.degree), c(parts.professional)];
    let suffix = suffix.into_iter().filter_map(text);
    let own = context.tables.code("NameType", c(parts.kind));
    let kind = Some(fixed).filter(|kind| !kind.is_empty()).or(own);
    let period = time::period_of(c(parts.from), c(parts.from + 1), context)
        .or_else(|| time::period_of(rep.s(parts.range, 1), rep.s(parts.range, 2), context));
    let mut name = object([
        ("use", kind.and_then(text)),
        ("family", text(c(parts.family))),
        ("given", list(given.collect())),
        ("prefix", list(text(c(parts.prefix)).into_iter().collect())),
        ("suffix", list(suffix.collect())),
        ("period", period),
    ]);
    let family = ["own-prefix", "own-name", "partner-prefix", "partner-name"];
    let family = family.into_iter().zip(2..).filter_map(|(word, at)| {
        let url = format!("{EXTENSIONS}humanname-{word}");
        Some(extension(&url, "valueString", text(rep.s(parts.family, at))?))
    });
    if let (Some(extensions), true) = (list(family.collect()), name.contains("family")) {
        name.set("_family", Object::new().with("extension", extensions));
    }
    let named = ["family", "given", "prefix", "suffix"].into_iter().any(|key| name.contains(key));
    if !named {
        return None;
    }
    if let Some(order) = text(c(parts.order)) {
        let url = format!("{EXTENSIONS}humanname-assembly-order");
        put_extensions(&mut name, vec![extension(&url, "valueCode", order)]);
    }
    Some(name.into())
}

/// An XPN as a HumanName, and another one for what its owner is called.
///
/// `use`: the use of all of them, whatever XPN.7 says.
pub fn xpn(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Vec<Json> {
    let called = text(rep.c(15))
        .map(|given| Object::new().with("use", "nickname").with("given", vec![given]).into());
    human_name(rep, &XPN, args.text("use"), context).into_iter().chain(called).collect()
}

/// An XPN as one text.
pub fn name_text(rep: &Rep<'_>, _: &Args<'_>, _: &Context<'_>) -> Option<Json> {
    let words = [5, 2, 3, 1, 4, 6].into_iter().filter_map(|at| rep.some(at));
    text(&words.collect::<Vec<_>>().join(" "))
}

/// An XCN as a Practitioner, or whoever else it is.
pub fn xcn(rep: &Rep<'_>, context: &Context<'_>) -> Option<Object<'static>> {
    let hd = rep.component(9);
    let id = context_id(rep, &[1, 11, 12, 13], &hd, context);
    let name = human_name(rep, &XCN, "", context);
    let degree = text(rep.c(7)).map(|code| {
        let concept = Object::new()
            .with("coding", vec![Object::new().with("system", DEGREES).with("code", code).into()]);
        vec![Object::new().with("code", concept).into()].into()
    });
    person(id, name, degree)
}

/// A CNN as a Practitioner: an XCN with fewer parts.
pub fn cnn(rep: &Rep<'_>, context: &Context<'_>) -> Option<Object<'static>> {
    let hd = Rep::new((9..12).map(|at| vec![rep.c(at).to_owned().into()]).collect());
    let id = context_id(rep, &[1, 0, 0, 0], &hd, context);
    let parts = Parts { degree: 7, kind: 0, range: 30, order: 0, from: 30, professional: 0, ..XCN };
    person(id, human_name(rep, &parts, "", context), None)
}

/// An Identifier of components: the value, its check digit and that one's scheme, its type.
fn context_id(rep: &Rep<'_>, at: &[usize; 4], hd: &Rep<'_>, context: &Context<'_>) -> Option<Json> {
    let c = |at: usize| if at == 0 { "" } else { rep.c(at) };
    let blank = || vec![String::new().into()];
    let part = |at: usize| vec![c(at).to_owned().into()];
    let owner = (1..4).map(|at| hd.c(at).to_owned().into()).collect();
    let cx = Rep::new(vec![part(at[0]), part(at[1]), part(at[2]), owner, part(at[3]), blank()]);
    super::id::cx(&cx, &Args::default(), context)
}

fn person(
    id: Option<Json>,
    name: Option<Json>,
    qualification: Option<Json>,
) -> Option<Object<'static>> {
    if id.is_none() && name.is_none() {
        return None;
    }
    Some(object([
        ("identifier", list(id.into_iter().collect())),
        ("name", list(name.into_iter().collect())),
        ("qualification", qualification),
    ]))
}

/// An XON as an Organization.
pub fn xon(rep: &Rep<'_>, context: &Context<'_>) -> Option<Object<'static>> {
    let name = rep.some(1);
    let value = rep.some(10).or(rep.some(3)).or(name)?;
    let id = if rep.some(10).or(rep.some(3)).is_some() {
        let at = if rep.some(10).is_some() { 10 } else { 3 };
        context_id(rep, &[at, 4, 5, 7], &rep.component(6), context)
    } else {
        // Only its name says which one it is, and only to its sender.
        let system = local(context, "organization", "");
        Some(object([("system", text(&system)), ("value", text(value))]).into())
    };
    Some(object([
        ("identifier", list(id.into_iter().collect())),
        ("name", text(name.unwrap_or(value))),
    ]))
}

/// A CWE as the Organization that makes something: of a vaccine, of a device.
pub fn maker(rep: &Rep<'_>, context: &Context<'_>) -> Option<Object<'static>> {
    let name = rep.some(9).or(rep.some(2)).or(rep.some(1))?;
    let system = super::code::system(rep.c(3), "", context);
    let id = rep.some(1).map(|code| {
        let system = system.unwrap_or_else(|| local(context, "organization", ""));
        object([("system", text(&system)), ("value", text(code))]).into()
    });
    Some(object([("identifier", list(id.into_iter().collect())), ("name", text(name))]))
}
