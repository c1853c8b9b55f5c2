//! Records of patients are erased by two persons, all of them and nothing else, and no backup brings them back.

mod backups;
mod private;
mod record;
mod rules;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::harness::database::{Database, keys_folder, temporary};
use crate::harness::server::TestServer;

/// What nothing but the record of the patient says.
const CANARY: &str = "Canarystone";

const PASSWORD: &str = "seven quiet otters";

/// Officers without a second factor.
const ROLES: &str = r#"
[roles.privacy]
scopes = ["user/Consent.cruds", "user/AuditEvent.rs", "user/Patient.rs", "user/Provenance.rs"]
panel = "all"
clearance = "V"
second_factor = false
keeps = true

[roles.practitioner]
scopes = ["user/*.cruds"]
panel = "all"
clearance = "R"
second_factor = false
"#;

/// A server, and commands beside it.
struct World {
    server: TestServer,
    place: Place,
}

/// Where commands find a database and files.
struct Place {
    folder: PathBuf,
    flags: Vec<String>,
}

impl Place {
    /// `folder` has the checkpoints, the list of erasures and the roles.
    fn of(database: &Database, folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let roles = folder.join("roles.toml");
        std::fs::write(&roles, ROLES).unwrap();
        let flags = vec![
            format!("data_dir={}", folder.join("data").display()),
            format!("database.url={}", database.app),
            format!("database.owner_url={}", database.owner),
            format!("erasure.backup_url={}", database.superuser),
            format!("audit.folder={}", folder.display()),
            format!("auth.keys_dir={}", keys_folder().display()),
            format!("auth.roles={}", roles.display()),
            "auth.mode=off".to_owned(),
        ];
        Self { folder: folder.to_owned(), flags }
    }

    /// Runs `kiln`, which is told `input`.
    fn kiln(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.args(self.flags.iter().flat_map(|flag| ["--set", flag.as_str()])).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // One that fails before it reads does not take it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// The same by somebody; what it says, if it is done.
    fn by(&self, name: &str, arguments: &[&str]) -> Result<String, String> {
        let all: Vec<&str> = arguments.iter().copied().chain(["--by", name]).collect();
        said(&self.kiln(&all, &format!("{PASSWORD}\n")))
    }

    /// The same by whoever runs commands.
    fn done(&self, arguments: &[&str]) -> String {
        said(&self.kiln(arguments, "")).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.kiln(arguments, "");
        assert!(!output.status.success(), "{arguments:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    fn add_user(&self, name: &str, role: &str) {
        let arguments = ["user", "add", name, "--role", role, "--password-stdin"];
        said(&self.kiln(&arguments, &format!("{PASSWORD}\n"))).unwrap();
    }

    /// Asks for the erasure of a record, and has it done by somebody else.
    fn erase(&self, patient: &str, number: &str) -> String {
        let reason = format!("request {number}");
        let asked = ["erase", "request", "--patient", patient, "--reason", &reason];
        self.by("ada", &asked).unwrap();
        self.by("grace", &["erase", "approve", number]).unwrap()
    }
}

impl World {
    async fn new() -> Self {
        let database = Box::pin(Database::migrated()).await;
        let place = Place::of(&database, &temporary("erasure"));
        let folder = place.folder.display().to_string();
        let server = TestServer::on(database, &[("audit.folder", folder.as_str())]).await;
        for name in ["ada", "grace"] {
            place.add_user(name, "privacy");
        }
        Self { server, place }
    }

    async fn put(&self, path: &str, body: &str) {
        let answer = self.server.client.put(path, body.to_owned()).await;
        assert!(matches!(answer.status, 200 | 201), "{path}: {}", answer.text());
    }

    /// How often something is somewhere in the whole database, as `pg_dump` writes it.
    fn dumped(&self, needle: &str) -> usize {
        let url = &self.server.database.superuser;
        let output = Command::new(programs().join("pg_dump")).arg(url).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).matches(needle).count()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.place.folder);
        }
    }
}

/// The folder of the programs of PostgreSQL.
fn programs() -> PathBuf {
    let flags = [("database.url".to_owned(), "postgres://nobody@localhost/none".to_owned())];
    let config = kiln::config::Config::load(None, &flags).unwrap();
    let program = kiln::app::postgres::program(&config, "pg_dump").unwrap();
    program.parent().unwrap().to_owned()
}

fn said(output: &Output) -> Result<String, String> {
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn observation(id: &str, patient: &str, value: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{"text":"x"}},"subject":{{"reference":"Patient/{patient}"}},"valueString":"{value}"}}"#
    )
}

fn patient(id: &str, family: &str) -> String {
    format!(
        r#"{{"resourceType":"Patient","id":"{id}","identifier":[{{"system":"urn:mrn","value":"{family}-{id}"}}],"name":[{{"family":"{family}"}}]}}"#
    )
}
