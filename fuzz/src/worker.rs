//! The child: runs case after case and leaves the number of the current one in a file.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::target::Target;
use crate::{Options, corpus, mutation, random::Random};

/// In place of the number of a case while there is none by now.
pub(crate) const NOT_BEGUN: u64 = u64::MAX;

/// Runs `target` until the time or the number of cases is used up.
///
/// A broken property is an error; a panic or an overflow ends the process, and the parent sees it.
pub(crate) fn run(target: &Target, options: &Options, progress: &Path) -> Result<(), String> {
    let seeds = corpus::seeds(target)?;
    let file = OpenOptions::new().write(true).open(progress);
    let file = file.map_err(|fault| format!("{}: {fault}", progress.display()))?;
    // What it loads once is no part of a case.
    (target.run)(&seeds[0])?;
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let mut case = 0;
    loop {
        file.write_all_at(&u64::to_le_bytes(case), 0).map_err(|fault| fault.to_string())?;
        let is_over = match options.cases {
            Some(cases) => case >= cases,
            None => Instant::now() >= until,
        };
        if is_over {
            return Ok(());
        }
        let input = input(&seeds, options.seed, case);
        (target.run)(&input)?;
        case += 1;
    }
}

/// The input of a case: the seeds themselves first, then mutations.
pub(crate) fn input(seeds: &[Vec<u8>], seed: u64, case: u64) -> Vec<u8> {
    match usize::try_from(case).ok().and_then(|case| seeds.get(case)) {
        Some(plain) => plain.clone(),
        None => mutation::input(seeds, &mut Random::of_case(seed, case)),
    }
}
