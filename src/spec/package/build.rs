//! A FHIR package to a pack.

use std::io;

use thiserror::Error;

use crate::fhir::json::{self, JsonError, Limits, Object, Value};

use super::archive;
use super::pack::{self, Dependency, Packed, Section};
use super::readable::Readable;
use super::shape::{self, Shape};
use super::structure::{self, Invariants};

/// zstd's highest level without extra memory for the reader.
const LEVEL: i32 = 19;
/// Code systems nest their concepts deep.
const LIMITS: Limits = Limits { depth: 400, values: 5_000_000 };

/// Why bytes are not a FHIR package that a pack can be made of.
#[derive(Debug, Error)]
pub enum PackageError {
    /// The archive does not unpack, or a section does not pack.
    #[error("the package cannot be read")]
    Archive(#[from] io::Error),
    /// A file of the package is not JSON.
    #[error("{file} is not JSON")]
    File {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        source: JsonError,
    },
    /// `package.json` is missing or has no name or version.
    #[error("not a FHIR package: {0}")]
    Manifest(&'static str),
}

/// Makes a definition pack of a FHIR package (`.tgz`, files under `package/`).
///
/// Structures without a snapshot keep their differential. Files that define nothing a pack
/// holds (examples, narrative pages, implementation guides) are passed over. Beside what the server
/// works by, the pack has the definitions to be read as resources, with their facts.
///
/// # Errors
/// [`PackageError`] when the archive or one of its files cannot be read.
pub fn build(tgz: &[u8]) -> Result<Vec<u8>, PackageError> {
    let mut package = Package::default();
    archive::each_file(tgz, |file, bytes| {
        let value = json::parse_with(bytes, LIMITS)
            .map_err(|source| PackageError::File { file: file.to_owned(), source })?;
        package.add(file, &value)
    })?;
    package.write()
}

/// One definition on its way into the pack, with what it is sorted by.
struct Definition {
    section: Section,
    url: String,
    version: String,
    record: Object<'static>,
}

#[derive(Default)]
struct Package {
    manifest: Option<Value<'static>>,
    definitions: Vec<Definition>,
    readable: Readable,
}

impl Package {
    fn add(&mut self, file: &str, value: &Value<'_>) -> Result<(), PackageError> {
        if file == "package.json" {
            let before = self.manifest.replace(value.clone().into_owned());
            if before.is_some() {
                return Err(PackageError::Manifest("it has two package.json"));
            }
        }
        let Some(object) = value.as_object() else { return Ok(()) };
        self.readable.add(value, object);
        let Some((section, record)) = reduce(value, object) else { return Ok(()) };
        let text = |name| value.str_at(name).unwrap_or_default().to_owned();
        let (url, version) = (text("url"), text("version"));
        // Without a canonical url nothing can name it.
        if !url.is_empty() {
            let record = record.into_owned();
            self.definitions.push(Definition { section, url, version, record });
        }
        Ok(())
    }

    fn write(mut self) -> Result<Vec<u8>, PackageError> {
        let manifest = self.manifest.ok_or(PackageError::Manifest("it has no package.json"))?;
        let text = |name| pack::plain(manifest.str_at(name).map(str::to_owned));
        let name = text("name").ok_or(PackageError::Manifest("it has no plain name"))?;
        let version = text("version").ok_or(PackageError::Manifest("it has no plain version"))?;
        self.definitions.sort_by(|a, b| (&a.url, &a.version).cmp(&(&b.url, &b.version)));
        let mut invariants = Invariants::default();
        for definition in &mut self.definitions {
            structure::number_invariants(&mut definition.record, &mut invariants);
        }
        let pack_section = |section, texts| pack_section(section, LEVEL, texts);
        let mut sections = vec![pack_section(Section::Invariants, invariants.into_texts())?];
        let is_reduced = |section: &Section| {
            !matches!(section, Section::Invariants | Section::Catalog | Section::Resources)
        };
        for section in Section::ALL.into_iter().filter(is_reduced) {
            let of = self.definitions.iter().filter(|definition| definition.section == section);
            let texts = of.map(|definition| text_of(&definition.record)).collect();
            sections.push(pack_section(section, texts)?);
        }
        sections.extend(self.readable.sections()?);
        Ok(pack::write(
            &name,
            &version,
            &fhir_versions(&manifest),
            &dependencies(&manifest),
            &sections,
        ))
    }
}

fn reduce<'a>(value: &Value<'a>, object: &Object<'a>) -> Option<(Section, Object<'a>)> {
    let by = |section, shape: &Shape| Some((section, shape::keep(object, shape)));
    match value.str_at("resourceType")? {
        "CodeSystem" => by(Section::CodeSystems, &shape::CODE_SYSTEM),
        "CompartmentDefinition" => by(Section::Compartments, &shape::COMPARTMENT_DEFINITION),
        "ConceptMap" => by(Section::ConceptMaps, &shape::CONCEPT_MAP),
        "OperationDefinition" => by(Section::Operations, &shape::OPERATION_DEFINITION),
        "SearchParameter" => by(Section::SearchParameters, &shape::SEARCH_PARAMETER),
        "StructureDefinition" if structure::is_type(value) => {
            Some((Section::Types, structure::reduce(object)))
        }
        "StructureDefinition" => Some((Section::Profiles, structure::reduce(object))),
        "ValueSet" => {
            let mut kept = shape::keep(object, &shape::VALUE_SET);
            // An expansion beside a composition is a copy of what can be computed.
            if kept.contains("compose") {
                kept.remove("expansion");
            }
            Some((Section::ValueSets, kept))
        }
        _ => None,
    }
}

pub(super) fn text_of(record: &Object<'_>) -> String {
    // A record is one line: the writer escapes line ends inside strings.
    Value::Object(record.clone()).to_text()
}

/// Packs a text a line, at a level of zstd.
pub(super) fn pack_section(
    section: Section,
    level: i32,
    texts: Vec<String>,
) -> Result<Packed, PackageError> {
    let mut text = String::new();
    let mut records = 0;
    for line in texts {
        text.push_str(&line);
        text.push('\n');
        records += 1;
    }
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    compressor.include_checksum(true)?;
    let bytes = compressor.compress(text.as_bytes())?;
    Ok(Packed { section, records, text_bytes: text.len(), bytes })
}

fn fhir_versions(manifest: &Value<'_>) -> Vec<String> {
    // Core packages say `fhir-version-list`, guides say `fhirVersions`.
    let listed = ["fhirVersions", "fhir-version-list"].into_iter();
    let found = listed.map(|name| manifest.items_at(name)).find(|items| !items.is_empty());
    found.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn dependencies(manifest: &Value<'_>) -> Vec<Dependency> {
    let named = manifest.get("dependencies").and_then(Value::as_object);
    let each = named.into_iter().flat_map(Object::iter);
    let mut needs: Vec<Dependency> = each
        .filter_map(|(name, version)| {
            Some(Dependency { name: name.to_owned(), version: version.as_str()?.to_owned() })
        })
        .collect();
    needs.sort_by(|a, b| a.name.cmp(&b.name));
    needs
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::spec::package::Pack;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, text.as_bytes()).expect("appends");
        }
        tar.into_inner().and_then(GzEncoder::finish).expect("finishes")
    }

    /// The first half of an archive, as an interrupted download leaves it.
    fn cut(bytes: &[u8]) -> Vec<u8> {
        bytes[..bytes.len() / 2].to_vec()
    }

    const MANIFEST: (&str, &str) = (
        "package/package.json",
        r#"{"name":"my.guide","version":"1.0.0","fhirVersions":["4.0.1"],
            "dependencies":{"z":"1","a":"2"}}"#,
    );
    const PROFILE: (&str, &str) = (
        "package/StructureDefinition-p.json",
        r#"{"resourceType":"StructureDefinition","url":"http://x/p","derivation":"constraint",
            "differential":{"element":[{"id":"Patient.name","path":"Patient.name","min":1,
            "constraint":[{"key":"p-1","severity":"error","human":"prose","expression":"true"}]}]}}"#,
    );
    const SYSTEM: (&str, &str) = (
        "package/CodeSystem-c.json",
        r#"{"resourceType":"CodeSystem","url":"http://x/c","concept":[{"code":"a"}]}"#,
    );
    const EXAMPLE: (&str, &str) =
        ("package/Patient-e.json", r#"{"resourceType":"Patient","id":"e"}"#);

    #[test]
    fn a_guide_with_differentials_becomes_a_pack_whatever_the_order_of_its_files() {
        let bytes = build(&archive(&[MANIFEST, PROFILE, SYSTEM, EXAMPLE])).expect("builds");
        let shuffled = build(&archive(&[EXAMPLE, SYSTEM, PROFILE, MANIFEST])).expect("builds");
        assert_eq!(bytes, shuffled);
        let pack = Pack::open(&bytes).expect("opens");
        assert_eq!(pack.file_name(), "my.guide-1.0.0.pack");
        let needs: Vec<&str> = pack.dependencies().iter().map(|need| &*need.name).collect();
        assert_eq!(needs, ["a", "z"]);
        let profiles = pack.records(Section::Profiles).expect("unpacks");
        let texts: Vec<String> =
            profiles.iter().map(|record| record.expect("json").to_text()).collect();
        let profile = r#"{"url":"http://x/p","derivation":"constraint","differential":[{"path":"Patient.name","min":1,"constraint":[0]}]}"#;
        assert_eq!(texts, [profile]);
        assert_eq!(pack.count(Section::Invariants), 1);
        assert_eq!(pack.count(Section::CodeSystems), 1);
        assert_eq!(pack.contents().expect("reads").len(), 2, "the example is passed over");
        assert_eq!(pack.count(Section::Catalog), 0, "what has no id cannot be read by one");
    }

    #[test]
    fn what_is_no_package_is_refused_with_the_reason() {
        let named = |name: &str| format!(r#"{{"name":"{name}","version":"1"}}"#);
        for (bytes, reason) in [
            (b"hello".to_vec(), "cannot be read"),
            (archive(&[SYSTEM]), "no package.json"),
            (archive(&[("package/package.json", "{}")]), "no plain name"),
            (archive(&[("package/package.json", &named("../x"))]), "no plain name"),
            (archive(&[MANIFEST, ("package/x.json", "{")]), "x.json is not JSON"),
            (archive(&[MANIFEST, MANIFEST]), "two package.json"),
            (cut(&archive(&[MANIFEST, PROFILE])), "cannot be read"),
            (archive(&[MANIFEST, ("package/x.json", &"[".repeat(100_000))]), "x.json is not JSON"),
        ] {
            let error = build(&bytes).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error:?} lacks {reason:?}");
        }
    }
}
