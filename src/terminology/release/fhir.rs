//! CodeSystems of FHIR packages and files.

use crate::fhir::json::parse;
use crate::spec::package;

use super::super::CodeSystem;
use super::{Fault, Files, Release, extension, whole};

/// The largest file that is read, a package or a resource.
const MAX_BYTES: u64 = 1 << 30;

pub(super) fn read(files: &dyn Files) -> Result<Vec<Release>, Fault> {
    let mut names = files.names();
    names.sort_unstable();
    let mut releases = Vec::new();
    for name in names {
        if extension(&name) == "json" {
            let bytes = whole(files, &name, MAX_BYTES)?;
            releases.extend(resource(&name, &bytes)?);
        } else if extension(&name) == "tgz" {
            let bytes = whole(files, &name, MAX_BYTES)?;
            let visit = |inner: &str, bytes: &[u8]| -> Result<(), Failed> {
                releases.extend(resource(&format!("{name}/{inner}"), bytes)?);
                Ok(())
            };
            package::each_file(&bytes, visit).map_err(|failed| match failed {
                Failed::Content(fault) => fault,
                Failed::Archive(source) => Fault::Unreadable { file: name.clone(), source },
            })?;
        }
    }
    if releases.is_empty() { Err(Fault::Missing("CodeSystem with codes")) } else { Ok(releases) }
}

enum Failed {
    Archive(std::io::Error),
    Content(Fault),
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::Archive(error)
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Content(fault)
    }
}

/// The code system of a resource, where it is one that has codes.
fn resource(file: &str, bytes: &[u8]) -> Result<Option<Release>, Fault> {
    let value = parse(bytes).map_err(|error| Fault::of_file(file, error.to_string()))?;
    if value.str_at("resourceType") != Some("CodeSystem") {
        return Ok(None);
    }
    let name = value.str_at("name").or_else(|| value.str_at("title"));
    let system = CodeSystem::read(&value);
    Ok(system.and_then(|system| system.into_release(name.unwrap_or_default())))
}
