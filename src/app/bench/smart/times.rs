//! Whether time tells what answers do not: of resources out of reach, and of names of users.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use super::super::connection::Connection;
use super::super::{Bench, BenchError};
use super::ranks::{CHANCE, deviations, median};
use super::world::World;
use super::{begin, failed};
use crate::access::RequestContext;
use crate::app::progress::Progress;
use crate::oauth::Authority;
use crate::oauth::login::Visitor;
use crate::oauth::login::account::LoggedIn;
use crate::oauth::secret::Fresh;

/// Reads of each kind.
const READS: usize = 5_000;
/// So many are done before it is said how far it is.
const TOLD: usize = 50;
/// Logins of each kind: each costs a hash.
const LOGINS: usize = 100;
/// The account that somebody guesses at.
const KNOWN: &str = "kiln-bench-login";

/// Reads what is out of reach and what is not there in turn, as the patient (X5).
pub(super) async fn reads(
    bench: &mut Bench,
    world: &World,
    loaded: &[String],
) -> Result<(), BenchError> {
    let is_foreign =
        |path: &&String| path.starts_with("/Observation/") && !world.reads.contains(path);
    let foreign: Vec<&String> = loaded.iter().filter(is_foreign).collect();
    if foreign.is_empty() {
        bench.report.note("reads out of reach: the base has nothing of another patient");
        return Ok(());
    }
    begin(format!("{READS} reads out of reach and {READS} of nothing, in turn"));
    let mut progress = Progress::new("bench smart", READS as u64, false);
    let mut connection = Connection::new(&bench.target);
    let mut times = [const { Vec::new() }; 2];
    for at in 0..READS {
        if at % TOLD == 0 {
            progress.show(at as u64, &format!("{at} of {READS} of each"));
        }
        let path = foreign[at % foreign.len()];
        // As long, and of no resource: the id backwards.
        let id = path.trim_start_matches("/Observation/");
        let missing = format!("/Observation/{}", id.chars().rev().collect::<String>());
        let pair = [path.as_str(), missing.as_str()];
        for turn in 0..2 {
            // Which one comes first changes.
            let kind = (turn + at) % 2;
            let began = Instant::now();
            let answer = connection.send("GET", pair[kind], None).await;
            let answer = answer.map_err(BenchError::io(pair[kind].to_owned()))?;
            let took = began.elapsed();
            if answer.is_limited() {
                return Err(BenchError::Limited);
            }
            if answer.status != 404 {
                bench.report.note(format!("reads out of reach: {}", answer.describe()));
                return Ok(());
            }
            times[kind].push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
    }
    progress.finish("bench smart: the reads are done");
    tell(bench, "reads out of reach beside reads of nothing", &times);
    Ok(())
}

/// Logs in with wrong passwords as a user and as nobody in turn (V36), without HTTP. Each attempt comes
/// from another address, so that none has to wait.
pub(super) async fn logins(bench: &mut Bench, authority: &Authority) -> Result<(), BenchError> {
    begin(format!("{LOGINS} wrong passwords of a user and {LOGINS} of nobody, in turn"));
    if authority.account_named(KNOWN).await.map_err(failed)?.is_none() {
        let password = Fresh::new("", &*authority.ids).text;
        authority.add_account(KNOWN, Some(password), None, &[]).await.map_err(failed)?;
    }
    let mut times = [const { Vec::new() }; 2];
    for at in 0..LOGINS {
        let names = [KNOWN.to_owned(), format!("kiln-bench-{at:05}")];
        for turn in 0..2 {
            let kind = (turn + at) % 2;
            let number = u32::try_from(at * 2 + turn).unwrap_or(u32::MAX);
            let source = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | number));
            let request = RequestContext {
                id: authority.ids.ordered().to_string(),
                method: "OTHER",
                path_and_query: "kiln bench smart".to_owned(),
                source: Some(source),
            };
            let wrong = Fresh::new("", &*authority.ids).text;
            let began = Instant::now();
            let visitor = Visitor(Arc::new(request));
            let outcome = authority.log_in(&names[kind], wrong, None, &visitor).await;
            let took = began.elapsed();
            if !matches!(outcome.map_err(failed)?, LoggedIn::Wrong) {
                bench.report.note("logins: a wrong password was not merely wrong; try again later");
                return Ok(());
            }
            times[kind].push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
    }
    tell(bench, "logins of a user beside logins of nobody", &times);
    Ok(())
}

/// Says what the ranks say.
fn tell(bench: &mut Bench, what: &str, [left, right]: &[Vec<u64>; 2]) {
    let [own, other] = [left, right].map(|times| median(times) as f64 / 1_000.0);
    let apart = deviations(left, right);
    let mark = if apart.abs() > CHANCE { " !" } else { "" };
    bench.report.note(format!(
        "{what}, {} of each: p50 {own:.0} and {other:.0} us, ranks {apart:.2} deviations apart \
         (at most {CHANCE}){mark}",
        left.len()
    ));
}
