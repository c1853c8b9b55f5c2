//! The definitions that can be read as resources: those of the packs, and of the operations
//! that are Kiln's own.
//!
//! Only what they are found and searched by is kept, a line each; the resource is unpacked when it is
//! asked for. Those of R4 itself keep their ids. A guide may be here in several versions, and clients
//! may store it themselves, so its definitions have their version at the end of theirs.
//!
//! Layer: 1. Imports `fhir`.
//!
//! Spec: <https://hl7.org/fhir/R4/conformance-module.html>, rest 5.17, 5.18

mod blocks;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::fhir::json::{self, Value};
use crate::fhir::{Identity, Instant, LogicalId, ResourceType};

use super::package::{DEFINING, Pack, PackError, Records, Section};

use blocks::Blocks;

/// The definitions of operations that FHIR does not have. `[base]` is the server's public base.
const OWN: [&str; 2] = [include_str!("hl7v2-convert.json"), include_str!("reindex.json")];
/// Stands for the server's public base in them.
const BASE: &str = "[base]";
/// When R4 was published: the last change of what does not tell when it changed.
const PUBLISHED: &str = "2019-11-01T00:00:00Z";
/// The longest id.
const MAX_ID: usize = 64;

/// What can be read, by type and id.
#[derive(Debug)]
pub struct Catalog {
    /// Sorted by type and id.
    entries: Vec<Entry>,
    /// What was unpacked last.
    blocks: Blocks,
}

/// One definition.
#[derive(Debug)]
pub struct Entry {
    /// Its type and id here.
    pub identity: Identity,
    /// When it last changed where it was published.
    pub last_updated: Instant,
    /// What it is searched by: kept read, for a search asks all of a type.
    record: Value<'static>,
    source: Source,
}

/// Where the resource is.
#[derive(Clone, Copy, Debug)]
enum Source {
    Own(&'static str),
    Pack { pack: usize, block: usize, line: usize },
}

impl Catalog {
    /// What `packs` hold to be read, the first of which is that of R4 itself. Of two with the same id the
    /// one in the earlier pack counts; packs of an earlier time hold nothing.
    ///
    /// # Errors
    /// [`PackError`] when one of them is damaged.
    pub fn read(packs: &[Cow<'static, [u8]>]) -> Result<Self, PackError> {
        let mut entries: Vec<Entry> = OWN.into_iter().filter_map(own).collect();
        for (number, bytes) in packs.iter().enumerate() {
            let pack = Pack::open(bytes)?;
            let records = pack.records(Section::Catalog)?;
            for record in records.iter() {
                let version = (number > 0).then(|| pack.version());
                entries.extend(packed(record?, number, version));
            }
        }
        // Stable: what comes first stays.
        entries.sort_by(|a, b| a.identity.cmp(&b.identity));
        entries.dedup_by(|later, first| later.identity == first.identity);
        Ok(Self { entries, blocks: Blocks::default() })
    }

    /// Whether there can be definitions of this type.
    pub fn has_type(resource_type: ResourceType) -> bool {
        DEFINING.contains(&resource_type.as_str())
    }

    /// The definition of this type and id.
    pub fn find(&self, identity: &Identity) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| entry.identity.cmp(identity)).ok()?;
        self.entries.get(at)
    }

    /// All definitions, by type and id.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where among all those of a type are.
    pub fn places_of(&self, resource_type: ResourceType) -> Range<usize> {
        let start = self.entries.partition_point(|it| it.identity.resource_type < resource_type);
        let end = self.entries.partition_point(|it| it.identity.resource_type <= resource_type);
        start..end
    }

