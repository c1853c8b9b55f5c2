//! Messages of every version of the standard, and what a frame cannot carry.

use kiln::hl7v2::frame::framed;
use tokio::net::TcpStream;

use crate::harness::server::TestServer;
use crate::hl7v2::feed::{Sender, adt, value};
use crate::hl7v2::sites::install;

/// Each version with the form of its answers: whether they say which event they answer, and whether what is wrong has
/// a segment of its own for each issue.
const VERSIONS: [(&str, bool, bool); 14] = [
    ("2.1", false, false),
    ("2.2", false, false),
    ("2.3", false, false),
    ("2.3.1", true, false),
    ("2.4", true, false),
    ("2.5", true, true),
    ("2.5.1", true, true),
    ("2.6", true, true),
    ("2.7", true, true),
    ("2.7.1", true, true),
    ("2.8", true, true),
    ("2.8.1", true, true),
    ("2.8.2", true, true),
    ("2.9", true, true),
];

/// v2 S54, M5, M6: every version is taken in and answered in its own form.
#[tokio::test(flavor = "multi_thread")]
async fn every_version_is_taken_in_and_answered_in_its_form() {
    let server = TestServer::start_with(&[("hl7v2.listen", "127.0.0.1:0")]).await;
    let mut sender = Sender::new(TcpStream::connect(server.feed()).await.unwrap());
    for (version, names_event, has_segments) in VERSIONS {
        // Since 2.7 a fifth separator says that a value was cut off.
        let separators = if version >= "2.7" { "^~\\&#" } else { "^~\\&" };
        let of = |control_id: &str| {
            let text =
                adt("A28", control_id, version).replace("|P|2.5.1\r", &format!("|P|{version}\r"));
            text.replacen("^~\\&", separators, 1)
        };
        let answer = sender.send(&of(version)).await;
        let at = |path: &str| value(&answer, path);
        assert_eq!((at("MSA-1"), at("MSA-2")), ("AA".into(), version.into()), "{version}");
        assert_eq!((at("MSH-2"), at("MSH-12")), (separators.into(), version.into()));
        let (kind, event) = ("ACK", if names_event { "A28" } else { "" });
        assert_eq!((at("MSH-9.1"), at("MSH-9.2")), (kind.into(), event.into()), "{version}");
        let found = server.client.get(&format!("/Patient?identifier={version}")).await.expect(200);
        assert_eq!(found.at("total").as_deref(), Some("1"), "{version}");
        let bad = of(&format!("{version}-bad")).replace(&format!("|{version}^^^STM^MR|"), "||");
        let answer = sender.send(&bad).await;
        let at = |path: &str| value(&answer, path);
        assert_eq!(at("MSA-1"), "AE", "{version}");
        let told = if has_segments {
            [at("ERR-2.1"), at("ERR-2.2"), at("ERR-2.3"), at("ERR-3.1")]
        } else {
            assert_eq!(at("MSA-6.1"), "101", "{version}");
            [at("ERR-1.1"), at("ERR-1.2"), at("ERR-1.3"), at("ERR-1.4.1")]
        };
        assert_eq!(told, ["PID", "1", "3", "101"], "{version}");
    }
}

/// v2 S52: what stands before the header, and before the name of a set, hides it nowhere: the site has another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_found_behind_what_stands_before_it() {
    let server = TestServer::start_with(&[("hl7v2.listen", "127.0.0.1:0")]).await;
    let profile = "[site]\nid = \"lab\"\nmatch = { app = \"LAB\" }\ncharset = \"windows-1252\"\n";
    install(&server, "lab", Some(profile)).await;
    let mut sender = Sender::new(TcpStream::connect(server.feed()).await.unwrap());
    for (id, before, set) in [
        ("1", "", "UNICODE UTF-8"),
        ("2", "\r\n", "UNICODE UTF-8"),
        ("3", " \n\t", "~UNICODE UTF-8"),
        ("4", "\r\n", "ASCII~UNICODE UTF-8"),
    ] {
        let text = adt("A28", id, id).replace("Muster", "M\u{FC}ller");
        let text = text.replace("|2.5.1\r", &format!("|2.5.1||||||{set}\r"));
        let answer = sender.send(&format!("{before}{text}")).await;
        assert_eq!((value(&answer, "MSA-1"), value(&answer, "MSA-2")), ("AA".into(), id.into()));
        let found = server.client.get(&format!("/Patient?identifier={id}")).await.expect(200);
        let family = found.at("entry[0].resource.name[0].family");
        assert_eq!(family.as_deref(), Some("M\u{FC}ller"), "{before:?} {set}");
    }
}

/// v2 S52: bytes of UTF-16 may be those that frame a message, so a frame cannot carry them; a body can.
#[tokio::test(flavor = "multi_thread")]
async fn utf_16_comes_by_http_alone() {
    let server = TestServer::start_with(&[("hl7v2.listen", "127.0.0.1:0")]).await;
    let text = adt("A28", "1", "12").replace("Muster", "\u{17D}i\u{17E}ek");
    let little: Vec<u8> =
        format!("\u{FEFF}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> =
        format!("\u{FEFF}{text}").encode_utf16().flat_map(u16::to_be_bytes).collect();
    for bytes in [&little, &big] {
        let mut sender = Sender::new(TcpStream::connect(server.feed()).await.unwrap());
        sender.write(&framed(bytes)).await;
        let answer = sender.read().await.unwrap();
        assert_eq!(
            (value(&answer, "MSA-1"), value(&answer, "ERR-3.1")),
            ("AR".into(), "102".into())
        );
        assert_eq!(
            (value(&answer, "ERR-2.1"), value(&answer, "ERR-2.3")),
            ("MSH".into(), "18".into())
        );
    }
    let found = async || server.client.get("/Patient?identifier=12").await.expect(200);
    assert_eq!(found().await.at("total").as_deref(), Some("0"));
    for bytes in [little, big] {
        let url = format!("{}/v2/messages", server.client.root());
        let call = server.client.call("POST", &url).header("Content-Type", "application/hl7-v2");
        let answer = call.body(bytes).send().await.expect(200);
        assert_eq!(value(&answer.body, "MSA-1"), "AA");
    }
    let found = found().await;
    assert_eq!(found.at("total").as_deref(), Some("1"));
    let family = found.at("entry[0].resource.name[0].family");
    assert_eq!(family.as_deref(), Some("\u{17D}i\u{17E}ek"));
}
