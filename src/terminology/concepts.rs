//! The concepts of a code system in a few arrays: what one of them says is a slice of these.
//!
//! Half a million concepts of SNOMED CT's kind take some hundred bytes each, so that every node
//! can hold them. Parents and children are walked, not closed transitively: a concept has a few dozen
//! above it, and a walk to ten thousand below takes less than a millisecond.

use std::collections::HashMap;

use super::places::Places;

/// Texts one behind the other.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Texts {
    bytes: String,
    ends: Vec<u32>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len() as u32);
    }

    /// The text at a place; nothing beyond the last.
    fn at(&self, at: usize) -> &str {
        let Some(end) = self.ends.get(at) else { return "" };
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[start as usize..*end as usize]
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn fit(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

/// For each place a slice of one array.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Grouped<T> {
    items: Vec<T>,
    ends: Vec<u32>,
}

impl<T> Default for Grouped<T> {
    fn default() -> Self {
        Self { items: Vec::new(), ends: Vec::new() }
    }
}

impl<T> Grouped<T> {
    /// Groups what has places below `count`, in the order of the places and then as given.
    fn of(count: usize, mut placed: Vec<(u32, T)>) -> Self {
        placed.sort_by_key(|(at, _)| *at);
        let mut ends = vec![0_u32; count];
        for (at, _) in &placed {
            ends[*at as usize] += 1;
        }
        let mut end = 0;
        for count in &mut ends {
            end += *count;
            *count = end;
        }
        Self { items: placed.into_iter().map(|(_, item)| item).collect(), ends }
    }

    fn at(&self, at: u32) -> &[T] {
        let Some(end) = self.ends.get(at as usize) else { return &[] };
        let start = if at == 0 { 0 } else { self.ends[at as usize - 1] };
        &self.items[start as usize..*end as usize]
    }
}

/// Of which type the value of a property is (`CodeSystem.property.type`).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PropertyKind {
    /// A code of the same system.
    Code,
    /// A code of another one: see [`Property::coding`].
    Coding,
    /// A text.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A date, perhaps with a time.
    DateTime,
    /// A number.
    Decimal,
}

impl PropertyKind {
    const ALL: [(Self, &str); 7] = [
        (Self::Code, "code"),
        (Self::Coding, "Coding"),
        (Self::String, "string"),
        (Self::Integer, "integer"),
        (Self::Boolean, "boolean"),
        (Self::DateTime, "dateTime"),
        (Self::Decimal, "decimal"),
    ];

    /// FHIR's name of it.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The one of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map(|(kind, _)| kind)
    }
}

/// One value of one property of a concept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Property<'c> {
    /// The property's code.
    pub name: &'c str,
    /// The value's type.
    pub kind: PropertyKind,
    /// The value as text.
    pub value: &'c str,
}

/// SNOMED CT's attribute `Role group`. As a property of kind [`PropertyKind::Integer`] it stands right before each
/// attribute that belongs to a group, and has the group's number.
pub(super) const ROLE_GROUP: &str = "609096000";

/// Stands between the parts of a Coding: in no text of FHIR.
const PART: char = '\u{1f}';

impl<'c> Property<'c> {
    /// What filters compare: of a Coding its code.
    pub fn text(&self) -> &'c str {
        if self.kind == PropertyKind::Coding { self.coding()[0] } else { self.value }
    }

    /// Code, system, version and display of a Coding; empty where it has none.
    pub fn coding(&self) -> [&'c str; 4] {
        let mut parts = self.value.splitn(4, PART);
        [(); 4].map(|()| parts.next().unwrap_or_default())
    }

    /// The text of a Coding of these parts.
    pub fn of_coding(parts: [&str; 4]) -> String {
        parts.join("\u{1f}").trim_end_matches(PART).to_owned()
    }
}

/// Another way to say what a concept is (`CodeSystem.concept.designation`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Designation<'c> {
    /// BCP-47; empty where it is not told.
    pub language: &'c str,
    /// The system of the use; empty without one.
    pub use_system: &'c str,
    /// The code of the use; empty without one.
    pub use_code: &'c str,
    /// The text.
    pub value: &'c str,
}

/// All concepts of a system; a concept is known by its place.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Concepts {
    codes: Texts,
    /// What codes are found by, where that is not the code as it is spelled.
    keys: Option<Texts>,
    /// Places in the order of the keys; `None`: they are in it.
    by_key: Option<Vec<u32>>,
    displays: Texts,
    definitions: Texts,
    inactive: Vec<u64>,
    parents: Grouped<u32>,
    children: Grouped<u32>,
    /// Indexes of a kind of property and of a value.
    properties: Grouped<(u16, u32)>,
    property_kinds: Vec<(Box<str>, PropertyKind)>,
    values: Texts,
    /// Indexes of a use and of a text.
    designations: Grouped<(u16, u32)>,
    uses: Vec<[Box<str>; 3]>,
    texts: Texts,
    ignores_case: bool,
}

