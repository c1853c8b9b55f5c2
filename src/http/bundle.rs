//! Bundles that go out entry by entry, in every form, without standing whole in memory.
//!
//! JSON entries are spliced from stored texts. For XML and indented JSON each entry is parsed and
//! written on its own, and the pieces make the same document that writing the whole would.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;

use crate::access::roles::Clearance;
use crate::error::Error;
use crate::fhir::codec::Format;
use crate::fhir::json::{self, Object, Value};
use crate::spec::Spec;

use super::form::Form;

/// Entries are sent together up to this size.
const CHUNK_BYTES: usize = 64 * 1024;
/// About as large as most entries are, for room that is made once.
const ENTRY_BYTES: usize = 2 * 1024;

/// Writes one Bundle.
pub(super) struct BundleWriter {
    form: Form,
    spec: Arc<Spec>,
    has_entries: bool,
}

/// What stands before the entries.
pub(super) struct Head<'a> {
    /// `Bundle.type`
    pub(super) bundle_type: &'static str,
    /// The highest confidentiality among what it shows (DS4P's high-water mark).
    pub(super) label: Option<Clearance>,
    /// `Bundle.total`
    pub(super) total: Option<u64>,
    /// Relation and URL of each link.
    pub(super) links: &'a [(&'static str, String)],
}

impl<'a> Head<'a> {
    pub(super) fn new(
        bundle_type: &'static str,
        label: Option<Clearance>,
        total: Option<u64>,
        links: &'a [(&'static str, String)],
    ) -> Self {
        Self { bundle_type, label, total, links }
    }
}

/// `Bundle.meta` with a label.
fn labelled(label: Clearance) -> Value<'static> {
    let coding = Object::new().with("system", Clearance::SYSTEM).with("code", label.as_str());
    Object::new().with("security", vec![Value::from(coding)]).into()
}

impl BundleWriter {
    pub(super) fn new(form: Form, spec: Arc<Spec>) -> Self {
        Self { form, spec, has_entries: false }
    }

    /// Everything before the first entry.
    pub(super) fn open(&self, head: &Head<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let links = head.links.iter().map(|(relation, url)| {
            Value::from(Object::new().with("relation", *relation).with("url", url.as_str()))
        });
        let links: Vec<_> = links.collect();
        let value = Object::new()
            .with("resourceType", "Bundle")
            .with_some("meta", head.label.map(labelled))
            .with("type", head.bundle_type)
            .with_some("total", head.total)
            .with_some("link", (!links.is_empty()).then_some(links));
        out.extend(self.form.write(&value.into(), &self.spec.schema)?);
        let end: &[u8] = match self.form.media_type.format() {
            Format::Json if self.form.is_pretty => b"\n}\n",
            Format::Json => b"}",
            Format::Xml => b"</Bundle>",
        };
        let written = out.trim_ascii_end().len();
        let kept = match self.form.media_type.format() {
            Format::Json => out.len().checked_sub(end.len()),
            Format::Xml => written.checked_sub(end.len()),
        };
        out.truncate(kept.ok_or_else(|| Error::internal("a Bundle has a start and an end"))?);
        Ok(())
    }

    /// One entry that `write` appends as compact JSON, for a Bundle in that form.
    pub(super) fn splice(
        &mut self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let is_first = !std::mem::replace(&mut self.has_entries, true);
        out.extend_from_slice(if is_first { b",\"entry\":[" } else { b"," });
        write(out)
    }

    /// One entry, given as compact JSON, in the other forms.
    fn entry(&mut self, entry: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let is_first = !std::mem::replace(&mut self.has_entries, true);
        match self.form.media_type.format() {
            Format::Json => {
                let start: &[u8] = if is_first { b",\n  \"entry\": [" } else { b"," };
                out.extend_from_slice(start);
                let mut text = Vec::new();
                json::parse(entry).map_err(Error::internal)?.write_pretty(&mut text);
                // Line breaks inside strings are escaped, so every line here is one of the layout.
                for line in text.trim_ascii_end().split(|byte| *byte == b'\n') {
                    out.extend_from_slice(b"\n    ");
                    out.extend_from_slice(line);
                }
            }
            Format::Xml => self.xml_entry(entry, self.form.is_pretty, out)?,
        }
        Ok(())
    }

    /// The entry as it stands in a Bundle of its own.
    fn xml_entry(&self, entry: &[u8], is_pretty: bool, out: &mut Vec<u8>) -> Result<(), Error> {
        let entry = json::parse(entry).map_err(Error::internal)?;
        let bundle = Object::new().with("resourceType", "Bundle").with("entry", vec![entry]);
        let text = self.form.write(&bundle.into(), &self.spec.schema)?;
        let (start, end): (&[u8], &[u8]) = (b"<entry>", b"</entry>");
        let first = memchr::memmem::find(&text, start);
        let last = memchr::memmem::rfind(&text, end);
        let (Some(first), Some(last)) = (first, last) else {
            return Err(Error::internal("a Bundle with an entry shows it"));
        };
        if is_pretty {
            out.extend_from_slice(b"  ");
        }
        out.extend_from_slice(&text[first..last + end.len()]);
        if is_pretty {
            out.push(b'\n');
        }
        Ok(())
    }

