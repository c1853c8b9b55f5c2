//! An AuditEvent as the audit message of DICOM, which syslog carries.
//!
//! The elements of AuditEvent come from that message, so each has its place there. Attributes stand for
//! what is short; what a request asked is Base64 in both.
//!
//! Spec: DICOM PS3.15 A.5.1 (the schema), <https://hl7.org/fhir/R4/auditevent-mappings.html#dicom>

use std::fmt::Write as _;

use serde_json::Value;

/// The codes of DICOM, by the name that its messages have for them.
const SYSTEMS: &[(&str, &str)] = &[
    ("http://dicom.nema.org/resources/ontology/DCM", "DCM"),
    ("urn:ihe:event-type-code", "IHE Transactions"),
];

/// The message for the body of an AuditEvent.
pub fn message(event: &Value) -> String {
    let mut out = String::with_capacity(2_048);
    out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?><AuditMessage>");
    identification(&mut out, event);
    for agent in items(event, "agent") {
        participant(&mut out, agent);
    }
    source(&mut out, &event["source"]);
    for entity in items(event, "entity") {
        object(&mut out, entity);
    }
    out.push_str("</AuditMessage>");
    out
}

fn identification(out: &mut String, event: &Value) {
    out.push_str("<EventIdentification");
    attribute(out, "EventActionCode", text(&event["action"]));
    attribute(out, "EventDateTime", text(&event["recorded"]));
    attribute(out, "EventOutcomeIndicator", text(&event["outcome"]));
    out.push('>');
    coded(out, "EventID", &event["type"]);
    for subtype in items(event, "subtype") {
        coded(out, "EventTypeCode", subtype);
    }
    if let Some(why) = text(&event["outcomeDesc"]) {
        out.push_str("<EventOutcomeDescription>");
        escape(out, why);
        out.push_str("</EventOutcomeDescription>");
    }
    out.push_str("</EventIdentification>");
}

fn participant(out: &mut String, agent: &Value) {
    let user = named(&agent["who"]).or_else(|| text(&agent["altId"])).unwrap_or("unknown");
    out.push_str("<ActiveParticipant");
    attribute(out, "UserID", Some(user));
    attribute(out, "AlternativeUserID", text(&agent["altId"]));
    attribute(out, "UserName", text(&agent["name"]));
    let is_requestor = agent["requestor"] == true;
    attribute(out, "UserIsRequestor", Some(if is_requestor { "true" } else { "false" }));
    attribute(out, "NetworkAccessPointID", text(&agent["network"]["address"]));
    attribute(out, "NetworkAccessPointTypeCode", text(&agent["network"]["type"]));
    out.push('>');
    for coding in items(&agent["type"], "coding") {
        coded(out, "RoleIDCode", coding);
    }
    out.push_str("</ActiveParticipant>");
}

fn source(out: &mut String, source: &Value) {
    out.push_str("<AuditSourceIdentification");
    attribute(out, "AuditEnterpriseSiteID", text(&source["site"]));
    attribute(out, "AuditSourceID", Some(named(&source["observer"]).unwrap_or("unknown")));
    out.push('>');
    for coding in items(source, "type") {
        out.push_str("<AuditSourceTypeCode");
        attribute(out, "csd-code", text(&coding["code"]));
        out.push_str("/>");
    }
    out.push_str("</AuditSourceIdentification>");
}

fn object(out: &mut String, entity: &Value) {
    let description = text(&entity["description"]);
    let id = named(&entity["what"]).or(description).unwrap_or("unknown");
    // What has no number there is of another kind.
    let kind = text(&entity["type"]["code"]).filter(|code| is_number(code)).unwrap_or("4");
    let role = text(&entity["role"]["code"]).filter(|code| is_number(code));
    out.push_str("<ParticipantObjectIdentification");
    attribute(out, "ParticipantObjectID", Some(id));
    attribute(out, "ParticipantObjectTypeCode", Some(kind));
    attribute(out, "ParticipantObjectTypeCodeRole", role);
    attribute(out, "ParticipantObjectDataLifeCycle", text(&entity["lifecycle"]["code"]));
    out.push('>');
    let (code, system, name) = match (kind, role) {
        ("1", Some("1")) => ("2", "RFC-3881", "Patient Number"),
        ("2", Some("24")) => ("10", "RFC-3881", "Search Criteria"),
        ("4", None) => ("XrequestId", "Kiln", "Request"),
        _ => ("12", "RFC-3881", "URI"),
    };
    write_coded(out, "ParticipantObjectIDTypeCode", (code, system, name));
    let query = text(&entity["query"]);
    let name = text(&entity["name"]).or(description).unwrap_or(id);
    let (element, content) =
        query.map_or(("ParticipantObjectName", name), |query| ("ParticipantObjectQuery", query));
    // Writing to a text cannot fail.
    let _ = write!(out, "<{element}>");
    escape(out, content);
    let _ = write!(out, "</{element}>");
    out.push_str("</ParticipantObjectIdentification>");
}

/// What a reference says: whom it names, else what is written there.
fn named(reference: &Value) -> Option<&str> {
    let identifier = text(&reference["identifier"]["value"]);
    text(&reference["reference"]).or(identifier).or_else(|| text(&reference["display"]))
}

fn coded(out: &mut String, element: &str, coding: &Value) {
    let code = text(&coding["code"]).unwrap_or("unknown");
    let system = text(&coding["system"]).unwrap_or("unknown");
    let short = SYSTEMS.iter().find(|(url, _)| *url == system).map(|(_, name)| *name);
    let display = text(&coding["display"]).unwrap_or(code);
    write_coded(out, element, (code, short.unwrap_or(system), display));
}

