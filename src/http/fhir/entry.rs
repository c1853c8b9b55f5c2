//! Entries of the Bundles that go out: versions of a history, results of a batch or transaction.
//!
//! An entry is made as compact JSON around stored texts; [`super::super::bundle`] gives it its form.
//!
//! Spec: <https://hl7.org/fhir/R4/bundle.html>, rest 2.86 to 2.89, 3.41 to 3.45

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;

use crate::engine::{
    Deletion, EntryResult, HistoryPage, HistoryScope, Searched, WriteOutcome, Written,
};
use crate::error::Error;
use crate::fhir::json::{self, Value};
use crate::fhir::query::Query;
use crate::fhir::{Operation, Version, VersionId, operation_outcome};
use crate::http::bundle::{BundleWriter, Head};
use crate::http::{form::Form, outcome, prefer::Return, shape::Shape};
use crate::spec::Spec;

use super::search::{SearchEntries, SearchEntry};
use super::{answer, everything, history, labels, meta, search};

/// Makes the entries of a history.
pub(super) struct VersionEntries {
    base: String,
    shape: Shape,
    spec: Arc<Spec>,
}

impl VersionEntries {
    pub(super) fn new(base: &str, shape: Shape, spec: Arc<Spec>) -> Self {
        Self { base: escaped(base), shape, spec }
    }

    /// Appends the entry of one version.
    pub(super) fn write(&mut self, version: &Version, out: &mut Vec<u8>) -> Result<(), Error> {
        let identity = &version.identity;
        let (method, status) = match version.operation {
            Operation::Created => ("POST", "201 Created"),
            Operation::Deleted => ("DELETE", "204 No Content"),
            Operation::Patched | Operation::Updated => ("PUT", "200 OK"),
            Operation::PutNew => ("PUT", "201 Created"),
        };
        let (name, id) = (identity.resource_type.as_str(), identity.id.as_str());
        push(out, &["{\"fullUrl\":\"", &self.base, "/", name, "/", id, "\""]);
        if !version.is_deleted() {
            push(out, &[",\"resource\":"]);
            self.resource(version, out)?;
        }
        push(out, &[",\"request\":{\"method\":\"", method, "\",\"url\":\"", name]);
        if version.operation != Operation::Created {
            push(out, &["/", identity.id.as_str()]);
        }
        push(out, &["\"},\"response\":{\"status\":\"", status, "\""]);
        if !version.is_deleted() {
            push(out, &[",\"location\":\"", &self.base, "/", &version.versioned_path(), "\""]);
        }
        response_end(version.version, Some(version), out);
        push(out, &["}}"]);
        Ok(())
    }

    fn resource(&self, version: &Version, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.shape.is_whole() {
            version.write_json(out);
            return Ok(());
        }
        let stored = version.to_json();
        let mut value = json::parse(&stored).map_err(Error::internal)?;
        self.shape.cut(&mut value, &self.spec.schema);
        value.write(out);
        Ok(())
    }
}

/// How a GET or HEAD entry wants its result shown.
#[derive(Debug)]
pub(super) enum View {
    /// Without the resource.
    Head,
    /// Not at all: what it asks for cannot be.
    Refused(Error),
    /// As much of the resource as this.
    Shaped(Shape),
}

/// Makes the entries of a response to a batch or transaction.
pub(super) struct ResultEntries {
    base: String,
    returned: Option<Return>,
    request_id: String,
    spec: Arc<Spec>,
    /// The views of entries that have one, by their place.
    views: BTreeMap<usize, View>,
    next: usize,
}

impl ResultEntries {
    pub(super) fn new(
        base: &str,
        returned: Option<Return>,
        request_id: String,
        views: BTreeMap<usize, View>,
        spec: Arc<Spec>,
    ) -> Self {
        Self { base: base.to_owned(), returned, request_id, spec, views, next: 0 }
    }

