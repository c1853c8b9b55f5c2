//! The feed of HL7 version 2: its receiver and its listener put together.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::access::Principal;
use crate::clock::{SystemClock, SystemIds};
use crate::config::{AckWhen, Config, Hl7v2, MessageReading, OnFailure};
use crate::engine::Engine;
use crate::error::root_cause;
use crate::hl7v2::apply::Applier;
use crate::hl7v2::charset::Charset;
use crate::hl7v2::dtm::Zones;
use crate::hl7v2::elsewhere::Endpoint;
use crate::hl7v2::er7::Reading;
use crate::hl7v2::fragment;
use crate::hl7v2::judge::{Binding, Rules};
use crate::hl7v2::lasting::lasting;
use crate::hl7v2::listener::{self, Door, Handshake, Secured};
use crate::hl7v2::map::{MapError, Maps};
use crate::hl7v2::receive::{Parts, Receiver, Settings};
use crate::hl7v2::sites::Sites;
use crate::http::listener::{Tls, TlsError, TlsFiles};
use crate::spec::Spec;
use crate::store::Store;

use super::database::StartError;
use super::listening;
use super::v2::keys;

/// The receiver of this node, with the profiles of senders as they are at this moment.
///
/// # Errors
/// [`StartError::Messages`] for a setting that names what there is not, [`StartError::SealedMessages`] without the
/// key that texts are sealed with, [`StartError::Store`].
pub(super) async fn receiver(
    config: &Config,
    engine: Arc<Engine>,
    store: Store,
) -> Result<Receiver, StartError> {
    let settings = settings(&config.hl7v2)?;
    keys::open(config, &store).await?;
    let base = base_maps(&config.hl7v2, engine.spec())?;
    let sites = Arc::new(Sites::new(store.clone(), engine.spec().clone(), base));
    let faulty = |error| StartError::Store(root_cause(&error));
    let mark = store.site_mark().await.map_err(faulty)?;
    sites.at_least(mark).await.map_err(faulty)?;
    let ids = Arc::new(SystemIds::default());
    let work = Applier::new(engine.clone(), store.clone(), ids, sites.base().clone())
        .moving_at_most(config.hl7v2.max_merge.get() as usize);
    Ok(Receiver::new(Parts {
        work: Arc::new(work),
        sites,
        engine,
        store,
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds::default()),
        principal: Principal::service("hl7v2"),
        settings,
    }))
}

/// The maps for who has no profile.
///
/// # Errors
/// [`StartError::Messages`] for a zone that there is not, [`StartError::Definitions`].
pub(super) fn base_maps(config: &Hl7v2, spec: &Spec) -> Result<Maps, StartError> {
    sound(Maps::base(&spec.schema), config)
}

/// Maps as they were read, unless something is wrong with them: the server does not start then.
fn sound(read: Result<Maps, Vec<MapError>>, config: &Hl7v2) -> Result<Maps, StartError> {
    let zones = Zones::named(&config.zone);
    let zones = zones.ok_or_else(|| fault("zone", &config.zone))?;
    let base = read.map_err(|faults| {
        StartError::Definitions(faults.first().map(ToString::to_string).unwrap_or_default())
    })?;
    Ok(base.in_zone(zones))
}

fn fault(key: &str, value: &str) -> StartError {
    StartError::Messages(format!("`hl7v2.{key}`: {value:?}"))
}

/// What messages are read by where the profile of their sender says nothing else.
///
/// # Errors
/// [`StartError::Messages`] for a setting that names what there is not.
pub(super) fn rules(config: &Hl7v2) -> Result<Rules, StartError> {
    let charset = Charset::named(&config.charset);
    let bindings = config
        .senders
        .iter()
        .map(|text| Binding::parse(text).ok_or_else(|| fault("senders", text)));
    Ok(Rules {
        charset: charset.ok_or_else(|| fault("charset", &config.charset))?,
        reading: match config.reading {
            MessageReading::Lenient => Reading::Lenient,
            MessageReading::Strict => Reading::Strict,
        },
        is_production: config.production,
        ignores_sent_time: config.ignore_sent_time,
        bindings: bindings.collect::<Result<_, _>>()?,
        replaces_undecodable: false,
    })
}

fn settings(config: &Hl7v2) -> Result<Settings, StartError> {
    let endpoints = config
        .answer_to
        .iter()
        .map(|text| Endpoint::parse(text).ok_or_else(|| fault("answer_to", text)));
    Ok(Settings {
        rules: rules(config)?,
        endpoints: endpoints.collect::<Result<_, _>>()?,
        confirms_answers: config.release.get() == 2,
        zones: Zones::named(&config.zone).ok_or_else(|| fault("zone", &config.zone))?,
        waits_for_effect: config.ack == AckWhen::Processed,
        deadline: Duration::from_secs(config.ack_timeout_s.get().into()),
        holds_lines: config.on_failure == OnFailure::Hold,
        is_numbered: config.numbered,
        gap: None,
        refuses_reuse: false,
        days_kept: Some(config.keep_days).filter(|days| *days > 0),
        months_kept: Some(config.keep_months).filter(|months| *months > 0),
        workers: config.workers as usize,
        most_waiting: config.max_waiting.get().into(),
        most_of_parts: fragment::MOST_OF_PARTS,
    })
}

/// The listener of the feed, bound and not yet served: who connects waits. There may be none.
pub(super) struct Feed(Option<Bound>);

struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
    door: Door,
}

