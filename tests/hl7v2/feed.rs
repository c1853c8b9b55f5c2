//! A feed with work of its own: each message makes a Patient and is told in the order of the effects.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use kiln::access::Principal;
use kiln::clock::{Clock, SystemClock, SystemIds};
use kiln::engine::{BundleOptions, Engine, EntryResult};
use kiln::fhir::{Instant, json};
use kiln::hl7v2::ack::{Condition, Issue};
use kiln::hl7v2::charset::Charset;
use kiln::hl7v2::dtm::Zones;
use kiln::hl7v2::er7::{Message, Reading};
use kiln::hl7v2::fragment::MOST_OF_PARTS;
use kiln::hl7v2::frame::{Frame, Frames, framed};
use kiln::hl7v2::heading::Heading;
use kiln::hl7v2::judge::Rules;
use kiln::hl7v2::listener::{Door, Handshake, serve};
use kiln::hl7v2::queue::{Done, Task, Work};
use kiln::hl7v2::receive::{Parts, Receiver, Settings};
use kiln::store::hl7v2::{Companion, Keyed, MessageEffect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::codec::Decoder as _;

use crate::harness::server::TestServer;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A clock that panics once when a certain task asks for the time.
#[derive(Default)]
pub(crate) struct Faulty(Mutex<Option<tokio::task::Id>>);

impl Faulty {
    pub(crate) fn breaks(&self, task: tokio::task::Id) {
        *self.0.lock().unwrap() = Some(task);
    }

    /// Whether it has panicked since.
    pub(crate) fn has_broken(&self) -> bool {
        self.0.lock().unwrap().is_none()
    }
}

impl Clock for Faulty {
    fn now(&self) -> Instant {
        let task = tokio::task::try_id();
        let is_now = self.0.lock().unwrap().take_if(|wanted| Some(*wanted) == task).is_some();
        assert!(!is_now, "a planted panic");
        SystemClock.now()
    }
}

/// What the work of a test does, by the event of the message.
pub(crate) struct Made {
    engine: Arc<Engine>,
    /// The clock of the feed; `Z06` has it panic behind the work.
    pub(crate) clock: Arc<Faulty>,
    /// The control ids of what had its effect, in that order.
    pub(crate) done: Mutex<Vec<String>>,
    /// How often `Z03`, `Z04` and `Z06` fail before they do not.
    pub(crate) failures: AtomicU32,
}

impl Work for Made {
    fn knows(&self, heading: &Heading) -> Result<(), Condition> {
        match (heading.kind.as_str(), heading.event.as_str()) {
            ("ADT", "A01" | "A08" | "Z01" | "Z02" | "Z03" | "Z04" | "Z05" | "Z06") => Ok(()),
            ("ADT", _) => Err(Condition::UnsupportedEvent),
            _ => Err(Condition::UnsupportedType),
        }
    }

    fn run<'a>(&'a self, task: Task<'a>) -> BoxFuture<'a, Done> {
        let failures = &self.failures;
        match task.heading.event.as_str() {
            "Z01" => return async { panic!("work that panics") }.boxed(),
            "Z02" => {
                let place = task.message.get(&"PID-3".parse().unwrap()).place();
                let issue = Issue::error(Condition::RequiredMissing).at(place);
                return async move { Done::Failed(vec![issue]) }.boxed();
            }
            "Z03"
                if failures
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                    .is_ok() =>
            {
                return async { Done::Later("not now".to_owned()) }.boxed();
            }
            "Z04"
                if failures
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                    .is_ok() =>
            {
                let issue = Issue::error(Condition::TableValue).named("unmapped-code");
                return async move { Done::Failed(vec![issue]) }.boxed();
            }
            "Z06"
                if failures
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                    .is_ok() =>
            {
                self.clock.breaks(tokio::task::id());
                return async { Done::Later("not now".to_owned()) }.boxed();
            }
            "Z05" => {
                let slowly = async move {
                    tokio::time::sleep(Duration::from_secs(4)).await;
                    self.apply(task).await
                };
                return slowly.boxed();
            }
            _ => {}
        }
        self.apply(task).boxed()
    }
}

impl Made {
    async fn apply(&self, task: Task<'_>) -> Done {
        let number = task.message.get(&"PID-3.1".parse().unwrap()).text();
        let bundle = format!(
            r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{
                "resource":{{"resourceType":"Patient","identifier":[{{"system":"urn:mrn","value":"{number}"}},
                  {{"system":"urn:control","value":"{}"}}]}},
                "request":{{"method":"POST","url":"Patient"}}}}]}}"#,
            task.heading.control_id
        );
        let end = task.end(&[], Vec::new(), Some("maps of the test".to_owned()));
        let key = format!("{} {}", task.heading.control_id, task.id);
        let made = end.clone();
        let companion = move |results: &[EntryResult]| {
            let mut end = made.clone();
            let mut keys = Vec::new();
            for result in results {
                let EntryResult::Written(written) = result else { continue };
                let id = written.version.identity.id.as_str().to_owned();
                end.effects.push(MessageEffect {
                    action: "create".to_owned(),
                    resource_type: "Patient".to_owned(),
                    id: id.clone(),
                    version: 1,
                    rule: "test".to_owned(),
                });
                let (resource_type, system) = ("Patient".to_owned(), "urn:control".to_owned());
                keys.push(Keyed { resource_type, system, value: key.clone(), id });
            }
            Companion { end: Some(end), keys, ..Companion::default() }
        };
        let options =
            BundleOptions { companion: Some(Arc::new(companion)), ..BundleOptions::default() };
        let bundle = json::parse(bundle.as_bytes()).unwrap().into_owned();
        match self.engine.bundle(bundle, &options, task.caller).await {
            Ok(_) => {
                self.done.lock().unwrap().push(task.heading.control_id.clone());
                Done::Applied(end)
            }
            Err(error) => Done::Later(error.to_string()),
        }
    }
}

