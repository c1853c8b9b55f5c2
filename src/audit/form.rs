//! What is the same of all AuditEvents of one kind of interaction.
//!
//! Spec: <https://profiles.ihe.net/ITI/BALP/>, the tables of each pattern

use crate::access::interaction::Kind;

const AGENTS: &str = "https://profiles.ihe.net/ITI/BALP/CodeSystem/UserAgentTypes";
const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const REST: &str = "http://hl7.org/fhir/restful-interaction";
/// The subtypes of what is no interaction of FHIR: the codes of [`Kind`].
pub const SUBTYPES: &str = "urn:kiln:audit-event";

/// What is the same of all events of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The pattern of BALP.
    pub pattern: Option<&'static str>,
    /// AuditEvent.type
    pub type_system: &'static str,
    /// Its code.
    pub type_code: &'static str,
    /// AuditEvent.subtype
    pub subtype_system: &'static str,
    /// Its code.
    pub subtype: &'static str,
    /// What the client is, a code of DICOM.
    pub client: &'static str,
    /// What the server is.
    pub server: (&'static str, &'static str),
    /// What the user is.
    pub user: &'static str,
}

/// An operation.
const OPERATION: Form = Form {
    pattern: None,
    type_system: "http://terminology.hl7.org/CodeSystem/audit-event-type",
    type_code: "rest",
    subtype_system: REST,
    subtype: "operation",
    client: "110153",
    server: (DICOM, "110152"),
    user: "IRCP",
};

/// An operation that shows a record, whole or in short: like BALP's pattern Read, whose subtypes it has not.
const RECORD: Form = Form { client: "110152", server: (DICOM, "110153"), ..OPERATION };

const DELETE: Form = Form {
    client: "110150",
    server: ("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "custodian"),
    ..written("Delete", "delete")
};

const TOKEN: Form = Form {
    subtype_system: "urn:ihe:event-type-code",
    subtype: "ITI-71",
    ..security("110114", "token")
};

/// BALP's pattern of disclosures, as their source has it: the server gives, the client gets.
const DISCLOSURE: Form = Form {
    subtype_system: "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle",
    subtype: "disclose",
    client: "110152",
    server: (DICOM, "110153"),
    ..moved("110106")
};

/// BALP's pattern AuthZconsent.
const CONSENT_DECISION: Form = Form {
    subtype_system: "https://profiles.ihe.net/ITI/BALP/CodeSystem/AuthZsubType",
    subtype: "AuthZ-Consent",
    ..security("110113", "")
};

const fn written(pattern: &'static str, subtype: &'static str) -> Form {
    Form { pattern: Some(pattern), subtype, user: "AUT", ..OPERATION }
}

const fn rest(subtype: &'static str) -> Form {
    Form { subtype, ..OPERATION }
}

const fn read(subtype: &'static str) -> Form {
    let server = (DICOM, "110153");
    Form { pattern: Some("Read"), subtype, client: "110152", server, ..OPERATION }
}

const fn searched(subtype: &'static str) -> Form {
    Form { pattern: Some("Query"), subtype, ..OPERATION }
}

/// What comes in from elsewhere or goes out, in the words of DICOM.
const fn moved(type_code: &'static str) -> Form {
    Form { type_system: DICOM, type_code, ..OPERATION }
}

/// An event of the authorization server; `code` is one of DICOM's.
const fn security(code: &'static str, kind: &'static str) -> Form {
    Form {
        type_system: DICOM,
        type_code: code,
        subtype_system: SUBTYPES,
        subtype: kind,
        client: "110150",
        server: (AGENTS, "AuthzOauthService"),
        ..OPERATION
    }
}

/// What the server does as a whole: who runs it is the launcher.
const fn activity(subtype: &'static str) -> Form {
    Form { client: "110151", server: (DICOM, "110150"), ..dicom("110100", subtype) }
}

const fn dicom(code: &'static str, subtype: &'static str) -> Form {
    Form { subtype_system: DICOM, ..security(code, subtype) }
}

/// What shows versions.
fn history(kind: Kind) -> &'static Form {
    match kind {
        Kind::HistoryInstance => &const { rest("history-instance") },
        Kind::HistorySystem => &const { rest("history-system") },
        _ => &const { rest("history-type") },
    }
}

/// What changes who may use the server, or its record.
fn administration(kind: Kind) -> &'static Form {
    match kind {
        Kind::ManageClient => &const { security("110100", "manage-registration") },
        Kind::Register => &const { security("110100", "register") },
        Kind::Erase => &const { security("110100", "erase") },
        Kind::Retain => &const { security("110100", "audit-retain") },
        _ => &const { security("110100", "admin") },
    }
}

impl Form {
    /// Whether data of patients are what it is about, and not who somebody is or what the server does.
    pub fn is_access(&self) -> bool {
        matches!(self.type_code, "rest" | "110106" | "110107")
    }

    /// The form of a kind's events.
    pub fn of(kind: Kind) -> &'static Self {
        match kind {
            Kind::Batch => &const { rest("batch") },
            Kind::Capabilities => &const { rest("capabilities") },
            Kind::Create => &const { written("Create", "create") },
            Kind::Delete => &DELETE,
            Kind::Everything | Kind::Summary => &RECORD,
            Kind::HistoryInstance | Kind::HistorySystem | Kind::HistoryType => history(kind),
            Kind::Patch => &const { written("Update", "patch") },
            Kind::Read => &const { read("read") },
            Kind::SearchSystem => &const { searched("search-system") },
            Kind::SearchType => &const { searched("search-type") },
            Kind::Transaction => &const { rest("transaction") },
            Kind::Update => &const { written("Update", "update") },
            Kind::Vread => &const { read("vread") },
            Kind::Login => &const { dicom("110114", "110122") },
            Kind::Logout => &const { dicom("110114", "110123") },
            Kind::Token => &TOKEN,
            Kind::Alert => &const { security("110113", "security-alert") },
            Kind::ConsentDecision => &CONSENT_DECISION,
            Kind::Begin => &const { activity("110120") },
            Kind::End => &const { activity("110121") },
            Kind::BreakGlass => &const { dicom("110113", "110127") },
            Kind::Admin | Kind::Erase | Kind::ManageClient | Kind::Register | Kind::Retain => {
                administration(kind)
            }
            Kind::Authorize => &const { security("110114", "authorize") },
            Kind::Consent => &const { security("110114", "consent") },
            Kind::Introspect => &const { security("110114", "introspect") },
            Kind::Launch => &const { security("110114", "launch") },
            Kind::Revoke => &const { security("110114", "revoke") },
            Kind::ExportFile | Kind::Notify => &DISCLOSURE,
            // Import.
            Kind::ApplyMessage | Kind::ReceiveMessage => &const { moved("110107") },
            Kind::SecondFactor => &const { security("110114", "second-factor") },
            Kind::Closure
            | Kind::ConvertMessage
            | Kind::DiscardMessage
            | Kind::Disclosures
            | Kind::Expand
            | Kind::Explain
            | Kind::Export
            | Kind::ExportCancel
            | Kind::ExportEnd
            | Kind::ExportStatus
            | Kind::GraphQl
            | Kind::LookForMessage
            | Kind::Lookup
            | Kind::Meta
            | Kind::MetaAdd
            | Kind::MetaDelete
            | Kind::ReadMessage
            | Kind::Reindex
            | Kind::ReplayMessage
            | Kind::SearchMessages
            | Kind::Subsumes
            | Kind::Translate
            | Kind::Unknown
            | Kind::UnmergeMessage
            | Kind::Validate
            | Kind::ValidateCode => &OPERATION,
        }
    }
}
