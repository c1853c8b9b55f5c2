//! The rules by which the server labels what is stored, and the labelling of what was stored before.

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
/// have other codes, as long as the server runs.
pub(super) async fn keep(
    rules: Option<Arc<Labelling>>,
    (engine, keeper): (Arc<Engine>, Arc<Keeper>),
    store: Store,
) {
    let Some(rules) = rules else { return };
    let (mut seen, mut done): (Option<Arc<Image>>, Option<Vec<u8>>) = (None, None);
    loop {
        match look(&rules, (&engine, &keeper), &store, (&mut seen, &mut done)).await {
            Ok(None) => {}
            Ok(Some(changed)) => {
                tracing::info!(changed, version = rules.version(), "labelled what was stored");
            }
            Err(error) => {
                seen = None;
                tracing::warn!(%error, "cannot label what is stored; trying again");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How many versions were changed; `None` where nothing is new.
async fn look(
    rules: &Arc<Labelling>,
    (engine, keeper): (&Engine, &Keeper),
    store: &Store,
    (seen, done): (&mut Option<Arc<Image>>, &mut Option<Vec<u8>>),
) -> Result<Option<u64>, Error> {
    let image = keeper.image().await?;
    if seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &image)) {
        return Ok(None);
    }
    let (asked, known) = (rules.clone(), image.clone());
    let digest = tokio::task::spawn_blocking(move || digest(&asked, &known));
    let digest = digest.await.map_err(Error::internal)?;
    let is_news = match &*done {
        Some(done) => *done != digest,
        None => !maintenance::is_labelled(store, &digest).await?,
    };
    let changed = if is_news {
        // What is begun is not done, here or after a restart: a pass that breaks off has taken labels away.
        *done = None;
        maintenance::labelled(store, BEGUN, rules.version(), 0).await?;
        Some(once(rules, &digest, engine, store).await?)
    } else {
        None
    };
    (*seen, *done) = (Some(image), Some(digest));
    Ok(changed)
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

async fn once(
    rules: &Labelling,
    digest: &[u8],
    engine: &Engine,
    store: &Store,
) -> Result<u64, Error> {
    let request = RequestContext {
        id: SystemIds::default().ordered().to_string(),
        method: "OTHER",
        path_and_query: format!("labels {}", rules.version()),
        source: None,
    };
    let caller = Caller::new(Principal::service("labelling"), request);
    let began = SystemClock.now();
    let mut changed = engine.label_again(&caller, None).await?;
    // Who wrote by what counted before is committed by now, or did not begin then.
    tokio::time::sleep(PAUSE).await;
    let since = began.plus_millis(-OVERLAP_MILLIS);
    changed += engine.label_again(&caller, Some(since)).await?;
    maintenance::labelled(store, digest, rules.version(), changed).await?;
    Ok(changed)
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
