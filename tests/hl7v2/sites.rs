//! Profiles of senders: chosen by who sends, counted on by every node at once, and what comes of codes
//! that they lack.
//!
//! Covers: v2 P2, P3.

use std::time::Duration;

use kiln::access::{Caller, Principal, RequestContext};
use kiln::app::server::Server;
use kiln::store::hl7v2::NewSite;
use tokio::net::TcpStream;

use crate::harness::client::{Answer, Client};
use crate::harness::server::{TestServer, config};

use super::feed::{Sender, value};

const FEED: &[(&str, &str)] = &[("hl7v2.listen", "127.0.0.1:0")];

/// A profile for the laboratory of a hospital, in which the hemoglobin has another name.
pub(super) const LAB: &str = r#"
[site]
id = "stm-lab"
match = { app = "LAB*", facility = "STM" }
base = "https://stm.test"
zone = "Europe/Dublin"
charset = "windows-1252"
[codes.lab-test."99STM"]
HB = { code = "718-7", system = "http://loinc.org", display = "Hemoglobin" }
"#;

fn caller() -> Caller {
    let request = RequestContext {
        id: "test".to_owned(),
        method: "CLI",
        path_and_query: "test".to_owned(),
        source: None,
    };
    Caller::new(Principal::open(), request)
}

pub(super) async fn install(server: &TestServer, id: &str, toml: Option<&str>) {
    let new = NewSite {
        id: id.to_owned(),
        toml: toml.map(str::to_owned),
        by: "test".to_owned(),
        note: String::new(),
        after: None,
    };
    server.engine().add_site(&new, &caller()).await.unwrap();
    let mark = server.store().site_mark().await.unwrap();
    server.messages().sites().at_least(mark).await.unwrap();
}

/// A result of a test with this code, sent by this application.
pub(super) fn result(application: &str, control_id: &str, code: &str) -> String {
    format!(
        "MSH|^~\\&|{application}|STM|KILN|H|20260704120000||ORU^R01|{control_id}|P|2.5.1\r\
         PID|1||12^^^STM^MR||Muster\rOBR|1||F{control_id}^LAB|{code}^Test^99STM|||20260704110000\r\
         OBX|1|NM|{code}^Test^99STM||7.1|g/dL|||||F\r"
    )
}

async fn at(server: &TestServer, url: &str) -> Answer {
    let client = &server.client;
    client.call("GET", &format!("{}{url}", client.root())).send().await.expect(200)
}

