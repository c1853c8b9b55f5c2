//! The parent: starts a target in a child, looks at it, and reports what it ended on.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::target::Target;
use crate::{Options, corpus, worker};

/// Longest that one case may take.
const CASE_LIMIT: Duration = Duration::from_secs(5);

/// Longest until the first one: definitions are loaded before it.
const BEGIN_LIMIT: Duration = Duration::from_mins(1);

/// Most memory that a child may hold, in KiB.
const MEMORY_LIMIT: u64 = 1024 * 1024;

/// Runs `target` in a child; whether it ended without a finding.
pub(crate) fn run(target: &Target, options: &Options) -> Result<bool, String> {
    let io = |fault: std::io::Error| format!("{}: {fault}", target.name);
    let progress =
        std::env::temp_dir().join(format!("kiln-fuzz-{}-{}.case", std::process::id(), target.name));
    std::fs::write(&progress, u64::to_le_bytes(worker::NOT_BEGUN)).map_err(io)?;
    let began = Instant::now();
    let mut child = start(target, options, &progress).map_err(io)?;
    let end = watch(&mut child, &progress);
    let case = match number(&progress) {
        worker::NOT_BEGUN => 0,
        case => case,
    };
    std::fs::remove_file(&progress).map_err(io)?;
    let seconds = began.elapsed().as_secs_f64();
    match end.map_err(io)? {
        End::Exited(status) if status.success() => {
            let rate = case as f64 / seconds;
            println!("{:<9} {case} cases in {seconds:.0} s ({rate:.0} a second)", target.name);
            Ok(true)
        }
        End::Exited(status) => report(target, options, case, &format!("ended with {status}")),
        End::Hung => report(target, options, case, "took too long"),
        End::Swollen => report(target, options, case, "held over 1 GiB of memory"),
    }
}

enum End {
    Exited(ExitStatus),
    Hung,
    Swollen,
}

fn start(target: &Target, options: &Options, progress: &Path) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(target.name).arg("--progress").arg(progress);
    command.args(["--seed", &options.seed.to_string()]);
    command.args(["--seconds", &options.seconds.to_string()]);
    if let Some(cases) = options.cases {
        command.args(["--cases", &cases.to_string()]);
    }
    command.spawn()
}

fn watch(child: &mut Child, progress: &Path) -> std::io::Result<End> {
    let mut seen = (number(progress), Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(End::Exited(status));
        }
        let case = number(progress);
        if case != seen.0 {
            seen = (case, Instant::now());
        }
        let limit = if case == worker::NOT_BEGUN { BEGIN_LIMIT } else { CASE_LIMIT };
        let end = match seen.1.elapsed() > limit {
            true => Some(End::Hung),
            false if memory(child.id()) > MEMORY_LIMIT => Some(End::Swollen),
            false => None,
        };
        if let Some(end) = end {
            child.kill()?;
            child.wait()?;
            return Ok(end);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The number of the case that the child is at.
fn number(progress: &Path) -> u64 {
    let bytes = std::fs::read(progress).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

/// Resident memory of a process in KiB; 0 where it cannot be told.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

fn report(target: &Target, options: &Options, case: u64, what: &str) -> Result<bool, String> {
    let input = worker::input(&corpus::seeds(target)?, options.seed, case);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("findings");
    std::fs::create_dir_all(&folder).map_err(|fault| format!("{}: {fault}", folder.display()))?;
    let file: PathBuf = folder.join(format!("{}-{}-{case}", target.name, options.seed));
    std::fs::write(&file, &input).map_err(|fault| format!("{}: {fault}", file.display()))?;
    println!("{}: FINDING: seed {} case {case} {what}", target.name, options.seed);
    println!(
        "    input ({} bytes): {}",
        input.len(),
        input[..input.len().min(2_000)].escape_ascii()
    );
    println!("    again: kiln-fuzz --replay {} {}", target.name, file.display());
    Ok(false)
}
