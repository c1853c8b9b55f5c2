//! The rules by which the server labels what is stored, and the labelling of what was stored before.

use std::convert::Infallible;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::access::labelling::Labelling;
use crate::access::{Caller, Principal, RequestContext};
use crate::clock::{Clock as _, IdSource as _, SystemClock, SystemIds};
use crate::config::Config;
use crate::engine::Engine;
use crate::error::Error;
use crate::spec::terminology::Terminology as _;
use crate::store::{Store, maintenance};
use crate::terminology::Image;

use super::database::StartError;
use super::terminology::Keeper;

/// Between two looks at whether something is new, and after one at which the database was away.
const PAUSE: Duration = Duration::from_secs(2);
/// How far before a pass the versions were made that are looked at once more after it.
const OVERLAP_MILLIS: i64 = 120_000;
/// Up to how many codes of a value set are told apart; a larger one goes by the definitions that it comes from.
const MOST: usize = 1_000_000;
/// What stands for a pass that has begun: no digest is like it.
const BEGUN: &[u8] = b"begun";
/// What stands for the labels of a node without rules, and for those by images that nobody looked at.
const NO_RULES: &[u8] = b"none";
const NOT_LOOKED_AT: &[u8] = b"not looked at";
/// After how many seconds in which no node says that it labels by something none does: it says so at each look.
const SILENCE: u32 = 8;

/// The rules that the settings name.
///
/// # Errors
/// [`StartError::Labels`].
pub(super) fn rules(config: &Config) -> Result<Option<Arc<Labelling>>, StartError> {
    let Some(path) = &config.auth.labels else { return Ok(None) };
    let fault = |reason: String| StartError::Labels { path: path.clone(), reason };
    let text = std::fs::read_to_string(path).map_err(|it| fault(it.to_string()))?;
    let rules = Labelling::load(&text).map_err(|it| fault(it.to_string()))?;
    Ok(Some(Arc::new(rules)))
}

