//! Accounts: logging in, waiting after failures, links, second factors.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use kiln::clock::{Clock as _, SystemClock};
use kiln::oauth::login::totp;
use kiln::store::oauth::attempt;
use secrecy::ExposeSecret as _;

use super::browser::{Browser, PASSWORD, hidden, location, noted, server, server_with, user};
use crate::harness::client::Answer;
use crate::harness::database::temporary;
use crate::harness::process::Process;

const LOGIN: i16 = 40;
const SECOND_FACTOR: i16 = 42;
const ADMIN: i16 = 50;

/// The secret of an app that is being set up, as the page shows it.
pub(crate) fn secret_of(page: &Answer) -> Vec<u8> {
    let text = page.text();
    let shown = text.split("<p class=\"code\">").nth(1).expect("a key").split('<').next().unwrap();
    let digits = shown.chars().filter(|it| !it.is_whitespace());
    let mut bits = String::new();
    for digit in digits {
        let value = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(digit).unwrap();
        write!(bits, "{value:05b}").unwrap();
    }
    let bytes = bits.as_bytes().chunks_exact(8);
    bytes.map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap()).collect()
}

pub(crate) fn code_now(secret: &[u8], steps: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    totp::code_of(secret, totp::step_at(now.as_secs() as i64) + steps)
}

/// Covers: security L18.
/// Covers: security M3.
#[tokio::test]
async fn who_knows_the_password_gets_in_and_failures_wait() {
    let server = server().await;
    user(&server, "Pat", "patient", None).await;
    let mut browser = Browser::new(&server);
    let page = browser.open("/auth/login").await.expect(200);
    let before = browser.jar.clone();
    for (name, password) in [("pat", "wrong"), ("nobody", PASSWORD), ("pat ", "")] {
        let fields = [("username", name), ("password", password)];
        let answer = browser.submit(&page, "/auth/login", &fields).await.expect(403);
        assert!(answer.text().contains("role=\"alert\""), "{answer:?}");
    }
    let inside = browser.log_in(&page, "PAT").await.expect(200);
    assert!(inside.text().contains("<strong>Pat</strong>"), "{inside:?}");
    // L18: what the browser had before is worth nothing now.
    assert_ne!(browser.jar, before);
    assert!(noted(&server, LOGIN, 0, "by password").await == 1);
    assert!(noted(&server, LOGIN, 4, "wrong name or password").await == 3);
    assert_eq!(noted(&server, LOGIN, 4, "wrong horse").await, 0);

    // M3: after five failures in a row the sixth has to wait, whatever it is.
    let mut other = Browser::new(&server);
    let page = other.open("/auth/login").await.expect(200);
    let wrong = [("username", "pat"), ("password", "wrong horse")];
    let mut tried = Vec::new();
    while tried.last() != Some(&429) && tried.len() < 12 {
        tried.push(other.submit(&page, "/auth/login", &wrong).await.status);
    }
    assert!(tried.len() > 5 && tried[..5] == [403; 5], "{tried:?}");
    let right = [("username", "pat"), ("password", PASSWORD)];
    let waits = other.submit(&page, "/auth/login", &right).await.expect(429);
    assert!(waits.header("retry-after").is_some_and(|it| it.parse::<u32>().unwrap() <= 64));
    assert!(noted(&server, LOGIN, 4, "has to wait").await >= 2);
    // Nobody else is kept out by that.
    user(&server, "sam", "patient", None).await;
    other.log_in(&page, "sam").await.expect(200);
    server.stop().await;
}

/// Covers: security M3.
#[tokio::test]
async fn each_failure_doubles_the_wait_up_to_the_longest() {
    let server = server().await;
    let store = server.store();
    let mut now = SystemClock.now();
    let key = b"who".as_slice();
    for failures in 1..=attempt::FREE {
        assert_eq!(attempt::begin(store, key, now).await.expect("counts"), Ok(failures));
    }
    for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
        let wait = attempt::begin(store, key, now).await.expect("counts");
        assert_eq!(wait, Err(expected));
        now = now.plus_millis(expected * 1000);
        attempt::begin(store, key, now).await.expect("counts").expect("may try again");
    }
    server.stop().await;
}

