//! Clinical notes: what documents and reports lead to is there, and both lead to the same.

use std::collections::BTreeMap;

use serde_json::Value;

use super::run::{Run, items};

impl Run {
    /// Each url of an attachment is that of a Binary with content of the type that it says; what a
    /// report leads to, a document leads to as well.
    pub(super) async fn notes(&mut self) {
        let documents = self.attached("DocumentReference", |it| {
            items(it, "content").iter().map(|content| &content["attachment"]).collect()
        });
        let reports =
            self.attached("DiagnosticReport", |it| items(it, "presentedForm").iter().collect());
        assert!(!reports.is_empty(), "no report leads to a text");
        for url in reports.keys() {
            let is_shared = documents.contains_key(url);
            self.check(is_shared, || format!("{url} is of a report and of no document"));
        }
        for (url, said) in documents.iter().chain(&reports) {
            self.check(url.starts_with("Binary/"), || format!("{url} is no Binary of this server"));
            let call = self.client.call("GET", &format!("/{url}")).header("Accept", "*/*");
            let content = call.send().await.expect(200);
            let kind = content.header("content-type").unwrap_or_default();
            let is_same = kind.starts_with(said.as_str());
            self.check(is_same, || format!("{url} is {kind}, and {said} is said of it"));
            self.check(!content.body.is_empty(), || format!("{url} holds nothing"));
        }
    }

    /// The urls of the attachments of all resources of a type, and the types of content they say.
    fn attached<'v>(
        &'v self,
        of: &str,
        attachments: impl Fn(&'v Value) -> Vec<&'v Value>,
    ) -> BTreeMap<String, String> {
        let own = self.found.values().filter(|it| it["resourceType"] == of);
        let text = |it: &Value, name: &str| it[name].as_str().map(str::to_owned);
        let all = own.flat_map(attachments);
        all.filter_map(|it| Some((text(it, "url")?, text(it, "contentType")?))).collect()
    }
}
