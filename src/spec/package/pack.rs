//! The pack file: its header, its sections, and the reading of both.

use thiserror::Error;

use crate::fhir::json::{self, JsonError, Limits, Object, Value};

/// The header's first property: tells a pack from any other file.
const MARK: &str = "definition pack";
/// The layout that this build writes and reads.
const FORMAT: &str = "1";
/// The longest header that is looked at.
const MAX_HEADER_BYTES: usize = 1 << 20;
/// The longest text of one section: this, and so many times its packed size, but never more than the
/// last. Definitions are packed to a thirtieth.
const FREE_TEXT_BYTES: usize = 1 << 20;
const MAX_RATIO: usize = 400;
const MAX_TEXT_BYTES: usize = 512 << 20;
/// Code systems nest their concepts deep.
const LIMITS: Limits = Limits { depth: 400, values: 20_000_000 };

/// The parts of a pack, each read on its own.
///
/// Records have the element names of the resource they come from, prose left out.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Section {
    /// The invariants that structures name by their line: `key`, `severity`, `human`, `expression`,
    /// and `bestPractice` where it is one.
    Invariants,
    /// StructureDefinitions of types: primitives, data types and resources.
    ///
    /// `snapshot` (or `differential` where the package has no snapshot) is the array of
    /// elements itself. In an element `id` is left out where it equals `path`, `constraint` is
    /// an array of line numbers of [`Section::Invariants`], `type.code` is FHIR's type even
    /// where the definition has a FHIRPath system type, `type.regex` and `binding.maxValueSet`
    /// come from extensions.
    Types,
    /// StructureDefinitions that constrain a type, and logical models; form as [`Section::Types`].
    Profiles,
    /// SearchParameters.
    SearchParameters,
    /// CompartmentDefinitions.
    Compartments,
    /// OperationDefinitions.
    Operations,
    /// CodeSystems, with codes, displays, designations, properties and hierarchy.
    CodeSystems,
    /// ValueSets: the composition, or the expansion where there is no composition.
    ValueSets,
    /// ConceptMaps.
    ConceptMaps,
    /// What can be read: type, id, what it is searched by, and its block and line there.
    Catalog,
    /// Definitions as they were published, without resourceType, id and meta. A pack has as many
    /// sections of this kind as it needs blocks: see [`Pack::block`].
    Resources,
}

impl Section {
    /// Every section, in the order of the file.
    pub const ALL: [Self; 11] = [
        Self::Invariants,
        Self::Types,
        Self::Profiles,
        Self::SearchParameters,
        Self::Compartments,
        Self::Operations,
        Self::CodeSystems,
        Self::ValueSets,
        Self::ConceptMaps,
        Self::Catalog,
        Self::Resources,
    ];

    /// The section's name in the header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invariants => "invariants",
            Self::Types => "types",
            Self::Profiles => "profiles",
            Self::SearchParameters => "search-parameters",
            Self::Compartments => "compartments",
            Self::Operations => "operations",
            Self::CodeSystems => "code-systems",
            Self::ValueSets => "value-sets",
            Self::ConceptMaps => "concept-maps",
            Self::Catalog => "catalog",
            Self::Resources => "resources",
        }
    }
}

/// Why bytes are not a pack that this build can read.
#[derive(Debug, Error)]
pub enum PackError {
    /// The header says a layout of another time.
    #[error("definition pack has format {0}, this build reads format {FORMAT}")]
    Format(String),
    /// The bytes do not begin with the header of a pack.
    #[error("not a definition pack: {0}")]
    Header(&'static str),
    /// A record is not JSON.
    #[error("record {line} of section {} is not JSON", section.as_str())]
    Record {
        /// The section.
        section: Section,
        /// The record's line, from 1.
        line: usize,
        /// What is wrong with it.
        source: JsonError,
    },
    /// A section is cut off, does not unpack, or is not as long as the header says.
    #[error("section {0} is damaged")]
    Section(&'static str),
}

/// A package that another one builds on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dependency {
    /// Its package name.
    pub name: String,
    /// The version it names.
    pub version: String,
}

/// What a pack holds of one definition, in a few words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Content {
    /// The section it is in.
    pub section: Section,
    /// Its canonical url.
    pub url: String,
    /// Its business version.
    pub version: Option<String>,
    /// Its computer-friendly name.
    pub name: Option<String>,
    /// Its publication status.
    pub status: Option<String>,
}