    /// The resources of `entries`, in their order: JSON objects without resourceType, id and meta.
    /// `packs` are those that the catalog was read from.
    ///
    /// # Errors
    /// [`PackError`] when a pack is damaged.
    pub fn bodies(
        &self,
        entries: &[&Entry],
        packs: &[Cow<'static, [u8]>],
        base: &str,
    ) -> Result<Vec<Bytes>, PackError> {
        let mut found = Vec::with_capacity(entries.len());
        let mut last: Option<((usize, usize), Arc<Records>)> = None;
        for entry in entries {
            let Source::Pack { pack, block, line } = entry.source else {
                found.push(own_body(&entry.record(base)));
                continue;
            };
            let damaged = || PackError::Section(Section::Resources.as_str());
            let place = (pack, block);
            // Neighbours are in one block, which may be too large to be kept.
            let records = match last.take().filter(|(known, _)| *known == place) {
                Some((_, records)) => records,
                None => self.blocks.get(place, || {
                    let bytes = packs.get(pack).ok_or_else(damaged)?;
                    Pack::open(bytes)?.block(block)
                })?,
            };
            let text = records.lines().nth(line).ok_or_else(damaged)?;
            found.push(Bytes::copy_from_slice(text));
            last = Some((place, records));
        }
        Ok(found)
    }
}

impl Entry {
    /// The elements that it is searched by; `base` is the server's public base without a trailing
    /// slash.
    pub fn record(&self, base: &str) -> Cow<'_, Value<'static>> {
        match self.source {
            // It parsed when the catalog was read, and a base in it is escaped.
            Source::Own(text) => json::parse(placed(text, base).as_bytes())
                .map_or(Cow::Borrowed(&self.record), |record| Cow::Owned(record.into_owned())),
            Source::Pack { .. } => Cow::Borrowed(&self.record),
        }
    }
}

fn packed(record: Value<'_>, pack: usize, pack_version: Option<&str>) -> Option<Entry> {
    let number = |name| record.get(name)?.as_number()?.parse().ok();
    let id = record.str_at("id")?;
    let version = pack_version.map(|of_pack| record.str_at("version").unwrap_or(of_pack));
    Some(Entry {
        identity: Identity {
            resource_type: record.str_at("resourceType")?.parse().ok()?,
            id: id_here(id, version)?,
        },
        last_updated: updated(&record)?,
        source: Source::Pack { pack, block: number("block")?, line: number("line")? },
        record: record.into_owned(),
    })
}

fn own(text: &'static str) -> Option<Entry> {
    let record = json::parse(text.as_bytes()).ok()?;
    Some(Entry {
        identity: Identity {
            resource_type: record.str_at("resourceType")?.parse().ok()?,
            id: record.str_at("id")?.parse().ok()?,
        },
        last_updated: updated(&record)?,
        record: record.into_owned(),
        source: Source::Own(text),
    })
}

fn own_body(record: &Value<'_>) -> Bytes {
    let mut object = record.as_object().cloned().unwrap_or_default();
    object.retain(|name, _| !["resourceType", "id", "meta"].contains(&name));
    Value::Object(object).to_text().into()
}

/// `text`, which is JSON, with `base` in its place.
fn placed(text: &str, base: &str) -> String {
    let base = Value::from(base).to_text();
    // A quote of its own at the end stays.
    let inside = base.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    text.replace(BASE, inside.unwrap_or(&base))
}

fn updated(record: &Value<'_>) -> Option<Instant> {
    let meta = record.get("meta").and_then(|meta| meta.str_at("lastUpdated"));
    let told = record.str_at("lastUpdated").or(meta).and_then(Instant::parse);
    told.or_else(|| Instant::parse(PUBLISHED)).map(Instant::floor_to_millis)
}

/// The id of a definition here: with a version at the end, where it has one. What would be too long
/// is cut and told apart by a number made of all of it.
fn id_here(id: &str, version: Option<&str>) -> Option<LogicalId> {
    let whole = version.map_or_else(|| id.to_owned(), |version| format!("{id}-{version}"));
    let allowed = |byte: char| byte.is_ascii_alphanumeric() || byte == '-' || byte == '.';
    let whole = whole.replace(|byte| !allowed(byte), "-");
    if whole.len() <= MAX_ID {
        return whole.parse().ok();
    }
    // FNV-1a: the same on every node and in every version of this program.
    let fold = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = whole.bytes().fold(0x811c_9dc5, fold);
    format!("{}-{hash:08x}", &whole[..MAX_ID - 9]).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{GUIDE_PACKS, R4_PACK};

    fn packs() -> Vec<Cow<'static, [u8]>> {
        std::iter::once(R4_PACK).chain(GUIDE_PACKS).map(Cow::Borrowed).collect()
    }

    fn identity(path: &str) -> Identity {
        let (of, id) = path.split_once('/').expect("a path");
        Identity { resource_type: of.parse().expect("type"), id: id.parse().expect("id") }
    }

    #[test]
    fn every_definition_of_the_packages_has_a_place_of_its_own() {
        let packs = packs();
        let catalog = Catalog::read(&packs).expect("reads");
        let counted = packs.iter().map(|bytes| Pack::open(bytes).expect("opens"));
        let counted: usize = counted.map(|pack| pack.count(Section::Resources)).sum();
        assert!(counted > 5_000, "{counted}");
        assert_eq!(catalog.entries.len(), counted + OWN.len());
        let all: Vec<&Entry> = catalog.entries.iter().collect();
        for (entry, body) in
            all.iter().zip(catalog.bodies(&all, &packs, "http://a/fhir").expect("bodies"))
        {
            let body = json::parse_with(&body, json::Limits { depth: 400, values: 5_000_000 });
            let body = body.expect("JSON");
            let record = entry.record("http://a/fhir");
            for name in ["url", "name", "status"] {
                assert_eq!(body.str_at(name), record.str_at(name), "{}", entry.identity);
            }
            assert!(body.get("resourceType").is_none() && body.get("id").is_none());
        }
    }

    #[test]
    fn definitions_are_found_by_id_and_guides_have_their_version_in_it() {
        let catalog = Catalog::read(&packs()).expect("reads");
        let url = |path: &str| {
            let entry = catalog.find(&identity(path))?;
            let record = entry.record("http://a/fhir");
            record.str_at("url").map(str::to_owned)
        };
        let us_core = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient";
        for (path, expected) in [
            (
                "StructureDefinition/Patient",
                Some("http://hl7.org/fhir/StructureDefinition/Patient"),
            ),
            ("StructureDefinition/us-core-patient-3.1.1", Some(us_core)),
            ("StructureDefinition/us-core-patient-7.0.0", Some(us_core)),
            ("StructureDefinition/us-core-patient", None),
            ("ValueSet/Patient", None),
            (
                "OperationDefinition/Resource-reindex",
                Some("http://a/fhir/OperationDefinition/Resource-reindex"),
            ),
        ] {
            assert_eq!(url(path).as_deref(), expected, "{path}");
        }
        let of = |name: &str| catalog.places_of(name.parse().expect("type")).len();
        assert_eq!((of("CompartmentDefinition"), of("Patient")), (6, 0));
    }

    #[test]
    fn an_id_that_would_be_too_long_is_cut() {
        let id = |id: &str, version| id_here(id, version).expect("an id").to_string();
        assert_eq!(id("a", Some("1.0+b_c")), "a-1.0-b-c");
        let long = "a".repeat(70);
        let (one, other) = (id(&long, None), id(&long, Some("1")));
        assert_eq!((one.len(), other.len()), (64, 64));
        assert_ne!(one, other);
    }
}
