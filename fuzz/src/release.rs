//! Releases of terminologies: files in one input, each behind a line `--- name`.

use std::io::{self, BufRead};

use kiln::terminology::release::{Fault, Files, Kind, Options, Release, read as read_release};

use crate::target::holds;

struct Parts<'i>(Vec<(String, &'i [u8])>);

impl<'i> Parts<'i> {
    fn of(input: &'i [u8]) -> Self {
        let mut parts: Vec<(String, &[u8])> = Vec::new();
        let mut rest = input;
        while let Some(at) = find(rest, b"--- ") {
            if let Some((_, content)) = parts.last_mut() {
                *content = &rest[..at];
            }
            let named = &rest[at + 4..];
            let end = named.iter().position(|byte| *byte == b'\n').unwrap_or(named.len());
            let name = String::from_utf8_lossy(&named[..end]).into_owned();
            rest = named.get(end + 1..).unwrap_or_default();
            parts.push((name, rest));
        }
        Self(parts)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

impl Files for Parts<'_> {
    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn BufRead + '_>> {
        let found = self.0.iter().find(|(known, _)| known == name);
        Ok(Box::new(found.ok_or(io::ErrorKind::NotFound)?.1))
    }
}

/// A release is read whole, or the fault names a file that is there.
pub(crate) fn read(input: &[u8]) -> Result<(), String> {
    let files = Parts::of(input);
    let names = files.names();
    let Some(kind) = Kind::of(&names) else { return Ok(()) };
    let options = Options { version: Some("1".to_owned()), language_refset: None };
    match read_release(&files, kind, &options) {
        Ok(releases) => releases.iter().try_for_each(|release| sound(release, input.len())),
        Err(Fault::Content { file, .. } | Fault::Unreadable { file, .. }) => {
            let is_known = names.iter().any(|name| file.starts_with(name.as_str()));
            holds(is_known, &format!("a fault is in one of the files, not {file:?}"))
        }
        Err(_) => Ok(()),
    }
}

fn sound(release: &Release, size: usize) -> Result<(), String> {
    let concepts = &release.concepts;
    // UCUM has each metric unit with each prefix.
    holds(concepts.len() <= size.saturating_mul(40), "concepts are bounded by the input")?;
    for at in concepts.all() {
        let code = concepts.code(at);
        holds(concepts.find(code).is_some(), "a code is found")?;
        holds(concepts.parents(at).iter().all(|it| concepts.children(*it).contains(&at)), "links")?;
        concepts.subsumes(0, at);
        concepts.properties(at).for_each(drop);
        concepts.designations(at).for_each(drop);
    }
    Ok(())
}