/// Covers: security M3.
#[tokio::test]
async fn a_clock_that_went_back_makes_nobody_wait_longer() {
    let server = server().await;
    let store = server.store();
    let start = SystemClock.now();
    let key = b"who".as_slice();
    for failures in 1..=attempt::FREE + 20 {
        // Each as late as it has to be.
        let at = start.plus_millis(i64::from(failures * attempt::LONGEST_S) * 1000);
        assert_eq!(attempt::begin(store, key, at).await.expect("counts"), Ok(failures));
    }
    // The clock goes back to where it began.
    let longest = i64::from(attempt::LONGEST_S);
    let wait = attempt::begin(store, key, start).await.expect("counts").expect_err("waits");
    assert!((1..=longest).contains(&wait), "{wait}");
    let early = start.plus_millis((longest - 10) * 1000);
    let wait = attempt::begin(store, key, early).await.expect("counts").expect_err("waits");
    assert!((1..=10).contains(&wait), "{wait}");
    let late = start.plus_millis((longest + 1) * 1000);
    attempt::begin(store, key, late).await.expect("counts").expect("may try again");
    server.stop().await;
}

/// How much shorter or longer a login may take for whoever is not there: less than what the machine does beside.
const ALIKE: std::ops::Range<f64> = 0.8..1.25;

/// The shortest of many tries is told, for only that is free of what the machine does beside; a try more of each
/// as long as they differ, up to what makes one wait.
///
/// Covers: security M2, V36.
#[tokio::test]
async fn a_login_takes_as_long_for_whoever_is_not_there() {
    const NAMES: usize = 6;
    let server = server().await;
    for number in 0..NAMES {
        user(&server, &format!("user{number}"), "patient", None).await;
    }
    let mut least = [f64::MAX; 2];
    for round in 1..=attempt::FREE {
        for number in 0..NAMES {
            // Who is first in a pair changes.
            let mut pair = [(0, format!("user{number}")), (1, format!("ghost{number}"))];
            pair.rotate_left(number % 2);
            for (place, name) in pair {
                let mut browser = Browser::new(&server);
                let page = browser.open("/auth/login").await;
                let fields = [("username", name.as_str()), ("password", "a wrong password")];
                let began = Instant::now();
                let answer = browser.submit(&page, "/auth/login", &fields).await.expect(403);
                least[place] = least[place].min(began.elapsed().as_secs_f64());
                assert!(answer.text().contains("The user name or the password is wrong."));
            }
        }
        if round >= 2 && ALIKE.contains(&(least[1] / least[0])) {
            break;
        }
    }
    assert!(ALIKE.contains(&(least[1] / least[0])), "known {} unknown {}", least[0], least[1]);
    server.stop().await;
}

/// Covers: security M2.
#[tokio::test]
async fn a_link_sets_a_password_once() {
    let server = server().await;
    let id = user(&server, "ada", "patient", None).await;
    let authority = server.authority();
    let link = authority.reset_account(id).await.unwrap();
    let path = format!("/auth/setup/{}", link.expose_secret());
    let mut browser = Browser::new(&server);
    let page = browser.open(&path).await.expect(200);
    assert!(page.text().contains("<strong>ada</strong>"));
    for (password, again, problem) in [
        ("short", "short", "at least 12 characters"),
        ("passwordpassword", "passwordpassword", "tried first"),
        ("a new password here", "another password", "differ"),
    ] {
        let fields = [("password", password), ("again", again)];
        let answer = browser.submit(&page, &path, &fields).await.expect(400);
        assert!(answer.text().contains(problem), "{problem}: {answer:?}");
    }
    let fields = [("password", PASSWORD), ("again", PASSWORD)];
    let done = browser.submit(&page, &path, &fields).await.expect(303);
    assert_eq!(location(&done), "/auth/login");
    browser.submit(&page, &path, &fields).await.expect(404);
    browser.open(&path).await.expect(404);
    browser.open("/auth/setup/unknown").await.expect(404);
    let login = browser.open("/auth/login").await;
    browser.log_in(&login, "ada").await.expect(200);
    assert_eq!(noted(&server, ADMIN, 0, "a password was set by a link").await, 1);
    // Neither the link nor the password is on record anywhere.
    for secret in [link.expose_secret(), PASSWORD] {
        assert_eq!(everywhere(&server, secret).await, 0);
    }
    server.stop().await;
}

/// Rows of the ledger that hold a text in whatever column.
async fn everywhere(server: &crate::harness::server::TestServer, text: &str) -> i64 {
    let url = &server.database.superuser;
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    let sql = "SELECT count(*) FROM ledger l WHERE l::text LIKE '%' || $1 || '%'";
    let count = client.query_one(sql, &[&text]).await.unwrap().get(0);
    drop(client);
    let _ = driver.await;
    count
}

