//! *crud*: nine linked types created, read, updated and deleted.
//!
//! Each interaction is measured alone, so that its rate can be held against its floor; then all in
//! turn, as the public benchmarks of FHIR servers do it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::floor::Statement;
use super::linked::{LinkedSet, TYPES, bodies, linked_sets};
use super::load::{Interaction, Measured, Notes, measure};
use super::{Bench, BenchError};

/// Different sets of nine.
const SETS: usize = 8;
/// Rows of the floor's table.
const FLOOR_ROWS: usize = 20_000;

/// One client: its connection, and what it has created.
struct Client {
    connection: Connection,
    sets: Arc<Vec<LinkedSet>>,
    /// Counts the sets created; starts apart from the other clients' counts.
    serial: usize,
    /// Ids of each linked set that exists, and which of [`SETS`] it was made of.
    created: Vec<(usize, [String; 9])>,
    body: Vec<u8>,
    path: String,
}

/// What is measured alone, with its floor.
const PHASES: [(Interaction, Option<Statement>); 4] = [
    (Interaction::Create, Some(Statement::Insert)),
    (Interaction::Read, Some(Statement::Select)),
    (Interaction::Update, Some(Statement::Update)),
    (Interaction::Delete, None),
];

pub(super) async fn run(bench: &mut Bench) -> Result<(), BenchError> {
    let sets = Arc::new(linked_sets(bench.args.seed, SETS));
    let bodies: Vec<String> = sets.first().map(bodies).unwrap_or_default();
    let size = bodies.iter().map(String::len).sum::<usize>() / bodies.len().max(1);
    bench.report.note(format!("bodies have {size} bytes on average"));
    if let Some(floor) = &bench.floor {
        floor.prepare(&bodies, FLOOR_ROWS).await?;
    }
    for count in bench.clients.clone() {
        let mut clients: Vec<Client> = (0..count).map(|at| Client::new(bench, &sets, at)).collect();
        let mut total = None;
        for (interaction, statement) in PHASES {
            let floor = match (&bench.floor, statement) {
                (Some(floor), Some(statement)) => {
                    let seconds = bench.args.seconds;
                    Some(floor.measure(statement, &bodies, FLOOR_ROWS, count, seconds).await?)
                }
                _ => None,
            };
            let (measured, after) = phase(bench, clients, Some(interaction)).await;
            clients = after;
            bench.report.add(count, interaction.name(), None, &measured, floor);
            if interaction == Interaction::Create && measured.notes.count(None) == 0 {
                let reason = measured.notes.first_failure.unwrap_or_default();
                return Err(BenchError::Refused(reason));
            }
            if interaction == Interaction::Delete {
                let (measured, _) = phase(bench, std::mem::take(&mut clients), None).await;
                total = Some(measured);
            }
        }
        if let Some(measured) = &total {
            bench.report.add(count, "crud, all in turn", None, measured, None);
            for (interaction, _) in PHASES {
                let name = format!("  {} in it", interaction.name());
                bench.report.add(count, &name, Some(interaction), measured, None);
            }
        }
    }
    Ok(())
}

/// All clients do `interaction`, or all four in turn, until the time is over.
async fn phase(
    bench: &Bench,
    clients: Vec<Client>,
    interaction: Option<Interaction>,
) -> (Measured, Vec<Client>) {
    let end = Instant::now() + Duration::from_secs(bench.args.seconds.max(1));
    measure(&bench.meter, clients, async |mut client: Client| {
        let mut notes = Notes::default();
        match interaction {
            None => client.in_turn(end, &mut notes).await,
            Some(Interaction::Create | Interaction::Transaction) => {
                while Instant::now() < end && !is_hopeless(&notes) {
                    client.create(end, &mut notes).await;
                }
            }
            Some(Interaction::Delete) => {
                while Instant::now() < end
                    && let Some(last) = client.created.pop()
                {
                    client.delete(&last.1, &mut notes).await;
                }
            }
            Some(other) => client.visit_all(other, end, &mut notes).await,
        }
        (client, notes)
    })
    .await
}

/// Whether so much failed that going on would only heat the room.
fn is_hopeless(notes: &Notes) -> bool {
    notes.failures > 100 && notes.failures > notes.count(None)
}

