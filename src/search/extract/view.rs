//! Parameters that are views of others: their values are those of other parameters of the type.
//!
//! `Observation.combo-code` is `code` and `component-code` together, `patient` is `subject` where
//! the target is a Patient. Their rows would repeat those of the others, so they have none: a query
//! asks the others. This halves the numbers that an Observation is found by.

use crate::fhir::ResourceType;
use crate::spec::search_parameter::SearchType;

use super::emit::Comparison;
use super::path::Path;
use super::plan::{Composite, Parameter, Plan, Source};

/// The parameters that a view's values are those of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct View {
    /// Their places; the values of all of them together are the view's.
    pub of: Vec<u16>,
    /// For references: only targets of these types belong to the view; empty: all.
    pub targets: Vec<ResourceType>,
}

/// One arm of a parameter's expression.
enum Arm<'p> {
    Composite(&'p Composite),
    Value(&'p Path),
}

/// A parameter as arms that can be compared; those left to the evaluator cannot.
struct Arms<'p> {
    all: Vec<Arm<'p>>,
    search_type: SearchType,
    is_phonetic: bool,
    /// The types that references may point to; empty: any.
    targets: Vec<ResourceType>,
}

/// What each of the parameters of a type is a view of.
pub(super) fn views(parameters: &[Parameter]) -> Vec<Option<View>> {
    let all: Vec<Option<Arms<'_>>> = parameters.iter().map(Arms::of).collect();
    // Few arms and many targets first: views are made of those.
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|&at| all[at].as_ref().map(|arms| (arms.all.len(), arms.narrowness())));
    let mut plain: Vec<usize> = Vec::new();
    let mut found: Vec<Option<View>> = vec![None; all.len()];
    for at in order {
        let Some(arms) = &all[at] else { continue };
        found[at] = arms.view(plain.iter().filter_map(|&at| Some((at, all[at].as_ref()?))));
        if found[at].is_none() {
            plain.push(at);
        }
    }
    found
}

impl<'p> Arms<'p> {
    fn of(parameter: &'p Parameter) -> Option<Self> {
        if parameter.custom.is_some() {
            // It comes and goes: nothing may depend on it, and its rows go by its generation.
            return None;
        }
        let search_type = parameter.search_type;
        match &parameter.plan {
            Plan::Values(Source::Paths(paths), comparison) if !paths.is_empty() => {
                let Comparison { targets, is_phonetic, .. } = comparison;
                let mut targets = targets.clone();
                let refers = paths.iter().map(Path::refers);
                if let Some(Some(only)) = all_equal(refers) {
                    targets = vec![only.parse().ok()?];
                } else if paths.iter().any(|path| path.refers().is_some()) {
                    return None;
                }
                targets.sort_unstable();
                let all = paths.iter().map(Arm::Value).collect();
                Some(Self { all, search_type, is_phonetic: *is_phonetic, targets })
            }
            Plan::Composite(composites) if composites.iter().all(Composite::is_comparable) => {
                let all = composites.iter().map(Arm::Composite).collect();
                Some(Self { all, search_type, is_phonetic: false, targets: Vec::new() })
            }
            Plan::Composite(_) | Plan::Values(..) => None,
        }
    }

    fn narrowness(&self) -> usize {
        if self.targets.is_empty() { 0 } else { usize::MAX - self.targets.len() }
    }

    fn has(&self, arm: &Arm<'_>) -> bool {
        self.all.iter().any(|own| own.is_same(arm))
    }

    fn view<'a>(&self, plain: impl Iterator<Item = (usize, &'a Self)>) -> Option<View>
    where
        'p: 'a,
    {
        let mut of = Vec::new();
        let mut covered: Vec<&Arm<'_>> = Vec::new();
        let mut is_restricted = false;
        for (at, other) in plain {
            let fits = self.search_type == other.search_type
                && self.is_phonetic == other.is_phonetic
                && other.allows(&self.targets)
                && other.all.iter().all(|arm| self.has(arm));
            if fits {
                is_restricted |= other.targets != self.targets;
                of.push(u16::try_from(at).ok()?);
                covered.extend(&other.all);
            }
        }
        let is_whole = self.all.iter().all(|arm| covered.iter().any(|other| other.is_same(arm)));
        let targets = if is_restricted { self.targets.clone() } else { Vec::new() };
        (is_whole && !of.is_empty()).then_some(View { of, targets })
    }

    /// Whether references may point to all of `targets`.
    fn allows(&self, targets: &[ResourceType]) -> bool {
        let all = || targets.iter().all(|target| self.targets.contains(target));
        self.targets.is_empty() || (!targets.is_empty() && all())
    }
}

impl Arm<'_> {
    /// The same but for a restriction of the target's type.
    fn is_same(&self, other: &Arm<'_>) -> bool {
        match (self, other) {
            (Arm::Composite(one), Arm::Composite(other)) => one == other,
            (Arm::Value(one), Arm::Value(other)) => one.is_same_way(other),
            (Arm::Composite(_), Arm::Value(_)) | (Arm::Value(_), Arm::Composite(_)) => false,
        }
    }
}

fn all_equal<T: PartialEq>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.all(|other| other == first).then_some(first)
}