    /// Appends the entry of one result.
    pub(super) fn write(&mut self, result: EntryResult, out: &mut Vec<u8>) -> Result<(), Error> {
        let view = self.views.remove(&self.next);
        self.next += 1;
        let (is_head, shape, result) = match view {
            None => (false, Shape::Whole, result),
            Some(View::Head) => (true, Shape::Whole, result),
            Some(View::Shaped(shape)) => (false, shape, result),
            Some(View::Refused(error)) => (false, Shape::Whole, EntryResult::Failed(error)),
        };
        match result {
            EntryResult::Answered(_)
            | EntryResult::CapabilityStatement(_)
            | EntryResult::Document(_)
            | EntryResult::History(..)
            | EntryResult::Meta(_)
            | EntryResult::Search(..)
            | EntryResult::Told(..)
                if is_head =>
            {
                push(out, &["{\"response\":{\"status\":\"200 OK\"}}"]);
            }
            EntryResult::CapabilityStatement(text) => answered(|out| out.extend(text), out),
            EntryResult::Deleted(deletion) => self.deleted(&deletion, out),
            EntryResult::Document(it) => everything::entry(&it, &self.base, &self.spec, out)?,
            EntryResult::Failed(error) => self.failed(error, out),
            EntryResult::History(page, scope, query) => {
                self.history(page, &scope, &query, shape, out)?;
            }
            EntryResult::Answered(value) => answered(|out| value.write(out), out),
            EntryResult::Meta(value) => answered(|out| meta::parameters(value).write(out), out),
            EntryResult::NotModified(version) => {
                push(out, &["{\"response\":{\"status\":\"304 Not Modified\""]);
                response_end(version, None, out);
                push(out, &["}}"]);
            }
            EntryResult::Read(version) => {
                self.read(&version, (!is_head).then_some(&shape), out)?;
            }
            EntryResult::Search(found, query) | EntryResult::Told(found, query) => {
                self.search(*found, &query, shape, out)?;
            }
            EntryResult::Written(written) => self.written(&written, out),
        }
        Ok(())
    }

    /// A version, as much of it as `shape` shows.
    fn read(
        &self,
        version: &Version,
        shape: Option<&Shape>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        push(out, &["{"]);
        if let Some(shape) = shape {
            push(out, &["\"resource\":"]);
            out.extend(answer::text(version, Form::default(), shape, &self.spec.schema)?);
            push(out, &[","]);
        }
        push(out, &["\"response\":{\"status\":\"200 OK\""]);
        response_end(version.version, Some(version), out);
        push(out, &["}}"]);
        Ok(())
    }

    fn written(&self, written: &Written, out: &mut Vec<u8>) {
        let version = &written.version;
        let status = match written.outcome {
            WriteOutcome::Created => "201 Created",
            WriteOutcome::Existing | WriteOutcome::Unchanged | WriteOutcome::Updated => "200 OK",
        };
        push(out, &["{"]);
        if self.returned == Some(Return::Representation) && written.is_readable {
            push(out, &["\"resource\":"]);
            version.write_json(out);
            push(out, &[","]);
        }
        let path = version.versioned_path();
        push(out, &["\"response\":{\"status\":\"", status, "\",\"location\":\"", &path, "\""]);
        response_end(version.version, Some(version), out);
        if self.returned == Some(Return::OperationOutcome) {
            push(out, &[",\"outcome\":"]);
            operation_outcome(&answer::done(written)).write(out);
        }
        push(out, &["}}"]);
    }

    /// As the answer to a delete alone: 204, or 200 with what was preferred.
    fn deleted(&self, deletion: &Deletion, out: &mut Vec<u8>) {
        let with_outcome = self.returned == Some(Return::OperationOutcome);
        let status = if with_outcome { "200 OK" } else { "204 No Content" };
        push(out, &["{\"response\":{\"status\":\"", status, "\""]);
        if let Deletion::One(_, Some(version)) = deletion {
            response_end(*version, None, out);
        }
        if with_outcome {
            push(out, &[",\"outcome\":"]);
            operation_outcome(&answer::deleted(deletion)).write(out);
        }
        push(out, &["}}"]);
    }

    fn failed(&self, error: Error, out: &mut Vec<u8>) {
        let failure = outcome::Failure::Interaction(error);
        failure.log(&self.request_id);
        let outcome::Failure::Interaction(error) = failure else { return };
        let (status, _) = outcome::classify(&error);
        push(out, &["{\"response\":{\"status\":\"", &reason(status), "\",\"outcome\":"]);
        operation_outcome(&outcome::issues(&error)).write(out);
        push(out, &["}}"]);
    }

    fn history(
        &self,
        page: HistoryPage,
        scope: &HistoryScope,
        query: &Query,
        shape: Shape,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let links = history::links(&self.base, scope, query, &page);
        let head = Head::new("history", labels::highest(&page.versions), page.total, &links);
        let mut entries = VersionEntries::new(&self.base, shape, self.spec.clone());
        let mut writer = BundleWriter::new(Form::default(), self.spec.clone());
        push(out, &["{\"resource\":"]);
        writer.open(&head, out)?;
        for version in page.versions {
            writer.splice(out, |out| entries.write(&version, out))?;
        }
        writer.close(out);
        push(out, &[",\"response\":{\"status\":\"200 OK\"}}"]);
        Ok(())
    }
}

