//! Search parameters that clients define: checked, built, found on every node, and gone again.
//!
//! Covers: rest 4.240, rest 4.241.

use std::time::{Duration, Instant};

use kiln::app::server::Server;

use crate::harness::client::{Answer, Client};
use crate::harness::database::connect;
use crate::harness::server::{TestServer, config};

/// Longest time until a parameter is built for the few resources of a test.
const PATIENCE: Duration = Duration::from_mins(1);

const EXTENSION: &str = "http://example.org/eye-colour";

pub(super) fn parameter(id: &str, code: &str, of_type: &str, more: &str) -> String {
    format!(
        r#"{{"resourceType":"SearchParameter","id":"{id}","url":"http://example.org/sp/{id}",
        "name":"{id}","status":"active","description":"d","code":"{code}","base":["Patient"],
        "type":"{of_type}"{more}}}"#
    )
}

fn eye_colour() -> String {
    let expression = format!(r#","expression":"Patient.extension.where(url='{EXTENSION}').value""#);
    parameter("eye", "eye-colour", "token", &expression)
}

fn patient(id: &str, colour: &str) -> String {
    format!(
        r#"{{"resourceType":"Patient","id":"{id}","extension":[{{"url":"{EXTENSION}","valueCode":"{colour}"}}]}}"#
    )
}

pub(super) async fn strictly(client: &Client, url: &str) -> Answer {
    client.call("GET", url).header("Prefer", "handling=strict").send().await
}

/// Asks strictly until the parameter is known and built; every answer before has to be a refusal.
pub(super) async fn when_active(client: &Client, url: &str) -> Answer {
    let began = Instant::now();
    loop {
        let answer = strictly(client, url).await;
        if answer.status == 200 {
            return answer;
        }
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.text().contains("not-supported"), "{answer:?}");
        assert!(began.elapsed() < PATIENCE, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Asks strictly until the parameter is refused for this reason.
async fn when_refused(client: &Client, url: &str, reason: &str) {
    let began = Instant::now();
    loop {
        let answer = strictly(client, url).await;
        if answer.status == 400 && answer.text().contains(reason) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(super) fn ids(answer: &Answer) -> Vec<String> {
    let value = answer.json();
    let mut found: Vec<String> = value
        .items_at("entry")
        .iter()
        .filter_map(|entry| entry.get("resource"))
        .filter(|resource| resource.str_at("resourceType") != Some("OperationOutcome"))
        .filter_map(|resource| resource.str_at("id").map(str::to_owned))
        .collect();
    found.sort_unstable();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_finds_what_was_there_before_and_what_comes_after() {
    let server = TestServer::start().await;
    let client = &server.client;
    let other = Server::start(config(&server.database, &[])).await.unwrap();
    let there = Client::new(other.address());
    for (id, colour) in [("a", "blue"), ("b", "brown"), ("c", "blue")] {
        client.put(&format!("/Patient/{id}"), patient(id, colour)).await.expect(201);
    }
    client.put("/SearchParameter/eye", eye_colour()).await.expect(201);
    when_refused(client, "/Patient?eye-colour=blue", "is being built").await;
    when_refused(&there, "/Patient?eye-colour=blue", "is being built").await;
    let lenient = client.get("/Patient?eye-colour=blue").await.expect(200);
    assert_eq!(ids(&lenient), ["a", "b", "c"], "ignored as a whole");
    assert!(lenient.text().contains("is being built"), "{lenient:?}");
    let statement = client.get("/metadata").await.expect(200);
    assert!(!statement.text().contains("eye-colour"), "not before it is built");
    // While it is built: a new one, one that changes, one that stays as it is, one that goes.
    there.put("/Patient/d", patient("d", "blue")).await.expect(201);
    client.put("/Patient/b", patient("b", "blue")).await.expect(200);
    let same = patient("a", "blue").replace(r#""id":"a""#, r#""id":"a","active":true"#);
    client.put("/Patient/a", same).await.expect(200);
    client.delete("/Patient/c").await.expect(204);
    let found = when_active(client, "/Patient?eye-colour=blue").await;
    assert_eq!(ids(&found), ["a", "b", "d"]);
    let found = when_active(&there, "/Patient?eye-colour=blue&_sort=eye-colour").await;
    assert_eq!(ids(&found), ["a", "b", "d"]);
    client.put("/Patient/e", patient("e", "green")).await.expect(201);
    client.put("/Patient/d", patient("d", "green")).await.expect(200);
    for client in [client, &there] {
        assert_eq!(ids(&strictly(client, "/Patient?eye-colour=green").await), ["d", "e"]);
        assert_eq!(ids(&strictly(client, "/Patient?eye-colour:not=green").await), ["a", "b"]);
        let statement = client.get("/metadata").await.expect(200);
        assert!(statement.text().contains("http://example.org/sp/eye"), "{statement:?}");
    }
    client.delete("/SearchParameter/eye").await.expect(204);
    when_refused(client, "/Patient?eye-colour=green", "has no search parameter").await;
    when_refused(&there, "/Patient?eye-colour=green", "has no search parameter").await;
    assert!(!client.get("/metadata").await.expect(200).text().contains("eye-colour"));
    // What comes back under its name begins anew: rows from before are not its rows.
    client.put("/Patient/e", patient("e", "grey")).await.expect(200);
    client.put("/SearchParameter/eye", eye_colour()).await.expect(201);
    when_refused(client, "/Patient?eye-colour=green", "is being built").await;
    let found = when_active(client, "/Patient?eye-colour=green").await;
    assert_eq!(ids(&found), ["d"]);
    client.put("/SearchParameter/eye", eye_colour().replace("active", "retired")).await.expect(200);
    when_refused(client, "/Patient?eye-colour=green", "has no search parameter").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_is_built_for_what_others_contain() {
    let server = TestServer::start().await;
    let client = &server.client;
    let observation = |id: &str, colour: &str| {
        format!(
            r##"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{"text":"x"}},
            "contained":[{}],"subject":{{"reference":"#in"}}}}"##,
            patient("in", colour)
        )
    };
    client.put("/Observation/a", observation("a", "blue")).await.expect(201);
    client.put("/Observation/b", observation("b", "brown")).await.expect(201);
    client.put("/SearchParameter/eye", eye_colour()).await.expect(201);
    let found = when_active(client, "/Patient?eye-colour=blue&_contained=true").await;
    assert_eq!(ids(&found), ["a"]);
    let found = strictly(client, "/Observation?subject:Patient.eye-colour=brown").await;
    assert_eq!(ids(&found), ["b"]);
    assert_eq!(ids(&strictly(client, "/Patient?eye-colour=blue").await), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_survives_a_restart_and_is_not_done_again() {
    let server = TestServer::start().await;
    server.client.put("/Patient/a", patient("a", "blue")).await.expect(201);
    server.client.post("/SearchParameter", eye_colour()).await.expect(201);
    when_refused(&server.client, "/Patient?eye-colour=blue", "is being built").await;
    let database = server.database.clone();
    server.stop().await;
    let again = Server::start(config(&database, &[])).await.unwrap();
    let client = Client::new(again.address());
    assert_eq!(ids(&when_active(&client, "/Patient?eye-colour=blue").await), ["a"]);
    let builds = "SELECT generation::bigint FROM search_parameter WHERE is_active";
    let generation = database.number(builds).await;
    drop(client);
    again.stop().await;
    let third = Server::start(config(&database, &[])).await.unwrap();
    let client = Client::new(third.address());
    let at_once = strictly(&client, "/Patient?eye-colour=blue").await.expect(200);
    assert_eq!(ids(&at_once), ["a"]);
    assert_eq!(database.number(builds).await, generation);
    // Rows of a parameter beside FHIR's own survive a build of the whole index.
    kiln::store::maintenance::build_index(third.store(), true, |_| ()).await.unwrap();
    assert_eq!(ids(&strictly(&client, "/Patient?eye-colour=blue").await), ["a"]);
}

/// So many that one step of a build has the most of them, not all.
const MANY: usize = 620;

#[tokio::test(flavor = "multi_thread")]
async fn a_build_goes_on_where_it_was_when_all_nodes_ended() {
    const PLACE: &str =
        "SELECT coalesce(max(after_rid), 0) FROM search_parameter WHERE NOT is_active";
    const GENERATION: &str = "SELECT max(generation)::bigint FROM search_parameter";
    let settings = [("validation.level", "off")];
    let server = TestServer::start_with(&settings).await;
    let database = server.database.clone();
    let other = Server::start(config(&database, &settings)).await.unwrap();
    let there = Client::new(other.address());
    let entry = |at| {
        let (id, request) = (format!("m{at}"), r#""request":{"method":"PUT","url":"Patient/"#);
        format!(r#"{{"resource":{},{request}{id}"}}}}"#, patient(&id, "blue"))
    };
    let entries: Vec<String> = (0..MANY).map(entry).collect();
    let entries = entries.join(",");
    let bundle = format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#);
    server.client.post("/", bundle).await.expect(200);
    // Whoever builds comes to the last of them and waits.
    let last = database.number("SELECT max(rid) FROM res").await;
    let holder = connect(&database.superuser).await;
    let hold = format!("BEGIN; SELECT FROM res WHERE rid = {last} FOR UPDATE");
    holder.batch_execute(&hold).await.unwrap();
    server.client.put("/SearchParameter/eye", eye_colour()).await.expect(201);
    let began = Instant::now();
    while database.number(PLACE).await == 0 {
        assert!(began.elapsed() < PATIENCE, "the build does not begin");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    database.until_waiting(1).await;
    let place = database.number(PLACE).await;
    assert!(place < last, "it is in the middle");
    // How far it is, is known to the node that builds and to the other one.
    let progress = format!("of {MANY} resources are done");
    for client in [&server.client, &there] {
        when_refused(client, "/Patient?eye-colour=blue", &progress).await;
    }
    server.stop().await;
    drop(there);
    other.stop().await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    // A build leaves the number of its transaction at each resource.
    let newest = format!("SELECT max(xid::text::bigint) FROM res WHERE rid <= {place}");
    let oldest =
        format!("SELECT min(xid::text::bigint) FROM res WHERE rid > {place} AND rid <= {last}");
    let (done, generation) = (database.number(&newest).await, database.number(GENERATION).await);
    assert!(database.number(&oldest).await < done, "the rest is as it was written");
    let again = Server::start(config(&database, &settings)).await.unwrap();
    let client = Client::new(again.address());
    let found = when_active(&client, "/Patient?eye-colour=blue&_summary=count").await;
    assert_eq!(found.at("total"), Some(MANY.to_string()));
    assert_eq!(database.number(&newest).await, done, "what was done is not done again");
    assert!(database.number(&oldest).await > done, "the rest is done now");
    assert_eq!(database.number(GENERATION).await, generation, "it is the same build");
    drop(client);
    again.stop().await;
}

/// A kind of parameter, the end of its expression, an extension's value that it looks at, what finds
/// this value, and what does not.
const TYPED: &[(&str, &str, &str, &str, &str)] = &[
    ("token", ".value", r#""valueBoolean":true"#, "true", "false"),
    (
        "token",
        ".value.as(CodeableConcept)",
        r#""valueCodeableConcept":{"coding":[{"system":"urn:s","code":"x"}]}"#,
        "urn:s|x",
        "urn:t|x",
    ),
    ("string", ".value.ofType(string)", r#""valueString":"Greenish Blue""#, "greenish", "blue"),
    ("date", ".value.as(date)", r#""valueDate":"2020-02-03""#, "2020-02", "2020-03"),
    ("number", ".value as integer", r#""valueInteger":7"#, "7", "8"),
    (
        "quantity",
        ".value as Quantity",
        r#""valueQuantity":{"value":5,"system":"http://unitsofmeasure.org","code":"mg"}"#,
        "5000|http://unitsofmeasure.org|ug",
        "gt5",
    ),
    (
        "reference",
        ".value as Reference",
        r#""valueReference":{"reference":"Organization/o"}"#,
        "Organization/o",
        "Organization/p",
    ),
    ("uri", ".value as uri", r#""valueUri":"http://example.org/u""#, "http://example.org/u", "u"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_looks_at_one_kind_of_value_of_one_extension() {
    let server = TestServer::start().await;
    let client = &server.client;
    for (number, (of_type, end, value, _, _)) in TYPED.iter().enumerate() {
        let expression = format!("(Patient.extension.where(url='{EXTENSION}'){end})");
        let expression = format!(r#","expression":"{expression}""#);
        let id = format!("p{number}");
        let body = parameter(&id, &id, of_type, &expression);
        client.put(&format!("/SearchParameter/{id}"), body).await.expect(201);
        for (name, url) in [("a", EXTENSION), ("b", "http://example.org/another")] {
            let id = format!("{name}{number}");
            let body = format!(
                r#"{{"resourceType":"Patient","id":"{id}","extension":[{{"url":"{url}",{value}}}]}}"#
            );
            client.put(&format!("/Patient/{id}"), body).await.expect(201);
        }
    }
    for (number, (of_type, end, _, finds, other)) in TYPED.iter().enumerate() {
        let asked = |query: &str| format!("/Patient?p{number}{query}&_count=100");
        let found = when_active(client, &asked(&format!("={finds}"))).await;
        assert_eq!(ids(&found), [format!("a{number}")], "{of_type} {end}");
        let none = strictly(client, &asked(&format!("={other}"))).await.expect(200);
        assert!(ids(&none).is_empty(), "{of_type} {end}: {none:?}");
        let there = strictly(client, &asked(":missing=false")).await.expect(200);
        // Without a type it looks at all that it can compare: of these the boolean, the concept,
        // the string and the uri.
        let wanted: Vec<String> = if *end == ".value" {
            [0, 1, 2, 7].iter().map(|it| format!("a{it}")).collect()
        } else {
            vec![format!("a{number}")]
        };
        assert_eq!(ids(&there), wanted, "{of_type} {end}");
    }
}

/// What is wrong, a parameter with that, and the status and the element that are answered.
fn wrong() -> Vec<(&'static str, String, u16, &'static str)> {
    let gender = r#","expression":"Patient.gender""#;
    vec![
        ("type", parameter("x", "x", "special", gender), 400, "SearchParameter.type"),
        ("code", parameter("x", "_x", "token", gender), 400, "SearchParameter.code"),
        ("no expression", parameter("x", "x", "token", ""), 400, "SearchParameter.expression"),
        (
            "syntax",
            parameter("x", "x", "token", r#","expression":"Patient.where(""#),
            400,
            "SearchParameter.expression",
        ),
        (
            "function",
            parameter("x", "x", "token", r#","expression":"Patient.gender.frobnicate()""#),
            400,
            "SearchParameter.expression",
        ),
        (
            "taken by FHIR",
            parameter("x", "gender", "token", r#","expression":"Patient.maritalStatus""#),
            422,
            "SearchParameter.base[0]",
        ),
        (
            "taken by another",
            parameter("x", "eye-colour", "token", gender),
            422,
            "SearchParameter.base[0]",
        ),
        (
            "url",
            parameter("x", "x", "token", gender).replace("/sp/x", "/sp/eye"),
            400,
            "SearchParameter.url",
        ),
        (
            "part",
            parameter(
                "x",
                "x",
                "composite",
                r#","expression":"Patient","component":[
                {"definition":"http://example.org/sp/none","expression":"gender"},
                {"definition":"http://hl7.org/fhir/SearchParameter/individual-gender","expression":"gender"}]"#,
            ),
            422,
            "SearchParameter.component[0].definition",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_in_force_is_refused_where_it_is_wrong() {
    let server = TestServer::start().await;
    let client = &server.client;
    client.put("/SearchParameter/eye", eye_colour()).await.expect(201);
    when_refused(client, "/Patient?eye-colour=blue", "is being built").await;
    for (what, body, status, place) in wrong() {
        let answer = client.put("/SearchParameter/x", body.clone()).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(answer.text().contains(place), "{what}: {answer:?}");
        // Nobody asks for it to be used: it is stored, and not in force (rest 4.242).
        let id = what.replace(' ', "-");
        let draft = body.replace(r#""id":"x""#, &format!(r#""id":"{id}""#));
        let draft = draft.replace(r#""status":"active""#, r#""status":"draft""#);
        client.put(&format!("/SearchParameter/{id}"), draft).await.expect(201);
    }
    // The same again is no other parameter.
    client.put("/SearchParameter/eye", eye_colour()).await.expect(200);
    client.get("/SearchParameter/x").await.expect(404);
    let refused = strictly(client, "/Patient?x=male").await.expect(400);
    assert!(refused.text().contains("has no search parameter"), "{refused:?}");
}
