//! Pieces of SQL: bound values, conditions, names of rows.
//!
//! A text depends on the form of a search alone: whatever a caller wrote is bound.

use std::error::Error as StdError;

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use crate::store::rows::Edge;

/// Most bytes of bits for a key: a list has twelve, which take much longer to be read and hashed.
const MOST_BYTES: usize = 32;

/// A bound value.
#[derive(Clone, Debug, Hash, PartialEq)]
pub(super) enum Bind {
    Bits(Vec<u8>),
    Int(i32),
    Ints(Vec<Option<i32>>),
    Long(i64),
    Longs(Vec<i64>),
    Short(i16),
    Shorts(Vec<i16>),
    Text(String),
    Texts(Vec<String>),
    Time(Edge),
    Uuid(Uuid),
}

impl Bind {
    fn cast(&self) -> &'static str {
        match self {
            Self::Bits(_) => "bytea",
            Self::Int(_) => "int",
            Self::Ints(_) => "int[]",
            Self::Long(_) => "bigint",
            Self::Longs(_) => "bigint[]",
            Self::Short(_) => "smallint",
            Self::Shorts(_) => "smallint[]",
            Self::Text(_) => "text",
            Self::Texts(_) => "text[]",
            Self::Time(_) => "timestamptz",
            Self::Uuid(_) => "uuid",
        }
    }
}

impl ToSql for Bind {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Bits(bits) => bits.to_sql(kind, out),
            Self::Int(value) => value.to_sql(kind, out),
            Self::Ints(values) => values.to_sql(kind, out),
            Self::Long(value) => value.to_sql(kind, out),
            Self::Longs(values) => values.to_sql(kind, out),
            Self::Short(value) => value.to_sql(kind, out),
            Self::Shorts(values) => values.to_sql(kind, out),
            Self::Text(text) => text.to_sql(kind, out),
            Self::Texts(texts) => texts.to_sql(kind, out),
            Self::Time(edge) => edge.to_sql(kind, out),
            Self::Uuid(id) => id.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        // Each placeholder is cast to the type of its value.
        true
    }

    to_sql_checked!();
}

/// The values of one statement, in the order of their placeholders.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Binds(Vec<Bind>);

impl Binds {
    /// The placeholder of `value`.
    pub(super) fn add(&mut self, value: Bind) -> String {
        let cast = value.cast();
        self.0.push(value);
        format!("${}::{cast}", self.0.len())
    }

    /// The same of a value that may be large: where it is there already, it is not sent again.
    fn add_once(&mut self, value: Bind) -> String {
        match self.0.iter().position(|known| *known == value) {
            Some(at) => format!("${}::{}", at + 1, value.cast()),
            None => self.add(value),
        }
    }

    pub(super) fn long(&mut self, value: i64) -> String {
        self.add(Bind::Long(value))
    }

    pub(super) fn longs(&mut self, values: impl IntoIterator<Item = i64>) -> String {
        self.add(Bind::Longs(values.into_iter().collect()))
    }

    pub(super) fn text(&mut self, text: impl Into<String>) -> String {
        self.add(Bind::Text(text.into()))
    }

    pub(super) fn time(&mut self, edge: Edge) -> String {
        self.add(Bind::Time(edge))
    }

    /// `column = value` for one value, `column = ANY (values)` for many.
    pub(super) fn is_one_of(&mut self, column: &str, values: &[i64]) -> String {
        if let [value] = values {
            return format!("{column} = {}", self.long(*value));
        }
        format!("{column} = ANY ({})", self.longs(values.iter().copied()))
    }

    /// `column` is one of many `keys`. Never NULL where the column is not.
    pub(super) fn is_among(&mut self, column: &str, keys: &[i64]) -> String {
        let Some((first, last, bits)) = bits(keys) else {
            // Within IS TRUE the keys are hashed; bare, they would be gone through for each row.
            let keys = self.add_once(Bind::Longs(keys.to_vec()));
            return format!("({column} IN (SELECT unnest({keys}))) IS TRUE");
        };
        let bits = self.add_once(Bind::Bits(bits));
        let (first, last) = (self.long(first), self.long(last));
        // A key beyond the ends has no bit that could be read.
        format!(
            "CASE WHEN {column} BETWEEN {first} AND {last} \
             THEN get_bit({bits}, {column} - {first}) = 1 ELSE false END"
        )
    }

    /// The same of type codes.
    pub(super) fn is_type(&mut self, column: &str, types: &[i16]) -> String {
        if let [code] = types {
            return format!("{column} = {}", self.add(Bind::Short(*code)));
        }
        format!("{column} = ANY ({})", self.add(Bind::Shorts(types.to_vec())))
    }

    /// `text` with its placeholders numbered as they come, and their values in that order: a value
    /// whose condition fell away is gone too.
    pub(super) fn finish(self, text: &str) -> Statement {
        let mut places: Vec<usize> = Vec::new();
        let mut sql = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, after) = rest.split_at(at + 1);
            sql.push_str(before);
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            // The other dollars are those of JSON paths.
            if let Ok(place) = after[..digits].parse::<usize>() {
                let known = places.iter().position(|&known| known == place);
                let number = known.unwrap_or_else(|| {
                    places.push(place);
                    places.len() - 1
                });
                sql.push_str(&(number + 1).to_string());
            }
            rest = &after[digits..];
        }
        sql.push_str(rest);
        let mut values: Vec<Option<Bind>> = self.0.into_iter().map(Some).collect();
        let value = |place: usize| values.get_mut(place.wrapping_sub(1)).and_then(Option::take);
        let binds = places.into_iter().filter_map(value).collect();
        Statement { sql, binds }
    }
}