impl ResultEntries {
    fn search(
        &self,
        found: Searched,
        query: &Query,
        shape: Shape,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let links = search::links(&self.base, query, &found);
        let label = labels::highest(search::versions(&found));
        let head = Head::new("searchset", label, search::total(&found), &links);
        let entries = SearchEntries::new(&self.base, shape, self.spec.clone());
        let mut writer = BundleWriter::new(Form::default(), self.spec.clone());
        push(out, &["{\"resource\":"]);
        writer.open(&head, out)?;
        for entry in SearchEntry::all(found) {
            writer.splice(out, |out| entries.write(&entry, out))?;
        }
        writer.close(out);
        push(out, &[",\"response\":{\"status\":\"200 OK\"}}"]);
        Ok(())
    }
}

/// An entry with a resource that has no version.
pub(super) fn answered(write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    push(out, &["{\"resource\":"]);
    write(out);
    push(out, &[",\"response\":{\"status\":\"200 OK\"}}"]);
}

/// `etag` and `lastModified` of an open response.
fn response_end(number: VersionId, version: Option<&Version>, out: &mut Vec<u8>) {
    push(out, &[",\"etag\":\"W/\\\"", &number.to_string(), "\\\"\""]);
    if let Some(version) = version {
        push(out, &[",\"lastModified\":\"", &version.last_updated.to_string(), "\""]);
    }
}

fn push(out: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
}

/// A text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    Value::from(text).to_text().trim_matches('"').to_owned()
}

