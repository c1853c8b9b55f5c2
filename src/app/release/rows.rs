//! Concepts as rows of the database, and back.

use sha2::{Digest as _, Sha256};

use crate::store::maintenance::{CodeSystemRow, ConceptRow};
use crate::terminology::release::Release;
use crate::terminology::{Builder, CodeSystem, Concepts, PropertyKind};

/// The row of a release.
pub(crate) fn header(release: &Release) -> CodeSystemRow {
    let concepts = &release.concepts;
    let kinds = concepts.property_kinds().iter();
    let uses = concepts.designation_uses().iter().flatten();
    let mut row = CodeSystemRow {
        id: 0,
        url: release.url.to_string(),
        version: release.version.to_string(),
        name: release.name.to_string(),
        is_complete: release.is_complete,
        is_case_sensitive: concepts.is_case_sensitive(),
        property_kinds: kinds
            .flat_map(|(name, kind)| [name.to_string(), kind.name().to_owned()])
            .collect(),
        designation_uses: uses.map(ToString::to_string).collect(),
        concepts: i32::try_from(concepts.len()).unwrap_or(i32::MAX),
        done: 0,
        digest: Vec::new(),
        is_completed: false,
    };
    row.digest = digest(&row, concepts);
    row
}

/// The rows of concepts from one place to another.
pub(crate) fn rows(concepts: &Concepts, places: std::ops::Range<u32>) -> Vec<ConceptRow<'_>> {
    places.map(|at| row(concepts, at)).collect()
}

fn row(concepts: &Concepts, at: u32) -> ConceptRow<'_> {
    // Indexes keep their 16 bits under another sign.
    let (property_kinds, property_values) =
        concepts.numbered_properties(at).map(|(kind, value)| (kind as i16, value)).unzip();
    let (designation_uses, designations) =
        concepts.numbered_designations(at).map(|(of, value)| (of as i16, value)).unzip();
    ConceptRow {
        place: at as i32,
        is_inactive: concepts.is_inactive(at),
        code: concepts.code(at),
        display: concepts.display(at).unwrap_or_default(),
        definition: concepts.definition(at).unwrap_or_default(),
        parents: concepts.parents(at).iter().map(|parent| *parent as i32).collect(),
        property_kinds,
        property_values,
        designation_uses,
        designations,
    }
}

fn digest(header: &CodeSystemRow, concepts: &Concepts) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(format!("{header:?}"));
    for at in concepts.all() {
        hash.update(format!("{:?}", row(concepts, at)));
    }
    hash.finalize().to_vec()
}

/// A code system while its rows are read.
pub(crate) struct Assembly {
    row: CodeSystemRow,
    builder: Builder,
    kinds: Vec<Option<u16>>,
    uses: Vec<Option<u16>>,
}

impl Assembly {
    /// Of this row, without concepts yet.
    pub(crate) fn new(row: CodeSystemRow) -> Self {
        let mut builder = Builder::new(row.is_case_sensitive);
        let kinds = row.property_kinds.chunks(2).map(|pair| match pair {
            [name, kind] => builder.kind(name, PropertyKind::of_name(kind).unwrap_or_default()),
            _ => None,
        });
        let kinds = kinds.collect();
        let uses = row.designation_uses.chunks(3).map(|of| match of {
            [language, system, code] => builder.use_of([language, system, code]),
            _ => None,
        });
        let uses = uses.collect();
        Self { row, builder, kinds, uses }
    }

    /// Adds the next concept.
    pub(crate) fn add(&mut self, row: &ConceptRow<'_>) {
        let display = Some(row.display).filter(|display| !display.is_empty());
        let at = self.builder.push(row.code, display);
        if !row.definition.is_empty() {
            self.builder.define(at, row.definition);
        }
        if row.is_inactive {
            self.builder.retire(at);
        }
        for parent in row.parents.iter().filter(|it| (0..self.row.concepts).contains(*it)) {
            self.builder.link(*parent as u32, at);
        }
        for (kind, value) in row.property_kinds.iter().zip(&row.property_values) {
            if let Some(Some(kind)) = self.kinds.get(*kind as u16 as usize) {
                self.builder.numbered_property(at, *kind, value);
            }
        }
        for (of, value) in row.designation_uses.iter().zip(&row.designations) {
            if let Some(Some(of)) = self.uses.get(*of as u16 as usize) {
                self.builder.numbered_designation(at, *of, value);
            }
        }
    }

    /// The id of its row.
    pub(crate) fn id(&self) -> i32 {
        self.row.id
    }

    /// The whole system.
    pub(crate) fn finish(self) -> CodeSystem {
        let CodeSystemRow { url, version, name, is_complete, .. } = self.row;
        CodeSystem::released(Release {
            url: url.into(),
            version: version.into(),
            name: name.into(),
            is_complete,
            concepts: self.builder.build(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminology::{Designation, Property};

    fn release() -> Release {
        let mut builder = Builder::new(false);
        for code in ["b", "A", "c"] {
            builder.push(code, Some(code).filter(|code| *code != "c"));
        }
        builder.link(2, 0);
        builder.link(1, 0);
        builder.retire(2);
        builder.define(1, "first");
        for (at, name, kind, value) in [
            (0, "p", PropertyKind::Code, "A"),
            (0, "p", PropertyKind::String, "A"),
            (2, "q", PropertyKind::Boolean, "true"),
        ] {
            builder.property(at, Property { name, kind, value });
        }
        let designation = Designation { language: "de", value: "Bee", ..Designation::default() };
        builder.designation(0, designation);
        let concepts = builder.build();
        let (url, version, name) = ("http://x/s".into(), "1".into(), "S".into());
        Release { url, version, name, is_complete: true, concepts }
    }

    #[test]
    fn concepts_survive_being_rows() {
        let release = release();
        let mut assembly = Assembly::new(header(&release));
        for row in rows(&release.concepts, 0..3) {
            assembly.add(&row);
        }
        assert_eq!(assembly.builder.build(), release.concepts);
    }

    #[test]
    fn a_digest_tells_contents_apart() {
        let release = release();
        let same = header(&release).digest;
        assert_eq!(header(&self::release()).digest, same);
        let other = Release { version: "2".into(), ..self::release() };
        assert_ne!(header(&other).digest, same);
        let mut fewer = Builder::new(false);
        fewer.push("b", None);
        let other = Release { concepts: fewer.build(), ..release };
        assert_ne!(header(&other).digest, same);
    }
}
