//! `_profile:below`: the profiles in use that begin so.
//!
//! Few profiles are claimed by many resources. So `meta_use`, which knows all that were ever claimed, is asked
//! which are meant, and the index has no text for each resource that claims one. What is contained is not in
//! that table and has its texts. Where nothing was asked before (criteria of a scope), `meta` tells.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#uri>, <https://hl7.org/fhir/R4/search.html#all>

use std::borrow::Cow;

use crate::error::Error;
use crate::fhir::Canonical;
use crate::search::request::compare::{AskedUri, Comparison};
use crate::search::request::{Filter, Test};
use crate::store::index::PROFILE;
use crate::store::{TENANT, failure};

use super::super::Asked;
use super::super::atom::{Atom, HERE};
use super::super::compile::Compiler;
use super::super::run::Run;
use super::super::sql::{Bind, Binds};

/// Most profiles that one comparison stands for.
const MOST: usize = 10_000;

/// How the text of a profile begins, and whether a version goes on behind it.
struct Beginning {
    text: String,
    is_version: bool,
}

impl Beginning {
    /// What a comparison of profiles asks for; `None` for one that the index answers.
    fn of(comparison: &Comparison) -> Option<Self> {
        match comparison {
            Comparison::Uri(AskedUri::Below(text)) => {
                Some(Self { text: text.to_string(), is_version: false })
            }
            Comparison::Uri(AskedUri::Is {
                url,
                version: Some(version),
                is_version_below: true,
                ..
            }) => Some(Self { text: format!("{url}|{version}"), is_version: true }),
            _ => None,
        }
    }

    /// What more parts of a version begin with.
    fn parts(&self) -> String {
        if self.text.ends_with('.') { self.text.clone() } else { format!("{}.", self.text) }
    }

    /// The canonical that a profile in use is, where it is meant.
    fn meant(&self, profile: &str) -> Option<AskedUri> {
        let Canonical { url, version, .. } = Canonical::parse(profile);
        let whole = match version {
            Some(version) => format!("{url}|{version}"),
            None => url.to_owned(),
        };
        let is_urn = whole.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:"));
        let is_meant = if self.is_version {
            whole == self.text || whole.starts_with(&self.parts())
        } else {
            whole.starts_with(&self.text) && !is_urn
        };
        // Without a version it is of any: what has one begins so too.
        is_meant.then(|| AskedUri::Is {
            url: url.into(),
            version: version.map(Into::into),
            is_version_below: false,
            fragment: None,
        })
    }
}

fn is_of_profiles(test: &Test) -> bool {
    test.parameters.iter().all(|key| &*key.code == PROFILE)
}

impl Asked<'_, '_> {
    /// `filters` with profiles in the place of how they begin. `is_inside`: what is contained is looked at too.
    pub(in crate::store::search) async fn read_profiles<'f>(
        &self,
        run: &mut Run<'_>,
        filters: Cow<'f, [Filter]>,
        is_inside: bool,
    ) -> Result<Cow<'f, [Filter]>, Error> {
        let begins = |test: &Test| test.any.iter().any(|one| Beginning::of(one).is_some());
        let is_asked =
            |it: &Filter| matches!(it, Filter::Test(test) if is_of_profiles(test) && begins(test));
        if !filters.iter().any(|filter| filter.has(&is_asked)) {
            return Ok(filters);
        }
        let mut filters = filters.into_owned();
        let mut rest: Vec<(&mut Filter, bool)> =
            filters.iter_mut().map(|filter| (filter, is_inside)).collect();
        while let Some((filter, is_inside)) = rest.pop() {
            if let Filter::Test(test) = filter {
                if is_of_profiles(test) && begins(test) {
                    self.put_profiles(run, test, is_inside).await?;
                }
                if test.any.is_empty() {
                    *filter = Filter::Any(Vec::new());
                }
                continue;
            }
            // A chain leads to what is contained too.
            let is_inside = is_inside || matches!(filter, Filter::Chain { .. });
            rest.extend(filter.parts_mut(&[]).into_iter().map(|(part, _)| (part, is_inside)));
        }
        Ok(Cow::Owned(filters))
    }

    /// Puts the profiles that a test means into it.
    async fn put_profiles(
        &self,
        run: &mut Run<'_>,
        test: &mut Test,
        is_inside: bool,
    ) -> Result<(), Error> {
        let types: Vec<i16> = test.parameters.iter().map(|key| key.resource_type.code()).collect();
        let mut any = Vec::with_capacity(test.any.len());
        for asked in std::mem::take(&mut test.any) {
            let Some(beginning) = Beginning::of(&asked) else {
                any.push(asked);
                continue;
            };
            let mut binds = Binds::default();
            let (tenant, types) =
                (binds.add(Bind::Int(TENANT)), binds.add(Bind::Shorts(types.clone())));
            let start = binds.text(beginning.text.as_str());
            let statement = binds.finish(&format!(
                "SELECT DISTINCT u.code FROM meta_use u WHERE u.tid = {tenant} AND u.rt = ANY ({types}) \
                 AND u.kind = 'p' AND starts_with(u.code, {start}) LIMIT {MOST} + 1"
            ));
            let rows = run.rows(&statement).await?;
            if rows.len() > MOST {
                return Err(Error::TooCostly(format!(
                    "more than {MOST} profiles begin so: ask for more of them"
                )));
            }
            for row in &rows {
                let profile: &str = row.try_get(0).map_err(failure::error)?;
                any.extend(beginning.meant(profile).map(Comparison::Uri));
            }
            if is_inside {
                any.push(asked);
            }
        }
        test.any = any;
        Ok(())
    }
}

impl Compiler<'_, '_> {
    /// The atoms of a test of profiles that begin so, which no row of a resource tells; `None` for other tests,
    /// and for what is contained. Profiles in their place are atoms as others are.
    pub(in crate::store::search) fn begun(
        &mut self,
        test: &Test,
        comparison: &Comparison,
    ) -> Option<Vec<Atom>> {
        if self.is_inside || !is_of_profiles(test) {
            return None;
        }
        let beginning = Beginning::of(comparison)?;
        let is_read = test
            .any
            .iter()
            .any(|it| matches!(it, Comparison::Uri(AskedUri::Is { is_version_below: false, .. })));
        if is_read {
            return Some(Vec::new());
        }
        let start = self.binds.text(beginning.text.as_str());
        let is_meant = if beginning.is_version {
            let parts = self.binds.text(beginning.parts());
            format!("p.v = {start} OR starts_with(p.v, {parts})")
        } else {
            format!("starts_with(p.v, {start}) AND lower(left(p.v, 4)) <> 'urn:'")
        };
        let condition = format!(
            "EXISTS (SELECT FROM res m CROSS JOIN LATERAL \
             (SELECT q #>> '{{}}' AS v FROM jsonb_path_query(m.meta, '$.profile[*]') q) p \
             WHERE m.rid = {HERE}rid AND ({is_meant}))"
        );
        Some(vec![Atom::Resource { condition }])
    }
}
