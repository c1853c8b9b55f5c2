//! Answers to the work on messages that go over a connection of their own.
//!
//! In enhanced mode the receipt of a message is confirmed on its own connection. Where the profile of its
//! sender names an endpoint, the answer to the work goes there: it is noted before the receipt is
//! confirmed, and tried until it is sent, those of one endpoint in the order of their messages. An
//! answer that was sent twice says the same twice; nobody answers an answer.
//!
//! Spec: v2 M4

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::codec::Decoder as _;
use uuid::Uuid;

use super::ack::Code;
use super::frame::{Frame, Frames, STORED, framed};
use super::heading::{Heading, Mode, Wanted};
use super::receive::{Answers, Application, Origin, Receiver};
use crate::error::{Error, root_cause};
use crate::store::hl7v2::Owed;

/// Between two looks for answers that are to be sent.
const LOOK: Duration = Duration::from_secs(1);
/// Most answers of one look.
const MOST: i64 = 64;
/// How long a node has answers for itself.
const LEASE_MS: i64 = 120_000;
/// Longest wait for a connection, and for the other side to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long answers are sent without a look at whether they are still this node's.
const LONGEST_ROUND: Duration = Duration::from_mins(1);
/// Longest wait for another try.
const LONGEST_WAIT_MS: i64 = 60_000;
/// How long an answer is tried: who sends the message again has it again.
const LONGEST_MS: i64 = 24 * 3_600_000;
/// Largest frame that confirms an answer.
const LARGEST: usize = 1_024;

/// Where answers go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// What profiles call it.
    name: String,
    /// Host and port.
    address: String,
}

impl Endpoint {
    /// Reads `name=host:port`.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, address) = text.trim().split_once('=')?;
        let (host, port) = address.rsplit_once(':')?;
        let is_sound = !name.is_empty() && !host.is_empty() && port.parse::<u16>().is_ok();
        is_sound.then(|| Self { name: name.to_owned(), address: address.to_owned() })
    }
}

impl Receiver {
    /// What of the answers to a message goes back as it came: the one to the work may go elsewhere.
    pub(super) async fn elsewhere(
        &self,
        answers: Answers,
        message: Uuid,
        heading: &Heading,
        origin: &Origin,
    ) -> Result<Answers, Error> {
        let mut answers = answers;
        if !matches!(answers.application, Application::Silent)
            && self.goes_elsewhere(message, heading, origin).await?
        {
            answers.application = Application::Silent;
        }
        Ok(answers)
    }

    /// Notes that the answer to the work on a message goes elsewhere, where the profile of its sender says
    /// so and an answer may be wanted; whether it does.
    async fn goes_elsewhere(
        &self,
        message: Uuid,
        heading: &Heading,
        origin: &Origin,
    ) -> Result<bool, Error> {
        let Mode::Enhanced { application, .. } = heading.mode else { return Ok(false) };
        if application == Wanted::Never || heading.is_answer() || !origin.is_framed {
            return Ok(false);
        }
        let maps = self.maps_of(heading, origin.listener, &origin.certificate());
        let Some(name) = maps.as_ref().and_then(|maps| maps.site().answers.as_deref()) else {
            return Ok(false);
        };
        if !self.settings.endpoints.iter().any(|endpoint| endpoint.name == name) {
            tracing::warn!(endpoint = name, "no such endpoint: answers go back as others do");
            return Ok(false);
        }
        self.store.owe_answer(message, name, application.as_str(), self.clock.now()).await?;
        Ok(true)
    }

    /// Sends answers that go elsewhere, until told to stop.
    pub async fn send_elsewhere(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        if self.settings.endpoints.is_empty() {
            return;
        }
        loop {
            if let Err(error) = self.send_some().await {
                tracing::debug!(cause = root_cause(&error), "answers have to wait");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.answered.notified() => {}
                _ = stop.changed() => return,
            }
        }
    }

    async fn send_some(&self) -> Result<(), Error> {
        loop {
            let now = self.clock.now();
            let owed = self.store.claim_answers(now, now.plus_millis(LEASE_MS), MOST).await?;
            let count = owed.len() as i64;
            let is_wanted = |one: &Owed| {
                let is_success = Code::parse(&one.code).is_some_and(Code::is_success);
                Wanted::read(&one.wanted).is_for(is_success)
            };
            let (owed, unwanted): (Vec<_>, Vec<_>) = owed.into_iter().partition(is_wanted);
            if !unwanted.is_empty() {
                self.store.answers_sent(&ids(&unwanted)).await?;
            }
            let mut by_endpoint: BTreeMap<String, Vec<Owed>> = BTreeMap::new();
            for one in owed {
                by_endpoint.entry(one.endpoint.clone()).or_default().push(one);
            }
            let all = by_endpoint.iter().map(|(name, owed)| self.send_to(name, owed));
            for done in join_all(all).await {
                done?;
            }
            if count < MOST {
                return Ok(());
            }
        }
    }

