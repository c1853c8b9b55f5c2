//! What each kind of interaction needs: the one table.

use super::interaction::Kind;
use super::scope::Actions;

/// What somebody must have been granted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Need {
    /// Everything, with everything: what works on the whole server or tells of it.
    Administration,
    /// All of these actions with the type.
    All(Actions),
    /// One of these actions with the type.
    Any(Actions),
    /// What works with messages of feeds: the scope for it, or administration.
    Messages,
    /// A client by itself, with whole types: reading and searching the type, or one at least.
    Export,
    /// Nothing by itself: what it consists of is asked for one by one.
    Frame,
    /// Nothing.
    Nothing,
}

/// What an interaction of this kind needs. Kinds that are not named need all there is.
pub(super) fn of(kind: Kind) -> Need {
    match kind {
        // Of one resource it reads that, which is asked for as a read.
        Kind::ApplyMessage
        | Kind::Batch
        | Kind::GraphQl
        | Kind::SearchSystem
        | Kind::Transaction => Need::Frame,
        Kind::Capabilities => Need::Nothing,
        Kind::Create => Need::All(Actions::C),
        Kind::Delete => Need::All(Actions::D),
        Kind::Disclosures
        | Kind::Expand
        | Kind::HistoryInstance
        | Kind::Lookup
        | Kind::Read
        | Kind::Subsumes
        | Kind::Translate
        | Kind::ValidateCode
        | Kind::Vread => Need::All(Actions::R),
        Kind::Export
        | Kind::ExportCancel
        | Kind::ExportEnd
        | Kind::ExportFile
        | Kind::ExportStatus => Need::Export,
        Kind::HistorySystem | Kind::HistoryType | Kind::Notify | Kind::SearchType => {
            Need::All(Actions::S)
        }
        Kind::ConvertMessage
        | Kind::DiscardMessage
        | Kind::LookForMessage
        | Kind::ReadMessage
        | Kind::ReceiveMessage
        | Kind::ReplayMessage
        | Kind::SearchMessages
        | Kind::UnmergeMessage => Need::Messages,
        Kind::Everything | Kind::Meta | Kind::Summary => Need::All(Actions::R.or(Actions::S)),
        Kind::MetaAdd | Kind::MetaDelete | Kind::Patch | Kind::Update => Need::All(Actions::U),
        Kind::Validate => Need::Any(Actions::C.or(Actions::R).or(Actions::U)),
        _ => Need::Administration,
    }
}

/// Whether scopes of a patient may grant it.
pub(super) fn is_for_patients(kind: Kind) -> bool {
    !matches!(kind, Kind::MetaDelete)
}