/// The link that a server wrote when it started, which is not the one before.
async fn written_link(process: &Process, before: &str) -> String {
    let file = process.data_dir.join("setup-link.txt");
    let began = Instant::now();
    loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if text.ends_with('\n') && text.trim() != before {
            return text.trim().to_owned();
        }
        assert!(began.elapsed() < Duration::from_secs(30), "no link: {}", process.whole_log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The log has where the link is and not the link, however much is logged, and not when it is followed either.
///
/// Covers: security M1.
#[tokio::test(flavor = "multi_thread")]
async fn the_link_of_the_first_start_is_in_no_log() {
    let mut process = Process::start_with(&["auth.mode=smart", "log.filter=debug"]).await;
    let mut link = String::new();
    for start in 1..=2 {
        link = written_link(&process, &link).await;
        let secret = link.rsplit('/').next().expect("the end of an address");
        let mut browser = Browser::of(process.client.clone());
        let path = format!("/auth/setup/{secret}");
        let page = browser.open(&path).await.expect(200);
        let bad = [("username", "a b"), ("password", PASSWORD), ("again", PASSWORD)];
        browser.submit(&page, &path, &bad).await.expect(400);
        let log = process.whole_log();
        assert!(log.matches("setup-link.txt").count() >= start, "{log}");
        for canary in [secret, PASSWORD] {
            assert!(secret.len() > 40 && !log.contains(canary), "in the log after start {start}");
        }
        process.kill_and_restart();
        process.ready(Duration::from_mins(1)).await;
    }
}

/// Covers: security M1.
#[tokio::test]
async fn the_first_account_is_made_by_a_link_and_only_the_first() {
    let server = server().await;
    let authority = server.authority();
    let folder = temporary("first");
    let link = kiln::app::user::first_start(authority, &folder).await.unwrap().expect("a link");
    let file = folder.join("setup-link.txt");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.trim(), link.expose_secret());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let path = text.trim().split_once("/setup/").map(|(_, token)| format!("/auth/setup/{token}"));
    let path = path.unwrap();
    let mut browser = Browser::new(&server);
    let page = browser.open(&path).await.expect(200);
    let bad = [("username", "a b"), ("password", PASSWORD), ("again", PASSWORD)];
    browser.submit(&page, &path, &bad).await.expect(400);
    let fields = [("username", "root"), ("password", PASSWORD), ("again", PASSWORD)];
    browser.submit(&page, &path, &fields).await.expect(303);
    browser.open(&path).await.expect(404);
    assert!(kiln::app::user::first_start(authority, &folder).await.unwrap().is_none());
    assert!(!file.exists(), "the file is of no use any more");
    std::fs::remove_dir_all(folder).unwrap();
    // An administrator has to set up a second factor before anything else.
    let login = browser.open("/auth/login").await;
    let inside = browser.log_in(&login, "root").await.expect(200);
    assert!(inside.text().contains("Add an authenticator app"), "{inside:?}");
    server.stop().await;
}

/// Covers: security M4.
#[tokio::test]
async fn an_app_is_a_second_factor_whose_codes_work_once() {
    let server = server().await;
    user(&server, "doc", "practitioner", Some("Practitioner/d")).await;
    let mut browser = Browser::new(&server);
    let login = browser.open("/auth/login").await;
    let page = browser.log_in(&login, "doc").await.expect(200);
    let page = browser.submit(&page, "/auth/factors", &[("action", "begin-app")]).await.expect(200);
    let secret = secret_of(&page);
    assert_eq!(secret.len(), totp::SECRET);
    let wrong = [("action", "confirm-app"), ("code", "000000")];
    browser.submit(&page, "/auth/factors", &wrong).await.expect(403);
    let before = browser.jar.clone();
    let first = code_now(&secret, 0);
    let right = [("action", "confirm-app"), ("code", first.as_str())];
    let codes = browser.submit(&page, "/auth/factors", &right).await.expect(200);
    assert_ne!(before, browser.jar, "a session that is worth more is a new one");
    assert_eq!(codes.text().matches("<li>").count(), 10);
    let recovery = codes.text().split("<span class=\"code\">").nth(1).unwrap()[..17].to_owned();
    browser.open("/auth/apps").await.expect(200);

    // Another time: password, then code.
    let mut other = Browser::new(&server);
    let login = other.open("/auth/login").await;
    let page = other.log_in(&login, "doc").await.expect(200);
    assert!(page.text().contains("Second factor") && !hidden(&page, "csrf").is_empty());
    let used = [("code", first.as_str())];
    other.submit(&page, "/auth/second-factor", &used).await.expect(403);
    let next = code_now(&secret, 1);
    let fresh = [("code", next.as_str())];
    let inside = other.submit(&page, "/auth/second-factor", &fresh).await.expect(303);
    assert_eq!(location(&inside), "/auth/apps");
    other.open("/auth/apps").await.expect(200);

    // A recovery code works once too.
    for expected in [303, 403] {
        let mut third = Browser::new(&server);
        let login = third.open("/auth/login").await;
        let page = third.log_in(&login, "doc").await;
        let typed = recovery.to_lowercase();
        third.submit(&page, "/auth/second-factor", &[("code", &typed)]).await.expect(expected);
    }
    assert_eq!(noted(&server, SECOND_FACTOR, 0, "totp").await, 1);
    assert_eq!(noted(&server, SECOND_FACTOR, 0, "recovery").await, 1);
    assert_eq!(noted(&server, SECOND_FACTOR, 4, "wrong").await, 2);
    assert_eq!(everywhere(&server, &recovery).await, 0);
    server.stop().await;
}

#[tokio::test]
async fn guessing_codes_has_to_wait() {
    let server = server_with(&[]).await;
    user(&server, "doc", "practitioner", None).await;
    let mut browser = Browser::new(&server);
    let login = browser.open("/auth/login").await;
    let page = browser.log_in(&login, "doc").await;
    let page = browser.submit(&page, "/auth/factors", &[("action", "begin-app")]).await;
    let code = code_now(&secret_of(&page), 0);
    let right = [("action", "confirm-app"), ("code", code.as_str())];
    browser.submit(&page, "/auth/factors", &right).await.expect(200);
    let mut other = Browser::new(&server);
    let login = other.open("/auth/login").await;
    let page = other.log_in(&login, "doc").await;
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let answer = other.submit(&page, "/auth/second-factor", &[("code", "123 456")]).await;
        statuses.push(answer.status);
    }
    assert_eq!(statuses[..5], [403; 5]);
    assert!(statuses.contains(&429), "{statuses:?}");
    server.stop().await;
}

