//! Attachments: the size that is told is that of the data.
//!
//! Spec: <https://hl7.org/fhir/R4/datatypes-definitions.html#Attachment.size>

use crate::fhir::json::Value;
use crate::fhir::{IssueCode, Severity, primitive};
use crate::validate::place::Place;

use super::findings::By;
use super::walk::Walk;

impl<'w> Walk<'w> {
    /// Checks an Attachment that has both its data and their size.
    pub(super) fn attachment(&mut self, value: &'w Value<'w>, place: &Place<'_>) {
        let told = value.get("size").and_then(Value::as_number);
        let (Some(told), Some(data)) = (told, value.str_at("data")) else { return };
        let Ok(content) = primitive::base64_content(data) else { return };
        let is = content.len();
        if told.parse() != Ok(is) {
            let rule = format_args!("the size is told as {told}, and is {is}");
            let (severity, code) = (Severity::Error, IssueCode::BusinessRule);
            self.findings.add(severity, code, place, rule, By::default());
        }
    }
}
