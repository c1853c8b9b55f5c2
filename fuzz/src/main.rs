//! Mutated input against everything that reads bytes: panics, hangs, floods of memory and broken
//! properties are findings.
//!
//! `kiln-fuzz [--seconds N | --cases N] [--seed N] [TARGET..]` runs each target in a process of its
//! own and watches it, so that even a stack overflow is reported with its input. A case follows
//! from the seed and its number alone. `kiln-fuzz --replay TARGET FILE` runs one input.
//!
//! The inputs start from `corpus/<target>/`, which is of our own making; what was found is in
//! `findings/`.

mod corpus;
mod definitions;
mod hl7v2;
mod mutation;
mod random;
mod release;
mod search;
mod target;
mod tree;
mod validate;
mod watch;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use target::Target;

/// What the command line asks for.
struct Options {
    cases: Option<u64>,
    names: Vec<String>,
    seconds: u64,
    seed: u64,
    /// In the child: the file that holds the number of the case.
    progress: Option<PathBuf>,
    replay: bool,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            cases: None,
            names: vec![],
            seconds: 60,
            seed: 1,
            progress: None,
            replay: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            let number = |text: String| {
                text.parse::<u64>().map_err(|_| format!("{word} needs a number, not {text:?}"))
            };
            match word.as_str() {
                "--cases" => options.cases = Some(number(value()?)?),
                "--progress" => options.progress = Some(value()?.into()),
                "--replay" => options.replay = true,
                "--seconds" => options.seconds = number(value()?)?,
                "--seed" => options.seed = number(value()?)?,
                _ if word.starts_with('-') => return Err(format!("unknown option {word}")),
                _ => options.names.push(word),
            }
        }
        Ok(options)
    }

    /// The targets that the names stand for; none stands for all.
    fn targets(&self) -> Result<Vec<&'static Target>, String> {
        let find = |name: &String| {
            let names: Vec<_> = target::ALL.iter().map(|target| target.name).collect();
            let found = target::ALL.iter().find(|target| target.name == *name);
            found.ok_or_else(|| format!("no target {name:?}; there are {}", names.join(", ")))
        };
        if self.names.is_empty() {
            return Ok(target::ALL.iter().collect());
        }
        self.names.iter().map(find).collect()
    }
}

fn run(options: &Options) -> Result<bool, String> {
    if options.replay {
        let [name, file] = options.names.as_slice() else {
            return Err("--replay needs a target and a file".to_owned());
        };
        let target = target::ALL.iter().find(|target| target.name == *name);
        let target = target.ok_or_else(|| format!("no target {name:?}"))?;
        let input = std::fs::read(file).map_err(|fault| format!("{file}: {fault}"))?;
        return (target.run)(&input).map(|()| true);
    }
    let mut is_clean = true;
    for target in options.targets()? {
        match &options.progress {
            Some(progress) => worker::run(target, options, progress)?,
            None => is_clean &= watch::run(target, options)?,
        }
    }
    Ok(is_clean)
}

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}
