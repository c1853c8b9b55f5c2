//! Where the first rows of patients lie: their indexes have the order of ids by spans of a minute or not at all, and along the
//! time the database would walk millions of rows to meet some of a patient who was not there of late.

use deadpool_postgres::Object;

use super::super::failure;
use super::compile::{Bounds, Parties, Where, names_patients, spans};
use crate::audit::query::Condition;
use crate::error::Error;

/// Up to how many rows are all found to tell which come first, about a microsecond each.
const MANY: i64 = 500_000;

/// Rows for which a condition of patients may hold.
pub(super) struct Places<'p> {
    within: Where<'p>,
    branches: Vec<Branch>,
}

/// Most patients who are looked up one after the other.
const FEW: usize = 8;

/// Some of these rows.
struct Branch {
    /// What holds for them.
    text: String,
    /// Of whom they are, where that is so and the text does not say it.
    patients: Option<Patients>,
}

/// How a text names patients.
#[derive(Debug, Eq, PartialEq)]
struct Patients {
    all: String,
    /// Each by a value of its own: how many rows one has differs by thousands, and that plans go by.
    each: Vec<String>,
}

impl<'p> Places<'p> {
    /// Rows for which `condition` may hold, within `bounds`.
    pub(super) fn of(condition: &Condition, bounds: Bounds, parties: &'p Parties) -> Self {
        let mut within = Where::within(bounds, parties);
        let branches = branches(condition).into_iter().map(|mut all| {
            let place = all.iter().position(|part| of_few(part));
            let patients = match place.map(|place| all.remove(place)) {
                Some(Condition::Patients(hashes)) => {
                    let each = hashes.iter().map(|hash| within.value(*hash)).collect();
                    Some(Patients { all: within.value(hashes.clone()), each })
                }
                _ => None,
            };
            let rest = within.all(&all);
            Branch { text: format!("{}{rest}", within.text), patients }
        });
        let branches = branches.collect();
        Self { within, branches }
    }

    /// Where the first `limit` of them lie; `None` where very many would have to be looked at. Rows of one patient are in
    /// an index by spans of a minute, those of several (searches) are all found.
    pub(super) async fn first(
        &self,
        connection: &Object,
        order: &str,
        limit: usize,
    ) -> Result<Option<Bounds>, Error> {
        let sql = self.sql(order, limit);
        let statement = connection.prepare_cached(&sql).await.map_err(failure::error)?;
        let rows = connection.query(&statement, &self.within.parameters()).await;
        let mut place = Bounds::NOWHERE;
        for row in rows.map_err(failure::costly)? {
            if row.try_get::<_, i64>(1).map_err(failure::error)? >= MANY {
                return Ok(None);
            }
            place = place.with(row.try_get(0).map_err(failure::error)?);
        }
        Ok(Some(place))
    }

    fn sql(&self, order: &str, limit: usize) -> String {
        let mut all = Vec::new();
        for Branch { text, patients } in &self.branches {
            let Some(Patients { all: several, each }) = patients else {
                let spans = spans("kiln_time");
                all.push(format!("(SELECT id FROM ledger WHERE {spans} AND {text} LIMIT {MANY})"));
                continue;
            };
            all.extend(each.iter().map(|one| {
                format!(
                    "(SELECT id FROM ledger WHERE patient = {one} AND {} AND {text} \
                     ORDER BY kiln_moment(id) {order}, id {order} LIMIT {limit})",
                    spans("kiln_moment")
                )
            }));
            all.push(format!(
                "(SELECT id FROM ledger WHERE patients && {several}::bigint[] AND {text} LIMIT {MANY})"
            ));
        }
        format!(
            "WITH f AS MATERIALIZED ({}) \
             SELECT id, (SELECT count(*) FROM f) FROM f ORDER BY id {order} LIMIT {limit}",
            all.join(" UNION ALL ")
        )
    }
}

/// The conditions of which one holds where `condition` does, each as conditions that all hold: so that in each, if that can
/// be, patients are named.
fn branches(condition: &Condition) -> Vec<Vec<&Condition>> {
    let mut all = parts(condition);
    let any = |part: &&Condition| matches!(part, Condition::Any(_)) && names_patients(part);
    match all.iter().position(any) {
        Some(place) if !all.iter().any(|part| of_few(part)) => {
            let any = all.remove(place);
            let each = |one| parts(one).into_iter().chain(all.iter().copied()).collect();
            alternatives(any).into_iter().map(each).collect()
        }
        _ => vec![all],
    }
}

