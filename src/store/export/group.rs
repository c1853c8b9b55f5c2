//! Whose data an export is about.

use std::collections::{BTreeSet, HashSet};

use crate::error::Error;
use crate::fhir::datetime::Zone;
use crate::fhir::json::{self, Value};
use crate::fhir::reference::Target;
use crate::fhir::{Identity, Instant, IssueCode, LogicalId, ResourceType};
use crate::search::values::date::DateRange;
use crate::store::rows;
use crate::store::search::bulk::{BulkWalk, Whose};

use super::walk::{SOME, Walker};
use super::{ExportLevel, notice};

impl Walker<'_, '_> {
    /// Whose compartments are walked.
    pub(super) async fn find_members(&mut self) -> Result<(), Error> {
        let hasher = self.store.hasher();
        let asked: BTreeSet<i64> = self.plan.patients.iter().map(|id| hasher.patient(id)).collect();
        let members = match &self.plan.level {
            ExportLevel::Group(id) => Some(self.members_of(id).await?),
            ExportLevel::Patient if !asked.is_empty() => Some(asked.clone()),
            ExportLevel::Patient | ExportLevel::System => None,
        };
        self.tell_unknown(members.as_ref()).await?;
        let is_asked = |patient: &i64| asked.is_empty() || asked.contains(patient);
        self.members = members.map(|all| all.into_iter().filter(is_asked).collect());
        Ok(())
    }

    /// The patients who are members of a Group at the moment of the export.
    async fn members_of(&mut self, id: &LogicalId) -> Result<BTreeSet<i64>, Error> {
        let hasher = self.store.hasher();
        let identity = [hasher.identity(ResourceType::GROUP, id)];
        let walk = of_identities(ResourceType::GROUP, &identity);
        let missing = || Error::NotFound(format!("Group/{id}"));
        let rows = self.rows(&walk).await?;
        let row = rows.first().ok_or_else(missing)?;
        let version = rows::version(row, 2, rows::identity(row, 8)?)?;
        let body = version.body.ok_or_else(missing)?;
        let body = json::parse(&body).map_err(Error::internal)?;
        let known = self.store.parameters()?;
        let members = members(&body, self.time, known.extractor.base());
        Ok(members.map(|id| hasher.patient(&id)).collect())
    }

    /// Puts patients who were asked for and are not here, out of reach or no members, among the errors.
    async fn tell_unknown(&mut self, members: Option<&BTreeSet<i64>>) -> Result<(), Error> {
        let hasher = self.store.hasher();
        let plan = self.plan;
        for some in plan.patients.chunks(SOME) {
            let identity = |id| hasher.identity(ResourceType::PATIENT, id);
            let identities: Vec<i64> = some.iter().map(identity).collect();
            let found: HashSet<Identity> = self
                .rows(&of_identities(ResourceType::PATIENT, &identities))
                .await?
                .iter()
                .map(|row| rows::identity(row, 8))
                .collect::<Result<_, _>>()?;
            for id in some {
                let patient = Identity { resource_type: ResourceType::PATIENT, id: id.clone() };
                let is_member = members.is_none_or(|all| all.contains(&hasher.patient(id)));
                let text = match (found.contains(&patient), is_member) {
                    (true, true) => continue,
                    (true, false) => format!("{patient} is no member of the Group"),
                    (false, _) => format!("{patient} is not known"),
                };
                self.notices.push(notice(IssueCode::NotFound, text));
            }
        }
        Ok(())
    }
}

fn of_identities(of: ResourceType, identities: &[i64]) -> BulkWalk<'_> {
    let whose = Whose::Identities(identities);
    BulkWalk { of, whose, filters: &[], since: None, has_old: false }
}

/// The patients who are members of a Group at a moment; `base` is the server's public base.
pub(in crate::store) fn members<'g>(
    group: &'g Value<'_>,
    at: Instant,
    base: &'g str,
) -> impl Iterator<Item = LogicalId> + 'g {
    let members = group.items_at("member").iter().filter(move |it| is_member(it, at));
    members.filter_map(move |member| {
        let reference = member.get("entity").and_then(|it| it.str_at("reference"))?;
        match Target::parse(reference, base) {
            Target::Local { resource_type: ResourceType::PATIENT, id, .. } => Some(id),
            _ => None,
        }
    })
}

/// Whether a member is one at that moment.
fn is_member(member: &Value<'_>, at: Instant) -> bool {
    let is_inactive = member.get("inactive").and_then(Value::as_bool).unwrap_or_default();
    let period = member.get("period").and_then(|it| DateRange::of_period(it, Zone::UTC));
    !is_inactive && period.is_none_or(|period| period.has(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_counts_while_it_is_one() {
        let at = Instant::parse("2024-06-15T12:00:00Z").expect("an instant");
        for (member, expected) in [
            ("{}", true),
            (r#"{"inactive":false}"#, true),
            (r#"{"inactive":true}"#, false),
            (r#"{"period":{"start":"2024-06-15"}}"#, true),
            (r#"{"period":{"start":"2024-06-16"}}"#, false),
            (r#"{"period":{"end":"2024-06-15"}}"#, true),
            (r#"{"period":{"end":"2024-06-14"}}"#, false),
            (r#"{"period":{"start":"2020","end":"2024"}}"#, true),
            (r#"{"period":{"end":"2024-06-15T11:59:59Z"}}"#, false),
        ] {
            let value = json::parse(member.as_bytes()).expect("JSON");
            assert_eq!(is_member(&value, at), expected, "{member}");
        }
    }
}
