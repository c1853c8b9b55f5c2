//! Packages of definitions, and the snapshots of what clients define.

use std::collections::HashSet;
use std::io::Write;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use kiln::fhir::json::parse;
use kiln::spec::package::{self, Pack, Section};
use kiln::spec::structure::{Library, Structure};

use crate::target::holds;

/// An archive before it is packed, or a pack, is read or refused; what a pack is made of is all in it.
pub(crate) fn package(input: &[u8]) -> Result<(), String> {
    if let Ok(pack) = Pack::open(input) {
        all_of(&pack).ok();
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::none());
    let tgz = packed.write_all(input).and_then(|()| packed.finish());
    let tgz = tgz.map_err(|fault| fault.to_string())?;
    let Ok(made) = package::build(&tgz) else { return Ok(()) };
    let again = package::build(&tgz).map_err(|fault| fault.to_string())?;
    holds(made == again, "a package always gives the same pack")?;
    holds(made.len() <= 2 * input.len() + 10_000, "a pack is no larger than its package")?;
    let pack = Pack::open(&made).map_err(|fault| fault.to_string())?;
    all_of(&pack)
}

fn all_of(pack: &Pack<'_>) -> Result<(), String> {
    for section in Section::ALL {
        let records = pack.records(section).map_err(|fault| fault.to_string())?;
        let found = records.iter().flatten().count();
        holds(found == pack.count(section), "every record of a pack can be read")?;
    }
    Ok(())
}

static R4: LazyLock<Library> = LazyLock::new(Library::r4);

/// Every definition of a list has a snapshot in bounds and in order, or a fault that says why not.
pub(crate) fn snapshot(input: &[u8]) -> Result<(), String> {
    let Ok(value) = parse(input) else { return Ok(()) };
    let definitions = value.as_array().unwrap_or(std::slice::from_ref(&value));
    let library = R4.with_resources(definitions.iter().cloned());
    for url in definitions.iter().filter_map(|definition| definition.str_at("url")) {
        match library.structure(url) {
            Ok(structure) => in_order(&structure)?,
            Err(fault) => {
                holds(!fault.to_string().is_empty(), "a fault has words")?;
                holds(library.structure(url) == Err(fault), "a fault stays the same")?;
            }
        }
    }
    Ok(())
}

fn in_order(structure: &Structure) -> Result<(), String> {
    holds(structure.elements.len() <= 10_000, "snapshots are bounded")?;
    let mut paths = HashSet::new();
    for (at, element) in structure.elements.iter().enumerate() {
        let parent = element.path.rsplit_once('.').map(|(parent, _)| parent);
        let has_parent = parent.is_some_and(|parent| paths.contains(parent));
        holds(at == 0 || has_parent, "an element comes after its parent")?;
        paths.insert(&*element.path);
    }
    Ok(())
}
