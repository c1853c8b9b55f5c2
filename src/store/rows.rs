//! PostgreSQL values that the drivers do not know: times, JSON texts, one-byte codes.

use std::error::Error as StdError;

use bytes::{BufMut, Bytes, BytesMut};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

use crate::error::Error;
use crate::fhir::{Identity, Instant, Operation, ResourceType, Version, VersionId};

use super::failure;

type Fault = Box<dyn StdError + Sync + Send>;

/// Microseconds from 1970 to 2000, where PostgreSQL counts from.
const EPOCH_2000: i64 = 946_684_800_000_000;

/// A `timestamptz`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timestamptz(pub(super) Instant);

impl ToSql for Timestamptz {
    accepts!(TIMESTAMPTZ);
    to_sql_checked!();

    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
        out.put_i64(self.0.as_micros() - EPOCH_2000);
        Ok(IsNull::No)
    }
}

impl<'a> FromSql<'a> for Timestamptz {
    accepts!(TIMESTAMPTZ);

    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
        let micros = i64::from_be_bytes(raw.try_into()?);
        // What is `infinity` there is the last moment here.
        Ok(Self(Instant::from_micros(micros.saturating_add(EPOCH_2000))))
    }
}

/// What is in a list. NULL, elements that are NULL and lists of lists, which nobody writes and a role that may add
/// rows can, are nothing: one row must not keep all others from being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed<T>(pub(super) Vec<T>);

impl<'a, T: FromSql<'a>> FromSql<'a> for Listed<T> {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
        let found = Vec::<Option<T>>::from_sql(of, raw).unwrap_or_default();
        Ok(Self(found.into_iter().flatten().collect()))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Fault> {
        Ok(Self(Vec::new()))
    }

    fn accepts(of: &Type) -> bool {
        Vec::<Option<T>>::accepts(of)
    }
}

/// What tells one state of a row of `res` from all others: the transaction that touched it last, to
/// write a version, to change `meta` in place or to build its index rows anew. A writer that finds
/// another one than it has read has worked on what is no more.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct RowState(u64);

impl RowState {
    /// Of a row that is not there.
    pub(super) const NONE: Self = Self(0);
}

impl ToSql for RowState {
    accepts!(XID8);
    to_sql_checked!();

    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
        out.put_u64(self.0);
        Ok(IsNull::No)
    }
}

impl<'a> FromSql<'a> for RowState {
    accepts!(XID8);

    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
        Ok(Self(u64::from_be_bytes(raw.try_into()?)))
    }
}

/// A `timestamptz` that may be open, in the order of time.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Edge {
    /// `-infinity`
    #[default]
    Past,
    /// A moment.
    At(Instant),
    /// `infinity`
    Future,
}

impl ToSql for Edge {
    accepts!(TIMESTAMPTZ);
    to_sql_checked!();

    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
        match self {
            Self::At(instant) => return Timestamptz(*instant).to_sql(kind, out),
            Self::Future => out.put_i64(i64::MAX),
            Self::Past => out.put_i64(i64::MIN),
        }
        Ok(IsNull::No)
    }
}

/// A `jsonb` as its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonText<'a>(pub(super) &'a [u8]);

impl ToSql for JsonText<'_> {
    accepts!(JSONB);
    to_sql_checked!();

    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
        out.put_u8(1); // the only version of jsonb's wire form
        out.put_slice(self.0);
        Ok(IsNull::No)
    }
}

impl<'a> FromSql<'a> for JsonText<'a> {
    accepts!(JSONB);

    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
        match raw.split_first() {
            Some((1, text)) => Ok(Self(text)),
            _ => Err("jsonb in an unknown wire form".into()),
        }
    }
}

/// The columns `rt, id`, from column `at` on.
pub(super) fn identity(row: &Row, at: usize) -> Result<Identity, Error> {
    let code: i16 = row.try_get(at).map_err(failure::error)?;
    let id: &str = row.try_get(at + 1).map_err(failure::error)?;
    let resource_type = ResourceType::from_code(code);
    let resource_type = resource_type.ok_or_else(|| Error::internal("a stored type is unknown"))?;
    Ok(Identity { resource_type, id: id.parse().map_err(Error::internal)? })
}

/// The columns `vid, lu, op, meta, body`, from column `at` on, as a version of `identity`.
pub(super) fn version(row: &Row, at: usize, identity: Identity) -> Result<Version, Error> {
    version_in(row, at, identity, &mut BytesMut::with_capacity(row.raw_size_bytes()))
}

/// The same, whose texts go to the end of `room`: those of a page lie in one piece of memory.
pub(super) fn version_in(
    row: &Row,
    at: usize,
    identity: Identity,
    room: &mut BytesMut,
) -> Result<Version, Error> {
    let mut text = |column: usize| -> Result<Option<Bytes>, Error> {
        let text: Option<JsonText<'_>> = row.try_get(column).map_err(failure::error)?;
        Ok(text.map(|text| {
            room.extend_from_slice(text.0);
            room.split().freeze()
        }))
    };
    let code: i8 = row.try_get(at + 2).map_err(failure::error)?;
    // A small letter is that of a version whose meta was changed in place.
    let code = code.cast_unsigned();
    let operation = Operation::from_code(code.to_ascii_uppercase())
        .ok_or_else(|| Error::internal("a stored operation is unknown"))?;
    let updated: Timestamptz = row.try_get(at + 1).map_err(failure::error)?;
    Ok(Version {
        identity,
        version: VersionId(row.try_get(at).map_err(failure::error)?),
        last_updated: updated.0,
        operation,
        is_relabeled: code.is_ascii_lowercase(),
        meta: text(at + 3)?,
        body: text(at + 4)?,
    })
}

/// A PostgreSQL array literal of numbers, for arrays inside arrays, which `unnest` would flatten.
pub(super) fn number_array(numbers: &[i64]) -> String {
    let mut text = String::with_capacity(2 + numbers.len() * 21);
    text.push('{');
    for (at, number) in numbers.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&number.to_string());
    }
    text.push('}');
    text
}

/// The same of texts.
pub(super) fn text_array(texts: &[String]) -> String {
    let quoted =
        texts.iter().map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")));
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_literals_are_postgresql_ones() {
        assert_eq!(number_array(&[]), "{}");
        assert_eq!(number_array(&[1, -2]), "{1,-2}");
        let texts = ["a".to_owned(), "b\"\\".to_owned()];
        assert_eq!(text_array(&texts), "{\"a\",\"b\\\"\\\\\"}");
    }

    #[test]
    fn a_time_goes_to_the_wire_and_back() {
        let instant = Instant::parse("2024-02-29T12:00:00.123Z").expect("instant");
        let mut out = BytesMut::new();
        Timestamptz(instant).to_sql(&Type::TIMESTAMPTZ, &mut out).expect("writes");
        let back = Timestamptz::from_sql(&Type::TIMESTAMPTZ, &out).expect("reads");
        assert_eq!(back.0, instant);
        for (never, expected) in [(i64::MAX, i64::MAX), (i64::MIN, i64::MIN + EPOCH_2000)] {
            let read =
                Timestamptz::from_sql(&Type::TIMESTAMPTZ, &never.to_be_bytes()).expect("reads");
            assert_eq!(read.0.as_micros(), expected, "infinity");
        }
    }
}
