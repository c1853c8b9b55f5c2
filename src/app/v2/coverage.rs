//! `kiln v2 coverage`: how much of the guide from version 2 to FHIR the maps do.

use std::error::Error;
use std::fs::File;
use std::io::{Read as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use flate2::read::GzDecoder;

use crate::config::Config;
use crate::hl7v2::map::coverage::{Judge, Row, Standing, counted, rows};

use super::maps::MapArgs;

/// `kiln v2 coverage`
#[derive(Debug, clap::Args)]
pub(in crate::app) struct CoverageArgs {
    /// The guide's tables: a .tar.gz of its CSV files.
    #[arg(long, value_name = "FILE")]
    guide: PathBuf,
    /// List the rows that are not done, and those that are done in another way with the reason.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    maps: MapArgs,
}

/// Writes the counts.
///
/// # Errors
/// What cannot be read, as a sentence.
pub(super) async fn run(
    args: &CoverageArgs,
    config: &Config,
    out: &mut impl Write,
) -> Result<ExitCode, Box<dyn Error>> {
    let loaded = args.maps.load(config).await?;
    let judge = Judge::new(&loaded.maps, &loaded.spec.schema)?;
    let rows = guide(&args.guide)?;
    let judged: Vec<(&Row, Standing)> = rows.iter().map(|row| (row, judge.standing(row))).collect();
    if args.list {
        for (row, standing) in &judged {
            let (word, reason) = match standing {
                Standing::Done => continue,
                Standing::Missing => ("missing", ""),
                Standing::NotApplicable(reason) => ("n/a", reason.as_str()),
                Standing::OnPurpose(reason) => ("on purpose", reason.as_str()),
            };
            writeln!(out, "{word}\t{}\t{}\t{}\t{reason}", row.map, row.field, row.path)?;
        }
    }
    let counts = counted(judged);
    let mut all = [0; 4];
    for (map, [done, purpose, none, missing]) in &counts {
        writeln!(out, "{map}: {done} done, {purpose} on purpose, {none} n/a, {missing} missing")?;
        all = [all[0] + done, all[1] + purpose, all[2] + none, all[3] + missing];
    }
    let [done, purpose, none, missing] = all;
    let total = done + purpose + none + missing;
    let applying = total - none;
    let percent = (done + purpose) * 100 / applying.max(1);
    writeln!(
        out,
        "{total} rows: {done} done, {purpose} on purpose, {none} n/a, {missing} missing: {percent} % of the {applying} \
         that apply are done or on purpose"
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The rows of segments and data types that have a target.
fn guide(file: &PathBuf) -> Result<Vec<Row>, Box<dyn Error>> {
    let file = File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let mut all = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let is_segment = path.contains("/segments/");
        let is_datatype = path.contains("/datatypes/");
        let name = path.rsplit("_ ").next().and_then(|rest| rest.split(" - ").next());
        let (Some(name), true) = (name, is_segment || is_datatype) else { continue };
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        all.extend(rows(name, &text, is_datatype));
    }
    Ok(all)
}
