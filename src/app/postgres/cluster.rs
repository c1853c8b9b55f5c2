//! Making the data folder of a private PostgreSQL, once, whole or not at all.
//!
//! Layer: 8. Spec: storage.md 0.9 (roles).

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::PostgresError;
use super::binaries::Binaries;
use super::folder::Folder;

/// What a new cluster gets, one statement a line as the stand-alone server reads them.
/// `kiln_owner` owns and migrates the tables; what `kiln_app` may do with them, migrations say.
const FOUNDATION: &str = "\
CREATE ROLE kiln_owner LOGIN
CREATE ROLE kiln_app LOGIN
CREATE DATABASE kiln OWNER kiln_owner
";

/// Who may connect: whoever can enter the socket's folder, nobody over the network.
const ACCESS: &str = "\
# Written by Kiln. The folder of the socket is closed to other users.
local all all trust
local replication all trust
";

/// Makes the cluster of `folder`: data checksums, UTF-8, byte order, our roles and database.
///
/// It is built beside its place and renamed, so that a half-made one is never taken for whole.
pub(super) fn initialise(folder: &Folder, binaries: &Binaries) -> Result<(), PostgresError> {
    let made = folder.cluster.with_extension("new");
    if made.exists() {
        std::fs::remove_dir_all(&made).map_err(PostgresError::io("remove", &made))?;
    }
    folder.make_private(&made)?;
    let mut initdb = folder.command(&binaries.program("initdb"));
    initdb.args(["--no-sync", "--no-instructions", "--data-checksums", "--auth=trust"]);
    initdb.args(["--encoding=UTF8", "--locale=C", "--username=postgres", "-D"]).arg(&made);
    run("initdb", initdb, "")?;

    let mut server = folder.command(&binaries.program("postgres"));
    // Without -F each statement would wait for the disk; everything is written out below.
    server.args(["--single", "-F", "-c", "exit_on_error=on", "-D"]).arg(&made).arg("postgres");
    run("postgres", server, FOUNDATION)?;

    let access = made.join("pg_hba.conf");
    std::fs::write(&access, ACCESS).map_err(PostgresError::io("write", &access))?;
    write_out(folder, binaries, &made)?;
    std::fs::rename(&made, &folder.cluster).map_err(PostgresError::io("rename", &made))?;
    let parent = folder.cluster.parent().unwrap_or(Path::new("/"));
    File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(PostgresError::io("write out", parent))
}

/// Brings the new files to the disk.
#[cfg(target_os = "linux")]
fn write_out(_: &Folder, _: &Binaries, made: &Path) -> Result<(), PostgresError> {
    // One call for the file system costs a fraction of one for each of a thousand files.
    File::open(made)
        .and_then(|made| rustix::fs::syncfs(made).map_err(std::io::Error::from))
        .map_err(PostgresError::io("write out", made))
}

/// Brings the new files to the disk.
#[cfg(not(target_os = "linux"))]
fn write_out(folder: &Folder, binaries: &Binaries, made: &Path) -> Result<(), PostgresError> {
    let mut initdb = folder.command(&binaries.program("initdb"));
    initdb.arg("--sync-only").arg("-D").arg(made);
    run("initdb", initdb, "")
}

/// Runs a program to its end with `input`; what it said is kept for the error.
fn run(program: &'static str, mut command: Command, input: &str) -> Result<(), PostgresError> {
    let path = Path::new(command.get_program()).to_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(PostgresError::io("run", &path))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early closes its input; its own words tell more than that.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(PostgresError::io("run", &path))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let output_text = last_lines(&String::from_utf8_lossy(&said), 12);
    Err(PostgresError::Failed { program, status: output.status, output: output_text })
}

/// The end of what a program of PostgreSQL said, without the refusals of clients that came before
/// it was ready, which are ours and push out why it is not.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !is_refusal(line)).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Why a server does not start, in a line: its last complaint, without the time and the process.
pub(super) fn complaint(output: &str) -> Option<&str> {
    let of = |level: &str| output.lines().rev().find_map(|line| Some(line.split_once(level)?.1));
    // The process that could not go on says it; the others only say that it ended.
    let complaint = of("PANIC:").or_else(|| of("FATAL:")).or_else(|| of("ERROR:"));
    complaint.map(str::trim)
}

/// Whether a line is about a client that came too early or too late.
fn is_refusal(line: &str) -> bool {
    let Some((_, said)) = line.split_once("FATAL:") else {
        return line.contains("DETAIL:  Consistent recovery state has not been yet reached");
    };
    said.contains("not yet accepting connections")
        || ["starting up", "shutting down", "in recovery mode"]
            .iter()
            .any(|state| said.contains(&format!("the database system is {state}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_however_many_clients_were_refused() {
        let refused = "2026-11-27 20:00:01.000 UTC [9] FATAL:  the database system is not yet \
                       accepting connections\n\
                       2026-11-27 20:00:01.000 UTC [9] DETAIL:  Consistent recovery state has not \
                       been yet reached.\n\
                       2026-11-27 20:00:01.000 UTC [9] FATAL:  the database system is starting up\n";
        let log = format!(
            "2026-11-27 20:00:00.000 UTC [7] LOG:  redo starts at 0/1\n\
             2026-11-27 20:00:01.000 UTC [8] FATAL:  could not write to file \"pg_wal/xlogtemp.8\": \
             No space left on device\n{}\
             2026-11-27 20:00:01.000 UTC [7] LOG:  startup process (PID 8) exited with exit code 1\n",
            refused.repeat(20)
        );
        let end = last_lines(&log, 12);
        assert_eq!(end.lines().count(), 3, "{end}");
        let expected = "could not write to file \"pg_wal/xlogtemp.8\": No space left on device";
        assert_eq!(complaint(&end), Some(expected));
        assert_eq!(complaint(&format!("{end}x PANIC:  worse\n")), Some("worse"));
        assert_eq!(complaint("x LOG:  all is well"), None);
    }
}
