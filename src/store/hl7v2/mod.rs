//! Messages of HL7 version 2: stored before they are answered, worked on in the order of each
//! patient, and found again.
//!
//! | file | holds |
//! |---|---|
//! | `answer` | answers that go over a connection of their own |
//! | `companion` | what is committed together with the effect of a message |
//! | `end` | the one statement that ends messages and writes what comes with their effects |
//! | `look` | what is known of what a message is about, in one statement |
//! | `purge` | texts that are kept for a time only, and numbers that are used |
//! | `receipt` | many messages stored by one statement |
//! | `receive` | the one statement that stores a message, tells a repetition, and takes its place in line |
//! | `desk` | what people do with messages and profiles, with its row in the ledger |
//! | `vault` | the keys that texts are sealed with |
//! | `sealing` | texts that were stored before they were sealed |
//! | `months` | months of messages whose time is over |
//! | `parts` | parts of messages that wait for the others |
//! | `merge` | what merges moved, and how they are taken back |
//! | `queue` | who works on what: leases, ends, another try |
//! | `list` | what people look at |
//! | `site` | what senders have of their own, and which of their codes no map knows |
//!
//! A message stands in `v2_message`, by months, and changes there once, at its end. What waits, is at work or
//! did not end well has a row in `v2_open` too, which says where it stands.
//!
//! Spec: v2 M7 to M9, P5, P6, S20, S21; `migrations/0040_v2_messages.sql`, `migrations/0152_v2_months.sql`

mod answer;
mod companion;
mod desk;
mod end;
mod list;
mod look;
mod merge;
mod months;
mod parts;
mod purge;
mod queue;
mod receipt;
mod receive;
mod sealing;
mod site;
mod vault;

use bytes::Bytes;
use uuid::Uuid;

use crate::fhir::Instant;

pub use answer::Owed;
pub use companion::{Companion, Keyed, Mark, Member};
pub use desk::Desk;
pub(super) use end::{END, EndColumns};
pub use list::{Counted, MessageFilter, MessageRow, MessageView};
pub use look::Looked;
pub(super) use look::Looks;
pub use merge::{Merge, Merging, Moved};
pub use months::MessageMonth;
pub use parts::HeldParts;
pub use purge::Purged;
pub use queue::{Claimed, Ended};
pub(super) use receipt::Receipts;
pub use receive::{Earlier, NewMessage, Received};
pub use sealing::Sealing;
pub use site::{NewSite, SiteProfiles, SiteVersion, UnmappedCode, UnmappedCount};
pub(super) use vault::Vault;
pub use vault::{FileKey, VaultError, VaultParts};

/// Every statement of this folder, for the test that prepares them.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    let files = [
        answer::STATEMENTS,
        companion::STATEMENTS,
        list::STATEMENTS,
        merge::STATEMENTS,
        months::STATEMENTS,
        look::STATEMENTS,
        parts::STATEMENTS,
        purge::STATEMENTS,
        queue::STATEMENTS,
        receive::STATEMENTS,
        sealing::STATEMENTS,
        site::STATEMENTS,
        vault::STATEMENTS,
    ];
    files.into_iter().flatten().copied()
}

macro_rules! states {
    ($($variant:ident $name:literal,)*) => {
        /// Where a message stands.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum MessageState {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl MessageState {
            /// Every state.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in the table and in lists.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The state of this name.
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

states! {
    Received "received",
    Processing "processing",
    Processed "processed",
    ProcessedWithIssues "processed_with_issues",
    Duplicate "duplicate",
    Rejected "rejected",
    Failed "failed",
    Held "held",
    Discarded "discarded",
    Fragment "fragment",
}

impl MessageState {
    /// Whether it had its effect.
    pub fn is_processed(self) -> bool {
        matches!(self, Self::Processed | Self::ProcessedWithIssues)
    }

    /// Whether work on it has ended, well or not.
    pub fn has_ended(self) -> bool {
        !matches!(self, Self::Received | Self::Processing)
    }
}

/// An issue of a message, as ERR has it; the numbers of its place are 0 where there is none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MessageIssue {
    /// E, I or W.
    pub severity: String,
    /// Table 0357.
    pub code: i32,
    /// A name of ours, or nothing.
    pub name: String,
    /// The segment, or nothing.
    pub segment: String,
    /// Sequence, field, repetition, component, subcomponent.
    pub numbers: [i32; 5],
    /// What is worth knowing beside.
    pub text: String,
}

/// What a message did to one resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MessageEffect {
    /// create, update, merge, repoint, none
    pub action: String,
    /// The type.
    pub resource_type: String,
    /// The id.
    pub id: String,
    /// The version that was made.
    pub version: i32,
    /// The rule that made it.
    pub rule: String,
}

/// How work on a message ended.
#[derive(Clone, Debug)]
pub struct MessageEnd {
    /// The message.
    pub id: Uuid,
    /// The number of the try that ends: if another one has begun, this one counts for nothing.
    pub attempts: i32,
    /// Where it stands from now on.
    pub state: MessageState,
    /// The answer's code, and the answer.
    pub ack: (&'static str, Bytes),
    /// When.
    pub at: Instant,
    /// The maps that were in force.
    pub map_hash: Option<String>,
    /// Why it failed, in words that hold nothing of the message.
    pub reason: String,
    /// What was found.
    pub issues: Vec<MessageIssue>,
    /// What was done.
    pub effects: Vec<MessageEffect>,
    /// Codes that no map had another one for.
    pub unmapped: Vec<UnmappedCode>,
    /// Whether later messages of its patients go on waiting.
    pub holds_its_line: bool,
}
