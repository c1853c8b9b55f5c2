//! Who walks through the authorization pages: a person, or this program by the pages' forms.

use secrecy::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::http::{Call, Http};
use super::super::url::{self, Pairs};
use super::walker::Walker;

/// What a person is asked to grant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Choice {
    /// Whatever is asked for.
    All,
    /// Sub-categories of Condition and Observation instead of the whole types.
    Granular,
    /// These types only.
    Only(&'static [&'static str]),
}

impl Choice {
    /// Whether to tick the box of `scope`, which is `offered` ticked or not.
    pub(super) fn takes(self, scope: &str, offered: bool) -> bool {
        let parsed = super::scope::Scope::of(scope);
        match (self, parsed) {
            (Self::Granular, Some(scope))
                if matches!(scope.resource, "Condition" | "Observation") =>
            {
                scope.query.is_some()
            }
            (Self::Only(types), Some(scope)) => {
                scope.query.is_none() && types.contains(&scope.resource)
            }
            // Sub-categories stand beside the whole type, which is granted.
            (_, Some(scope)) if scope.query.is_some() => offered,
            _ => true,
        }
    }

    fn instruction(self) -> String {
        match self {
            Self::All => "grant everything".to_owned(),
            Self::Granular => {
                "of Condition and Observation grant sub-categories only, else everything".to_owned()
            }
            Self::Only(types) => format!("grant {} only", types.join(", ")),
        }
    }
}

/// Where an authorization request ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    /// At the redirect address, with these parameters.
    Back(Pairs),
    /// On a page of the server that refuses, with its status.
    Refused(u16),
}

/// Walks through pages.
pub(super) enum Agent {
    /// A person with a browser.
    Hands,
    /// Nobody: launches are skipped.
    Nobody,
    /// This program.
    Walker(Box<Walker>),
}

impl Agent {
    pub(super) fn walker(user: &str, password: SecretString, totp: Option<SecretString>) -> Self {
        Self::Walker(Box::new(Walker::new(user, password, totp)))
    }

    pub(super) fn is_there(&self) -> bool {
        !matches!(self, Self::Nobody)
    }

    /// Sends the authorization request (by POST where `by_post`) and follows it to its end.
    ///
    /// # Errors
    /// A sentence that says at which page it could not go on.
    pub(super) async fn authorize(
        &mut self,
        http: &Http,
        request: &Request<'_>,
    ) -> Result<Ending, String> {
        match self {
            Self::Hands => {
                let address = url::with_query(request.endpoint, &url::encode(&request.parameters));
                eprintln!("\nOpen this address in a browser and {}:", request.choice.instruction());
                eprintln!("  {address}");
                wait_for(request.redirect_uri).await.map(Ending::Back)
            }
            Self::Nobody => Err("nobody is there to authorize".to_owned()),
            Self::Walker(walker) => {
                let call = if request.by_post {
                    Call::post(request.endpoint).form(&request.parameters)
                } else {
                    let query = url::encode(&request.parameters);
                    Call::get(url::with_query(request.endpoint, &query))
                };
                walker.walk(http, call, request).await
            }
        }
    }
}

/// An authorization request and what to choose on the way.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    pub(super) endpoint: &'a str,
    pub(super) parameters: Pairs,
    pub(super) redirect_uri: &'a str,
    pub(super) by_post: bool,
    pub(super) choice: Choice,
    pub(super) patient: Option<&'a str>,
    pub(super) patient_name: Option<&'a str>,
}

/// Listens at `address`, which is on loopback, until a browser is sent there.
///
/// # Errors
/// The address is not on this machine, or its port is taken.
pub(super) async fn wait_for(address: &str) -> Result<Pairs, String> {
    let origin = url::origin(address);
    let path = &address[origin.len()..];
    let host = origin.strip_prefix("http://").ok_or("a listener needs an http address")?;
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let fault = |error: std::io::Error| format!("{address}: {error}");
    let listener = TcpListener::bind(&host).await.map_err(fault)?;
    loop {
        let (mut stream, _) = listener.accept().await.map_err(fault)?;
        let mut head = vec![0; 16 << 10];
        let mut size = 0;
        while size < head.len() && !head[..size].windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut head[size..]).await {
                Ok(0) | Err(_) => break,
                Ok(more) => size += more,
            }
        }
        let head = String::from_utf8_lossy(&head[..size]).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default();
        let (found, query) = target.split_once('?').unwrap_or((target, ""));
        let is_it = found == path;
        let (status, text) = if is_it {
            ("200 OK", "Thank you. Go back to the terminal.")
        } else {
            ("404 Not Found", "")
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
        // A browser that is gone already has been read to the end.
        let _ = stream.write_all(answer.as_bytes()).await;
        if is_it {
            return Ok(url::decode(query));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_ticked_as_the_choice_says() {
        let whole = "patient/Condition.rs";
        let part = "patient/Condition.rs?category=x|y";
        for (choice, scope, offered, ticked) in [
            (Choice::All, "openid", false, true),
            (Choice::All, whole, true, true),
            (Choice::All, part, false, false),
            (Choice::All, part, true, true),
            (Choice::Granular, whole, true, false),
            (Choice::Granular, part, false, true),
            (Choice::Granular, "patient/Patient.rs", true, true),
            (Choice::Only(&["Patient"]), whole, true, false),
            (Choice::Only(&["Patient"]), "patient/Patient.rs", true, true),
            (Choice::Only(&["Patient"]), "offline_access", true, true),
        ] {
            assert_eq!(choice.takes(scope, offered), ticked, "{choice:?} {scope}");
        }
    }

    #[tokio::test]
    async fn a_listener_waits_for_the_redirect_and_passes_other_requests_over() {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let address = format!("http://127.0.0.1:{port}/callback");
        let http = Http::new().unwrap();
        let browser = async {
            while http
                .send(Call::get(format!("http://127.0.0.1:{port}/favicon.ico")))
                .await
                .is_err()
            {
                tokio::task::yield_now().await;
            }
            http.send(Call::get(format!("{address}?code=c%2B1&state=s"))).await.unwrap().status
        };
        let (found, status) = tokio::join!(wait_for(&address), browser);
        assert_eq!(status, 200);
        let found = found.unwrap();
        assert_eq!(
            (url::value(&found, "code"), url::value(&found, "state")),
            (Some("c+1"), Some("s"))
        );
        assert!(wait_for("https://127.0.0.1/").await.is_err());
    }
}