/// One section's place in the file.
#[derive(Debug)]
struct Part<'a> {
    section: Section,
    records: usize,
    text_bytes: usize,
    packed: &'a [u8],
}

/// An opened pack: its header read, its sections still packed.
#[derive(Debug)]
pub struct Pack<'a> {
    name: String,
    version: String,
    fhir_versions: Vec<String>,
    dependencies: Vec<Dependency>,
    parts: Vec<Part<'a>>,
}

impl<'a> Pack<'a> {
    /// Reads the header and finds the sections; unpacks none of them.
    ///
    /// # Errors
    /// [`PackError`] when the header is not that of a pack, its format is another, or the
    /// sections are not as long as it says.
    pub fn open(bytes: &'a [u8]) -> Result<Self, PackError> {
        let head = &bytes[..bytes.len().min(MAX_HEADER_BYTES)];
        let end = memchr::memchr(b'\n', head).ok_or(PackError::Header("it has no header line"))?;
        let header =
            json::parse(&head[..end]).map_err(|_| PackError::Header("its header is not JSON"))?;
        if header.str_at("kiln") != Some(MARK) {
            return Err(PackError::Header("its header does not say that it is one"));
        }
        let format = header.get("format").and_then(Value::as_number).unwrap_or("?");
        if format != FORMAT {
            return Err(PackError::Format(format.chars().take(20).collect()));
        }
        let text = |name| header.str_at(name).map(str::to_owned);
        let versions = header.items_at("fhirVersions").iter();
        Ok(Self {
            name: plain(text("name")).ok_or(PackError::Header("it has no name"))?,
            version: plain(text("version")).ok_or(PackError::Header("it has no version"))?,
            fhir_versions: versions.filter_map(Value::as_str).map(str::to_owned).collect(),
            dependencies: dependencies(&header),
            parts: parts(&header, &bytes[end + 1..])?,
        })
    }

    /// The package's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The package's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The name of the file that a pack of this name and version is kept in.
    pub fn file_name(&self) -> String {
        format!("{}-{}.pack", self.name, self.version)
    }

    /// The FHIR versions that it is for.
    pub fn fhir_versions(&self) -> &[String] {
        &self.fhir_versions
    }

    /// The packages that it builds on.
    pub fn dependencies(&self) -> &[Dependency] {
        &self.dependencies
    }

    /// The number of records in `section`.
    pub fn count(&self, section: Section) -> usize {
        self.parts.iter().filter(|part| part.section == section).map(|part| part.records).sum()
    }

    /// Unpacks `section`.
    ///
    /// # Errors
    /// [`PackError::Section`] when it does not unpack to what the header says.
    pub fn records(&self, section: Section) -> Result<Records, PackError> {
        let part = self.parts.iter().find(|part| part.section == section);
        part.map_or(Ok(Records { section, text: Vec::new() }), Part::unpack)
    }

    /// Unpacks a block of [`Section::Resources`], by its number from 0.
    ///
    /// # Errors
    /// As [`Pack::records`]; also when there is no block of this number.
    pub fn block(&self, number: usize) -> Result<Records, PackError> {
        let mut blocks = self.parts.iter().filter(|part| part.section == Section::Resources);
        let missing = PackError::Section(Section::Resources.as_str());
        blocks.nth(number).ok_or(missing)?.unpack()
    }

    /// What is in the pack, definition by definition, in the order of the file.
    ///
    /// # Errors
    /// [`PackError`] when a section cannot be read.
    pub fn contents(&self) -> Result<Vec<Content>, PackError> {
        let mut found = Vec::new();
        let defines = |section: &Section| {
            !matches!(section, Section::Invariants | Section::Catalog | Section::Resources)
        };
        for section in Section::ALL.into_iter().filter(defines) {
            for record in self.records(section)?.iter() {
                let record = record?;
                let text = |name| record.str_at(name).map(str::to_owned);
                found.push(Content {
                    section,
                    url: text("url").unwrap_or_default(),
                    version: text("version"),
                    name: text("name"),
                    status: text("status"),
                });
            }
        }
        Ok(found)
    }
}