impl Client {
    fn new(bench: &Bench, sets: &Arc<Vec<LinkedSet>>, at: usize) -> Self {
        Self {
            connection: Connection::new(&bench.target),
            sets: Arc::clone(sets),
            serial: at,
            created: Vec::new(),
            body: Vec::new(),
            path: String::new(),
        }
    }

    /// Creates the nine of one set; given up when one fails or the time is over.
    async fn create(&mut self, end: Instant, notes: &mut Notes) {
        let which = self.serial % self.sets.len();
        self.serial += 1;
        let mut ids: [String; 9] = Default::default();
        for at in 0..TYPES.len() {
            if Instant::now() >= end {
                return;
            }
            self.sets[which][at].write(at, None, &ids, 0, &mut self.body);
            self.path.clear();
            self.path.push('/');
            self.path.push_str(TYPES[at]);
            let started = Instant::now();
            let answer = self.connection.send("POST", &self.path, Some(&self.body)).await;
            if !notes.note(Interaction::Create, started, &answer) {
                return;
            }
            let id = answer.ok().and_then(|answer| id_of(TYPES[at], answer.location?));
            let Some(id) = id else {
                notes.failure("create: no Location with the id".to_owned());
                return;
            };
            ids[at] = id;
        }
        self.created.push((which, ids));
    }

    /// Reads or updates what was created, round after round.
    async fn visit_all(&mut self, interaction: Interaction, end: Instant, notes: &mut Notes) {
        let mut round = 0;
        while !self.created.is_empty() {
            round += 1;
            for set in 0..self.created.len() {
                let (which, ids) = self.created[set].clone();
                for at in 0..TYPES.len() {
                    if Instant::now() >= end || is_hopeless(notes) {
                        return;
                    }
                    self.visit(interaction, which, &ids, at, round, notes).await;
                }
            }
        }
    }

    async fn visit(
        &mut self,
        interaction: Interaction,
        which: usize,
        ids: &[String; 9],
        at: usize,
        round: u64,
        notes: &mut Notes,
    ) {
        self.locate(at, &ids[at]);
        let started;
        let answer = if interaction == Interaction::Update {
            self.sets[which][at].write(at, Some(&ids[at]), ids, round, &mut self.body);
            started = Instant::now();
            self.connection.send("PUT", &self.path, Some(&self.body)).await
        } else {
            started = Instant::now();
            self.connection.send("GET", &self.path, None).await
        };
        notes.note(interaction, started, &answer);
    }

    /// Deletes a set, the last created first, so that nothing refers to what is gone.
    async fn delete(&mut self, ids: &[String; 9], notes: &mut Notes) {
        for at in (0..TYPES.len()).rev() {
            self.locate(at, &ids[at]);
            let started = Instant::now();
            let answer = self.connection.send("DELETE", &self.path, None).await;
            notes.note(Interaction::Delete, started, &answer);
        }
    }

    /// Create, read, update and delete of one set after the other.
    async fn in_turn(&mut self, end: Instant, notes: &mut Notes) {
        while Instant::now() < end && !is_hopeless(notes) {
            self.create(end, notes).await;
            let Some((which, ids)) = self.created.pop() else { continue };
            for interaction in [Interaction::Read, Interaction::Update] {
                for at in 0..TYPES.len() {
                    self.visit(interaction, which, &ids, at, 1, notes).await;
                }
            }
            self.delete(&ids, notes).await;
        }
    }

    fn locate(&mut self, at: usize, id: &str) {
        self.path.clear();
        for part in ["/", TYPES[at], "/", id] {
            self.path.push_str(part);
        }
    }
}

/// The id in `[base]/Type/id` or `[base]/Type/id/_history/1`.
fn id_of(resource_type: &str, location: &str) -> Option<String> {
    let mut parts = location.split('/');
    parts.by_ref().find(|part| *part == resource_type)?;
    parts.next().filter(|id| !id.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_read_from_the_location() {
        for (location, expected) in [
            ("http://x/fhir/Patient/1/_history/1", Some("1")),
            ("Patient/a-b", Some("a-b")),
            ("http://x/fhir/Patient", None),
            ("http://x/fhir/Group/1", None),
        ] {
            assert_eq!(id_of("Patient", location).as_deref(), expected, "{location}");
        }
    }
}