impl Concepts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.codes.len() == 0
    }

    /// All places.
    pub fn all(&self) -> impl ExactSizeIterator<Item = u32> + use<> {
        0..self.len() as u32
    }

    /// The place of a code.
    pub fn find(&self, code: &str) -> Option<u32> {
        let lower = self.ignores_case.then(|| code.to_lowercase());
        let wanted = lower.as_deref().unwrap_or(code);
        let keys = self.keys.as_ref().unwrap_or(&self.codes);
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            let at = self.by_key.as_ref().map_or(middle as u32, |order| order[middle]);
            match keys.at(at as usize).cmp(wanted) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(at),
            }
        }
        None
    }

    /// The code, spelled as the system does.
    pub fn code(&self, at: u32) -> &str {
        self.codes.at(at as usize)
    }

    /// The display, where it has one.
    pub fn display(&self, at: u32) -> Option<&str> {
        Some(self.displays.at(at as usize)).filter(|text| !text.is_empty())
    }

    /// The definition, where it has one.
    pub fn definition(&self, at: u32) -> Option<&str> {
        Some(self.definitions.at(at as usize)).filter(|text| !text.is_empty())
    }

    /// Whether it is no longer to be used.
    pub fn is_inactive(&self, at: u32) -> bool {
        self.inactive.get(at as usize / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }

    /// The concepts directly above.
    pub fn parents(&self, at: u32) -> &[u32] {
        self.parents.at(at)
    }

    /// The concepts directly below.
    pub fn children(&self, at: u32) -> &[u32] {
        self.children.at(at)
    }

    /// The values of its properties, as given.
    pub fn properties(&self, at: u32) -> impl Iterator<Item = Property<'_>> {
        self.numbered_properties(at).map(|(kind, value)| {
            let (name, kind) = &self.property_kinds[kind as usize];
            Property { name, kind: *kind, value }
        })
    }

    /// The same with the index of name and type in [`property_kinds`](Self::property_kinds).
    pub fn numbered_properties(&self, at: u32) -> impl Iterator<Item = (u16, &str)> {
        self.properties.at(at).iter().map(|(kind, value)| (*kind, self.values.at(*value as usize)))
    }

    /// The names and types of all properties.
    pub fn property_kinds(&self) -> &[(Box<str>, PropertyKind)] {
        &self.property_kinds
    }

    /// Its designations, as given.
    pub fn designations(&self, at: u32) -> impl Iterator<Item = Designation<'_>> {
        self.numbered_designations(at).map(|(of, value)| {
            let [language, use_system, use_code] = &self.uses[of as usize];
            Designation { language, use_system, use_code, value }
        })
    }

    /// The same with the index of language and use in [`designation_uses`](Self::designation_uses).
    pub fn numbered_designations(&self, at: u32) -> impl Iterator<Item = (u16, &str)> {
        self.designations.at(at).iter().map(|(of, text)| (*of, self.texts.at(*text as usize)))
    }

    /// The languages and uses (system, code) of all designations.
    pub fn designation_uses(&self) -> &[[Box<str>; 3]] {
        &self.uses
    }

    /// Whether codes differ by their case.
    pub fn is_case_sensitive(&self) -> bool {
        !self.ignores_case
    }

    /// Lays out the definitions, of which the first for a place counts.
    fn define(&mut self, mut definitions: Vec<(u32, Box<str>)>) {
        definitions.sort_by_key(|(at, _)| *at);
        for (at, definition) in definitions {
            while self.definitions.len() < at as usize {
                self.definitions.push("");
            }
            if self.definitions.len() == at as usize {
                self.definitions.push(&definition);
            }
        }
    }

    /// The concept and all below it, or above it, however they are linked.
    pub(super) fn closure(&self, start: u32, is_below: bool) -> Places {
        let mut found = Places::of(self.len(), [start]);
        let mut rest = vec![start];
        while let Some(at) = rest.pop() {
            let next = if is_below { self.children(at) } else { self.parents(at) };
            rest.extend(next.iter().filter(|at| found.insert(**at)));
        }
        found
    }

    /// Whether `code` is `ancestor` or below it.
    pub fn subsumes(&self, ancestor: u32, code: u32) -> bool {
        // Upwards: there are few.
        let (mut seen, mut rest) = (std::collections::HashSet::from([code]), vec![code]);
        while let Some(at) = rest.pop() {
            if at == ancestor {
                return true;
            }
            rest.extend(self.parents(at).iter().filter(|at| seen.insert(**at)));
        }
        false
    }
}

/// Collects concepts.
#[derive(Debug, Default)]
pub struct Builder {
    built: Concepts,
    displays: Vec<Box<str>>,
    definitions: Vec<(u32, Box<str>)>,
    inactive: Vec<u32>,
    links: Vec<(u32, u32)>,
    properties: Vec<(u32, (u16, u32))>,
    kinds: HashMap<Box<str>, Vec<(PropertyKind, u16)>>,
    values: HashMap<Box<str>, u32>,
    designations: Vec<(u32, (u16, u32))>,
    uses: HashMap<[Box<str>; 3], u16>,
}

