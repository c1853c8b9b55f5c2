//! The reader of ER7, the text form of version 2 messages with separators.
//!
//! A [`Message`] borrows from the text and knows where each field stands; everything below a field is
//! split when it is asked for. Nothing is ever left out: a line that is no segment belongs to the
//! field before it (or is refused), a value whose escapes make no sense is kept as it was sent.
//!
//! | | |
//! |---|---|
//! | `""` | [`Presence::Null`]: the sender deletes the value |
//! | nothing between two separators | [`Presence::Empty`] |
//! | the segment ends before it, or is not there | [`Presence::Absent`] |
//!
//! It never reads a file or waits. Imports `charset`.
//!
//! Spec: v2 S10, S51, S53

mod escape;
mod names;
mod part;
mod path;
mod place;
mod separators;
mod split;

pub use escape::{Escapes, decode};
pub use part::{Level, Part, Presence};
pub use path::{Index, Path, PathError};
pub use place::{Place, SegmentName};
pub use separators::Separators;
pub use split::{Fault, Message, Reading, Segment};