/// A server with a feed beside it.
pub(crate) struct Feed {
    pub(crate) server: TestServer,
    pub(crate) work: Arc<Made>,
    pub(crate) receiver: Arc<Receiver>,
    pub(crate) address: SocketAddr,
    pub(crate) stop: watch::Sender<bool>,
    /// The tasks that work and listen.
    pub(crate) working: JoinHandle<()>,
    pub(crate) listening: JoinHandle<()>,
}

/// How the feed of a test differs from others.
pub(crate) struct Setup {
    pub(crate) settings: Settings,
    pub(crate) tls: Option<Arc<dyn Handshake>>,
    pub(crate) max_message_bytes: usize,
    /// What else is said of the door.
    pub(crate) door: fn(&mut Door),
}

impl Default for Setup {
    fn default() -> Self {
        let rules = Rules {
            charset: Charset::UTF_8,
            reading: Reading::Lenient,
            is_production: true,
            ignores_sent_time: false,
            bindings: Vec::new(),
            replaces_undecodable: false,
        };
        let settings = Settings {
            rules,
            zones: Zones::utc(),
            waits_for_effect: true,
            deadline: Duration::from_secs(20),
            holds_lines: false,
            endpoints: Vec::new(),
            confirms_answers: false,
            is_numbered: false,
            gap: None,
            refuses_reuse: false,
            days_kept: None,
            months_kept: None,
            workers: 4,
            most_waiting: 10_000,
            most_of_parts: MOST_OF_PARTS,
        };
        Self { settings, tls: None, max_message_bytes: 1_000_000, door: |_| {} }
    }
}

impl Feed {
    pub(crate) async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    pub(crate) async fn start_with(setup: Setup) -> Self {
        // The server itself would do its own work on these messages.
        let server = TestServer::start_with(&[("hl7v2.workers", "0")]).await;
        Self::beside(server, setup).await
    }