/// The smallest and the largest key, and a bit for each between them, the least of a byte first;
/// `None` where so much would be empty that a list is better.
///
/// A row is asked in the same time however many keys there are, and nothing is prepared before the first
/// row: a walk that ends soon does not pay for all keys.
fn bits(keys: &[i64]) -> Option<(i64, i64, Vec<u8>)> {
    let (first, last) = (*keys.iter().min()?, *keys.iter().max()?);
    let place = |key: i64| usize::try_from(key.abs_diff(first)).ok();
    let bytes = place(last)? / 8 + 1;
    if bytes > keys.len().saturating_mul(MOST_BYTES) {
        return None;
    }
    let mut bits = vec![0_u8; bytes];
    for at in keys.iter().filter_map(|key| place(*key)) {
        bits[at / 8] |= 1 << (at % 8);
    }
    Some((first, last, bits))
}

/// A statement with its values.
#[derive(Clone, Debug, Hash, PartialEq)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) binds: Vec<Bind>,
}

/// A condition over a row. Never NULL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Cond {
    False,
    Sql(String),
    True,
}

impl Cond {
    pub(super) fn sql(text: impl Into<String>) -> Self {
        Self::Sql(text.into())
    }

    /// There is a row: looked up for each row of the statement around it, never joined, so that a
    /// walk that stops early stays one.
    pub(super) fn exists(from_where: &str) -> Self {
        Self::Sql(format!("EXISTS (SELECT FROM {from_where} OFFSET 0)"))
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Sql(text) => Self::Sql(format!("NOT ({text})")),
        }
    }

    pub(super) fn all(conditions: impl IntoIterator<Item = Self>) -> Self {
        Self::join(conditions, " AND ", Self::True, Self::False)
    }

    pub(super) fn any(conditions: impl IntoIterator<Item = Self>) -> Self {
        Self::join(conditions, " OR ", Self::False, Self::True)
    }

    fn join(
        conditions: impl IntoIterator<Item = Self>,
        word: &str,
        neutral: Self,
        decides: Self,
    ) -> Self {
        let mut texts = Vec::new();
        for condition in conditions {
            match condition {
                Self::Sql(text) => texts.push(text),
                other if other == decides => return decides,
                _ => {}
            }
        }
        match texts.len() {
            0 => neutral,
            1 => Self::Sql(texts.swap_remove(0)),
            _ => Self::Sql(format!("({})", texts.join(word))),
        }
    }

    /// ` AND ..`, for the end of a WHERE; empty when it always holds.
    pub(super) fn and(&self) -> String {
        match self {
            Self::True => String::new(),
            Self::False => " AND false".to_owned(),
            Self::Sql(text) => format!(" AND {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_join_and_simplify() {
        let (a, b) = (|| Cond::sql("a"), || Cond::sql("b"));
        for (found, expected) in [
            (Cond::all([a(), b()]), Cond::sql("(a AND b)")),
            (Cond::all([a(), Cond::True]), a()),
            (Cond::all([a(), Cond::False]), Cond::False),
            (Cond::all([]), Cond::True),
            (Cond::any([a(), b()]), Cond::sql("(a OR b)")),
            (Cond::any([a(), Cond::True]), Cond::True),
            (Cond::any([Cond::False]), Cond::False),
            (Cond::any([]), Cond::False),
            (a().not(), Cond::sql("NOT (a)")),
            (Cond::True.not(), Cond::False),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_placeholder_is_cast_to_the_type_of_its_value() {
        let mut binds = Binds::default();
        assert_eq!(binds.is_one_of("h", &[7]), "h = $1::bigint");
        assert_eq!(binds.is_one_of("h", &[7, 8]), "h = ANY ($2::bigint[])");
        assert_eq!(binds.is_type("rt", &[3]), "rt = $3::smallint");
        assert_eq!(binds.time(Edge::Past), "$4::timestamptz");
    }

    #[test]
    fn many_keys_are_bits_unless_most_bits_would_be_empty() {
        assert_eq!(bits(&[17, 2, 9, 10]), Some((2, 17, vec![0b1000_0001, 0b1000_0001])));
        assert_eq!(bits(&[-3, 5]), Some((-3, 5, vec![1, 1])));
        assert_eq!(bits(&[i64::MAX]), Some((i64::MAX, i64::MAX, vec![1])));
        for far in [&[i64::MIN, i64::MAX][..], &[0, 512], &[]] {
            assert_eq!(bits(far), None, "{far:?}");
        }
        let mut binds = Binds::default();
        let asked = [binds.is_among("r", &[0, 511]), binds.is_among("r", &[0, 511])];
        let begin = "CASE WHEN r BETWEEN $2::bigint AND $3::bigint THEN get_bit($1::bytea";
        assert!(asked[0].starts_with(begin), "{asked:?}");
        assert!(asked[1].contains("get_bit($1::bytea"), "sent once: {asked:?}");
        let far = binds.is_among("r", &[0, 512]);
        assert_eq!(far, "(r IN (SELECT unnest($6::bigint[]))) IS TRUE");
    }

    #[test]
    fn values_that_no_text_names_are_left_out() {
        let mut binds = Binds::default();
        let (a, b, c) = (binds.long(1), binds.long(2), binds.long(3));
        let _ = b;
        let statement = binds.finish(&format!("x = {c} AND y = {a} AND z = {c} AND '$.a'"));
        assert_eq!(statement.sql, "x = $1::bigint AND y = $2::bigint AND z = $1::bigint AND '$.a'");
        assert_eq!(statement.binds, [Bind::Long(3), Bind::Long(1)]);
    }
}
