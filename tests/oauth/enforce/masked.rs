//! What two patients share: each sees it without the other.

use crate::harness::client::{Answer, Client};
use crate::harness::grants::Token;
use crate::harness::server::TestServer;

use super::super::world::{asked, body, filled, fresh};

/// What stands in the place of a reference that is not shown.
pub(super) const GONE: &str = r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked"}]}"#;

/// Ways in which `other` has a part in what is of patient `a`.
fn with(other: &str) -> Vec<(&'static str, String)> {
    let named = format!(
        r#"{{"reference":"Patient/{other}","identifier":{{"system":"urn:n","value":"n-{other}"}},"display":"Name {other}"}}"#
    );
    let actor = |who: &str| format!(r#"{{"actor":{who},"status":"accepted"}}"#);
    let own = r#"{"reference":"Patient/a","display":"Ada"}"#;
    vec![
        (
            "Appointment/two",
            format!(
                r#""text":{{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">with Name {other}</div>"}},"status":"proposed","start":"2020-01-01T10:00:00Z","end":"2020-01-01T11:00:00Z","reasonReference":[{{"reference":"Condition/of-{other}"}}],"participant":[{},{},{}]"#,
                actor(own),
                actor(&named),
                actor(r#"{"reference":"Practitioner/doc"}"#)
            ),
        ),
        (
            "Appointment/inside",
            format!(
                r#""contained":[{{"resourceType":"Patient","id":"p","name":[{{"family":"Name{other}"}}]}}],"status":"booked","start":"2020-01-02T10:00:00Z","end":"2020-01-02T11:00:00Z","participant":[{},{},{}]"#,
                actor(own),
                actor(r##"{"reference":"#p"}"##),
                actor(&named)
            ),
        ),
        (
            "Communication/letter",
            format!(
                r#""status":"completed","subject":{own},"sender":{named},"payload":[{{"contentString":"hello"}}],"note":[{{"authorString":"Name {other}","text":"sent"}}]"#
            ),
        ),
        ("Account/both", format!(r#""status":"active","subject":[{named},{own}],"name":"both""#)),
        ("Schedule/shared", format!(r#""active":true,"actor":[{own},{named}]"#)),
        (
            "CommunicationRequest/asked",
            format!(
                r#""status":"active","subject":{own},"requester":{named},"recipient":[{own},{named}],"note":[{{"authorReference":{named},"text":"call"}},{{"authorString":"Name {other}","text":"soon"}}]"#
            ),
        ),
        (
            "AppointmentResponse/own",
            format!(
                r#""appointment":{{"reference":"Appointment/two"}},"actor":{own},"participantStatus":"accepted""#
            ),
        ),
        (
            "AppointmentResponse/theirs",
            format!(
                r#""appointment":{{"reference":"Appointment/two"}},"actor":{named},"participantStatus":"declined""#
            ),
        ),
        (
            "Group/both",
            format!(
                r#""type":"person","actual":true,"member":[{{"entity":{own}}},{{"entity":{named}}}]"#
            ),
        ),
    ]
}

const PATHS: [&str; 7] = [
    "Appointment/two",
    "Appointment/inside",
    "Communication/letter",
    "Account/both",
    "Schedule/shared",
    "CommunicationRequest/asked",
    "AppointmentResponse/own",
];

async fn server_with(other: &str) -> TestServer {
    let server = TestServer::start().await;
    for (id, family) in [("a", "Ada"), ("b", "Nameb"), ("c", "Namec")] {
        let content = format!(r#""name":[{{"family":"{family}"}}]"#);
        let path = format!("Patient/{id}");
        server.client.put(&format!("/{path}"), body(&path, &content)).await.expect(201);
    }
    let doc = body("Practitioner/doc", r#""active":true"#);
    server.client.put("/Practitioner/doc", doc).await.expect(201);
    for (path, content) in with(other) {
        server.client.put(&format!("/{path}"), body(path, &content)).await.expect(201);
    }
    server
}

/// What an answer says but for the server's address, times, and page links, which name it.
fn told(answer: &Answer, client: &Client) -> String {
    let mut text = answer.text().replace(&client.base(), "BASE");
    let changing = [
        ("\"lastUpdated\":\"", "\""),
        ("\"lastModified\":\"", "\""),
        ("<lastUpdated value=\"", "\""),
        ("_cursor=", "\""),
    ];
    for (begin, end) in changing {
        let mut parts = text.split(begin);
        let mut kept = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            kept.push_str(begin);
            kept.push_str(part.split_once(end).map_or("", |(_, rest)| rest));
        }
        text = kept;
    }
    format!("{} {text}", answer.status)
}

/// Ways to ask what is shown in part, and by what is not shown.
const ASKED: &[&str] = &[
    "/Appointment/two",
    "/Appointment/two?_elements=participant",
    "/Appointment/two?_summary=true",
    "/Appointment/two?_summary=data",
    "/Appointment/two?_format=xml",
    "/Appointment/two/$meta",
    "/Appointment/two/_history/1",
    "/Appointment/two/_history/1/$meta",
    "/Appointment/two/_history",
    "/Appointment/_history",
    "/_history",
    "/Appointment",
    "/Communication",
    "/CommunicationRequest",
    "/CommunicationRequest?requester=Patient/b",
    "/CommunicationRequest?recipient=Patient/c,Patient/a",
    "/CommunicationRequest?_content=nameb",
    "/Schedule",
    "/Schedule?actor=Patient/b",
    "/Schedule?actor:Patient.name=nameb",
    "/Slot?schedule.actor=Patient/b",
    "/AppointmentResponse",
    "/AppointmentResponse/theirs",
    "/AppointmentResponse?appointment=Appointment/two",
    "/AppointmentResponse?actor=Patient/b",
    "/Appointment?_revinclude=AppointmentResponse:appointment",
    "/Appointment?_has:AppointmentResponse:appointment:actor=Patient/b",
    "/Group",
    "/Group/both",
    "/AuditEvent",
    "/Account",
    "/Appointment?actor=Patient/b",
    "/Appointment?actor=Patient/c",
    "/Appointment?patient=b",
    "/Appointment?actor:identifier=urn:n|n-b",
    "/Appointment?actor:Patient.name=nameb",
    "/Appointment?patient.name=nameb",
    "/Appointment?actor:Patient._id=b",
    "/Appointment?reason-reference=Condition/of-b",
    "/Appointment?_filter=not%20(actor%20eq%20Patient/b)",
    "/Appointment?_text=nameb",
    "/Appointment?_content=nameb",
    "/Communication?sender=Patient/b",
    "/Communication?sender:missing=false",
    "/Account?subject=Patient/b,Patient/a",
    "/Account?subject=Patient/b&_total=accurate&_summary=count",
    "/Appointment?_sort=patient",
    "/Appointment?_sort=-actor",
    "/Appointment?_sort=date&_count=1",
    "/Appointment?_include=*&_revinclude=*",
    "/Appointment?_include=Appointment:actor&_include=Appointment:patient",
    "/Patient?_revinclude=Appointment:actor",
    "/Patient?_has:Appointment:actor:actor=Patient/b",
    "/Practitioner?_has:Appointment:actor:actor=Patient/b",
    "/Practitioner?_revinclude=Appointment:actor",
    "/Patient?_contained=true&name=nameb",
    "/Patient?_contained=true&_containedType=container&name=nameb",
    "/Patient/b/Appointment",
    "/Patient/b/*",
    "/Patient/a/Appointment",
    "/?_type=Appointment,Account",
];

/// Under a patient's scopes, and for a clinician who sees all patients as such but appointments of one.
fn limited(server: &TestServer) -> [Token<'_>; 2] {
    let mixed = "patient/*.rs user/Patient.rs user/Practitioner.rs";
    [
        Token::new(server, "patient/*.rs").patient("a"),
        Token::new(server, mixed).patient("a").user("Practitioner/doc", &["administrator"]),
    ]
}

/// Who the other is changes no byte of any answer, though who asks may see the other as a patient.
///
/// Covers: security E9.
#[tokio::test(flavor = "multi_thread")]
async fn who_the_other_is_changes_nothing() {
    let servers = [server_with("b").await, server_with("c").await];
    for server in &servers {
        // On a busy machine that takes a while.
        for _ in 0..10 {
            if server.engine().words_caught_up().await == Some(true) {
                break;
            }
        }
        assert_eq!(server.engine().words_caught_up().await, Some(true));
    }
    for of in 0..2 {
        let (one, _first) = limited(&servers[0])[of].clone().client().await;
        let (other, _second) = limited(&servers[1])[of].clone().client().await;
        for url in ASKED {
            let answers = [one.get(url).await, other.get(url).await];
            assert!(answers[0].status < 500, "{url}: {:?}", answers[0]);
            let [first, second] = [told(&answers[0], &one), told(&answers[1], &other)];
            assert_eq!(first, second, "{of}: {url}");
        }
        let found = asked(&one, "/Appointment?patient=a").await;
        assert_eq!(found, ["Appointment/inside", "Appointment/two"]);
        assert_eq!(asked(&one, "/Appointment?actor=Practitioner/doc").await, ["Appointment/two"]);
        assert_eq!(asked(&one, "/AppointmentResponse").await, ["AppointmentResponse/own"]);
        one.get("/AppointmentResponse/theirs").await.expect(404);
        assert!(asked(&one, "/Appointment?actor=Patient/b").await.is_empty());
        // What is told the other in the record is not this one's.
        for path in PATHS {
            let text = one.get(&format!("/{path}")).await.expect(200).text();
            for secret in ["Patient/b", "n-b", "Name b", "Nameb", "of-b"] {
                assert!(!text.contains(secret), "{path}: {secret}: {text}");
            }
        }
    }
    // Types that are not shown in part are not shown to one of their patients, whoever names them.
    let named = "patient/Group.rs patient/AuditEvent.rs";
    let (own, _stop) = Token::new(&servers[0], named).patient("a").client().await;
    own.get("/Group/both").await.expect(404);
    for of in ["/Group", "/AuditEvent"] {
        assert!(asked(&own, of).await.is_empty(), "{of}");
    }
    for server in &servers {
        only_who_is_shown_is_on_record(server).await;
    }
    let (all, _stop) = Token::new(&servers[0], "system/*.rs").client().await;
    assert!(all.get("/Appointment/two").await.expect(200).text().contains("Name b"));
    assert_eq!(asked(&all, "/Appointment?actor=Patient/b").await.len(), 2);
    for server in servers {
        server.stop().await;
    }
}

/// Of whom nothing was shown nothing is on record with what was shown of another: neither of both, who
/// see each other's names nowhere else, is told who else there was.
async fn only_who_is_shown_is_on_record(server: &TestServer) {
    let own = server.store().hasher().patient(&"a".parse().unwrap());
    for path in [
        "Appointment/two",
        "Appointment/two/_history/1",
        "Appointment/two/_history",
        "Appointment/_history",
        "Appointment",
        "Communication",
        "Account",
        "Appointment?_text=nameb",
        "Appointment?_include=Appointment:actor&_include=Appointment:patient",
        "Patient/a/Appointment",
    ] {
        let rows = format!(
            "FROM ledger WHERE query = '/fhir/{path}' AND method = 'GET' AND outcome = 0 AND token IS NOT NULL"
        );
        let all = server.database.number(&format!("SELECT count(*) {rows}")).await;
        assert!(all >= 2, "{path}: {all}");
        let others = format!("SELECT count(*) {rows} AND NOT pats <@ ARRAY[{own}]::bigint[]");
        assert_eq!(server.database.number(&others).await, 0, "{path}");
    }
    let shown = format!(
        "SELECT count(*) FROM ledger WHERE query = '/fhir/Appointment/two' AND token IS NOT NULL \
         AND pats = ARRAY[{own}]::bigint[]"
    );
    assert!(server.database.number(&shown).await >= 2);
}

/// As it was shown, it is stored by nobody: neither over itself nor beside it.
async fn nobody_puts_it_back(server: &TestServer, own: &Client) {
    let shown = own.get("/Appointment/two").await.expect(200);
    for client in [own, &server.client] {
        let put = client.put("/Appointment/two", shown.text()).await;
        assert!([400, 422].contains(&put.status), "{put:?}");
        let copy = shown.text().replace("\"id\":\"two\"", "\"id\":\"copy\"");
        let put = client.put("/Appointment/copy", copy).await;
        assert!([400, 404, 422].contains(&put.status), "{put:?}");
    }
    // Without the labels it is not either, by who sees a part: nor changed, labelled or deleted.
    let plain = body(
        "Appointment/two",
        r#""status":"cancelled","participant":[{"actor":{"reference":"Patient/a"},"status":"accepted"}]"#,
    );
    let told = own.put("/Appointment/two", plain.clone()).await.expect(422);
    assert!(told.text().contains("is shown in part"), "{told:?}");
    own.delete("/Appointment/two").await.expect(422);
    let patch = r#"[{"op":"test","path":"/participant/1/actor/reference","value":"Patient/b"}]"#;
    let call = own.call("PATCH", "/Appointment/two");
    call.header("content-type", "application/json-patch+json").body(patch).send().await.expect(422);
    let entry = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{plain},"request":{{"method":"PUT","url":"Appointment/two"}}}}]}}"#
    );
    own.post("/", entry).await.expect(422);
    own.put("/Appointment?patient=a&status=proposed", plain.clone()).await.expect(422);
    assert_eq!(server.client.get("/Appointment/two").await.expect(200).version(), 1);
    // A create on condition finds it, and shows nothing of the other.
    let call =
        own.call("POST", "/Appointment").header("If-None-Exist", "patient=a&status=proposed");
    let found = call.json(fresh("Appointment", r#""status":"proposed","participant":[{"actor":{"reference":"Patient/a"},"status":"accepted"}]"#));
    let found = found.header("Prefer", "return=representation").send().await;
    assert!(found.status == 200 && !found.text().contains("Patient/b"), "{found:?}");
}

/// What is shown in part says so in every form of answer, and is stored by nobody in that form.
///
/// Covers: security E23.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_in_part_says_so_and_is_not_put_back() {
    let server = server_with("b").await;
    let (own, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    for url in [
        "/Appointment/two",
        "/Appointment/two?_elements=status",
        "/Appointment/two?_summary=true",
        "/Appointment/two?_summary=text",
        "/Appointment/two/$meta",
        "/Appointment/two/_history/1",
        "/Appointment/two/_history/1/$meta",
        "/Appointment?_id=two",
        "/Appointment?_id=two&_elements=status",
        "/Patient?_revinclude=Appointment:actor&_summary=data",
        "/Appointment/two/_history",
    ] {
        let text = own.get(url).await.expect(200).text();
        for (list, code) in [("security", "REDACTED"), ("tag", "SUBSETTED")] {
            assert!(
                text.contains(&format!("\"{list}\":[")) && text.contains(code),
                "{url}: {text}"
            );
        }
        assert!(!text.contains("Patient/b"), "{url}: {text}");
    }
    let batch = r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Appointment/two"}},{"request":{"method":"GET","url":"Appointment?_id=two"}}]}"#;
    for kind in ["batch", "transaction"] {
        let text = own.post("/", batch.replace("batch", kind)).await.expect(200).text();
        assert_eq!(text.matches("REDACTED").count(), 2, "{text}");
        assert!(!text.contains("Patient/b"), "{text}");
    }
    nobody_puts_it_back(&server, &own).await;
    server.stop().await;
}

/// Only what is alone with who asks is told of other patients in the record, and a Provenance of what
/// is hidden is hidden.
///
/// Covers: security P3.
#[tokio::test(flavor = "multi_thread")]
async fn a_provenance_is_seen_with_all_its_targets() {
    let server = filled().await;
    let provenance = |targets: &[&str]| {
        let list: Vec<String> =
            targets.iter().map(|path| format!(r#"{{"reference":"{path}"}}"#)).collect();
        format!(
            r#""target":[{}],"recorded":"2020-01-01T00:00:00Z","agent":[{{"who":{{"reference":"Practitioner/doc"}}}}]"#,
            list.join(",")
        )
    };
    let item = |path: &str| format!(r#"{{"item":{{"reference":"{path}"}}}}"#);
    let list = |items: &[String]| {
        format!(
            r#""status":"current","mode":"working","subject":{{"reference":"Patient/a"}},"entry":[{}]"#,
            items.join(",")
        )
    };
    let own_item = item("Observation/a-lab");
    for (path, content) in [
        ("List/a-own", list(std::slice::from_ref(&own_item))),
        ("List/a-foreign", list(&[own_item.clone(), item("Observation/b-lab")])),
        ("Provenance/of-own", provenance(&["List/a-own"])),
        ("Provenance/of-foreign", provenance(&["List/a-foreign"])),
        ("Provenance/of-both", provenance(&["List/a-own", "List/a-foreign"])),
        ("Provenance/of-shared", provenance(&["Appointment/both"])),
    ] {
        server.client.put(&format!("/{path}"), body(path, &content)).await.expect(201);
    }
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    for (path, status) in [
        ("List/a-own", 200),
        ("List/a-foreign", 404),
        ("Provenance/a-lab", 200),
        ("Provenance/b-lab", 404),
        ("Provenance/both-labs", 404),
        ("Provenance/of-own", 200),
        ("Provenance/of-foreign", 404),
        ("Provenance/of-foreign/_history/1", 404),
        ("Provenance/of-foreign/_history", 404),
        ("Provenance/of-both", 404),
        ("Provenance/of-shared", 404),
        ("Provenance/of-shared/_history/1", 404),
    ] {
        own.get(&format!("/{path}")).await.expect(status);
    }
    let seen = ["Provenance/a-lab", "Provenance/of-own"];
    assert_eq!(asked(&own, "/Provenance").await, seen);
    for (url, found) in [
        ("/Provenance?target=List/a-foreign", &[][..]),
        ("/Provenance?target=List/a-own", &["Provenance/of-own"]),
        ("/List?_revinclude=Provenance:target", &["List/a-own", "Provenance/of-own"]),
        (
            "/Observation?_id=a-lab&_revinclude=Provenance:target",
            &["Observation/a-lab", "Provenance/a-lab"],
        ),
    ] {
        assert_eq!(asked(&own, url).await, found, "{url}");
    }
    server.stop().await;
}
