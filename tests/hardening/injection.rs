//! What is SQL to a database is text to a search: in every parameter of every type, in every other place of a
//! request, in forms and in messages. It finds nothing, changes nothing, and no answer is a fault of the server.

use serde_json::{Value, json};

use super::payloads::{Parameter, TAUTOLOGIES, attacks, escaped};
use crate::harness::client::{Answer, Client};
use crate::harness::server::TestServer;
use crate::harness::shared::long;
use crate::hl7v2::feed::Sender;
use crate::oauth::browser::{REDIRECT, register, server_with};
use crate::oauth::tokens::client::{basic, confidential, public, send, send_with};

/// A word that nothing holds.
const WORD: &str = "qzxvwk";

/// Searches of one batch.
const BATCH: usize = 200;

/// What is stored: something for parameters of each type to find.
const CANARIES: &[(&str, &str)] = &[
    ("Organization/canary", r#""name":"Canary clinic""#),
    ("Practitioner/canary", r#""name":[{"family":"Canary"}]"#),
    (
        "Patient/canary",
        r#""identifier":[{"system":"http://example.org/ids","value":"canary"}],"gender":"female",
            "name":[{"family":"Canary","given":["Bird"]}],"birthDate":"1980-04-05",
            "generalPractitioner":[{"reference":"Practitioner/canary"}]"#,
    ),
    (
        "Encounter/canary",
        r#""status":"finished","subject":{"reference":"Patient/canary"},"period":{"start":"2020-05-06"},
            "class":{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"AMB"}"#,
    ),
    (
        "Observation/canary",
        r#""status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8480-6"}]},
            "subject":{"reference":"Patient/canary"},"effectiveDateTime":"2020-05-06",
            "valueQuantity":{"value":120,"system":"http://unitsofmeasure.org","code":"mm[Hg]"}"#,
    ),
    (
        "RiskAssessment/canary",
        r#""status":"final","subject":{"reference":"Patient/canary"},
            "prediction":[{"probabilityDecimal":0.5}]"#,
    ),
    ("ValueSet/canary", r#""status":"draft","url":"http://example.org/vs/canary""#),
    ("Location/canary", r#""name":"Canary ward","position":{"longitude":8.5,"latitude":47.25}"#),
];

/// What of the database no value may change: tables and views, functions, resources and their contents,
/// old versions.
const STATE: &[&str] = &[
    "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace \
       AND relkind IN ('r', 'p', 'v') AND NOT relispartition",
    "SELECT count(*) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace",
    "SELECT count(*) FROM res",
    "SELECT coalesce(sum(hashtext(concat(id, vid, op, body, meta))), 0)::bigint FROM res",
    "SELECT count(*) FROM hist",
];

async fn state(server: &TestServer) -> Vec<i64> {
    let mut found = Vec::new();
    for query in STATE {
        found.push(server.database.number(query).await);
    }
    found
}

/// The document of a canary.
fn canary(name: &str, rest: &str) -> String {
    let (of, id) = name.split_once('/').unwrap();
    format!(r#"{{"resourceType":"{of}","id":"{id}",{rest}}}"#)
}

/// A server with the canaries.
pub(super) async fn stocked(settings: &[(&str, &str)]) -> TestServer {
    let server = TestServer::start_with(settings).await;
    for (name, rest) in CANARIES {
        server.client.put(&format!("/{name}"), canary(name, rest)).await.expect(201);
    }
    server
}

/// What it says of itself.
pub(super) async fn capability(client: &Client) -> Value {
    serde_json::from_slice(&client.get("/metadata").await.expect(200).body).unwrap()
}

/// Stores one resource more of each type that may be empty.
async fn store_empty_ones(client: &Client, capability: &Value) {
    let types = capability["rest"][0]["resource"].as_array().unwrap();
    let entry = |it: &Value| {
        let request = json!({"method": "POST", "url": it["type"]});
        json!({"request": request, "resource": {"resourceType": it["type"]}})
    };
    let entries: Vec<_> = types.iter().map(entry).collect();
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": entries});
    client.post("/", bundle.to_string()).await.expect(200);
}

/// Fails unless the canaries are there as they were.
async fn canaries_live(client: &Client) {
    for (name, _) in CANARIES {
        let read = client.get(&format!("/{name}")).await.expect(200);
        assert_eq!(read.version(), 1, "{read:?}");
    }
    let found = client.get("/Patient?name=canary&identifier=canary&_total=accurate").await;
    assert_eq!(found.expect(200).at("total").as_deref(), Some("1"));
}

/// How many matches each of some searches finds; `None` where it was refused, with an outcome.
async fn answers(client: &Client, urls: &[String]) -> Vec<Option<usize>> {
    let entry = |url: &String| json!({"request": {"method": "GET", "url": url}});
    let entries: Vec<_> = urls.iter().map(entry).collect();
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": entries});
    let call = client.call("POST", "/").header("Prefer", "handling=strict");
    let answer = call.json(bundle.to_string()).send().await.expect(200);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let entries = body["entry"].as_array().unwrap();
    assert_eq!(entries.len(), urls.len());
    entries.iter().zip(urls).map(|(entry, url)| matches(entry, url)).collect()
}

fn matches(entry: &Value, url: &str) -> Option<usize> {
    let response = &entry["response"];
    let status = response["status"].as_str().unwrap_or_default();
    if status.starts_with("200") {
        assert_eq!(entry["resource"]["resourceType"], "Bundle", "{url}: {entry}");
        let found = entry["resource"]["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
        return Some(found.iter().filter(|it| it["search"]["mode"] == "match").count());
    }
    let is_refused = ["400", "403", "404", "422"].iter().any(|it| status.starts_with(it));
    assert!(is_refused, "{url}: {entry}");
    assert_eq!(response["outcome"]["resourceType"], "OperationOutcome", "{url}: {entry}");
    None
}

/// A search for an attack; where that holds always, with the same search for a word that nothing holds.
struct Question {
    attack: String,
    word: Option<String>,
}

/// Some searches for each parameter: all attacks with `KILN_TEST_LONG=1`, else four of them and a tautology;
/// fewer for a parameter that every type has, which comes again with the next type.
fn questions(parameters: &[Parameter]) -> Vec<Question> {
    let all = attacks();
    let mut questions = Vec::new();
    for (turn, parameter) in parameters.iter().enumerate() {
        let count = match (long(), parameter.is_common()) {
            (true, _) => all.len(),
            (false, true) => 1,
            (false, false) => 4,
        };
        // By a prime that is no divisor of the lengths of the lists, all come together in turn.
        for number in turn * 11..turn * 11 + count {
            let attack = parameter.search(all[number % all.len()], number);
            questions.push(Question { attack, word: None });
        }
        if !parameter.is_common() || turn.is_multiple_of(4) || long() {
            let text = TAUTOLOGIES[turn % TAUTOLOGIES.len()];
            let search = |text: &str| parameter.search(text, turn);
            questions.push(Question { attack: search(text), word: Some(search(WORD)) });
        }
    }
    questions
}

/// Covers: security H8.
#[tokio::test(flavor = "multi_thread")]
async fn no_parameter_of_any_type_takes_a_value_for_sql() {
    let server = stocked(&[]).await;
    let client = &server.client;
    let capability = capability(client).await;
    let parameters = Parameter::all(&capability);
    assert!(parameters.len() > 1_500, "{}", parameters.len());
    store_empty_ones(client, &capability).await;
    let before = state(&server).await;
    let (mut asked, mut answered, mut compared) = (0, 0, 0);
    for some in questions(&parameters).chunks(BATCH) {
        let urls: Vec<_> = some
            .iter()
            .flat_map(|it| std::iter::once(&it.attack).chain(&it.word))
            .cloned()
            .collect();
        let mut found = answers(client, &urls).await.into_iter();
        asked += urls.len();
        for question in some {
            let of_attack = found.next().unwrap();
            answered += usize::from(of_attack.is_some());
            let Some(word) = &question.word else { continue };
            let of_word = found.next().unwrap();
            compared += usize::from(of_attack.is_some() && of_word.is_some());
            let attack = &question.attack;
            let is_no_more = of_attack.unwrap_or(0) <= of_word.unwrap_or(0);
            assert!(is_no_more, "{attack} finds {of_attack:?}, {word} {of_word:?}");
        }
    }
    // What fits its parameter is not refused: so much reaches the database.
    assert!(asked > 5_000 && answered > asked / 8, "{answered} of {asked}");
    assert!(compared > 200, "{compared}");
    assert_eq!(state(&server).await, before);
    canaries_live(client).await;
    server.stop().await;
}

/// What else a search of a type may have to say, and how its parameters are reached from another.
const NAMES: &[&str] = &[
    "name",
    "general-practitioner.name",
    "general-practitioner:Practitioner.name:exact",
    "_has:Observation:subject:code",
    "_has:Observation:subject:_id",
    "_has:Observation:subject:encounter.status",
    "_filter",
    "_sort",
    "_include",
    "_include:iterate",
    "_revinclude",
    "_elements",
    "_summary",
    "_count",
    "_total",
    "_list",
    "_contained",
    "_containedType",
    "_content",
    "_text",
    "_lastUpdated",
    "_cursor",
    "_type",
    "_format",
    "_pretty",
    "_query",
];

/// Addresses with an attack in every place but the value of a parameter of a type.
fn addresses(attack: &str) -> Vec<String> {
    let quoted = escaped(&format!("name eq \"{attack}\""));
    let e = escaped(attack);
    let mut urls: Vec<_> = NAMES.iter().map(|name| format!("/Patient?{name}={e}")).collect();
    urls.extend([
        format!("/Patient?name:{e}=a"),
        format!("/Patient?{e}=a"),
        format!("/Patient?_has:Observation:{e}:code=a"),
        format!("/Patient?_has:{e}:subject:code=a"),
        format!("/Patient?general-practitioner.{e}=a"),
        format!("/Patient?general-practitioner:{e}.name=a"),
        format!("/Patient?_sort=family,-{e}"),
        format!("/Patient?_include=Patient:{e}"),
        format!("/Patient?_include=Patient:general-practitioner:{e}"),
        format!("/Patient?_revinclude={e}:subject"),
        format!("/Patient?_filter={quoted}"),
        format!("/Patient?_filter={}", escaped(&format!("{attack} eq \"a\""))),
        format!("/Patient?name={}", [e.as_str(); 50].join(",")),
        format!("/?_type={e}"),
        format!("/?_type=Patient,Observation&_id={e}"),
        format!("/_history?_since={e}"),
        format!("/{e}"),
        format!("/{e}?name=a"),
        format!("/Patient/{e}"),
        format!("/Patient/{e}/_history"),
        format!("/Patient/{e}/Observation"),
        format!("/Patient/canary/{e}"),
        format!("/Patient/canary/Observation?code={e}"),
        format!("/Patient/canary/_history/{e}"),
        format!("/Patient/canary/_history?_at={e}"),
        format!("/Patient/canary/$everything?_since={e}&_type={e}"),
        format!("/Patient/canary/$summary?profile={e}"),
        format!("/Patient/$summary?identifier={e}"),
        format!("/Patient/canary/${e}"),
        format!("/ValueSet/$expand?url={e}&filter={e}"),
        format!("/CodeSystem/$lookup?system={e}&code={e}"),
        format!("/AuditEvent?entity={e}&agent={e}"),
    ]);
    urls
}

/// Fails when it is our fault, or something else than an outcome tells what is wrong.
#[track_caller]
fn is_fair(what: &str, answer: &Answer) {
    assert!((200..500).contains(&answer.status), "{what}: {answer:?}");
    if answer.status >= 400 {
        assert_eq!(
            answer.at("resourceType").as_deref(),
            Some("OperationOutcome"),
            "{what}: {answer:?}"
        );
    }
}

/// Writes with an attack in their criteria: how many resources came into being.
async fn written(client: &Client, attack: &str) -> i64 {
    let mut created = 0;
    let e = escaped(attack);
    let patient = json!({"resourceType": "Patient", "name": [{"family": attack}]}).to_string();
    let (patch, patching) =
        (r#"[{"op":"add","path":"/language","value":"en"}]"#, "application/json-patch+json");
    for (method, url) in [
        ("DELETE", format!("/Patient?identifier={e}")),
        ("DELETE", format!("/Patient?_id={e}&name:contains={e}")),
        ("PATCH", format!("/Patient?identifier={e}")),
        ("PUT", format!("/Patient?identifier=http://example.org/{e}|{e}")),
        ("PUT", format!("/Patient/{e}")),
        ("DELETE", format!("/Patient/{e}")),
    ] {
        let call = client.call(method, &url);
        let call = if method == "PATCH" {
            call.header("Content-Type", patching).body(patch)
        } else {
            call.json(patient.clone())
        };
        let answer = call.send().await;
        is_fair(&format!("{method} {url}"), &answer);
        // Nothing is found, so nothing is changed.
        assert!(
            [201, 204, 400, 404, 405, 412].contains(&answer.status),
            "{method} {url}: {answer:?}"
        );
        created += i64::from(answer.status == 201);
    }
    for (name, value) in [
        ("If-None-Exist", format!("identifier=http://example.org/{e}|{e}")),
        ("If-None-Exist", format!("family:exact={e}&gender=female")),
        ("If-None-Exist", format!("identifier={attack}")),
    ] {
        let answer = client.call("POST", "/Patient").header(name, &value).json(patient.clone());
        let answer = answer.send().await;
        is_fair(&format!("{name}: {value}"), &answer);
        assert!([201, 400].contains(&answer.status), "{name}: {value}: {answer:?}");
        created += i64::from(answer.status == 201);
    }
    created
}

/// Headers that some part of the server reads.
const HEADERS: &[&str] = &[
    "If-None-Match",
    "If-Modified-Since",
    "Accept",
    "Accept-Language",
    "Prefer",
    "X-Request-Id",
    "X-Forwarded-For",
    "X-Provenance",
    "User-Agent",
    "Authorization",
    "traceparent",
];

/// Covers: security H8.
#[tokio::test(flavor = "multi_thread")]
async fn no_other_place_of_a_request_takes_text_for_sql() {
    let server = stocked(&[]).await;
    let client = &server.client;
    let before = state(&server).await;
    let mut created = 0;
    for attack in attacks() {
        for url in addresses(attack) {
            is_fair(
                &url,
                &client.call("GET", &url).header("Prefer", "handling=strict").send().await,
            );
        }
        let e = escaped(attack);
        for url in ["/Patient/_search", "/_search", "/Patient/canary/Observation/_search"] {
            let call = client.call("POST", url);
            let call = call.header("Content-Type", "application/x-www-form-urlencoded");
            let fields = format!("_id={e}&_sort={e}&_type={e}&{e}={e}");
            is_fair(&format!("{url} {fields}"), &call.body(fields.clone()).send().await);
        }
        for name in HEADERS {
            let call = client.call("GET", "/Patient?name=canary").header(name, attack);
            is_fair(&format!("{name}: {attack}"), &call.send().await);
        }
        created += written(client, attack).await;
        // What was written is what was sent.
        let kept = json!({"resourceType": "Patient", "name": [{"family": attack}]}).to_string();
        let made = client.post("/Patient", kept).await.expect(201);
        created += 1;
        assert_eq!(made.at("name[0].family").as_deref(), Some(attack));
        let read = client.get(&format!("/Patient/{}", made.id())).await.expect(200);
        assert_eq!(read.at("name[0].family").as_deref(), Some(attack));
    }
    let after = state(&server).await;
    // Of the sum of contents there is another one now; the canaries are read instead.
    assert_eq!(after[..2], before[..2]);
    assert_eq!((after[2], after[4]), (before[2] + created, before[4]));
    canaries_live(client).await;
    server.stop().await;
}

/// Covers: security H8.
#[tokio::test(flavor = "multi_thread")]
async fn no_form_and_no_message_takes_text_for_sql() {
    let unlimited = [("limits.tokens_per_minute", "0"), ("limits.refusals_per_minute", "0")];
    let server = server_with(&unlimited).await;
    register(&server, &confidential("web", "openid patient/*.rs")).await;
    register(&server, &public("app", "openid patient/*.rs")).await;
    let known = "SELECT (SELECT count(*) FROM oauth_client) + (SELECT count(*) FROM oauth_token)";
    let before = server.database.number(known).await;
    for a in attacks() {
        let code = ("grant_type", "authorization_code");
        let forms: &[&[(&str, &str)]] = &[
            &[("grant_type", "client_credentials"), ("client_id", a), ("client_secret", a)],
            &[code, ("client_id", "app"), ("code", a), ("redirect_uri", a), ("code_verifier", a)],
            &[code, ("client_id", a), ("code", a), ("redirect_uri", REDIRECT)],
            &[
                ("grant_type", "refresh_token"),
                ("client_id", "app"),
                ("refresh_token", a),
                ("scope", a),
            ],
            &[("grant_type", a), ("client_id", a), (a, a)],
        ];
        for form in forms {
            let answer = send(&server, "/auth/token", form).await;
            assert!([400, 401].contains(&answer.status), "{form:?}: {answer:?}");
            assert!(answer.at("error").is_some(), "{form:?}: {answer:?}");
        }
        let authorization = basic("web");
        let headers = [("Authorization", authorization.as_str())];
        let found = send_with(&server, "/auth/introspect", &[("token", a)], &headers).await;
        assert!(found.expect(200).text().contains("\"active\":false"), "{a}");
        let ended = send_with(&server, "/auth/revoke", &[("token", a)], &headers).await;
        assert!(ended.status < 500, "{a}: {ended:?}");
        let e = escaped(a);
        let url = format!(
            "{}/auth/authorize?client_id={e}&state={e}&scope={e}&launch={e}&aud={e}",
            server.client.root()
        );
        let asked = server.client.get(&url).await;
        assert!(asked.status < 500 && asked.status != 200, "{a}: {asked:?}");
        let bearer =
            server.client.call("GET", "/Patient/p").header("Authorization", &format!("Bearer {a}"));
        assert!([400, 401].contains(&bearer.send().await.status), "{a}");
    }
    assert_eq!(server.database.number(known).await, before);
    server.stop().await;
    messages().await;
}

/// Messages of version 2 with attacks in what is looked up and kept.
async fn messages() {
    let server = stocked(&[("hl7v2.listen", "127.0.0.1:0")]).await;
    let before = state(&server).await;
    let mut sender = Sender::new(tokio::net::TcpStream::connect(server.feed()).await.unwrap());
    for (number, attack) in attacks().into_iter().enumerate() {
        // What parts fields and components parts them; the rest is text.
        let text: String = attack.chars().filter(|it| !"|^~\\&".contains(*it)).collect();
        let message = format!(
            "MSH|^~\\&|LAB{text}|STM|KILN|H|20260704120000||ADT^A01^ADT_A01|{text}{number}|P|2.5.1\r\
             EVN||20260704120000\rPID|1||{text}^^^STM^MR||{text}^{text}\rPV1|1|I|{text}\r"
        );
        let answer = sender.send(&message).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("\rMSA|A"), "{attack}: {answer}");
        let e = escaped(attack);
        let root = server.client.root();
        let list = format!("{root}/v2/messages?control-id={e}&state={e}&patient={e}&{e}={e}");
        for url in
            [list, format!("{root}/v2/messages/{e}"), format!("{root}/v2/messages?control-id={e}")]
        {
            let told = server.client.get(&url).await;
            assert!(told.status < 500, "{url}: {told:?}");
        }
    }
    assert_eq!(state(&server).await[..2], before[..2]);
    canaries_live(&server.client).await;
    server.stop().await;
}