impl Part<'_> {
    fn unpack(&self) -> Result<Records, PackError> {
        let section = self.section;
        let damaged = || PackError::Section(section.as_str());
        let text = zstd::bulk::decompress(self.packed, self.text_bytes).map_err(|_| damaged())?;
        let lines = memchr::memchr_iter(b'\n', &text).count();
        if text.len() != self.text_bytes || lines != self.records {
            return Err(damaged());
        }
        Ok(Records { section, text })
    }
}

/// The text of one section: a JSON object a line.
#[derive(Debug)]
pub struct Records {
    section: Section,
    text: Vec<u8>,
}

impl Records {
    /// The records in order, each parsed when it is asked for.
    pub fn iter(&self) -> impl Iterator<Item = Result<Value<'_>, PackError>> {
        self.lines().enumerate().map(|(at, line)| {
            let section = self.section;
            json::parse_with(line, LIMITS).map_err(|source| PackError::Record {
                section,
                line: at + 1,
                source,
            })
        })
    }

    /// The texts of the records in order.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        // Each ends with one: they were counted when the text was unpacked.
        let lines = memchr::memchr_iter(b'\n', &self.text).map(move |end| {
            let line = &self.text[start..end];
            start = end + 1;
            line
        });
        lines.filter(|line| !line.is_empty())
    }

    /// Length of the text.
    pub fn size_bytes(&self) -> usize {
        self.text.len()
    }
}

/// A package's name or version: letters, digits, `.`, `-`, `_`, `+`, so that it can name a file.
pub(super) fn plain(text: Option<String>) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte);
    text.filter(|text| {
        text.len() <= 100
            && text.bytes().all(allowed)
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
    })
}

fn dependencies(header: &Value<'_>) -> Vec<Dependency> {
    let named = header.get("dependencies").and_then(Value::as_object);
    let each = named.into_iter().flat_map(Object::iter);
    each.filter_map(|(name, version)| {
        Some(Dependency { name: name.to_owned(), version: version.as_str()?.to_owned() })
    })
    .collect()
}

fn parts<'a>(header: &Value<'_>, mut rest: &'a [u8]) -> Result<Vec<Part<'a>>, PackError> {
    let mut parts = Vec::new();
    for line in header.items_at("sections") {
        let name = line.str_at("name").unwrap_or_default();
        let known = Section::ALL.into_iter().find(|section| section.as_str() == name);
        let section = known.ok_or(PackError::Header("it has a section of an unknown name"))?;
        let number = |property| -> Option<usize> { line.get(property)?.as_number()?.parse().ok() };
        let damaged = || PackError::Section(section.as_str());
        let records = number("records").ok_or_else(damaged)?;
        let size_bytes = number("size_bytes").ok_or_else(damaged)?;
        let (packed, after) = rest.split_at_checked(size_bytes).ok_or_else(damaged)?;
        let limit = FREE_TEXT_BYTES.saturating_add(MAX_RATIO.saturating_mul(size_bytes));
        let is_bounded = |size: &usize| *size <= limit.min(MAX_TEXT_BYTES);
        let text_bytes = number("text_bytes").filter(is_bounded).ok_or_else(damaged)?;
        parts.push(Part { section, records, text_bytes, packed });
        rest = after;
    }
    match rest {
        [] => Ok(parts),
        _ => Err(PackError::Header("bytes follow its last section")),
    }
}

/// A section ready to be written.
pub(super) struct Packed {
    pub(super) section: Section,
    pub(super) records: usize,
    pub(super) text_bytes: usize,
    pub(super) bytes: Vec<u8>,
}

