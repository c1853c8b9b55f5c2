//! The pages for messages, where no authorization is asked for.

use tokio::net::TcpStream;

use crate::harness::client::Answer;
use crate::harness::server::TestServer;

use super::feed::{Sender, value};

const MESSAGE: &str = "MSH|^~\\&|LAB|STM|KILN|H|20260704120000||ORU^R01|C1|P|2.5.1\r\
     PID|1||12^^^STM^MR||Muster^<b>Anna</b>||19700203|F|||||||||||||||||||||||||||||||XX\r\
     OBR|1||F1^LAB|718-7^Hemoglobin^LN|||20260704110000\r\
     OBX|1|NM|718-7^Hemoglobin^LN||7.1|g/dL|||||F\r\
     OBX|2|NM|2951-2^Sodium^LN||140|mmol/L|||||F\r\
     OBX|3|RP|S^Scan^L||https://a.test/1^^IM^PNG~https://a.test/2^^IM^PNG||||||F\r";

async fn page(server: &TestServer, url: &str) -> Answer {
    let client = &server.client;
    client.call("GET", &format!("{}{url}", client.root())).send().await
}

async fn form(server: &TestServer, url: &str, fields: &str, origin: Option<&str>) -> Answer {
    let client = &server.client;
    let call = client.call("POST", &format!("{}{url}", client.root()));
    let call = call.header("Content-Type", "application/x-www-form-urlencoded");
    let call = match origin {
        Some(origin) => call.header("Origin", origin),
        None => call,
    };
    call.body(fields.to_owned()).send().await
}

async fn id(server: &TestServer, control_id: &str) -> String {
    let found = page(server, &format!("/v2/messages?control-id={control_id}")).await;
    found.at("messages[0].id").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_shown_by_segments_beside_what_they_make() {
    let server = TestServer::start_with(&[("hl7v2.listen", "127.0.0.1:0")]).await;
    let mut sender = Sender::new(TcpStream::connect(server.feed()).await.unwrap());
    assert_eq!(value(&sender.send(MESSAGE).await, "MSA-1"), "AA");
    let id = id(&server, "C1").await;
    let list = page(&server, "/v2").await.expect(200).text();
    assert!(list.contains(&format!("href=\"/v2/view/{id}\"")), "{list}");
    let shown = page(&server, &format!("/v2/view/{id}")).await.expect(200);
    let text = shown.text();
    // Nothing of a message can become markup.
    assert!(text.contains("&lt;b&gt;Anna&lt;/b&gt;") && !text.contains("<b>Anna"), "{text}");
    // Each value beside its own segment: the second OBX makes the second Observation alone.
    let second = text.split("<h3>OBX 2</h3>").nth(1).unwrap().split("</table>").next().unwrap();
    assert!(
        second.contains("#r-observation-2") && !second.contains("#r-observation-1"),
        "{second}"
    );
    let patient =
        text.split("id=\"r-patient-1\"").nth(1).unwrap().split("</table>").next().unwrap();
    for part in ["name[0]", "base/patient", "PID-5", "birthDate", "1970-02-03"] {
        assert!(patient.contains(part), "{part}: {patient}");
    }
    let header = text.split("<h3>MSH 1</h3>").nth(1).unwrap().split("</table>").next().unwrap();
    assert!(header.contains("<em>not mapped</em>"), "no rule reads who receives: {header}");
    // A pointer more than there is room for is told of by its number.
    let third = text.split("<h3>OBX 3</h3>").nth(1).unwrap().split("</table>").next().unwrap();
    assert!(third.contains("<em>[2] not mapped</em>"), "{third}");
    assert!(text.contains("MSA|AA|C1"), "{text}");
    // What was stored is one step away.
    let link = text.split("?show=Patient/").nth(1).unwrap().split('#').next().unwrap();
    let stored = page(&server, &format!("/v2/view/{id}?show=Patient/{link}")).await.expect(200);
    assert!(stored.text().contains("&quot;resourceType&quot;: &quot;Patient&quot;"), "{stored:?}");
    let other = page(&server, &format!("/v2/view/{id}?show=Patient/other/_history/1")).await;
    assert!(!other.expect(200).text().contains("id=\"shown\""));
    for (url, status) in [
        ("/v2/view/nothing".to_owned(), 404),
        ("/v2/view/00000000-0000-7000-8000-000000000000".to_owned(), 404),
        ("/v2/assets/console.css".to_owned(), 200),
        ("/v2/assets/kiln.css".to_owned(), 200),
        ("/v2/assets/nothing".to_owned(), 404),
        ("/v2?state=odd&before=odd&type=%22".to_owned(), 200),
    ] {
        page(&server, &url).await.expect(status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_replayed_and_discarded_for_a_reason_by_our_own_pages_alone() {
    let settings = [("hl7v2.listen", "127.0.0.1:0"), ("http.cors_origins", "")];
    let server = TestServer::start_with(&settings).await;
    let mut sender = Sender::new(TcpStream::connect(server.feed()).await.unwrap());
    let bad = MESSAGE.replace("12^^^STM^MR", "");
    assert_eq!(value(&sender.send(&bad).await, "MSA-1"), "AE");
    assert_eq!(value(&sender.send(&bad.replace("|C1|", "|C2|")).await, "MSA-1"), "AE");
    let (first, second) = (id(&server, "C1").await, id(&server, "C2").await);
    let (first, second) = (format!("/v2/view/{first}"), format!("/v2/view/{second}"));
    let list = page(&server, "/v2").await.expect(200).text();
    assert!(list.contains("<strong>failed</strong>") && list.contains("Replay all"), "{list}");
    form(&server, &first, "do=discard", None).await.expect(400);
    form(&server, &first, "do=discard&reason=+", None).await.expect(400);
    form(&server, &first, "do=odd&reason=x", None).await.expect(400);
    let foreign = form(&server, &first, "do=discard&reason=x", Some("http://other.test")).await;
    foreign.expect(403);
    let done = form(&server, &first, "do=discard&reason=sent+twice", None).await.expect(303);
    assert_eq!(done.header("location").as_deref(), Some(first.as_str()));
    let shown = page(&server, &first).await.expect(200).text();
    assert!(shown.contains("<strong>discarded</strong>: sent twice"), "{shown}");
    form(&server, &first, "do=discard&reason=again", None).await.expect(409);
    form(&server, &second, "do=replay&reason=the+map+is+mended", None).await.expect(303);
    let said = "SELECT count(*) FROM ledger WHERE query LIKE '%reason=the%20map%20is%20mended'";
    assert_eq!(server.database.number(said).await, 1);
    // Who replays by other means than our pages says why as well.
    let url = format!("{}/v2/messages/$replay?state=failed", server.client.root());
    server.client.call("POST", &url).body("by hand").send().await.expect(202);
    let said = "SELECT count(*) FROM ledger WHERE query LIKE '%reason=by%20hand'";
    assert_eq!(server.database.number(said).await, 1);
    form(&server, "/v2", "reason=", None).await.expect(400);
    form(&server, "/v2", "reason=all+of+them&site=LAB%7CSTM", None).await.expect(303);
    form(&server, "/v2/view/nothing", "do=replay&reason=x", None).await.expect(404);
}
