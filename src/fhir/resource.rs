//! Resources: one as a client sent it, and one version as it is kept and served.

use std::io::Write as _;

use bytes::Bytes;

use super::id::{Identity, VersionId};
use super::instant::Instant;
use super::json::Value;
use super::resource_type::ResourceType;

/// What stands before the texts of a version takes no more, whatever its type and id.
const HEAD_BYTES: usize = 224;

/// A resource as a client sent it: parsed, its form checked, `resourceType` known.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource<'a> {
    /// Its type.
    pub resource_type: ResourceType,
    /// The whole document: an object with `resourceType`.
    pub value: Value<'a>,
}

/// What made a version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// Created by POST.
    Created,
    /// Deleted: the version has no content.
    Deleted,
    /// Changed by PATCH.
    Patched,
    /// Created or brought back to life by PUT.
    PutNew,
    /// Changed by PUT.
    Updated,
}

impl Operation {
    /// The letter under which the database stores it.
    pub fn code(self) -> u8 {
        match self {
            Self::Created => b'C',
            Self::Deleted => b'D',
            Self::Patched => b'P',
            Self::PutNew => b'N',
            Self::Updated => b'U',
        }
    }

    /// The operation stored under `code`.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            b'C' => Self::Created,
            b'D' => Self::Deleted,
            b'P' => Self::Patched,
            b'N' => Self::PutNew,
            b'U' => Self::Updated,
            _ => return None,
        })
    }
}

/// One version of a resource as it is kept.
///
/// `meta` and `body` are JSON texts that are not parsed on the way out: an answer is spliced
/// from them ([`Version::write_json`]).
#[derive(Clone, Debug)]
pub struct Version {
    /// Type and id.
    pub identity: Identity,
    /// Version number.
    pub version: VersionId,
    /// When the version was made.
    pub last_updated: Instant,
    /// What made it.
    pub operation: Operation,
    /// Whether `meta` was changed in place since: who has this version may have it as it was before.
    pub is_relabeled: bool,
    /// `meta` without versionId and lastUpdated, a JSON object; `None` when there is nothing else.
    pub meta: Option<Bytes>,
    /// The resource without resourceType, id and meta, a JSON object; `None` for a deletion.
    pub body: Option<Bytes>,
}

impl Version {
    /// Whether this version is a deletion.
    pub fn is_deleted(&self) -> bool {
        self.body.is_none()
    }

    /// Whether it is what an erasure left: nothing is kept of a deletion's `meta`, and of this one a mark.
    pub fn is_erased(&self) -> bool {
        self.body.is_none() && self.meta.is_some()
    }

    /// The weak entity tag, `W/"3"`.
    pub fn etag(&self) -> String {
        format!("W/\"{}\"", self.version)
    }

    /// `Patient/1/_history/3`.
    pub fn versioned_path(&self) -> String {
        format!("{}/_history/{}", self.identity, self.version)
    }

    /// Appends the resource as JSON: resourceType, id, meta, then the rest. Nothing for a deletion.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let Some(body) = &self.body else { return };
        let meta = self.meta.as_deref().unwrap_or(b"{}");
        out.reserve(HEAD_BYTES + meta.len() + body.len());
        // Writing to memory cannot fail.
        let _ = write!(
            out,
            "{{\"resourceType\":\"{}\",\"id\":\"{}\",\"meta\":{{\"versionId\":\"{}\",\"lastUpdated\":\"{}\"",
            self.identity.resource_type, self.identity.id, self.version, self.last_updated
        );
        push_rest(meta, out);
        push_rest(body, out);
    }

    /// The resource as JSON text; empty for a deletion.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_json(&mut out);
        out
    }
}

/// Appends the properties of the object `text` and its closing brace to an open object.
fn push_rest(text: &[u8], out: &mut Vec<u8>) {
    let rest = text.strip_prefix(b"{").unwrap_or(text).trim_ascii_start();
    if rest != b"}" {
        out.push(b',');
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_spliced_with_type_id_and_meta_first() {
        let version = |meta: Option<&'static str>, body: &'static str| Version {
            identity: Identity {
                resource_type: ResourceType::PATIENT,
                id: "p1".parse().expect("id"),
            },
            version: VersionId(2),
            last_updated: Instant::from_micros(0),
            operation: Operation::Updated,
            is_relabeled: false,
            meta: meta.map(Bytes::from),
            body: Some(Bytes::from(body)),
        };
        let head = concat!(
            r#"{"resourceType":"Patient","id":"p1","meta":{"versionId":"2","#,
            r#""lastUpdated":"1970-01-01T00:00:00.000Z""#
        );
        for (meta, body, rest) in [
            (None, "{}", "}}"),
            (None, r#"{"active": true}"#, r#"},"active": true}"#),
            (Some(r#"{"source": "x"}"#), r#"{"a": 1}"#, r#","source": "x"},"a": 1}"#),
        ] {
            let text = String::from_utf8(version(meta, body).to_json()).expect("UTF-8");
            assert_eq!(text, format!("{head}{rest}"));
        }
    }
}
