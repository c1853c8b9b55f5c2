//! Rows of `tok` to walk.

use crate::fhir::ResourceType;
use crate::store::hash::Hasher;

use super::super::compile::{Compiler, Row};
use super::super::sql::Bind;
use super::{Source, union};

/// From so many hashes on it is asked first which of them there are.
const MANY: usize = 16;

/// Codes that are left out: hashes, and of which system where that counts.
type Without<'a> = &'a [(i64, Option<i32>)];

impl Compiler<'_, '_> {
    /// The rows of tokens.
    pub(super) fn token_rows(
        &mut self,
        keys: &[(i64, Option<i32>)],
        types: &[ResourceType],
    ) -> Source {
        let alias = self.alias();
        let row = Row::key(&alias, true, types.to_vec());
        let table = format!("tok {alias}");
        if let [(h, system)] = keys {
            let mut condition = format!("{alias}.h = {}", self.binds.long(*h));
            if let Some(system) = system {
                let system = self.binds.add(Bind::Int(*system));
                condition = format!("{condition} AND {alias}.sysh = {system}");
            }
            let is_twice = system.is_none();
            let source = Source::walk(None, table, condition, row);
            return source.with_duplicates(is_twice, is_twice);
        }
        let list = self.alias();
        if keys.iter().all(|(_, system)| system.is_none()) {
            let hashes = self.binds.longs(keys.iter().map(|(h, _)| *h));
            let mut each = format!("unnest({hashes}) {list}(h)");
            if keys.len() > MANY {
                // Most of many lead to nothing, which a look tells at less than a walk.
                each = format!(
                    "(SELECT u.h FROM unnest({hashes}) u(h) \
                     WHERE EXISTS (SELECT FROM tok e WHERE e.h = u.h OFFSET 0)) {list}(h)"
                );
            }
            let condition = format!("{alias}.h = {list}.h");
            return Source::walk(Some(each), table, condition, row).with_duplicates(true, true);
        }
        let each = format!("{} {list}(h, y)", self.pairs(keys));
        let condition =
            format!("{alias}.h = {list}.h AND ({list}.y IS NULL OR {alias}.sysh = {list}.y)");
        Source::walk(Some(each), table, condition, row).with_duplicates(true, true)
    }

    /// The rows of all codes of parameters but some, and of `with`.
    pub(super) fn other_token_rows(
        &mut self,
        (parameters, without, with): (&[i64], Without<'_>, &[i64]),
        types: &[ResourceType],
    ) -> Source {
        let (alias, list) = (self.alias(), self.alias());
        let without = self.pairs(without);
        let parameters = self.binds.longs(parameters.iter().copied());
        let with = self.binds.longs(with.iter().copied());
        let each = format!(
            "(SELECT u.h, u.y FROM token_code u WHERE u.p = ANY ({parameters}) \
             AND NOT EXISTS (SELECT FROM {without} w(h, y) \
             WHERE w.h = u.h AND (w.y IS NULL OR w.y = u.y)) \
             UNION ALL SELECT unnest({with}), 0) {list}(h, y)"
        );
        let condition = format!("{alias}.h = {list}.h AND {alias}.sysh = {list}.y");
        let row = Row::key(&alias, true, types.to_vec());
        let source = Source::walk(Some(each), format!("tok {alias}"), condition, row);
        source.with_duplicates(true, false)
    }

    /// Queries of columns of the rows `w` of `tok` that are called by systems as these signs are.
    fn named_by_systems(&mut self, columns: &str, signs: &[i64]) -> Vec<String> {
        let one = |sign: &i64| {
            let name = self.binds.add(Bind::Int(Hasher::shortened(*sign)));
            // A range: for one value the database expects what systems have on the average, and where
            // there are few systems it reads the whole table.
            format!(
                "SELECT {columns} FROM tok w WHERE w.sysh BETWEEN {name} AND {name} AND w.sysh <> 0"
            )
        };
        signs.iter().map(one).collect()
    }

    /// A query of as many rows as [`Self::system_rows`] sorts.
    pub(in crate::store::search) fn system_names(&mut self, signs: &[i64]) -> String {
        union(&self.named_by_systems("1", signs))
    }

    /// What has a token of one of some systems, by the signs of those. More than one may be called alike
    /// in `tok`, so the resource is asked, from the first on: all are sorted before.
    pub(super) fn system_rows(&mut self, signs: &[i64], types: &[ResourceType]) -> Source {
        let alias = self.alias();
        let named = union(&self.named_by_systems("w.s, w.rid", signs));
        let row = Row::key(&alias, true, types.to_vec());
        let has_sign = self
            .resource_column(&row, None, "toks", |binds, toks| Self::overlaps(binds, toks, signs));
        let table = format!(
            "(SELECT DISTINCT w.s, w.rid FROM ({named}) w ORDER BY w.s DESC, w.rid DESC) {alias}"
        );
        Source::walk(None, table, format!("true{}", has_sign.and()), row)
    }

    /// A query of the keys of resources with a token of a system, by the sign of it.
    pub(super) fn rows_of_system(&mut self, sign: i64) -> String {
        let named = union(&self.named_by_systems("w.rid", &[sign]));
        let sign = self.binds.long(sign);
        format!(
            "{named} AND EXISTS (SELECT FROM srow x WHERE x.rid = w.rid AND {sign} = ANY (x.toks) OFFSET 0)"
        )
    }
}