impl Builder {
    /// For codes that differ by their case, or do not.
    pub fn new(is_case_sensitive: bool) -> Self {
        let built = Concepts { ignores_case: !is_case_sensitive, ..Concepts::default() };
        Self { built, ..Self::default() }
    }

    /// Adds a concept, whose code no other has; its place.
    pub fn push(&mut self, code: &str, display: Option<&str>) -> u32 {
        let at = self.built.codes.len() as u32;
        self.built.codes.push(code);
        self.displays.push(display.unwrap_or_default().into());
        at
    }

    /// Gives a concept its display.
    pub fn display(&mut self, at: u32, display: &str) {
        if let Some(known) = self.displays.get_mut(at as usize) {
            *known = display.into();
        }
    }

    /// Says what a concept is.
    pub fn define(&mut self, at: u32, definition: &str) {
        self.definitions.push((at, definition.into()));
    }

    /// Says that a concept is no longer to be used.
    pub fn retire(&mut self, at: u32) {
        self.inactive.push(at);
    }

    /// Says that one concept is directly above another, however often.
    pub fn link(&mut self, parent: u32, child: u32) {
        self.links.push((parent, child));
    }

    /// Adds a value of a property.
    pub fn property(&mut self, at: u32, property: Property<'_>) {
        let Property { name, kind, value } = property;
        if let Some(kind) = self.kind(name, kind) {
            self.numbered_property(at, kind, value);
        }
    }

    /// The index of a name and type of properties; `None` beyond 65,536 of them.
    pub fn kind(&mut self, name: &str, kind: PropertyKind) -> Option<u16> {
        let kinds = &mut self.built.property_kinds;
        let known = self.kinds.get(name).and_then(|all| all.iter().find(|(of, _)| *of == kind));
        if let Some((_, index)) = known {
            return Some(*index);
        }
        let index = u16::try_from(kinds.len()).ok()?;
        kinds.push((name.into(), kind));
        self.kinds.entry(name.into()).or_default().push((kind, index));
        Some(index)
    }

    /// Adds a value of a property by the index that [`kind`](Self::kind) gave.
    pub fn numbered_property(&mut self, at: u32, kind: u16, value: &str) {
        let known = self.values.get(value).copied();
        let index = known.unwrap_or_else(|| {
            let next = self.built.values.len() as u32;
            self.built.values.push(value);
            self.values.insert(value.into(), next);
            next
        });
        self.properties.push((at, (kind, index)));
    }

    /// Adds a designation.
    pub fn designation(&mut self, at: u32, designation: Designation<'_>) {
        let Designation { language, use_system, use_code, value } = designation;
        if let Some(of) = self.use_of([language, use_system, use_code]) {
            self.numbered_designation(at, of, value);
        }
    }

    /// The index of a language and use; `None` beyond 65,536 of them.
    pub fn use_of(&mut self, of: [&str; 3]) -> Option<u16> {
        let of: [Box<str>; 3] = of.map(Into::into);
        if let Some(index) = self.uses.get(&of) {
            return Some(*index);
        }
        let index = u16::try_from(self.built.uses.len()).ok()?;
        self.built.uses.push(of.clone());
        self.uses.insert(of, index);
        Some(index)
    }

    /// Adds a designation by the index that [`use_of`](Self::use_of) gave.
    pub fn numbered_designation(&mut self, at: u32, of: u16, value: &str) {
        self.designations.push((at, (of, self.built.texts.len() as u32)));
        self.built.texts.push(value);
    }

    /// The concepts.
    pub fn build(self) -> Concepts {
        let Self { mut built, inactive, mut links, properties, designations, .. } = self;
        let count = built.codes.len();
        self.displays.iter().for_each(|display| built.displays.push(display));
        built.define(self.definitions);
        links.sort_unstable();
        links.dedup();
        built.children = Grouped::of(count, links.clone());
        let mut upwards: Vec<_> =
            links.into_iter().map(|(parent, child)| (child, parent)).collect();
        upwards.sort_unstable();
        built.parents = Grouped::of(count, upwards);
        built.properties = Grouped::of(count, properties);
        built.designations = Grouped::of(count, designations);
        built.inactive = vec![0; if inactive.is_empty() { 0 } else { count.div_ceil(64) }];
        for at in inactive {
            built.inactive[at as usize / 64] |= 1 << (at % 64);
        }
        if built.ignores_case {
            let mut keys = Texts::default();
            (0..count).for_each(|at| keys.push(&built.codes.at(at).to_lowercase()));
            built.keys = (keys != built.codes).then_some(keys);
        }
        let keys = built.keys.as_ref().unwrap_or(&built.codes);
        let key = |at: u32| keys.at(at as usize);
        if !(1..count as u32).all(|at| key(at - 1) < key(at)) {
            let mut order: Vec<u32> = (0..count as u32).collect();
            order.sort_by(|one, other| key(*one).cmp(key(*other)));
            built.by_key = Some(order);
        }
        for texts in [
            &mut built.codes,
            &mut built.displays,
            &mut built.definitions,
            &mut built.values,
            &mut built.texts,
        ] {
            texts.fit();
        }
        built
    }
}