#[tokio::test]
async fn an_operator_makes_and_manages_accounts() {
    let server = server().await;
    let folder = temporary("users");
    let settings = [
        format!("database.url={}", server.database.app),
        format!("database.owner_url={}", server.database.owner),
        format!("data_dir={}", folder.display()),
        format!("http.base_url={}", server.client.base()),
    ];
    let run = |arguments: &[&str]| {
        let mut all = vec!["user"];
        all.extend(arguments);
        all.extend(settings.iter().flat_map(|setting| ["--set", setting.as_str()]));
        let output = crate::harness::process::kiln(&all);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text + &String::from_utf8_lossy(&output.stderr))
    };
    let added = run(&["add", "Ada", "--role", "patient", "--fhir-user", "Patient/p1"]);
    let link = added.1.lines().find(|line| line.contains("/auth/setup/")).expect("a link");
    let path = link.split_once("/auth/").map(|(_, rest)| format!("/auth/{rest}")).unwrap();
    assert!(added.0 && !run(&["add", "ADA"]).0, "{added:?}");
    for (arguments, problem) in [
        (&["add", "x", "--role", "king"][..], "there is no role king; there are administrator"),
        (&["add", "x", "--fhir-user", "Group/1"], "Group/1 is none of Patient/1"),
        (&["add", "a b"], "without white space"),
        (&["disable", "nobody"], "there is no user nobody"),
    ] {
        let (is_done, text) = run(arguments);
        assert!(!is_done && text.contains(problem), "{arguments:?}: {text}");
    }
    let mut browser = Browser::new(&server);
    let page = browser.open(&path).await.expect(200);
    let fields = [("password", PASSWORD), ("again", PASSWORD)];
    browser.submit(&page, &path, &fields).await.expect(303);
    let login = browser.open("/auth/login").await;
    browser.log_in(&login, "ada").await.expect(200);
    let (_, listed) = run(&["list"]);
    assert!(listed.contains("Ada: Patient/p1; patient"), "{listed}");
    // A disabled account is out at once, and cannot come in.
    assert!(run(&["disable", "ada"]).0);
    let out = browser.get("/auth/apps").await.expect(303);
    assert_eq!(location(&out), "/auth/login");
    let login = browser.open("/auth/login").await;
    let fields = [("username", "ada"), ("password", PASSWORD)];
    browser.submit(&login, "/auth/login", &fields).await.expect(403);
    assert!(run(&["enable", "ada"]).0 && run(&["role", "ada", "patient", "privacy"]).0);
    let (_, reset) = run(&["reset-password", "ada"]);
    assert!(reset.contains("/auth/setup/"), "{reset}");
    let login = browser.open("/auth/login").await;
    browser.submit(&login, "/auth/login", &fields).await.expect(403);
    assert!(noted(&server, ADMIN, 0, "ada").await >= 4);
    std::fs::remove_dir_all(folder).unwrap();
    server.stop().await;
}