pub(super) async fn observations(client: &Client, code: &str) -> Answer {
    client.get(&format!("/Observation?code={code}")).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_for_its_sender_alone_and_counts_without_a_restart() {
    let server = TestServer::start_with(FEED).await;
    let mut sender = Sender::new(TcpStream::connect(server.feed()).await.unwrap());
    let answer = sender.send(&result("LAB1", "1", "HB")).await;
    assert_eq!(value(&answer, "MSA-1"), "AA");
    let loinc = "http%3A%2F%2Floinc.org%7C718-7";
    assert_eq!(observations(&server.client, loinc).await.at("total").as_deref(), Some("0"));
    install(&server, "stm-lab", Some(LAB)).await;
    sender.send(&result("LAB1", "2", "HB")).await;
    sender.send(&result("XRAY", "3", "HB")).await;
    let found = observations(&server.client, loinc).await;
    assert_eq!(found.at("total").as_deref(), Some("1"), "{found:?}");
    // Times without a zone are of Dublin, and of UTC for others.
    let effective = found.at("entry[0].resource.effectiveDateTime").unwrap();
    assert_eq!(effective, "2026-07-04T11:00:00+01:00");
    // A profile that is withdrawn counts no more.
    install(&server, "stm-lab", None).await;
    sender.send(&result("LAB1", "4", "HB")).await;
    assert_eq!(observations(&server.client, loinc).await.at("total").as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_profiles_the_one_that_asks_for_most_is_used() {
    let server = TestServer::start_with(FEED).await;
    let any =
        LAB.replace("stm-lab", "any").replace("LAB*\", facility = \"STM", "*\", facility = \"STM");
    let any = any.replace("718-7", "1-1");
    install(&server, "any", Some(&any)).await;
    install(&server, "stm-lab", Some(LAB)).await;
    let mut sender = Sender::new(TcpStream::connect(server.feed()).await.unwrap());
    sender.send(&result("LAB1", "1", "HB")).await;
    sender.send(&result("OTHER", "2", "HB")).await;
    for (code, expected) in [("718-7", "1"), ("1-1", "1")] {
        let found = observations(&server.client, code).await;
        assert_eq!(found.at("total").as_deref(), Some(expected), "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_says_how_its_messages_are_taken_in() {
    let server = TestServer::start_with(FEED).await;
    let wishes = LAB.replace(
        "charset = ",
        "ack = \"stored\"\non_failure = \"hold-key\"\ndedupe = { ignore = [\"MSH-7\"] }\ncharset = ",
    );
    install(&server, "stm-lab", Some(&wishes)).await;
    let mut sender = Sender::new(TcpStream::connect(server.feed()).await.unwrap());
    // Not UTF-8, but what the profile says; and no patient, which is found out after the answer.
    let named = result("LAB1", "1", "HB").replace("Muster", "M\u{FC}ller");
    let bytes: Vec<u8> = named.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    sender.write(&[&[0x0B], &bytes[..], &[0x1C, 0x0D]].concat()).await;
    assert_eq!(value(&sender.read().await.unwrap(), "MSA-1"), "AA");
    let answer = sender.send(&result("LAB1", "2", "HB").replace("12^^^STM^MR", "")).await;
    assert_eq!(value(&answer, "MSA-1"), "AA", "stored is enough");
    let refused = sender.send(&result("XRAY", "3", "HB").replace("12^^^STM^MR", "")).await;
    assert_eq!(value(&refused, "MSA-1"), "AE", "others wait for the effect");
    let found = wait_for(&server, "/Patient?family=M%C3%BCller").await;
    assert_eq!(found.at("entry[0].resource.name[0].family").as_deref(), Some("M\u{FC}ller"));
    // The same but for the time it was sent is a repetition.
    let again = named.replace("20260704120000", "20260704120500");
    let bytes: Vec<u8> = again.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    sender.write(&[&[0x0B], &bytes[..], &[0x1C, 0x0D]].concat()).await;
    sender.read().await.unwrap();
    let repeated = at(&server, "/v2/messages?state=duplicate").await;
    assert_eq!(repeated.at("messages[0].controlId").as_deref(), Some("1"), "{repeated:?}");
}

async fn wait_for(server: &TestServer, url: &str) -> Answer {
    for _ in 0..100 {
        let found = server.client.get(url).await.expect(200);
        if found.at("total").as_deref() != Some("0") {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nothing at {url}");
}

/// All that a profile may have, as the contract has it, and a resource for a segment of the site's own.
const WHOLE: &str = r#"
[site]
id = "whole"
match = { app = "LABCORE*", facility = "STM" }
zone = "Europe/Dublin"
charset = "windows-1252"
ack = "processed"
on_failure = "continue"
[authority]
"STM" = { system = "https://stm.test/mrn", trusted = true, type = "MR" }
"1.2.372.980010.1.2" = { system = "urn:oid:1.2.372.980010.1.2" }
[codes.lab-test."99STM"]
HB = { code = "718-7", system = "http://loinc.org", display = "Hemoglobin" }
[units]
"grams" = "g/dL"
[mode]
AL1 = "action-code"
[table.AdministrativeSex]
W = "female"
[resource.patient]
unset = ["telecom"]
[resource.patient.set]
"extension[religion-note].valueString" = "ZPD-4"
[resource.pet]
type = "Basic"
each = "ZPT"
key = "ids(PID-3.1, ZPT-1)"
set.code = "ZPT-2 | cwe"
set.subject = "ref(patient)"
[message.adt]
add = ["pet"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_profile_may_have_counts() {
    let server = TestServer::start_with(FEED).await;
    install(&server, "whole", Some(WHOLE)).await;
    let mut sender = Sender::new(TcpStream::connect(server.feed()).await.unwrap());
    let message = "MSH|^~\\&|LABCORE2|STM|KILN|H|20260704120000||ADT^A01|1|P|2.5.1\rEVN||20260704120000\r\
        PID|1||12^^^STM^MR~9^^^&1.2.372.980010.1.2&ISO||Muster||19700203|W|||||555\r\
        PV1|1|I|||||||||||||||||V1^^^STM^VN\rAL1|1|DA|P^Penicillin^L\rAL1|2|DA|Q^Quinine^L\rZPD|1|||kept\r\
        ZPT|1|DOG^A dog^L\rZPT|2|CAT^A cat^L\r";
    assert_eq!(value(&sender.send(message).await, "MSA-1"), "AA");
    let client = &server.client;
    let patient =
        client.get("/Patient?identifier=https%3A%2F%2Fstm.test%2Fmrn%7C12").await.expect(200);
    let of = |path: &str| patient.at(&format!("entry[0].resource.{path}")).unwrap_or_default();
    assert_eq!(
        [of("gender"), of("telecom"), of("extension[0].valueString")],
        ["female", "", "kept"]
    );
    assert_eq!(of("identifier[1].system"), "urn:oid:1.2.372.980010.1.2");
    let pets = client.get("/Basic?code=DOG,CAT").await.expect(200);
    assert_eq!(pets.at("total").as_deref(), Some("2"), "{pets:?}");
    let subject = pets.at("entry[0].resource.subject.reference");
    assert_eq!(subject, patient.at("entry[0].resource.id").map(|id| format!("Patient/{id}")));
    // Where entries say by a code what becomes of them, one that is missing is not ended.
    let fewer = message.replace("|1|P|", "|2|P|").replace("AL1|2|DA|Q^Quinine^L\r", "");
    assert_eq!(value(&sender.send(&fewer).await, "MSA-1"), "AA");
    let allergies = client.get("/AllergyIntolerance?clinical-status=active").await.expect(200);
    assert_eq!(allergies.at("total").as_deref(), Some("2"), "{allergies:?}");
    let units = result("LABCORE2", "3", "HB").replace("g/dL", "grams");
    assert_eq!(value(&sender.send(&units).await, "MSA-1"), "AA");
    let found = observations(client, "718-7").await;
    assert_eq!(found.at("entry[0].resource.valueQuantity.code").as_deref(), Some("g/dL"));
    // Which maps a message was done by is kept with it.
    let told = at(&server, "/v2/messages").await;
    let id = told.at("messages[0].id").unwrap();
    let told = at(&server, &format!("/v2/messages/{id}")).await;
    let maps = server.messages().sites().named("whole").unwrap();
    assert_eq!(told.at("maps").as_deref(), Some(maps.hash()), "{told:?}");
    // What a profile may not have: keys, messages, effects.
    let spec = server.engine().spec();
    for refused in [
        "[resource.patient]\nkey = 'PID-2 | cx'",
        "[resource.patient]\ntype = 'Person'",
        "[message.adt]\nmatch = ['ADT^A01']",
        "[message.adt]\neffect = 'none'",
        "[message.adt]\nrequire = []",
        "[site]\nstrict = true",
        "[ack]\ncode = 'AA'",
    ] {
        let base = server.messages().sites().base();
        let faults = base.with_site("p.toml", refused, &spec.schema).unwrap_err();
        assert!(faults.iter().all(|fault| fault.line >= 1), "{refused}: {faults:?}");
    }
}

/// Covers: v2 B38.
#[tokio::test(flavor = "multi_thread")]
async fn codes_that_no_map_knows_are_counted_and_a_row_more_makes_them_right() {
    let server = TestServer::start_with(FEED).await;
    let mut sender = Sender::new(TcpStream::connect(server.feed()).await.unwrap());
    for (control_id, code) in [("1", "HB"), ("2", "HB"), ("3", "NA")] {
        let answer = sender.send(&result("LAB1", control_id, code)).await;
        assert_eq!(value(&answer, "MSA-1"), "AA");
    }
    sender.send(&result("LAB2", "4", "HB")).await;
    let told = at(&server, "/v2/messages?control-id=1").await;
    assert_eq!(told.at("messages[0].state").as_deref(), Some("processed_with_issues"));
    let one = at(&server, &format!("/v2/messages/{}", told.at("messages[0].id").unwrap())).await;
    assert!(one.text().contains("\"name\":\"unmapped-code\""), "{one:?}");
    let own = observations(&server.client, "HB").await;
    assert_eq!(own.at("total").as_deref(), Some("3"));
    let kept: Vec<_> = ids(&own);
    let codes = at(&server, "/v2/codes?site=LAB1%7CSTM").await;
    let first = |path: &str| codes.at(&format!("codes[0].{path}")).unwrap_or_default();
    let told = [first("code"), first("system"), first("set"), first("display"), first("messages")];
    assert_eq!(told, ["HB", "99STM", "lab-test", "Test", "2"], "{codes:?}");
    assert_eq!(codes.at("codes[1].code").as_deref(), Some("NA"));
    let client = &server.client;
    let url = format!("{}/v2/codes", client.root());
    let add = client.post(
        &url,
        r#"{"site":"LAB1|STM","set":"lab-test","system":"99STM","code":"HB",
            "target":{"system":"http://loinc.org","code":"718-7","display":"Hemoglobin"}}"#,
    );
    let added = add.await.expect(202);
    assert_eq!(added.at("version").as_deref(), Some("1"), "{added:?}");
    assert!(added.at("replayed[1]").is_some() && added.at("replayed[2]").is_none(), "{added:?}");
    for _ in 0..100 {
        if observations(&server.client, "718-7").await.at("total").as_deref() == Some("2") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mapped = observations(&server.client, "718-7").await;
    assert_eq!(mapped.at("total").as_deref(), Some("2"), "{mapped:?}");
    assert!(ids(&mapped).iter().all(|id| kept.contains(id)), "the same resources");
    let own = observations(&server.client, "HB").await;
    assert_eq!(own.at("total").as_deref(), Some("3"), "the sender's code is kept");
    let codes = at(&server, "/v2/codes?site=LAB1%7CSTM").await;
    assert_eq!(codes.at("codes[0].code").as_deref(), Some("NA"), "{codes:?}");
    assert_eq!(codes.at("codes[1]"), None, "{codes:?}");
    let others = at(&server, "/v2/codes?site=LAB2%7CSTM").await;
    assert_eq!(others.at("codes[0].messages").as_deref(), Some("1"), "{others:?}");
    for (body, status) in [
        (r#"{"site":"LAB1|STM"}"#, 400),
        (r#"{"site":"LAB1|STM","set":"lab-test","code":"A","target":{"code":"1"}}"#, 400),
        ("[]", 400),
        ("", 400),
    ] {
        client.post(&format!("{}/v2/codes", client.root()), body).await.expect(status);
    }
}

fn ids(found: &Answer) -> Vec<String> {
    (0..).map_while(|at| found.at(&format!("entry[{at}].resource.id"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_of_one_node_counts_on_the_others_too() {
    let server = TestServer::start_with(FEED).await;
    let other = Server::start(config(&server.database, FEED)).await.unwrap();
    install(&server, "stm-lab", Some(LAB)).await;
    let mut sender = Sender::new(TcpStream::connect(other.feed_address().unwrap()).await.unwrap());
    for round in 0..50 {
        sender.send(&result("LAB1", &format!("o{round}"), "HB")).await;
        let found = observations(&server.client, "718-7").await;
        if found.at("total").as_deref() != Some("0") {
            return other.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the other node does not know the profile");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_for_a_profile_that_cannot_be_used() {
    let server = TestServer::start_with(FEED).await;
    // As an older program may have installed it.
    let broken = LAB.replace("zone = \"Europe/Dublin\"", "zone = \"Nowhere\"");
    install(&server, "stm-lab", Some(&broken)).await;
    let mut sender = Sender::new(TcpStream::connect(server.feed()).await.unwrap());
    let message = result("LAB1", "1", "HB");
    sender.write(&[&[0x0B], message.as_bytes(), &[0x1C, 0x0D]].concat()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let total = |answer: Answer| answer.at("total");
    assert_eq!(total(observations(&server.client, "HB").await).as_deref(), Some("0"));
    let mut other = Sender::new(TcpStream::connect(server.feed()).await.unwrap());
    assert_eq!(
        value(&other.send(&result("XRAY", "2", "K").replace("|12^", "|13^")).await, "MSA-1"),
        "AA"
    );
    // Who looks after the feeds sees why they wait.
    let shown = async |wanted: bool| {
        let page = at(&server, "/v2").await.text();
        let is_told = page.contains("<li>stm-lab 1:6: site.zone: ");
        assert_eq!(is_told, wanted, "{page}");
        let broken = server.messages().sites().broken();
        assert_eq!(broken.iter().any(|one| one.id == "stm-lab"), wanted, "{broken:?}");
    };
    shown(true).await;
    install(&server, "stm-lab", Some(LAB)).await;
    assert_eq!(value(&sender.read().await.unwrap(), "MSA-1"), "AA");
    assert_eq!(total(observations(&server.client, "718-7").await).as_deref(), Some("1"));
    shown(false).await;
}

/// An earlier program took rules that lead nowhere: the profile stays in use with all else that it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_has_no_effect_stops_no_profile() {
    let server = TestServer::start_with(FEED).await;
    let rule = "[resource.report.set]\n'extension[x].valueReference' = 'refs(immunization)'\n";
    install(&server, "stm-lab", Some(&format!("{LAB}{rule}"))).await;
    let mut sender = Sender::new(TcpStream::connect(server.feed()).await.unwrap());
    assert_eq!(value(&sender.send(&result("LAB1", "1", "HB")).await, "MSA-1"), "AA");
    assert_eq!(observations(&server.client, "718-7").await.at("total").as_deref(), Some("1"));
    // A code can be added to it.
    let url = format!("{}/v2/codes", server.client.root());
    let code = r#"{"site":"LAB1|STM","set":"lab-test","system":"99STM","code":"NA",
        "target":{"system":"http://loinc.org","code":"2951-2"}}"#;
    server.client.post(&url, code).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_is_by_the_profile_that_is_named_or_that_of_the_sender() {
    let server = TestServer::start_with(FEED).await;
    install(&server, "stm-lab", Some(LAB)).await;
    let convert = async |application: &str, profile: &str| {
        let message = result(application, "1", "HB").replace('\\', "\\\\").replace('\r', "\\r");
        let profile = match profile {
            "" => String::new(),
            name => format!(r#",{{"name":"site","valueString":"{name}"}}"#),
        };
        let body = format!(
            r#"{{"resourceType":"Parameters","parameter":[{{"name":"message","valueString":"{message}"}}{profile}]}}"#
        );
        server.client.post("/$hl7v2-convert", body).await
    };
    for (application, profile, is_mapped) in
        [("LAB1", "", true), ("XRAY", "", false), ("XRAY", "stm-lab", true)]
    {
        let answer = convert(application, profile).await.expect(200);
        assert_eq!(answer.text().contains("718-7"), is_mapped, "{application} {profile}");
    }
    convert("LAB1", "nobody").await.expect(400);
}