    /// Sends answers to an endpoint, one after the other; the first that does not arrive holds up the others.
    async fn send_to(&self, name: &str, owed: &[Owed]) -> Result<(), Error> {
        let endpoint = self.settings.endpoints.iter().find(|endpoint| endpoint.name == name);
        let sent = match endpoint {
            Some(endpoint) => delivered(endpoint, owed, self.settings.confirms_answers).await,
            None => 0,
        };
        metrics::counter!("kiln_v2_answers_elsewhere_total").increment(sent as u64);
        let (sent, left) = owed.split_at(sent);
        if !sent.is_empty() {
            self.store.answers_sent(&ids(sent)).await?;
        }
        let Some(first) = left.first() else { return Ok(()) };
        let now = self.clock.now();
        let is_late = |one: &Owed| now.as_micros() - one.since.as_micros() > LONGEST_MS * 1_000;
        let (late, left): (Vec<Owed>, Vec<Owed>) = left.iter().cloned().partition(is_late);
        if !late.is_empty() {
            metrics::counter!("kiln_v2_answers_given_up_total").increment(late.len() as u64);
            tracing::warn!(endpoint = name, answers = late.len(), "answers were given up");
            self.store.answers_sent(&ids(&late)).await?;
        }
        let wait = (500_i64 << first.tries.clamp(1, 20)).min(LONGEST_WAIT_MS);
        tracing::info!(endpoint = name, answers = left.len(), wait, "answers are sent later");
        self.store.postpone_answers(&ids(&left), now.plus_millis(wait)).await
    }
}

fn ids(owed: &[Owed]) -> Vec<Uuid> {
    owed.iter().map(|one| one.message).collect()
}

/// How many of the answers the other side has taken.
async fn delivered(endpoint: &Endpoint, owed: &[Owed], is_confirmed: bool) -> usize {
    let connected = timeout(PATIENCE, TcpStream::connect(&endpoint.address)).await;
    let Ok(Ok(mut stream)) = connected else { return 0 };
    let _ = stream.set_nodelay(true);
    let (mut frames, mut buffer) = (Frames::new(LARGEST), BytesMut::new());
    let (mut count, began) = (0, Instant::now());
    for one in owed {
        // Within the time for which they are this node's.
        if began.elapsed() > LONGEST_ROUND {
            break;
        }
        let send = async {
            stream.write_all(&framed(&one.answer)).await.ok()?;
            stream.flush().await.ok()?;
            if is_confirmed {
                confirmed(&mut stream, &mut frames, &mut buffer).await
            } else {
                Some(())
            }
        };
        match timeout(PATIENCE, send).await {
            Ok(Some(())) => count += 1,
            Ok(None) | Err(_) => return count,
        }
    }
    // Who reads the end of the connection has all that came before it.
    let _ = stream.shutdown().await;
    let mut rest = [0; 64];
    match timeout(LOOK, stream.read(&mut rest)).await {
        // Without a frame that confirms each, nobody knows what was read before this.
        Ok(Err(_)) if !is_confirmed => 0,
        _ => count,
    }
}

/// Reads the frame that says that an answer was taken (release 2 of MLLP).
async fn confirmed(
    stream: &mut TcpStream,
    frames: &mut Frames,
    buffer: &mut BytesMut,
) -> Option<()> {
    loop {
        match frames.decode(buffer).ok()? {
            Some(Frame::Whole(byte)) => return (byte[..] == *STORED).then_some(()),
            Some(_) => return None,
            None => {}
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_a_name_a_host_and_a_port() {
        for (text, expected) in [
            ("lab=10.0.0.7:2576", Some(("lab", "10.0.0.7:2576"))),
            (" lab=[::1]:1 ", Some(("lab", "[::1]:1"))),
            ("lab=host", None),
            ("lab=host:x", None),
            ("=host:1", None),
            ("lab=:1", None),
            ("host:1", None),
        ] {
            let read = Endpoint::parse(text);
            let read = read.as_ref().map(|it| (it.name.as_str(), it.address.as_str()));
            assert_eq!(read, expected, "{text}");
        }
    }
}
