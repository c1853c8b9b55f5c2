//! Where the first rows of patients lie: no index of theirs has the order of ids, and along the time the database would
//! walk millions of rows to meet some of a patient who was not there of late.

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

/// Some of these rows.
struct Branch {
    /// What holds for them.
    text: String,
    /// How the text names the patients without whom it holds for no row; it does not say it itself.
    patients: Option<String>,
}

impl<'p> Places<'p> {
    /// Rows for which `condition` may hold, within `bounds`.
    pub(super) fn of(condition: &Condition, bounds: Bounds, parties: &'p Parties) -> Self {
        let mut within = Where::within(bounds, parties);
        let branches = branches(condition).into_iter().map(|mut all| {
            let place = all.iter().position(|part| matches!(part, Condition::Patients(_)));
            let patients = match place.map(|place| all.remove(place)) {
                Some(Condition::Patients(hashes)) => Some(within.value(hashes.clone())),
                _ => None,
            };
            let rest = within.all(&all);
            Branch { text: format!("{}{rest}", within.text), patients }
        });
        let branches = branches.collect();
        Self { within, branches }
    }

    /// Where the first `limit` of them lie; `None` where very many would have to be looked at. Rows of one patient are in
    /// an index by spans of hours, those of several (searches) are all found.
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
        let branches = self.branches.iter().map(|Branch { text, patients }| match patients {
            Some(patients) => format!(
                "(SELECT x.id FROM unnest({patients}::bigint[]) p (hash) CROSS JOIN LATERAL (\
                 SELECT id FROM ledger WHERE patient = p.hash AND {} AND {text} \
                 ORDER BY kiln_hours(id) {order}, id {order} LIMIT {limit}) x) UNION ALL \
                 (SELECT id FROM ledger WHERE patients && {patients}::bigint[] AND {text} LIMIT {MANY})",
                spans("kiln_hours")
            ),
            None => {
                format!("(SELECT id FROM ledger WHERE {} AND {text} LIMIT {MANY})", spans("kiln_time"))
            }
        });
        let branches: Vec<String> = branches.collect();
        format!(
            "WITH f AS MATERIALIZED ({}) \
             SELECT id, (SELECT count(*) FROM f) FROM f ORDER BY id {order} LIMIT {limit}",
            branches.join(" UNION ALL ")
        )
    }
}

/// The conditions of which one holds where `condition` does, each as conditions that all hold: so that in each, if that can
/// be, patients are named.
fn branches(condition: &Condition) -> Vec<Vec<&Condition>> {
    let mut all = parts(condition);
    let names = |part: &&Condition| matches!(part, Condition::Patients(_));
    let any = |part: &&Condition| matches!(part, Condition::Any(_)) && names_patients(part);
    match all.iter().position(any) {
        Some(place) if !all.iter().any(names) => {
            let any = all.remove(place);
            let each = |one| parts(one).into_iter().chain(all.iter().copied()).collect();
            alternatives(any).into_iter().map(each).collect()
        }
        _ => vec![all],
    }
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
        let actor = Condition::Actor(vec!["user:a".to_owned()]);
        let all = |parts: &[&Condition]| Condition::All(parts.iter().copied().cloned().collect());
        let any = |parts: &[&Condition]| Condition::Any(parts.iter().copied().cloned().collect());
        let both = " AND (patient = ANY($6::bigint[]) OR patients && $6::bigint[])";
        for (condition, expected) in [
            (patients.clone(), &[(Some("$6"), "")][..]),
            (all(&[&other, &all(&[&patients])]), &[(Some("$6"), " AND outcome = ANY($7)")]),
            (all(&[&patients, &patients]), &[(Some("$6"), &*both.replace('6', "7"))]),
            (
                all(&[&any(&[&patients, &any(&[&all(&[&actor, &other])])]), &other]),
                &[
                    (Some("$6"), " AND outcome = ANY($7)"),
                    (None, " AND actor_key = $8 AND outcome = ANY($9) AND outcome = ANY($10)"),
                ],
            ),
            (
                all(&[&any(&[&patients, &other]), &patients]),
                &[(
                    Some("$6"),
                    " AND ((patient = ANY($7::bigint[]) OR patients && $7::bigint[]) OR outcome = ANY($8))",
                )],
            ),
            (
                any(&[&patients, &other]),
                &[(None, &*format!("{} OR outcome = ANY($7))", both.replacen('(', "((", 1)))],
            ),
        ] {
            let parties = Parties::default();
            let places = Places::of(&condition, Bounds::of(&Condition::always()), &parties);
            let found: Vec<_> = places
                .branches
                .iter()
                .map(|branch| {
                    let text =
                        branch.text.strip_prefix(&places.within.text).expect("within the bounds");
                    (branch.patients.as_deref(), text)
                })
                .collect();
            assert_eq!(found, expected, "{condition:?}");
            let sql = places.sql("DESC", 7);
            for (patients, text) in found {
                let hours = patients.map(|name| format!("FROM unnest({name}::bigint[]) p (hash)"));
                assert!(hours.is_none_or(|hours| sql.contains(&hours)), "{sql}");
                let several = patients.map(|name| format!("patients && {name}::bigint[] AND tid"));
                assert!(several.is_none_or(|several| sql.contains(&several)), "{sql}");
                assert!(sql.contains(text), "{sql}");
            }
        }
    }
}