/// Labels all that is stored by rules that are new here, and again whenever the value sets that they name
/// have other codes, as long as the server runs. What was written while other nodes, or this one, went by
/// something else is labelled anew when nobody does any more.
pub(super) async fn keep(
    rules: Option<Arc<Labelling>>,
    (engine, keeper): (Arc<Engine>, Arc<Keeper>),
    store: Store,
) {
    let Some(rules) = rules else { return without_rules(&store).await };
    let mut desk = Desk { rules, engine, keeper, store, seen: None, done: None };
    loop {
        match Box::pin(desk.look()).await {
            Ok(None) => {}
            Ok(Some(changed)) => {
                let version = desk.rules.version();
                tracing::info!(changed, version, "labelled what was stored");
            }
            Err(error) => {
                desk.seen = None;
                tracing::warn!(%error, "cannot label what is stored; trying again");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Nodes with rules have to know that this one has none.
async fn without_rules(store: &Store) {
    loop {
        if let Err(error) = maintenance::labels_by(store, NO_RULES, SILENCE).await {
            tracing::debug!(%error, "cannot tell that there are no rules for labels");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What labels are put by, and what is known of what was done.
struct Desk {
    rules: Arc<Labelling>,
    engine: Arc<Engine>,
    keeper: Arc<Keeper>,
    store: Store,
    seen: Option<Arc<Image>>,
    done: Option<Vec<u8>>,
}

impl Desk {
    /// How many versions were changed; `None` where nothing is new.
    async fn look(&mut self) -> Result<Option<u64>, Error> {
        let image = self.keeper.image().await?;
        self.tell_replaced().await?;
        let is_known = self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &image));
        let digest = match &self.done {
            Some(done) if is_known => done.clone(),
            _ => self.digest(&image).await?,
        };
        let store = &self.store;
        maintenance::labels_by(store, &digest, SILENCE).await?;
        let is_news = match &self.done {
            Some(done) => *done != digest,
            None => !maintenance::is_labelled(store, &digest).await?,
        };
        if !is_news {
            (self.seen, self.done) = (Some(image), Some(digest));
            return Box::pin(self.after_others()).await;
        }
        // What is begun is not done, here or after a restart: a pass that breaks off has taken labels away.
        self.done = None;
        maintenance::labelled(store, BEGUN, self.rules.version(), 0).await?;
        let changed = Box::pin(self.at_work(&digest, self.once(&digest))).await?;
        (self.seen, self.done) = (Some(image), Some(digest));
        Ok(Some(changed))
    }

    /// Says that something was labelled by images that are replaced by now: one that came and went between two
    /// looks is seen here alone.
    async fn tell_replaced(&self) -> Result<(), Error> {
        let replaced = self.keeper.replaced();
        for image in replaced.images {
            let digest = self.digest(&image).await?;
            if self.done.as_ref() != Some(&digest) {
                maintenance::labels_by(&self.store, &digest, SILENCE).await?;
            }
        }
        if replaced.are_more {
            maintenance::labels_by(&self.store, NOT_LOOKED_AT, SILENCE).await?;
        }
        Ok(())
    }

    /// What rules come down to with an image.
    async fn digest(&self, image: &Arc<Image>) -> Result<Vec<u8>, Error> {
        let (asked, known) = (self.rules.clone(), image.clone());
        let digest = tokio::task::spawn_blocking(move || digest(&asked, &known));
        digest.await.map_err(Error::internal)
    }

    /// Labels what was written by something else since all was done, when nobody writes so any more.
    async fn after_others(&self) -> Result<Option<u64>, Error> {
        let Some(done) = &self.done else { return Ok(None) };
        let others = maintenance::labelled_by_others(&self.store, done, SILENCE).await?;
        let Some(others) = others.filter(|it| it.are_over) else { return Ok(None) };
        let caller = self.caller();
        let since = others.since.plus_millis(-OVERLAP_MILLIS);
        let pass = async {
            let changed = self.engine.label_again(&caller, Some(since)).await?;
            maintenance::labelled(&self.store, done, self.rules.version(), changed).await?;
            Ok(changed)
        };
        Box::pin(self.at_work(done, pass)).await.map(Some)
    }

    /// Waits for a pass, and says meanwhile by what this node labels.
    async fn at_work(
        &self,
        digest: &[u8],
        pass: impl Future<Output = Result<u64, Error>>,
    ) -> Result<u64, Error> {
        tokio::select! {
            changed = pass => changed,
            never = self.tell(digest) => match never {},
        }
    }

    /// Says by what this node labels, without end.
    async fn tell(&self, digest: &[u8]) -> Infallible {
        loop {
            tokio::time::sleep(PAUSE).await;
            if let Err(error) = maintenance::labels_by(&self.store, digest, SILENCE).await {
                tracing::debug!(%error, "cannot tell by what is labelled");
            }
        }
    }

    /// Labels all that is stored.
    async fn once(&self, digest: &[u8]) -> Result<u64, Error> {
        let caller = self.caller();
        let began = SystemClock.now();
        let mut changed = self.engine.label_again(&caller, None).await?;
        // Who wrote by what counted before is committed by now, or did not begin then.
        tokio::time::sleep(PAUSE).await;
        let since = began.plus_millis(-OVERLAP_MILLIS);
        changed += self.engine.label_again(&caller, Some(since)).await?;
        maintenance::labelled(&self.store, digest, self.rules.version(), changed).await?;
        Ok(changed)
    }

    fn caller(&self) -> Caller {
        let request = RequestContext {
            id: SystemIds::default().ordered().to_string(),
            method: "OTHER",
            path_and_query: format!("labels {}", self.rules.version()),
            source: None,
        };
        Caller::new(Principal::service("labelling"), request)
    }
}

/// What rules come down to at this moment: their text, and the codes of the value sets that they name. Of one
/// whose codes cannot be told, why, and what they come from.
fn digest(rules: &Labelling, known: &Image) -> Vec<u8> {
    digest_up_to(MOST, rules, known)
}

fn digest_up_to(most: usize, rules: &Labelling, known: &Image) -> Vec<u8> {
    let mut digest = Digesting(Sha256::new());
    digest.0.update(format!("{rules:?}"));
    for name in rules.value_sets() {
        let members = known.members(name, most);
        digest.0.update(format!("{name} {members:?}"));
        if members.is_err() {
            known.trace(name, &mut digest);
        }
    }
    digest.0.finalize().to_vec()
}

/// A digest of what is hashed.
struct Digesting(Sha256);

impl Hasher for Digesting {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Nobody asks: the digest is taken whole.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json;
    use crate::spec::R4_PACK;

    fn image(codes: &[&str]) -> Image {
        let concepts: Vec<String> =
            codes.iter().map(|code| format!(r#"{{"code":"{code}"}}"#)).collect();
        let system = format!(
            r#"{{"resourceType":"CodeSystem","url":"urn:s","content":"complete","concept":[{}]}}"#,
            concepts.join(",")
        );
        let inner = r#"{"resourceType":"ValueSet","url":"urn:in",
            "compose":{"include":[{"system":"urn:s"}]}}"#;
        let outer = r#"{"resourceType":"ValueSet","url":"urn:vs",
            "compose":{"include":[{"valueSet":["urn:in"]}]}}"#;
        let all = [&*system, inner, outer].map(|text| json::parse(text.as_bytes()).expect("JSON"));
        Image::new(R4_PACK, "").expect("the embedded pack").with_resources(all)
    }

    #[test]
    fn a_value_set_of_too_many_codes_changes_with_what_it_comes_from() {
        let rules = Labelling::load(
            r#"
            version = "1"
            [[rule]]
            label = "R"
            value_sets = ["urn:vs"]
            "#,
        );
        let rules = rules.expect("rules");
        for most in [1, 100] {
            let of = |codes: &[&str]| digest_up_to(most, &rules, &image(codes));
            assert_eq!(of(&["a", "b", "c"]), of(&["a", "b", "c"]), "{most}");
            assert_ne!(of(&["a", "b", "c"]), of(&["a", "b", "d"]), "{most}");
        }
    }
}
