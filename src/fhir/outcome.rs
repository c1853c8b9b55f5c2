//! OperationOutcome: what went wrong, where, and how badly.
//!
//! Spec: <https://hl7.org/fhir/R4/operationoutcome.html>

use std::fmt;

use super::json::{Object, Position, Value, positions};

/// How bad an issue is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// The action could not start.
    Fatal,
    /// The action failed or the content is wrong.
    Error,
    /// Worth attention, nothing failed.
    Warning,
    /// For information.
    Information,
}

impl Severity {
    /// The code of the value set issue-severity.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fatal => "fatal",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Information => "information",
        }
    }
}

macro_rules! issue_codes {
    ($($variant:ident $code:literal,)*) => {
        /// The kind of an issue: the R4 value set issue-type.
        ///
        /// <https://hl7.org/fhir/R4/valueset-issue-type.html>
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum IssueCode {
            $(#[doc = concat!("`", $code, "`")] $variant,)*
        }

        impl IssueCode {
            /// The code as FHIR writes it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$variant,)*];
        }
    };
}

issue_codes! {
    BusinessRule "business-rule",
    CodeInvalid "code-invalid",
    Conflict "conflict",
    Deleted "deleted",
    Duplicate "duplicate",
    Exception "exception",
    Expired "expired",
    Extension "extension",
    Forbidden "forbidden",
    Incomplete "incomplete",
    Informational "informational",
    Invalid "invalid",
    Invariant "invariant",
    LockError "lock-error",
    Login "login",
    MultipleMatches "multiple-matches",
    NoStore "no-store",
    NotFound "not-found",
    NotSupported "not-supported",
    Processing "processing",
    Required "required",
    Security "security",
    Structure "structure",
    Suppressed "suppressed",
    Throttled "throttled",
    Timeout "timeout",
    TooCostly "too-costly",
    TooLong "too-long",
    Transient "transient",
    Unknown "unknown",
    Value "value",
}

/// One finding.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issue {
    /// How bad.
    pub severity: Severity,
    /// What kind.
    pub code: IssueCode,
    /// Text for a person, which names the fault.
    pub diagnostics: String,
    /// FHIRPath of the element, `Patient.name[0].given[1]`; empty when the whole is meant.
    pub expression: String,
    /// Where in the text that was sent; `None` where that is not known.
    pub position: Option<Position>,
}

impl Issue {
    /// An error without a place.
    pub fn error(code: IssueCode, diagnostics: impl Into<String>) -> Self {
        Self::error_at(code, diagnostics, "")
    }

    /// An error at a FHIRPath expression.
    pub fn error_at(
        code: IssueCode,
        diagnostics: impl Into<String>,
        expression: impl Into<String>,
    ) -> Self {
        let (diagnostics, expression) = (diagnostics.into(), expression.into());
        Self { severity: Severity::Error, code, diagnostics, expression, position: None }
    }

    fn to_value(&self) -> Value<'static> {
        let expression = (!self.expression.is_empty())
            .then(|| Value::Array(vec![Value::from(self.expression.clone())]));
        Object::new()
            .with_some("extension", self.position.map(extensions))
            .with("severity", self.severity.as_str())
            .with("code", self.code.as_str())
            .with("diagnostics", self.diagnostics.clone())
            .with_some("expression", expression)
            .into()
    }
}

/// A finding about a code, in the words that terminology servers share.
///
/// <http://hl7.org/fhir/tools/CodeSystem/tx-issue-type>
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What kind.
    pub code: IssueCode,
    /// The kind as a code of tx-issue-type; empty where that has none.
    pub kind: &'static str,
    /// The message, by the name that translations of it have.
    pub id: &'static str,
    /// Text for a person.
    pub text: String,
    /// Which parameter or element it is about.
    pub expression: Option<String>,
}

impl Finding {
    /// The same about a parameter or element.
    #[must_use]
    pub fn at(self, expression: String) -> Self {
        Self { expression: Some(expression), ..self }
    }

    /// The finding without its codes.
    pub fn issue(&self) -> Issue {
        let place = self.expression.clone().unwrap_or_default();
        Issue { severity: self.severity, ..Issue::error_at(self.code, self.text.clone(), place) }
    }

