//! Messages that are refused as they come: whom they are about, what is said to who sends none, and what becomes of
//! them when they come again.
//!
//! Spec: v2 F5, S20, S56

use std::sync::Arc;

use bytes::Bytes;

use super::ack::{Code, Issue};
use super::er7::Message;
use super::heading::Mode;
use super::judge::Judged;
use super::receive::{Origin, Place, Receiver};
use crate::error::Error;
use crate::store::hl7v2::{MessageState, Received};

impl Receiver {
    /// Whether a message repeats one that was rejected, and is refused no longer: settings, maps or who may send have
    /// changed. Then it is a new message, not a repetition. One without an event is rejected by its work alone, which
    /// nobody knows before that is done: it is what it was.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub(super) async fn is_mended(
        &self,
        received: &Result<Received, Error>,
        judged: &Judged,
    ) -> Result<bool, Error> {
        let Ok(Received::Repeated(earlier)) = received else { return Ok(false) };
        let has_event = judged.heading.as_ref().is_some_and(|heading| !heading.event.is_empty());
        let was_refused =
            earlier.state == MessageState::Rejected && (earlier.is_untried || has_event);
        if !was_refused || judged.refused.is_some() {
            return Ok(false);
        }
        self.store.forget_receipt(&judged.site, &judged.digest, earlier.id).await?;
        Ok(true)
    }

    /// Hashes of the patients whom a message is about that is refused: whoever looks for what was tried with
    /// their data finds it. Others have that on record with their effect.
    pub(super) async fn refused_about(
        &self,
        judged: &Judged,
        raw: &Bytes,
        origin: &Origin,
    ) -> Result<Vec<i64>, Error> {
        let Some(heading) = judged.heading.as_ref().filter(|_| judged.refused.is_some()) else {
            return Ok(Vec::new());
        };
        let certificate = origin.certificate();
        let rules = self.settings_for(raw, origin.listener, &certificate).rules;
        let read = rules.read(raw, origin.is_framed).ok();
        let message = read
            .as_ref()
            .and_then(|read| Message::parse(&read.text, read.charset, rules.reading).ok());
        let maps = self.maps_of(heading, origin.listener, &certificate);
        let Some((message, maps)) = message.zip(maps) else { return Ok(Vec::new()) };
        let ids = self.work.patients(&message, &maps).await?;
        let ids = ids.iter().filter_map(|id| id.parse().ok());
        Ok(ids.map(|id| self.store.hasher().patient(&id)).collect())
    }

    /// What is said to who sends more than a message may have, or bytes that are none; it is kept.
    ///
    /// # Errors
    /// Those of the store: then nothing may be answered.
    pub async fn refuse(
        self: &Arc<Self>,
        beginning: &Bytes,
        issue: Issue,
        origin: &Origin,
    ) -> Result<Bytes, Error> {
        let mut judged = Judged::new(beginning, &[], false, &self.settings.rules);
        // The beginning of something says nothing of a repetition.
        if let Some(heading) = &mut judged.heading {
            heading.mode = Mode::Original;
        }
        judged.refused = Some((Code::AR, issue));
        let ack = self.first_answer(&judged, true).unwrap_or((Code::AR, Bytes::new()));
        let id = self.ids.ordered();
        let place = Place { batch: None, ack: Some(&ack), note: None, may_begin: false };
        self.store(&judged, id, beginning, &place, origin).await?;
        Ok(ack.1)
    }
}
