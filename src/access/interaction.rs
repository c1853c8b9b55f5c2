//! The interactions of the RESTful API, as the gate and the ledger know them.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset-restful-interaction.html>

use crate::fhir::ResourceType;

/// What a caller wants to do, and with which type (`None` where it is not about one type).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Interaction {
    /// The kind of interaction.
    pub kind: Kind,
    /// The resource type it is about.
    pub resource_type: Option<ResourceType>,
}

macro_rules! kinds {
    ($($variant:ident $number:literal $code:literal $action:literal,)*) => {
        /// The kind of an interaction, or from 40 on of what the authorization server does. The number
        /// is what the ledger stores: never reuse one.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Kind {
            $(#[doc = concat!("`", $code, "`")] $variant,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as FHIR writes it; operations by their name with `$`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The number in the ledger.
            pub fn number(self) -> i16 {
                match self { $(Self::$variant => $number,)* }
            }

            /// AuditEvent.action: C, R, U, D or E.
            pub fn action(self) -> char {
                match self { $(Self::$variant => $action,)* }
            }
        }
    };
}

kinds! {
    Admin 50 "admin" 'E',
    Alert 51 "security-alert" 'E',
    ApplyMessage 92 "v2-apply" 'E',
    Authorize 43 "authorize" 'E',
    Batch 1 "batch" 'E',
    Begin 120 "audit-begin" 'E',
    BreakGlass 66 "break-glass" 'E',
    Capabilities 2 "capabilities" 'R',
    Closure 25 "$closure" 'E',
    ConsentDecision 67 "consent-decision" 'E',
    Consent 44 "consent" 'E',
    ConvertMessage 59 "$hl7v2-convert" 'E',
    Create 3 "create" 'C',
    Delete 4 "delete" 'D',
    DiscardMessage 64 "v2-discard" 'U',
    Erase 76 "erase" 'D',
    Everything 31 "$everything" 'R',
    Expand 20 "$expand" 'E',
    Disclosures 75 "$disclosures" 'R',
    End 121 "audit-end" 'E',
    Explain 19 "$explain" 'R',
    Export 130 "$export" 'E',
    ExportCancel 131 "export-cancel" 'D',
    ExportEnd 132 "export-end" 'E',
    ExportFile 133 "export-file" 'R',
    ExportStatus 134 "export-status" 'R',
    GraphQl 38 "$graphql" 'E',
    HistoryInstance 5 "history-instance" 'R',
    HistorySystem 6 "history-system" 'R',
    HistoryType 7 "history-type" 'R',
    Introspect 47 "introspect" 'R',
    Launch 48 "launch" 'C',
    Login 40 "login" 'E',
    Logout 41 "logout" 'E',
    LookForMessage 88 "v2-look" 'R',
    Lookup 21 "$lookup" 'E',
    ManageClient 70 "manage-registration" 'E',
    Meta 8 "$meta" 'R',
    MetaAdd 9 "$meta-add" 'U',
    MetaDelete 10 "$meta-delete" 'U',
    Notify 140 "subscription-notify" 'R',
    Patch 11 "patch" 'U',
    Read 12 "read" 'R',
    ReadMessage 61 "v2-read" 'R',
    ReceiveMessage 65 "v2-receive" 'C',
    Register 49 "register" 'C',
    Reindex 18 "$reindex" 'E',
    ReplayMessage 63 "v2-replay" 'E',
    Retain 60 "audit-retain" 'D',
    Revoke 46 "revoke" 'D',
    SearchMessages 62 "v2-search" 'R',
    SearchSystem 16 "search-system" 'E',
    SearchType 17 "search-type" 'E',
    SecondFactor 42 "second-factor" 'E',
    Subsumes 22 "$subsumes" 'E',
    Summary 32 "$summary" 'R',
    Token 45 "token" 'E',
    Transaction 13 "transaction" 'E',
    Translate 23 "$translate" 'E',
    Unknown 26 "unknown" 'E',
    UnmergeMessage 85 "v2-unmerge" 'U',
    Update 14 "update" 'U',
    Validate 30 "$validate" 'E',
    ValidateCode 24 "$validate-code" 'E',
    Vread 15 "vread" 'R',
}

impl Kind {
    /// Whether it may change what is stored.
    pub fn is_write(self) -> bool {
        let of_others = matches!(
            self,
            Self::ApplyMessage
                | Self::Batch
                | Self::Closure
                | Self::Reindex
                | Self::ReplayMessage
                | Self::Transaction
        );
        of_others || matches!(self.action(), 'C' | 'U' | 'D')
    }

    /// Whether it changes or deletes one resource that is there.
    pub fn is_change(self) -> bool {
        matches!(self, Self::Delete | Self::MetaAdd | Self::MetaDelete | Self::Patch | Self::Update)
    }

    /// Whether it only shows what is stored or known: no decision, no login, nothing that leaves in bulk.
    pub fn is_read(self) -> bool {
        matches!(
            self,
            Self::Capabilities
                | Self::Disclosures
                | Self::Expand
                | Self::Explain
                | Self::HistoryInstance
                | Self::HistorySystem
                | Self::HistoryType
                | Self::LookForMessage
                | Self::Lookup
                | Self::Meta
                | Self::Read
                | Self::ReadMessage
                | Self::SearchMessages
                | Self::SearchSystem
                | Self::SearchType
                | Self::Subsumes
                | Self::Translate
                | Self::Validate
                | Self::ValidateCode
                | Self::Vread
        )
    }

    /// The kind with a number of the ledger; `None` for one of another version of this program.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.number() == number)
    }

    /// This kind of interaction with `resource_type`.
    pub fn of(self, resource_type: ResourceType) -> Interaction {
        Interaction { kind: self, resource_type: Some(resource_type) }
    }

    /// This kind of interaction with the whole system.
    pub fn of_system(self) -> Interaction {
        Interaction { kind: self, resource_type: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_changes_nothing_and_is_none_of_the_authorization_server() {
        for kind in Kind::ALL.iter().filter(|kind| kind.is_read()) {
            assert!(!kind.is_write(), "{kind:?}");
        }
        for kind in [Kind::BreakGlass, Kind::Login, Kind::Token, Kind::Alert, Kind::Introspect] {
            assert!(!kind.is_read(), "{kind:?}");
        }
        assert!(!Kind::ExportFile.is_read() && !Kind::Batch.is_read() && !Kind::Notify.is_read());
    }

    #[test]
    fn no_two_kinds_share_a_ledger_number() {
        let mut numbers: Vec<i16> = Kind::ALL.iter().map(|kind| kind.number()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), Kind::ALL.len());
    }
}