/// Puts header and sections together.
pub(super) fn write(
    name: &str,
    version: &str,
    fhir_versions: &[String],
    dependencies: &[Dependency],
    sections: &[Packed],
) -> Vec<u8> {
    let listed = sections.iter().map(|packed| {
        let line = Object::new()
            .with("name", packed.section.as_str())
            .with("records", packed.records as u64)
            .with("size_bytes", packed.bytes.len() as u64)
            .with("text_bytes", packed.text_bytes as u64);
        Value::Object(line)
    });
    let versions = fhir_versions.iter().map(|version| Value::from(version.as_str()));
    let needs = dependencies.iter().fold(Object::new(), |all, dependency| {
        all.with(&dependency.name, dependency.version.as_str())
    });
    let header = Object::new()
        .with("kiln", MARK)
        .with("format", Value::Number(FORMAT.into()))
        .with("name", name)
        .with("version", version)
        .with("fhirVersions", versions.collect::<Vec<_>>())
        .with("dependencies", needs)
        .with("sections", listed.collect::<Vec<_>>());
    let mut out = Vec::new();
    Value::Object(header).write(&mut out);
    out.push(b'\n');
    for packed in sections {
        out.extend_from_slice(&packed.bytes);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let text = b"{\"url\":\"http://x/a\",\"name\":\"A\"}\n{\"url\":\"http://x/b\"}\n";
        let bytes = zstd::bulk::compress(text, 3).expect("compresses");
        let section =
            Packed { section: Section::Operations, records: 2, text_bytes: text.len(), bytes };
        let needs = [Dependency { name: "base".to_owned(), version: "1.0".to_owned() }];
        write("my.package", "0.1", &["4.0.1".to_owned()], &needs, &[section])
    }

    #[test]
    fn a_pack_gives_back_what_was_put_in() {
        let bytes = sample();
        let pack = Pack::open(&bytes).expect("opens");
        assert_eq!((pack.name(), pack.version()), ("my.package", "0.1"));
        assert_eq!(pack.fhir_versions(), ["4.0.1"]);
        assert_eq!(pack.dependencies()[0].name, "base");
        assert_eq!(pack.count(Section::Operations), 2);
        assert_eq!(pack.count(Section::Types), 0);
        assert_eq!(pack.records(Section::Types).expect("absent is empty").iter().count(), 0);
        let contents = pack.contents().expect("contents");
        assert_eq!(contents.len(), 2);
        assert_eq!(contents[0].name.as_deref(), Some("A"));
        assert_eq!(contents[1].url, "http://x/b");
    }

    #[test]
    fn bytes_that_are_no_pack_are_refused_with_the_reason() {
        let good = sample();
        let text =
            String::from_utf8_lossy(&good[..good.iter().position(|&b| b == b'\n').expect("line")])
                .into_owned();
        let with = |from: &str, to: &str| {
            let mut bytes = text.replace(from, to).into_bytes();
            bytes.extend_from_slice(&good[text.len()..]);
            bytes
        };
        for (bytes, reason) in [
            (Vec::new(), "no header line"),
            (b"hello\n".to_vec(), "not JSON"),
            (b"{}\n".to_vec(), "does not say"),
            (with("\"format\":1", "\"format\":2"), "format 2"),
            (with("\"name\":\"my.package\",", ""), "no name"),
            (with("my.package", "../up"), "no name"),
            (with("operations", "other"), "unknown name"),
            (with("\"text_bytes\":", "\"text_bytes\":9999999"), "damaged"),
            (good[..good.len() - 1].to_vec(), "damaged"),
            ([&good[..], b"x"].concat(), "bytes follow"),
        ] {
            let error = Pack::open(&bytes).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error:?} lacks {reason:?}");
        }
        let bytes = with("\"records\":2", "\"records\":3");
        let pack = Pack::open(&bytes).expect("the header alone is sound");
        assert!(matches!(pack.records(Section::Operations), Err(PackError::Section(_))));
        let mut bytes = good.clone();
        let last = bytes.len() - 1;
        bytes[last] ^= 0xff;
        let pack = Pack::open(&bytes).expect("the header alone is sound");
        assert!(pack.contents().is_err(), "a flipped byte is noticed");
    }
}