fn write_coded(out: &mut String, element: &str, (code, system, name): (&str, &str, &str)) {
    out.push('<');
    out.push_str(element);
    attribute(out, "csd-code", Some(code));
    attribute(out, "codeSystemName", Some(system));
    attribute(out, "originalText", Some(name));
    out.push_str("/>");
}

fn attribute(out: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        out.push(' ');
        out.push_str(name);
        out.push_str("=\"");
        escape(out, value);
        out.push('"');
    }
}

/// Writes a text as XML has it. What XML cannot hold becomes what stands for a character that is lost.
fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // A line of a log is a line.
            '\t' | '\n' | '\r' => {
                // Writing to a text cannot fail.
                let _ = write!(out, "&#{};", u32::from(character));
            }
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
}

fn is_number(code: &str) -> bool {
    code.bytes().all(|byte| byte.is_ascii_digit())
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_element_has_its_place() {
        let event = json!({
            "type": { "system": "http://dicom.nema.org/resources/ontology/DCM", "code": "110114" },
            "subtype": [{ "system": "urn:ihe:event-type-code", "code": "ITI-71", "display": "Token" }],
            "action": "E", "recorded": "2026-01-02T03:04:05.678Z", "outcome": "4", "outcomeDesc": "no <b>",
            "agent": [{
                "type": { "coding": [{ "system": "urn:x", "code": "IRCP" }] },
                "who": { "identifier": { "value": "ada" } }, "altId": "user:ada", "name": "ada",
                "requestor": true, "network": { "address": "192.0.2.1", "type": "2" },
            }],
            "source": { "site": "https://h/fhir", "observer": { "display": "Kiln" }, "type": [{ "code": "4" }] },
            "entity": [
                { "type": { "code": "1" }, "role": { "code": "1" }, "what": { "reference": "Patient/1" } },
                { "type": { "code": "2" }, "role": { "code": "24" }, "query": "R0VU", "description": "GET /x" },
                { "type": { "code": "XrequestId" }, "what": { "identifier": { "value": "r\n1" } } },
            ],
        });
        let expected = concat!(
            r#"<?xml version="1.0" encoding="UTF-8"?><AuditMessage>"#,
            r#"<EventIdentification EventActionCode="E" EventDateTime="2026-01-02T03:04:05.678Z" EventOutcomeIndicator="4">"#,
            r#"<EventID csd-code="110114" codeSystemName="DCM" originalText="110114"/>"#,
            r#"<EventTypeCode csd-code="ITI-71" codeSystemName="IHE Transactions" originalText="Token"/>"#,
            r"<EventOutcomeDescription>no &lt;b&gt;</EventOutcomeDescription></EventIdentification>",
            r#"<ActiveParticipant UserID="ada" AlternativeUserID="user:ada" UserName="ada" UserIsRequestor="true" "#,
            r#"NetworkAccessPointID="192.0.2.1" NetworkAccessPointTypeCode="2">"#,
            r#"<RoleIDCode csd-code="IRCP" codeSystemName="urn:x" originalText="IRCP"/></ActiveParticipant>"#,
            r#"<AuditSourceIdentification AuditEnterpriseSiteID="https://h/fhir" AuditSourceID="Kiln">"#,
            r#"<AuditSourceTypeCode csd-code="4"/></AuditSourceIdentification>"#,
            r#"<ParticipantObjectIdentification ParticipantObjectID="Patient/1" ParticipantObjectTypeCode="1" ParticipantObjectTypeCodeRole="1">"#,
            r#"<ParticipantObjectIDTypeCode csd-code="2" codeSystemName="RFC-3881" originalText="Patient Number"/>"#,
            r"<ParticipantObjectName>Patient/1</ParticipantObjectName></ParticipantObjectIdentification>",
            r#"<ParticipantObjectIdentification ParticipantObjectID="GET /x" ParticipantObjectTypeCode="2" ParticipantObjectTypeCodeRole="24">"#,
            r#"<ParticipantObjectIDTypeCode csd-code="10" codeSystemName="RFC-3881" originalText="Search Criteria"/>"#,
            r"<ParticipantObjectQuery>R0VU</ParticipantObjectQuery></ParticipantObjectIdentification>",
            r#"<ParticipantObjectIdentification ParticipantObjectID="r&#10;1" ParticipantObjectTypeCode="4">"#,
            r#"<ParticipantObjectIDTypeCode csd-code="XrequestId" codeSystemName="Kiln" originalText="Request"/>"#,
            r"<ParticipantObjectName>r&#10;1</ParticipantObjectName></ParticipantObjectIdentification></AuditMessage>",
        );
        assert_eq!(message(&event), expected);
    }

    #[test]
    fn what_is_missing_or_no_xml_still_makes_a_message() {
        let bare = message(&json!({ "agent": [{}], "entity": [{}], "outcomeDesc": "a\u{1}\"&" }));
        for part in [
            r#"<EventID csd-code="unknown""#,
            "a\u{fffd}&quot;&amp;</EventOutcomeDescription>",
            r#"<ActiveParticipant UserID="unknown" UserIsRequestor="false">"#,
            r#"AuditSourceID="unknown""#,
            r#"ParticipantObjectID="unknown" ParticipantObjectTypeCode="4">"#,
        ] {
            assert!(bare.contains(part), "{part}: {bare}");
        }
    }
}
