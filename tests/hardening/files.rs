//! Packages and archives made to do harm where they are unpacked.
//!
//! What an archive of a package may hold has its table beside the reader, too.
//!
//! Covers: security H5, V24.

use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

use crate::harness::database::temporary;
use crate::harness::process::kiln;

/// One entry: its name as it is, what it is, and its content.
fn entry(name: &str, kind: EntryType, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    if kind == EntryType::Symlink || kind == EntryType::Link {
        header.set_link_name("/etc/passwd").unwrap();
    }
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn packed(entries: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    for entry in entries {
        out.write_all(&entry).unwrap();
    }
    out.write_all(&[0; 1024]).unwrap();
    out.finish().unwrap()
}

const MANIFEST: &[u8] = br#"{"name":"example.evil","version":"1.0.0","fhirVersions":["4.0.1"]}"#;

fn manifest() -> Vec<u8> {
    entry("package/package.json", EntryType::Regular, MANIFEST)
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { all.push(path.display().to_string()) }
        }
    }
    all
}

/// What `kiln package build` says of an archive; it must fail, and leave nothing behind.
fn refused(name: &str, archive: &[u8]) -> String {
    let folder = temporary("hostile");
    std::fs::create_dir_all(folder.join("inner/out")).unwrap();
    let file = folder.join("inner/evil.tgz");
    std::fs::write(&file, archive).unwrap();
    let out = folder.join("inner/out");
    let arguments = ["package", "build", file.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let output = kiln(&arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{name} is taken");
    assert_eq!(files(&folder), [file.display().to_string()], "{name}: {told}");
    assert!(!told.contains("panicked"), "{name}: {told}");
    std::fs::remove_dir_all(folder).unwrap();
    told
}

#[test]
fn a_hostile_package_is_refused_and_writes_nothing() {
    let file = EntryType::Regular;
    let json = br#"{"resourceType":"ValueSet","url":"urn:x","status":"active"}"#;
    for (name, kind, says) in [
        ("../evil.json", file, "lies outside"),
        ("package/../../evil.json", file, "lies outside"),
        ("/tmp/kiln-evil.json", file, "lies outside"),
        ("package/..", EntryType::Directory, "lies outside"),
        ("package/evil.json", EntryType::Symlink, "is a link"),
        ("package/evil.json", EntryType::Link, "is a link"),
    ] {
        let told = refused(name, &packed([manifest(), entry(name, kind, json)]));
        assert!(told.contains(says), "{name}: {told}");
    }
    assert!(!Path::new("/tmp/kiln-evil.json").exists());
}

#[test]
fn a_package_that_unpacks_to_too_much_is_refused() {
    let zeros = vec![0; 40 << 20];
    let bomb = (0..5).map(|at| entry(&format!("other/{at}"), EntryType::Regular, &zeros));
    let told = refused("bomb", &packed([manifest()].into_iter().chain(bomb)));
    assert!(told.contains("unpacks to more than"), "{told}");
    let many = (0..100_001).map(|at| entry(&format!("other/{at}"), EntryType::Regular, b""));
    let told = refused("many", &packed([manifest()].into_iter().chain(many)));
    assert!(told.contains("more than 100000 entries"), "{told}");
    let cut = packed([manifest()]);
    refused("cut", &cut[..cut.len() / 2]);
    refused("none", b"not an archive");
}