/// Whether a condition is to be of one of few patients.
fn of_few(condition: &Condition) -> bool {
    matches!(condition, Condition::Patients(hashes) if hashes.len() <= FEW)
}

/// The conditions one of which holds where one does.
fn alternatives(condition: &Condition) -> Vec<&Condition> {
    match condition {
        Condition::Any(any) => any.iter().flat_map(alternatives).collect(),
        one => vec![one],
    }
}

/// The conditions all of which hold where one does.
fn parts(condition: &Condition) -> Vec<&Condition> {
    match condition {
        Condition::All(all) => all.iter().flat_map(parts).collect(),
        one => vec![one],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_patients_who_must_be_named() {
        let (patients, other) = (Condition::Patients(vec![1]), Condition::Outcomes(vec![4]));
        let many = Condition::Patients((0..=8).collect());
        let actor = Condition::Actor(vec!["user:a".to_owned()]);
        let all = |parts: &[&Condition]| Condition::All(parts.iter().copied().cloned().collect());
        let any = |parts: &[&Condition]| Condition::Any(parts.iter().copied().cloned().collect());
        let of = |name: &str| {
            format!("(patient = ANY({name}::bigint[]) OR patients && {name}::bigint[])")
        };
        let one = Some((&["$6"][..], "$7"));
        for (condition, expected) in [
            (patients.clone(), vec![(one, String::new())]),
            (Condition::Patients(vec![1, 2]), vec![(Some((&["$6", "$7"], "$8")), String::new())]),
            (all(&[&other, &all(&[&patients])]), vec![(one, " AND outcome = ANY($8)".to_owned())]),
            (all(&[&patients, &patients]), vec![(one, format!(" AND {}", of("$8")))]),
            (many.clone(), vec![(None, format!(" AND {}", of("$6")))]),
            (
                all(&[&any(&[&patients, &any(&[&all(&[&actor, &other])])]), &other]),
                vec![
                    (one, " AND outcome = ANY($8)".to_owned()),
                    (
                        None,
                        " AND actor_key = $9 AND outcome = ANY($10) AND outcome = ANY($11)"
                            .to_owned(),
                    ),
                ],
            ),
            (
                all(&[&any(&[&patients, &other]), &patients]),
                vec![(one, format!(" AND ({} OR outcome = ANY($9))", of("$8")))],
            ),
            (
                any(&[&patients, &other]),
                vec![(None, format!(" AND ({} OR outcome = ANY($7))", of("$6")))],
            ),
        ] {
            let parties = Parties::default();
            let places = Places::of(&condition, Bounds::of(&Condition::always()), &parties);
            let told = |(each, all): (&[&str], &str)| Patients {
                all: all.to_owned(),
                each: each.iter().copied().map(str::to_owned).collect(),
            };
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(of, rest)| (of.map(told), format!("{}{rest}", places.within.text)))
                .collect();
            let found: Vec<_> =
                places.branches.into_iter().map(|branch| (branch.patients, branch.text)).collect();
            assert_eq!(found, expected, "{condition:?}");
        }
    }

    #[test]
    fn those_of_one_patient_come_in_the_order_of_an_index_and_others_are_all_found() {
        let actor = Condition::Actor(vec!["user:a".to_owned()]);
        let either = Condition::Any(vec![Condition::Patients(vec![1]), actor]);
        let parties = Parties::default();
        let places = Places::of(&either, Bounds::of(&Condition::always()), &parties);
        let within = "tid = $1 AND id >= $2 AND id <= $3 AND at >= $4 AND at <= $5";
        let expected = format!(
            "WITH f AS MATERIALIZED (\
             (SELECT id FROM ledger WHERE patient = $6 AND kiln_moment(id) >= kiln_moment($2) AND \
             kiln_moment(id) <= kiln_moment($3) AND {within} ORDER BY kiln_moment(id) DESC, id DESC LIMIT 7) UNION ALL \
             (SELECT id FROM ledger WHERE patients && $7::bigint[] AND {within} LIMIT 500000) UNION ALL \
             (SELECT id FROM ledger WHERE kiln_time(id) >= kiln_time($2) AND kiln_time(id) <= kiln_time($3) AND \
             {within} AND actor_key = $8 LIMIT 500000)) \
             SELECT id, (SELECT count(*) FROM f) FROM f ORDER BY id DESC LIMIT 7"
        );
        assert_eq!(places.sql("DESC", 7), expected);
    }
}