    /// Everything after the last entry.
    pub(super) fn close(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match (self.form.media_type.format(), self.form.is_pretty) {
            (Format::Json, false) if self.has_entries => b"]}",
            (Format::Json, false) => b"}",
            (Format::Json, true) if self.has_entries => b"\n  ]\n}\n",
            (Format::Json, true) => b"\n}\n",
            (Format::Xml, false) => b"</Bundle>",
            (Format::Xml, true) => b"</Bundle>\n",
        });
    }

    /// The body of an answer: small Bundles at once, large ones while they are written.
    ///
    /// Each entry is made by `write`, as compact JSON, when its turn has come.
    ///
    /// # Errors
    /// [`Error::Internal`] while the first piece is made; later the connection is cut.
    pub(super) fn into_body<T: Send + 'static>(
        self,
        head: &Head<'_>,
        entries: Vec<T>,
        write: impl FnMut(T, &mut Vec<u8>) -> Result<(), Error> + Send + 'static,
    ) -> Result<Body, Error> {
        let room = entries.len().saturating_mul(ENTRY_BYTES).min(CHUNK_BYTES);
        let mut first = Vec::with_capacity(room);
        self.open(head, &mut first)?;
        let entries = entries.into_iter();
        let mut pieces = Pieces { writer: self, entries, write, is_closed: false };
        pieces.fill(&mut first)?;
        if pieces.is_closed {
            return Ok(Body::from(first));
        }
        let rest = pieces.inspect(|piece| {
            if let Err(error) = piece {
                tracing::error!(cause = %error, "a Bundle broke off");
            }
        });
        let all = std::iter::once(Ok(Bytes::from(first))).chain(rest);
        Ok(Body::from_stream(futures_util::stream::iter(all)))
    }
}

/// The rest of a Bundle, piece by piece.
struct Pieces<T, W> {
    writer: BundleWriter,
    entries: std::vec::IntoIter<T>,
    write: W,
    is_closed: bool,
}

impl<T, W: FnMut(T, &mut Vec<u8>) -> Result<(), Error>> Pieces<T, W> {
    fn fill(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut entry = Vec::new();
        while out.len() < CHUNK_BYTES {
            let Some(next) = self.entries.next() else {
                self.writer.close(out);
                self.is_closed = true;
                return Ok(());
            };
            if self.writer.form.is_stored_form() {
                let write = &mut self.write;
                self.writer.splice(out, |out| write(next, out))?;
                continue;
            }
            entry.clear();
            (self.write)(next, &mut entry)?;
            self.writer.entry(&entry, out)?;
        }
        Ok(())
    }
}

impl<T, W: FnMut(T, &mut Vec<u8>) -> Result<(), Error>> Iterator for Pieces<T, W> {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_closed {
            return None;
        }
        let mut out = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
        let filled = self.fill(&mut out);
        self.is_closed |= filled.is_err();
        Some(filled.map(|()| Bytes::from(out)))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use crate::http::negotiation::MediaType;

    use super::*;

    const ENTRIES: [&str; 2] = [
        r#"{"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient","active":true}}"#,
        r#"{"fullUrl":"urn:uuid:2"}"#,
    ];

    fn head<'a>(links: &'a [(&'static str, String)]) -> Head<'a> {
        Head { bundle_type: "history", label: None, total: Some(2), links }
    }

    async fn text(form: Form, spec: &Arc<Spec>, entries: Vec<String>) -> Vec<u8> {
        let links = [("self", "http://a/fhir/_history".to_owned())];
        let writer = BundleWriter::new(form, spec.clone());
        let body = writer.into_body(&head(&links), entries, |entry, out| {
            out.extend_from_slice(entry.as_bytes());
            Ok(())
        });
        body.expect("body").collect().await.expect("body").to_bytes().to_vec()
    }

    fn whole(entries: &[String]) -> String {
        let start = concat!(
            r#"{"resourceType":"Bundle","type":"history","total":2,"#,
            r#""link":[{"relation":"self","url":"http://a/fhir/_history"}]"#
        );
        if entries.is_empty() {
            return format!("{start}}}");
        }
        format!(r#"{start},"entry":[{}]}}"#, entries.join(","))
    }

    #[tokio::test]
    async fn the_pieces_make_the_document_that_writing_the_whole_would() {
        let spec = Spec::r4().expect("definitions");
        let long = format!(r#"{{"fullUrl":"urn:x:{}"}}"#, "y".repeat(CHUNK_BYTES));
        let many: Vec<String> = vec![long; 4];
        for entries in [vec![], ENTRIES.map(str::to_owned).to_vec(), many] {
            let whole = whole(&entries);
            let value = json::parse(whole.as_bytes()).expect("JSON");
            for media_type in [MediaType::FhirJson, MediaType::FhirXml] {
                for is_pretty in [false, true] {
                    let form = Form { media_type, is_pretty };
                    let expected = form.write(&value, &spec.schema).expect("written");
                    let found = text(form, &spec, entries.clone()).await;
                    let (found, expected) =
                        (String::from_utf8_lossy(&found), String::from_utf8_lossy(&expected));
                    assert!(found == expected, "{form:?}:\n{found:.900}\n{expected:.900}");
                }
            }
        }
    }
}
