//! Whose patients somebody has: by care teams, by organizations, and by being or standing for them.

use std::collections::BTreeSet;
use std::slice::from_ref;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::access::grant::Panels;
use crate::error::Error;
use crate::fhir::datetime::Zone;
use crate::fhir::json::{self, Value};
use crate::fhir::reference::Target;
use crate::fhir::{Instant, LogicalId, ResourceType};
use crate::search::values::date::DateRange;
use crate::store::connection::Reader;
use crate::store::hash::Hasher;
use crate::store::rows::JsonText;
use crate::store::{Parameters, Store, TENANT, failure};

/// Live resources of a type by what they refer to: $1 hashes, $2 type; the reference at $3 of each,
/// a path below the root, with what says whether it is in force, with $4 by periods too: its own, and the
/// participants where one of them has any.
const REFERRING: &str = "SELECT DISTINCT r.id, f.v->>'reference', \
     coalesce(r.body->>'status', 'active') = 'active' AND coalesce(r.body->>'active', 'true') = 'true', \
     CASE WHEN $4 THEN r.body->'period' END, \
     CASE WHEN $4 AND jsonb_path_exists(r.body, '$.participant[*].period') THEN r.body->'participant' END \
     FROM tok t JOIN res r ON r.rid = t.rid AND r.dk = t.dk \
     LEFT JOIN LATERAL jsonb_path_query(r.body, $3::text::jsonpath) f(v) ON true \
     WHERE t.h = ANY($1::bigint[]) AND r.rt = $2 AND r.op <> 'D'";

/// The same reference of one live resource: $1 tenant, $2 and $3 which; with what says whether it is in force.
const OWN: &str = "SELECT f.v->>'reference', coalesce(r.body->>'active', 'true') = 'true', r.body->'period' \
     FROM ident i JOIN res r ON r.rid = i.rid AND r.dk = i.dk \
     CROSS JOIN LATERAL jsonb_path_query(r.body, $4::text::jsonpath) f(v) \
     WHERE i.tid = $1 AND i.rt = $2 AND i.id = $3 AND r.op <> 'D'";

/// Where a Patient names the record that took its place.
const REPLACED_BY: &str = r#"$.link[*] ? (@.type == "replaced-by").other"#;

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[OWN, REFERRING];

/// A user.
type Who<'a> = &'a (ResourceType, LogicalId);

impl Store {
    /// The patients of whoever a resource stands for, by each way to have some that is in force.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database: then there is no principal.
    pub async fn panels(
        &self,
        user: &(ResourceType, LogicalId),
        now: Instant,
    ) -> Result<Panels, Error> {
        let organizations = self.organizations(user, now).await?;
        let care_team =
            self.referring("CareTeam", "participant", from_ref(user), ("$.subject", now)).await?;
        let mut organization = BTreeSet::new();
        let organizations: Vec<_> = organizations.into_iter().map(organization_of).collect();
        let path = ("$.none", now);
        for one in self.referring("Patient", "organization", &organizations, path).await? {
            organization.insert(self.hasher().patient(&one.id));
        }
        let patients = care_team
            .iter()
            .filter(|team| team.is_active)
            .filter_map(|team| self.patient(team.reference.as_deref()?));
        Ok(Panels {
            care_team: patients.collect::<BTreeSet<_>>().into_iter().collect(),
            organization: organization.into_iter().collect(),
            own: self.own(user, now).await?,
        })
    }

