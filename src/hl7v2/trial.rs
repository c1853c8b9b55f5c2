//! Messages that are only tried: what they would be stored as, and how they would be answered.
//!
//! Spec: v2 P7

use super::ack::{Code, Condition, Issue};
use super::dtm::Moment;
use super::er7::Message;
use super::heading::Heading;
use super::judge::Judged;
use super::map;
use super::receive::{Receiver, shown};
use crate::access::Caller;
use crate::error::Error;
use crate::fhir::json::Value;

/// What a message asks for.
#[derive(Debug)]
pub struct Drafted {
    /// The transaction; `None`: it is refused.
    pub bundle: Option<Value<'static>>,
    /// What is wrong, or worth knowing.
    pub issues: Vec<Issue>,
    /// Fields with a value, or repetitions of them, of which nothing is made.
    pub unmapped: Vec<String>,
}

/// What a resource of a message is by what is stored.
#[derive(Debug)]
pub struct Resolved {
    /// How the message's own documents name it.
    pub url: String,
    /// Its name; `None`: it would be new.
    pub known: Option<String>,
}

/// What a message would be stored as and answered with.
#[derive(Debug)]
pub struct Converted {
    /// The transaction; `None`: it is refused.
    pub bundle: Option<Value<'static>>,
    /// What is wrong, or worth knowing.
    pub issues: Vec<Issue>,
    /// Fields with a value, or repetitions of them, of which nothing is made.
    pub unmapped: Vec<String>,
    /// The answer.
    pub answer: String,
    /// What each resource is by what is stored, where that was asked for.
    pub identities: Vec<Resolved>,
}

/// What a message is tried for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trial<'a> {
    /// The profile; without one that of the sender counts.
    pub profile: Option<&'a str>,
    /// Whether it is shown as a message, not as a transaction.
    pub as_message: bool,
    /// In whose name it is held against what is stored; `None`: it is not.
    pub against: Option<&'a Caller>,
}

impl Receiver {
    /// What a message would be stored as and answered with, by the maps of its sender or of a profile, and
    /// by what is stored where that is asked for; nothing is stored.
    ///
    /// # Errors
    /// [`Error::Forbidden`] where the caller may not see what is stored; [`Error::Unavailable`].
    pub async fn convert(&self, raw: &[u8], trial: &Trial<'_>) -> Result<Converted, Error> {
        let mut converted = self.convert_alone(raw, trial);
        let Some(caller) = trial.against.filter(|_| converted.bundle.is_some()) else {
            return Ok(converted);
        };
        match self.identities(raw, trial.profile, caller).await? {
            Ok(found) => converted.identities = found,
            Err(issue) => {
                converted.issues.push(issue);
                let judged = self.judged(raw);
                let code = Code::of(&converted.issues);
                let answer = self.answer(judged.heading.as_ref(), code, &converted.issues);
                converted.answer = shown(&answer);
            }
        }
        Ok(converted)
    }

    /// The same by the message alone, whatever is stored.
    pub fn convert_alone(&self, raw: &[u8], trial: &Trial<'_>) -> Converted {
        let judged = self.judged(raw);
        let heading = judged.heading.as_ref();
        let refused = |code, issue: Issue| {
            let answer = self.answer(heading, code, std::slice::from_ref(&issue));
            Converted {
                bundle: None,
                issues: vec![issue],
                unmapped: Vec::new(),
                answer: shown(&answer),
                identities: Vec::new(),
            }
        };
        if let Some((code, issue)) = judged.refused {
            return refused(code, issue);
        }
        let rules = self.settings_for(raw, "", "").rules;
        let read = rules.read(raw, false);
        let message = read
            .as_ref()
            .ok()
            .and_then(|read| Message::parse(&read.text, read.charset, rules.reading).ok());
        let drafted = message.and_then(|message| {
            let maps = self.maps_for(&Heading::of(&message), trial.profile)?;
            self.work.draft(&message.with_escapes(&maps.site().escapes), &maps)
        });
        let Some(Drafted { bundle, issues, unmapped }) = drafted else {
            let known = heading.map(|heading| self.work.knows(heading));
            let condition = known.and_then(Result::err).unwrap_or(Condition::UnsupportedType);
            return refused(Code::AR, Issue::error(condition));
        };
        let bundle = match (bundle, heading) {
            (Some(bundle), Some(heading)) if trial.as_message => {
                let sent = Moment::parse(&heading.sent).ok();
                let sent = sent.map(|sent| sent.start(&self.settings.zones).to_string());
                let id = format!("urn:uuid:{}", self.ids.ordered());
                Some(map::bundle::message(&bundle, heading, sent, id))
            }
            (bundle, _) => bundle,
        };
        let answer = self.answer(heading, Code::of(&issues), &issues);
        Converted { bundle, issues, unmapped, answer: shown(&answer), identities: Vec::new() }
    }

    /// A message as it is judged whoever sends it.
    fn judged(&self, raw: &[u8]) -> Judged {
        Judged::new(raw, &[], false, &self.settings_for(raw, "", "").rules)
    }

    /// What the resources of a message are by what is stored.
    async fn identities(
        &self,
        raw: &[u8],
        profile: Option<&str>,
        caller: &Caller,
    ) -> Result<Result<Vec<Resolved>, Issue>, Error> {
        let rules = self.settings_for(raw, "", "").rules;
        let Ok(read) = rules.read(raw, false) else { return Ok(Ok(Vec::new())) };
        let Ok(message) = Message::parse(&read.text, read.charset, rules.reading) else {
            return Ok(Ok(Vec::new()));
        };
        let Some(maps) = self.maps_for(&Heading::of(&message), profile) else {
            return Ok(Ok(Vec::new()));
        };
        let message = message.with_escapes(&maps.site().escapes);
        self.work.resolve(&message, &maps, caller).await
    }
}
