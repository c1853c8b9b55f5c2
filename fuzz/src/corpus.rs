//! The inputs that mutation starts from: the files of `corpus/<target>/`.

use std::path::Path;

use crate::target::Target;

/// The seeds of a target in the order of file names; a file whose name ends in `.lines` holds one
/// seed a line.
pub(crate) fn seeds(target: &Target) -> Result<Vec<Vec<u8>>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.corpus);
    let fault = |fault: std::io::Error| format!("{}: {fault}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(fault)? {
        files.push(entry.map_err(fault)?.path());
    }
    files.sort();
    let mut seeds = Vec::new();
    for file in files {
        let bytes = std::fs::read(&file).map_err(fault)?;
        if file.extension().is_some_and(|extension| extension == "lines") {
            seeds.extend(bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec));
        } else {
            seeds.push(bytes);
        }
    }
    if seeds.is_empty() {
        return Err(format!("{} has no files", folder.display()));
    }
    Ok(seeds)
}