/// `404 Not Found`
fn reason(status: StatusCode) -> String {
    let text = format!("{} {}", status.as_str(), status.canonical_reason().unwrap_or_default());
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::fhir::{Identity, Instant, ResourceType};

    use super::*;

    fn identity() -> Identity {
        Identity { resource_type: ResourceType::PATIENT, id: "p1".parse().expect("id") }
    }

    fn version(operation: Operation) -> Version {
        let body = (operation != Operation::Deleted).then(|| Bytes::from("{\"active\":true}"));
        Version {
            identity: identity(),
            version: VersionId(2),
            last_updated: Instant::from_micros(0),
            operation,
            is_relabeled: false,
            meta: None,
            body,
        }
    }

    fn done(outcome: WriteOutcome, operation: Operation) -> EntryResult {
        let (version, notices) = (version(operation), Vec::new());
        EntryResult::Written(Written { outcome, version, notices, is_readable: true })
    }

    fn spec() -> Arc<Spec> {
        Spec::r4().expect("definitions")
    }

    const RESOURCE: &str = concat!(
        r#"{"resourceType":"Patient","id":"p1","meta":{"versionId":"2","#,
        r#""lastUpdated":"1970-01-01T00:00:00.000Z"},"active":true}"#
    );
    const SHAPED: &str = concat!(
        r#"{"resourceType":"Patient","id":"p1","meta":{"versionId":"2","#,
        r#""lastUpdated":"1970-01-01T00:00:00.000Z","tag":[{"system":"#,
        r#""http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}]},"#,
        r#""active":true}"#
    );
    const END: &str = r#""etag":"W/\"2\"","lastModified":"1970-01-01T00:00:00.000Z"}}"#;

    #[test]
    fn a_history_entry_tells_how_its_version_came_to_be() {
        let mut entries = VersionEntries::new("http://a/fhir", Shape::Whole, spec());
        for (operation, method, url, status) in [
            (Operation::Created, "POST", "Patient", "201 Created"),
            (Operation::Updated, "PUT", "Patient/p1", "200 OK"),
            (Operation::Patched, "PUT", "Patient/p1", "200 OK"),
            (Operation::PutNew, "PUT", "Patient/p1", "201 Created"),
            (Operation::Deleted, "DELETE", "Patient/p1", "204 No Content"),
        ] {
            let is_deleted = operation == Operation::Deleted;
            let resource =
                if is_deleted { String::new() } else { format!(r#""resource":{RESOURCE},"#) };
            let location = r#""location":"http://a/fhir/Patient/p1/_history/2","#;
            let location = if is_deleted { "" } else { location };
            let expected = format!(
                concat!(
                    r#"{{"fullUrl":"http://a/fhir/Patient/p1",{}"request":{{"method":"{}","#,
                    r#""url":"{}"}},"response":{{"status":"{}",{}{}"#
                ),
                resource, method, url, status, location, END
            );
            let mut out = Vec::new();
            entries.write(&version(operation), &mut out).expect("entry");
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    fn written(returned: Option<Return>, view: Option<View>, result: EntryResult) -> String {
        let views = view.map(|view| (0, view)).into_iter().collect();
        let mut entries =
            ResultEntries::new("http://a/fhir", returned, "r".to_owned(), views, spec());
        let mut out = Vec::new();
        entries.write(result, &mut out).expect("entry");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_result_entry_has_status_tag_and_what_was_preferred() {
        let created = || done(WriteOutcome::Created, Operation::Created);
        let location = r#""location":"Patient/p1/_history/2","#;
        for (returned, result, expected) in [
            (None, created(), format!(r#"{{"response":{{"status":"201 Created",{location}{END}"#)),
            (
                Some(Return::Representation),
                created(),
                format!(
                    r#"{{"resource":{RESOURCE},"response":{{"status":"201 Created",{location}{END}"#
                ),
            ),
            (
                None,
                EntryResult::Read(version(Operation::Updated)),
                format!(r#"{{"resource":{RESOURCE},"response":{{"status":"200 OK",{END}"#),
            ),
            (
                None,
                EntryResult::Deleted(Deletion::One(identity(), Some(VersionId(3)))),
                r#"{"response":{"status":"204 No Content","etag":"W/\"3\""}}"#.to_owned(),
            ),
            (
                None,
                EntryResult::Deleted(Deletion::One(identity(), None)),
                r#"{"response":{"status":"204 No Content"}}"#.to_owned(),
            ),
            (
                Some(Return::OperationOutcome),
                EntryResult::Deleted(Deletion::One(identity(), Some(VersionId(3)))),
                concat!(
                    r#"{"response":{"status":"200 OK","etag":"W/\"3\"","outcome":{"resourceType":"#,
                    r#""OperationOutcome","issue":[{"severity":"information","#,
                    r#""code":"informational","diagnostics":"Patient/p1/_history/3: deleted"}]}}}"#
                )
                .to_owned(),
            ),
            (
                None,
                EntryResult::NotModified(VersionId(3)),
                r#"{"response":{"status":"304 Not Modified","etag":"W/\"3\""}}"#.to_owned(),
            ),
            (
                None,
                EntryResult::Failed(Error::NotFound("Patient/x".to_owned())),
                concat!(
                    r#"{"response":{"status":"404 Not Found","outcome":{"resourceType":"#,
                    r#""OperationOutcome","issue":[{"severity":"error","code":"not-found","#,
                    r#""diagnostics":"Patient/x is not known"}]}}}"#
                )
                .to_owned(),
            ),
        ] {
            assert_eq!(written(returned, None, result), expected);
        }
    }

    #[test]
    fn a_reading_entry_shows_what_it_asked_for() {
        let shaped = View::Shaped(Shape::Elements(vec!["gender".into()]));
        for (view, expected) in [
            (View::Head, format!(r#"{{"response":{{"status":"200 OK",{END}"#)),
            (shaped, format!(r#"{{"resource":{SHAPED},"response":{{"status":"200 OK",{END}"#)),
            (
                View::Refused(Error::NotSupported("x".to_owned())),
                concat!(
                    r#"{"response":{"status":"400 Bad Request","outcome":{"resourceType":"#,
                    r#""OperationOutcome","issue":[{"severity":"error","code":"not-supported","#,
                    r#""diagnostics":"x"}]}}}"#
                )
                .to_owned(),
            ),
        ] {
            let result = EntryResult::Read(version(Operation::Updated));
            assert_eq!(written(None, Some(view), result), expected);
        }
    }

    #[test]
    fn every_entry_is_json_also_with_histories_inside() {
        let page = HistoryPage {
            total: Some(1),
            versions: vec![version(Operation::Created), version(Operation::Deleted)],
            next: Some("c".to_owned()),
            previous: None,
        };
        let query = Query::parse("_count=2").expect("query");
        let result = EntryResult::History(page, HistoryScope::System, query);
        let mut entries = ResultEntries::new(
            "http://a/fhir",
            Some(Return::OperationOutcome),
            "r".to_owned(),
            BTreeMap::new(),
            spec(),
        );
        for result in [result, done(WriteOutcome::Updated, Operation::Updated)] {
            let mut out = Vec::new();
            entries.write(result, &mut out).expect("entry");
            let value = json::parse(&out).expect("JSON");
            if let Some(history) = value.get("resource") {
                let url = |link: &Value<'_>| link.str_at("url").map(str::to_owned);
                let links: Vec<_> = history.items_at("link").iter().filter_map(url).collect();
                let own = "http://a/fhir/_history?_count=2";
                assert_eq!(links, [own.to_owned(), format!("{own}&_cursor=c")]);
                assert_eq!(history.items_at("entry").len(), 2);
            }
            assert_eq!(
                value.get("response").and_then(|value| value.str_at("status")),
                Some("200 OK")
            );
        }
    }
}