impl Feed {
    /// Takes the address of `hl7v2.listen`.
    ///
    /// # Errors
    /// [`StartError::Listen`], [`StartError::Tls`].
    pub(super) async fn bind(config: &Config) -> Result<Self, StartError> {
        let Some(address) = config.hl7v2.listen else { return Ok(Self(None)) };
        let listener = listening::bind(address).await?;
        let fault = |cause| StartError::Listen { address, cause };
        let address = listener.local_addr().map_err(fault)?;
        let tls = tls(&config.hl7v2).map_err(StartError::Tls)?;
        let door = door(&config.hl7v2, tls.clone());
        Ok(Self(Some(Bound { listener, address, tls, door })))
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.0.as_ref().map(|bound| bound.address)
    }

    /// The tasks of the feed: work on what waits, and the listener. They end when told to, and begin again
    /// after a panic.
    pub(super) fn serve(
        self,
        messages: &Arc<Receiver>,
        stop: &watch::Sender<bool>,
    ) -> Vec<BoxFuture<'static, ()>> {
        let own = || (messages.clone(), stop.subscribe());
        let ((merges, merging), (answers, answering)) = (own(), own());
        let ((old, purging), (kept, keeping)) = (own(), own());
        let (sites, following) = own();
        let mut tasks = vec![
            messages.clone().work(stop.subscribe()).boxed(),
            lasting("merges", stop.subscribe(), move || {
                merges.clone().settle_merges(merging.clone())
            })
            .boxed(),
            lasting("answers", stop.subscribe(), move || {
                answers.clone().send_elsewhere(answering.clone())
            })
            .boxed(),
            lasting("purge", stop.subscribe(), move || {
                let (old, stop) = (old.clone(), purging.clone());
                async move { old.purge(stop).await }
            })
            .boxed(),
            lasting("keep", stop.subscribe(), move || {
                let (kept, stop) = (kept.clone(), keeping.clone());
                async move { kept.keep(stop).await }
            })
            .boxed(),
            lasting("sites", stop.subscribe(), move || {
                let sites = sites.clone();
                until(following.clone(), async move { sites.sites().follow().await })
            })
            .boxed(),
        ];
        if let Some(Bound { listener, address, tls, door }) = self.0 {
            let serving = listener::serve(listener, messages.clone(), door, stop.subscribe());
            tasks.push(serving.boxed());
            tasks.extend(tls.map(|tls| {
                let stopped = stop.subscribe();
                let follow = move || {
                    let tls = tls.clone();
                    until(stopped.clone(), async move { tls.follow().await })
                };
                lasting("certificates", stop.subscribe(), follow).boxed()
            }));
            tracing::info!(%address, "messages of HL7 version 2 come in");
        }
        tasks
    }
}

/// Runs what never ends until told to stop.
async fn until(mut stop: watch::Receiver<bool>, task: impl Future<Output = ()>) {
    tokio::select! {
        () = task => {}
        _ = stop.changed() => {}
    }
}

/// TLS of the listener, when it is to have it.
fn tls(config: &Hl7v2) -> Result<Option<Tls>, TlsError> {
    let (Some(certificate), Some(key)) = (&config.certificate, &config.key) else {
        return Ok(None);
    };
    let files = TlsFiles {
        certificate: certificate.clone(),
        key: key.clone(),
        client_authorities: config.client_authorities.clone(),
    };
    Tls::open(files).map(Some)
}

/// How senders come in.
fn door(config: &Hl7v2, tls: Option<Tls>) -> Door {
    Door {
        tls: tls.map(|tls| Arc::new(Encrypted(tls)) as Arc<dyn Handshake>),
        allow: config.allow.clone(),
        max_message_bytes: config.max_message_bytes,
        connections: config.max_connections.get(),
        connections_per_peer: config.max_connections_per_peer.get(),
        idle: (config.idle_timeout_s > 0)
            .then(|| Duration::from_secs(config.idle_timeout_s.into())),
        frame: Duration::from_secs(config.frame_timeout_s.get().into()),
        confirms: config.release.get() == 2,
    }
}

struct Encrypted(Tls);

impl Handshake for Encrypted {
    fn accept(&self, stream: TcpStream) -> BoxFuture<'_, io::Result<Secured>> {
        async move {
            let (stream, names) = self.0.accept_named(stream).await?;
            Ok(Secured { stream: Box::new(stream), names })
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: v2 P1.
    #[test]
    fn a_faulty_base_map_stops_the_start() {
        let (spec, config) = (Spec::r4().unwrap(), Config::load(None, &[]).unwrap().hl7v2);
        assert!(base_maps(&config, &spec).is_ok());
        let map = |set: &str| {
            let text = format!(
                "format = 1\nid = \"base/a\"\n[resource.a]\ntype = \"Patient\"\nfrom = \"PID\"\n\
                 key = \"PID-3.1\"\n[resource.a.set]\n{set}\n"
            );
            Maps::of(vec![("a.toml".to_owned(), text)], &spec.schema)
        };
        for faulty in [
            "nosuch = \"PID-5.1\"",
            "gender = \"PID-8 | nosuch\"",
            "gender = \"PID-8 | table('NoSuch')\"",
            "birthDate = \"ref(nosuch)\"",
            "gender = \"PID-\"",
        ] {
            match sound(map(faulty), &config) {
                Err(StartError::Definitions(why)) => assert!(why.contains("a.toml"), "{why}"),
                other => panic!("{faulty}: {:?}", other.map(drop)),
            }
        }
    }
}