    fn to_value(&self) -> Value<'static> {
        let id = Object::new()
            .with("url", "http://hl7.org/fhir/StructureDefinition/operationoutcome-message-id")
            .with("valueString", self.id);
        let kind = Object::new()
            .with("system", "http://hl7.org/fhir/tools/CodeSystem/tx-issue-type")
            .with("code", self.kind);
        let coding = (!self.kind.is_empty()).then(|| vec![Value::from(kind)]);
        let details = Object::new().with_some("coding", coding).with("text", self.text.clone());
        let expression = self.expression.clone().map(|it| vec![Value::from(it)]);
        Object::new()
            .with("extension", vec![Value::from(id)])
            .with("severity", self.severity.as_str())
            .with("code", self.code.as_str())
            .with("details", details)
            .with_some("expression", expression)
            .into()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostics)?;
        if self.expression.is_empty() { Ok(()) } else { write!(f, " ({})", self.expression) }
    }
}

/// A position as HL7's validator tells it.
fn extensions(at: Position) -> Value<'static> {
    let one = |name: &str, number: u32| -> Value<'static> {
        let url = format!("http://hl7.org/fhir/StructureDefinition/operationoutcome-issue-{name}");
        Object::new().with("url", url).with("valueInteger", u64::from(number)).into()
    };
    Value::Array(vec![one("line", at.line), one("col", at.column)])
}

/// Tells each issue where in the JSON `text` its element stands; `root` is the expression of the
/// resource that was judged, where that is not the whole text.
pub fn place(issues: &mut [Issue], text: &[u8], root: &str) {
    let within = |expression: &String| match expression.split_once('.') {
        _ if root.is_empty() || expression.is_empty() => expression.clone(),
        Some((_, rest)) => format!("{root}.{rest}"),
        None => root.to_owned(),
    };
    let expressions: Vec<String> = issues.iter().map(|it| within(&it.expression)).collect();
    let asked: Vec<&str> = expressions.iter().map(String::as_str).collect();
    for (issue, position) in issues.iter_mut().zip(positions(text, &asked)) {
        issue.position = position.filter(|_| !issue.expression.is_empty());
    }
}

/// An OperationOutcome resource with these issues.
pub fn operation_outcome(issues: &[Issue]) -> Value<'static> {
    Object::new()
        .with("resourceType", "OperationOutcome")
        .with("issue", issues.iter().map(Issue::to_value).collect::<Vec<_>>())
        .into()
}

/// An OperationOutcome resource with these findings about codes.
pub fn outcome_of_codes(findings: &[Finding]) -> Value<'static> {
    Object::new()
        .with("resourceType", "OperationOutcome")
        .with("issue", findings.iter().map(Finding::to_value).collect::<Vec<_>>())
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issue_is_placed_in_the_text_whatever_is_around_its_resource() {
        let text = b"{\"parameter\":[{\"resource\":{\n\"gender\":1}}]}";
        for (root, expression, line) in [
            ("Parameters.parameter[0].resource", "Patient.gender", Some(2)),
            ("Parameters.parameter[0].resource", "Patient", Some(1)),
            ("", "Parameters.parameter[0].resource.gender", Some(2)),
            ("", "Patient.gender", None),
            ("", "", None),
        ] {
            let mut issues = [Issue::error_at(IssueCode::Value, "x", expression)];
            place(&mut issues, text, root);
            assert_eq!(issues[0].position.map(|at| at.line), line, "{root} {expression}");
        }
        let mut issues = [Issue::error_at(IssueCode::Value, "x", "P.parameter")];
        place(&mut issues, text, "");
        let shown = operation_outcome(&issues).to_text();
        assert!(shown.contains(r#"issue-line","valueInteger":1},{"#), "{shown}");
        assert!(shown.contains(r#"issue-col","valueInteger":2}]"#), "{shown}");
    }

    #[test]
    fn codes_are_those_of_r4_and_no_others() {
        // <https://hl7.org/fhir/R4/valueset-issue-type.html>
        let r4 = [
            "business-rule",
            "code-invalid",
            "conflict",
            "deleted",
            "duplicate",
            "exception",
            "expired",
            "extension",
            "forbidden",
            "incomplete",
            "informational",
            "invalid",
            "invariant",
            "lock-error",
            "login",
            "multiple-matches",
            "no-store",
            "not-found",
            "not-supported",
            "processing",
            "required",
            "security",
            "structure",
            "suppressed",
            "throttled",
            "timeout",
            "too-costly",
            "too-long",
            "transient",
            "unknown",
            "value",
        ];
        let mut ours: Vec<&str> = IssueCode::ALL.iter().map(|code| code.as_str()).collect();
        ours.sort_unstable();
        assert_eq!(ours, r4);
    }

    #[test]
    fn an_outcome_shows_severity_code_text_and_place() {
        let issue = Issue::error_at(IssueCode::Value, "not a date", "Patient.birthDate");
        let expected = concat!(
            r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"value","#,
            r#""diagnostics":"not a date","expression":["Patient.birthDate"]}]}"#
        );
        assert_eq!(operation_outcome(&[issue]).to_text(), expected);
    }
}
