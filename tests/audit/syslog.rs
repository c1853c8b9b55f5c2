//! Events over TLS to a real syslog server: Debian's rsyslog (`.ci/deps test` installs it).

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use kiln::audit::Signed;
use kiln::store::maintenance::seals;

use crate::harness::database::temporary;
use crate::harness::server::TestServer;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a certificate and its key.
fn certify(folder: &Path, name: &str, authority: &Authority) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

/// An rsyslog that takes TLS with certificates of one authority alone.
struct Rsyslog {
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Rsyslog {
    fn make() -> Self {
        let folder = temporary("rsyslog");
        std::fs::create_dir_all(&folder).unwrap();
        let ours = authority();
        std::fs::write(folder.join("authority.pem"), ours.pem()).unwrap();
        certify(&folder, "server", &ours);
        certify(&folder, "client", &ours);
        certify(&folder, "stranger", &authority());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let place = folder.display();
        let settings = format!(
            r#"global(workDirectory="{place}" maxMessageSize="64k" defaultNetstreamDriver="gtls"
  defaultNetstreamDriverCAFile="{place}/authority.pem"
  defaultNetstreamDriverCertFile="{place}/server.pem"
  defaultNetstreamDriverKeyFile="{place}/server.key")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
input(type="imtcp" port="{port}" address="127.0.0.1")
template(name="whole" type="string" string="%pri% %app-name% %msgid% %msg%\n")
action(type="omfile" file="{place}/messages" template="whole")
"#
        );
        std::fs::write(folder.join("rsyslog.conf"), settings).unwrap();
        Self { folder, port, child: None }
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn start(&mut self) {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("rsyslogd");
        command
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .args(["-n", "-f", &self.file("rsyslog.conf"), "-i", &self.file("pid")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn();
        self.child =
            Some(child.expect("rsyslogd with its gtls driver: `.ci/deps test` installs them"));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn messages(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.file("messages")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until there is a message of each request.
    async fn until(&self, requests: &[&str]) -> Vec<String> {
        let began = Instant::now();
        loop {
            let messages = self.messages();
            let has = |id: &&str| messages.iter().any(|it| it.contains(&format!("\"{id}\"")));
            if requests.iter().all(has) {
                return messages;
            }
            assert!(began.elapsed() < Duration::from_mins(1), "{requests:?}: {messages:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn server_of(rsyslog: &Rsyslog, name: &str) -> TestServer {
    TestServer::start_with(&[
        ("atna.syslog", &format!("localhost:{}", rsyslog.port)),
        ("atna.authorities", &rsyslog.file("authority.pem")),
        ("atna.certificate", &rsyslog.file(&format!("{name}.pem"))),
        ("atna.key", &rsyslog.file(&format!("{name}.key"))),
        ("checkpoints.rsyslog.syslog", &format!("localhost:{}", rsyslog.port)),
    ])
    .await
}

async fn ask(server: &TestServer, id: &str) {
    let call =
        server.client.call("GET", "/Patient/nobody?x=%3C%C3%A9%3E").header("X-Request-Id", id);
    let status = call.send().await.status;
    assert!([400, 404].contains(&status), "{status}");
}

/// Covers: security A13.
#[tokio::test(flavor = "multi_thread")]
async fn a_syslog_server_gets_each_event_whatever_becomes_of_it() {
    let mut rsyslog = Rsyslog::make();
    let server = server_of(&rsyslog, "client").await;
    ask(&server, "before-it-runs").await;
    rsyslog.start();
    let messages = rsyslog.until(&["before-it-runs"]).await;
    let message = &messages[0];
    assert!(message.starts_with("85 kiln IHE+RFC-3881 "), "{message}");
    assert!(message.contains("<AuditMessage><EventIdentification "), "{message}");
    assert!(message.trim_end().ends_with("</AuditMessage>"), "{message}");
    ask(&server, "while-it-runs").await;
    rsyslog.until(&["while-it-runs"]).await;
    rsyslog.kill();
    ask(&server, "while-it-is-away").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    rsyslog.start();
    ask(&server, "after-it").await;
    let all = ["before-it-runs", "while-it-runs", "while-it-is-away", "after-it"];
    let messages = rsyslog.until(&all).await;
    let events = messages.iter().filter(|it| !it.contains(" kiln-checkpoint "));
    let whole: BTreeSet<bool> =
        events.map(|it| it.trim_end().ends_with("</AuditMessage>")).collect();
    assert_eq!(whole, BTreeSet::from([true]));
    server.stop().await;
}

/// A checkpoint leaves the machine by syslog too, as it stands in the seal.
///
/// Covers: security A11.
#[tokio::test(flavor = "multi_thread")]
async fn a_syslog_server_gets_each_checkpoint() {
    let mut rsyslog = Rsyslog::make();
    let server = server_of(&rsyslog, "client").await;
    ask(&server, "sealed-while-it-is-away").await;
    let began = Instant::now();
    let sealed = loop {
        match server.database.number("SELECT count(*) FROM seal").await {
            0 => assert!(began.elapsed() < Duration::from_mins(1), "nothing is sealed"),
            sealed => break sealed,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    rsyslog.start();
    let told = loop {
        let messages = rsyslog.messages();
        let of_checkpoints =
            messages.iter().filter_map(|it| it.strip_prefix("85 kiln kiln-checkpoint "));
        let told: Vec<Signed> = of_checkpoints
            .map(|it| Signed::from_json(&serde_json::from_str(it.trim()).unwrap()).unwrap())
            .collect();
        if told.len() as i64 >= sealed {
            break told;
        }
        assert!(began.elapsed() < Duration::from_mins(2), "{messages:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    for (at, signed) in (1..).zip(&told) {
        assert_eq!(signed.checkpoint.size, at, "in their order");
        assert!(signed.is_signed_by(&[signed.key]), "{signed:?}");
    }
    // They are those of the seal, and not some that are signed.
    let log = &told[0].checkpoint.log;
    let seals = seals(server.store(), log, 0, told.len() as i64).await.unwrap();
    let own: Vec<_> = seals.iter().map(|seal| seal.signed.to_json()).collect();
    assert_eq!(told.iter().map(Signed::to_json).collect::<Vec<_>>(), own);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_syslog_server_that_does_not_know_us_gets_nothing_and_nothing_is_lost() {
    let mut rsyslog = Rsyslog::make();
    rsyslog.start();
    let server = server_of(&rsyslog, "stranger").await;
    ask(&server, "a-stranger").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(rsyslog.messages(), [""; 0]);
    let behind = "SELECT count(*) FROM ledger l, audit_feed f WHERE (l.xid, l.id) > (f.xid, f.id)";
    assert_eq!(server.database.number(behind).await, 1);
    server.stop().await;
}