    /// The organizations for which somebody works.
    ///
    /// # Errors
    /// As [`Store::panels`].
    pub async fn organizations(
        &self,
        user: &(ResourceType, LogicalId),
        now: Instant,
    ) -> Result<Vec<LogicalId>, Error> {
        let path = ("$.organization", now);
        let found =
            self.referring("PractitionerRole", "practitioner", from_ref(user), path).await?;
        let base = self.parameters()?.extractor.base().to_owned();
        let organizations = found.iter().filter(|role| role.is_active).filter_map(|role| {
            match Target::parse(role.reference.as_deref()?, &base) {
                Target::Local { resource_type, id, .. } => {
                    (resource_type.as_str() == "Organization").then_some(id)
                }
                _ => None,
            }
        });
        Ok(organizations.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Who a user is, or stands for.
    async fn own(&self, user: Who<'_>, now: Instant) -> Result<Vec<i64>, Error> {
        let (of, id) = user;
        let path = match *of {
            ResourceType::PATIENT => {
                let mut own = vec![self.hasher().patient(id)];
                own.extend(self.survivor(id).await?);
                return Ok(own);
            }
            ResourceType::RELATED_PERSON => "$.patient",
            of if of.as_str() == "Person" => "$.link[*].target",
            _ => return Ok(Vec::new()),
        };
        let mut own = BTreeSet::new();
        for row in self.own_rows(user, path).await? {
            let is_active: bool = row.try_get(1).map_err(failure::error)?;
            if is_active && is_in_force(&row, 2, now)? {
                let reference: Option<&str> = row.try_get(0).map_err(failure::error)?;
                own.extend(reference.and_then(|reference| self.patient(reference)));
            }
        }
        Ok(own.into_iter().collect())
    }

    /// The patient whose record took the place of another one's when both were merged.
    ///
    /// # Errors
    /// As [`Store::panels`].
    pub async fn survivor(&self, patient: &LogicalId) -> Result<Option<i64>, Error> {
        let merged = (ResourceType::PATIENT, patient.clone());
        let all = self.referred(&merged, REPLACED_BY).await?;
        let itself = self.hasher().patient(patient);
        // Where it is not clear which one it is, it is none.
        let mut others = all.into_iter().filter(|other| *other != itself);
        Ok(others.next().filter(|_| others.next().is_none()))
    }

    /// The patients that a live resource refers to at a path.
    async fn referred(&self, who: Who<'_>, path: &str) -> Result<BTreeSet<i64>, Error> {
        let all = self.references(who, path).await?;
        Ok(all.iter().filter_map(|text| self.patient(text)).collect())
    }

    /// The references of a live resource at a path.
    pub(super) async fn references(
        &self,
        who: Who<'_>,
        path: &str,
    ) -> Result<BTreeSet<String>, Error> {
        let mut own = BTreeSet::new();
        for row in self.own_rows(who, path).await? {
            let reference: Option<String> = row.try_get(0).map_err(failure::error)?;
            own.extend(reference);
        }
        Ok(own)
    }

    async fn own_rows(&self, (of, id): Who<'_>, path: &str) -> Result<Vec<Row>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let reader = Reader::Shared(&pipeline);
        reader.query(OWN, &[&TENANT, &of.code(), &id.as_str(), &path]).await
    }

    /// Resources of a type that refer to one of `targets` by a parameter, and whether that is so now.
    async fn referring(
        &self,
        name: &str,
        code: &str,
        targets: &[(ResourceType, LogicalId)],
        (path, now): (&str, Instant),
    ) -> Result<Vec<Referring>, Error> {
        let of: ResourceType = name.parse().map_err(Error::internal)?;
        let known = self.parameters()?;
        let hashes: Vec<i64> = targets
            .iter()
            .flat_map(|target| hashes(&known, self.hasher(), (of, code), target))
            .collect();
        if hashes.is_empty() {
            return Ok(Vec::new());
        }
        let pipeline = self.0.readers.pipeline().await?;
        let has_periods = of != ResourceType::PATIENT;
        let parameters: [&(dyn ToSql + Sync); 4] = [&hashes, &of.code(), &path, &has_periods];
        let rows = Reader::Shared(&pipeline).query(REFERRING, &parameters).await?;
        let is_target = |reference: &str| {
            let target = Target::parse(reference, known.extractor.base());
            let Target::Local { resource_type, id, .. } = target else { return false };
            targets.contains(&(resource_type, id))
        };
        rows.iter().map(|row| Referring::of(row, is_target, now)).collect()
    }

    fn patient(&self, reference: &str) -> Option<i64> {
        let known = self.parameters().ok()?;
        match Target::parse(reference, known.extractor.base()) {
            Target::Local { resource_type: ResourceType::PATIENT, id, .. } => {
                Some(self.hasher().patient(&id))
            }
            _ => None,
        }
    }
}

/// A resource that refers to another.
struct Referring {
    id: LogicalId,
    reference: Option<String>,
    is_active: bool,
}

impl Referring {
    fn of(row: &Row, is_target: impl Fn(&str) -> bool, now: Instant) -> Result<Self, Error> {
        let id: &str = row.try_get(0).map_err(failure::error)?;
        let is_active: bool = row.try_get(2).map_err(failure::error)?;
        Ok(Self {
            id: id.parse().map_err(Error::internal)?,
            reference: row.try_get(1).map_err(failure::error)?,
            is_active: is_active && is_in_force(row, 3, now)? && takes_part(row, is_target, now)?,
        })
    }
}

/// Whether a moment lies in the Period of a column; where there is none it does.
fn is_in_force(row: &Row, at: usize, now: Instant) -> Result<bool, Error> {
    let text: Option<JsonText<'_>> = row.try_get(at).map_err(failure::error)?;
    let Some(text) = text else { return Ok(true) };
    let period = json::parse(text.0).map_err(Error::internal)?;
    Ok(has(Some(&period), now))
}

fn has(period: Option<&Value<'_>>, now: Instant) -> bool {
    let range = period.and_then(|period| DateRange::of_period(period, Zone::UTC));
    range.is_none_or(|range| range.has(now))
}

/// Whether one of the participants that were asked for takes part at that moment.
fn takes_part(row: &Row, is_target: impl Fn(&str) -> bool, now: Instant) -> Result<bool, Error> {
    let text: Option<JsonText<'_>> = row.try_get(4).map_err(failure::error)?;
    let Some(text) = text else { return Ok(true) };
    let participants = json::parse(text.0).map_err(Error::internal)?;
    let is_one = |participant: &Value<'_>| {
        let member = participant.get("member").and_then(|member| member.str_at("reference"));
        member.is_some_and(&is_target) && has(participant.get("period"), now)
    };
    Ok(participants.as_array().is_some_and(|all| all.iter().any(is_one)))
}

/// The hashes under which references of a parameter to a resource are.
fn hashes(
    known: &Parameters,
    hasher: &Hasher,
    (of, code): (ResourceType, &str),
    (target, id): &(ResourceType, LogicalId),
) -> Vec<i64> {
    let identity = hasher.identity(*target, id);
    let Some(stored) = known.stored(of, code) else { return Vec::new() };
    let fits = |part: &(i64, Option<ResourceType>)| part.1.is_none_or(|of| of == *target);
    let parts = stored.parts.iter().filter(|part| fits(part)).map(|(part, _)| *part);
    let own = stored.parts.is_empty().then_some(stored.own);
    parts.chain(own).map(|parameter| Hasher::reference(parameter, identity)).collect()
}

fn organization_of(id: LogicalId) -> (ResourceType, LogicalId) {
    let of = "Organization".parse().unwrap_or(ResourceType::PATIENT);
    (of, id)
}