    /// The same server with another feed in the place of this one, which ends.
    pub(crate) async fn again_with(self, setup: Setup) -> Self {
        let Self { server, stop, working, listening, .. } = self;
        stop.send(true).unwrap();
        let (worked, listened) = tokio::join!(working, listening);
        worked.unwrap();
        listened.unwrap();
        Self::beside(server, setup).await
    }

    async fn beside(server: TestServer, setup: Setup) -> Self {
        let engine = server.engine().clone();
        let clock = Arc::new(Faulty::default());
        let work = Arc::new(Made {
            engine: engine.clone(),
            clock: clock.clone(),
            done: Mutex::default(),
            failures: AtomicU32::new(0),
        });
        let receiver = Arc::new(Receiver::new(Parts {
            engine,
            store: server.store().clone(),
            clock,
            ids: Arc::new(SystemIds::default()),
            work: work.clone(),
            sites: server.messages().sites().clone(),
            principal: Principal::service("hl7v2"),
            settings: setup.settings,
        }));
        let mut door = Door {
            tls: setup.tls,
            allow: Vec::new(),
            max_message_bytes: setup.max_message_bytes,
            connections: 100,
            connections_per_peer: 50,
            idle: None,
            frame: Duration::from_secs(5),
            confirms: false,
        };
        (setup.door)(&mut door);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let working = tokio::spawn(receiver.clone().work(stopped.clone()));
        let listening = tokio::spawn(serve(listener, receiver.clone(), door, stopped));
        Self { server, work, receiver, address, stop, working, listening }
    }

    pub(crate) async fn sender(&self) -> Sender {
        Sender::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// How many Patients there are.
    pub(crate) async fn patients(&self) -> u64 {
        let found = self.server.client.get("/Patient?_summary=count").await;
        let body = String::from_utf8(found.body.to_vec()).unwrap();
        let (_, rest) = body.split_once("\"total\":").unwrap();
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    }

    /// The states of all messages, the oldest first.
    pub(crate) async fn states(&self) -> Vec<String> {
        let url = format!("{}/v2/messages?_count=1000", self.server.client.root());
        let found = self.server.client.call("GET", &url).send().await;
        let body = String::from_utf8(found.body.to_vec()).unwrap();
        let states = body.split("\"state\":\"").skip(1);
        let mut states: Vec<_> =
            states.map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
        states.reverse();
        states
    }
}

/// A connection that sends frames and reads answers.
pub(crate) struct Sender<S = TcpStream> {
    pub(crate) stream: S,
    frames: Frames,
    buffer: BytesMut,
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Sender<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, frames: Frames::new(1 << 24), buffer: BytesMut::new() }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next answer; `None` when the connection was closed.
    pub(crate) async fn read(&mut self) -> Option<Bytes> {
        loop {
            match self.frames.decode(&mut self.buffer).unwrap() {
                Some(Frame::Whole(answer)) => return Some(answer),
                Some(other) => panic!("{other:?}"),
                None => {}
            }
            let read = self.stream.read_buf(&mut self.buffer);
            match tokio::time::timeout(PATIENCE, read).await.expect("no answer in time") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Whether nothing comes for a while.
    pub(crate) async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(400), self.read()).await.is_err()
    }

    pub(crate) async fn send(&mut self, message: &str) -> Bytes {
        self.write(&framed(message.as_bytes())).await;
        self.read().await.expect("an answer")
    }
}

/// A value of an answer.
pub(crate) fn value(answer: &[u8], path: &str) -> String {
    let text = str::from_utf8(answer).unwrap();
    let message = Message::parse(text, Charset::UTF_8, Reading::Strict).unwrap();
    message.get(&path.parse().unwrap()).text().into_owned()
}

/// An ADT message.
pub(crate) fn adt(event: &str, control_id: &str, patient: &str) -> String {
    format!(
        "MSH|^~\\&|LAB|STM|KILN|H|20260704120000||ADT^{event}^ADT_A01|{control_id}|P|2.5.1\r\
         EVN||20260704120000\rPID|1||{patient}^^^STM^MR||Muster^Anna\rPV1|1|I\r"
    )
}
