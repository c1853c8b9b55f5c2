//! What a resource refers to, wherever in it: asked of the body, for consents alone.
//!
//! `access::judge` says the same of a document, and reads the text of a reference alike.

use crate::fhir::reference::after_scheme;
use crate::fhir::{LogicalId, ResourceType};

use super::super::compile::{Compiler, Row};
use super::super::sql::Cond;

impl Compiler<'_, '_> {
    /// The condition that the body has a reference to `target`, within an element that is called as one of
    /// `under`; without such names, anywhere.
    pub(in crate::store::search) fn mentions(
        &mut self,
        (of, id): &(ResourceType, LogicalId),
        under: &[&'static str],
        row: &Row<'_>,
    ) -> Cond {
        let paths = match under {
            [] => "('$.**.reference'::jsonpath)".to_owned(),
            names => {
                let path = |name: &&str| format!("('$.**.{name}.**.reference'::jsonpath)");
                names.iter().map(path).collect::<Vec<_>>().join(", ")
            }
        };
        let base = self.parameters.extractor.base().to_owned();
        let ours = format!("{}/", after_scheme(&base).unwrap_or(&base));
        let ours = self.binds.text(ours);
        // A version and a fragment may follow; with a query it is a search.
        let id = id.as_str().replace('.', "\\.");
        let named = format!("^{of}/{id}(/_history/[1-9][0-9]*)?(#[^?]*)?$");
        let named = self.binds.text(named);
        let (path, found) = (self.alias(), self.alias());
        self.resource_holds(row, |res| {
            let text = format!("({found}.v#>>'{{}}')");
            let rest = format!("substr({text}, strpos({text}, '://') + 3)");
            format!(
                "EXISTS (SELECT FROM (VALUES {paths}) {path}(p), \
                 jsonb_path_query({res}.body, {path}.p) {found}(v) \
                 WHERE jsonb_typeof({found}.v) = 'string' AND \
                 CASE WHEN {text} LIKE '%://%' AND starts_with({rest}, {ours}) \
                 THEN substr({rest}, length({ours}) + 1) ELSE {text} END ~ {named} OFFSET 0)"
            )
        })
    }
}
