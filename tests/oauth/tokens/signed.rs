//! Clients with keys: assertions as they make them, and a place where keys are published.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kiln::clock::{Clock as _, IdSource as _, SystemClock, SystemIds};
use kiln::oauth::client::{AppType, Client as App, ClientKind};
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaKeyPair, PublicKeyComponents};
use ring::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
};
use rsa::pkcs8::EncodePrivateKey as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::oauth::browser;

/// A key that a client signs with.
pub(crate) enum Key {
    Ec(Box<EcdsaKeyPair>),
    Rsa(&'static RsaKeyPair),
}

impl Key {
    /// A new key on P-384.
    pub(crate) fn ec() -> Self {
        let random = SystemRandom::new();
        let form = &ECDSA_P384_SHA384_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(form, &random).unwrap();
        Self::Ec(Box::new(EcdsaKeyPair::from_pkcs8(form, der.as_ref(), &random).unwrap()))
    }

    /// The RSA key of this run: another one would take a second to make.
    pub(crate) fn rsa() -> Self {
        static KEY: OnceLock<RsaKeyPair> = OnceLock::new();
        Self::Rsa(KEY.get_or_init(|| {
            let key = rsa::PrivateKey::new(&mut getrandom::SysRng, 2048).unwrap();
            RsaKeyPair::from_pkcs8(key.to_pkcs8_der().unwrap().as_bytes()).unwrap()
        }))
    }

    /// Its public half.
    pub(crate) fn jwk(&self, id: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(48);
                json!({ "kty": "EC", "crv": "P-384", "kid": id, "x": text(x), "y": text(y) })
            }
            Self::Rsa(pair) => {
                let public: PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({ "kty": "RSA", "kid": id, "n": text(&public.n), "e": text(&public.e) })
            }
        }
    }

    /// The name of its algorithm.
    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Ec(_) => "ES384",
            Self::Rsa(_) => "RS384",
        }
    }

    /// A JWT of these parts, signed by what the header says.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Ec(pair) => pair.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Rsa(pair) => {
                let form =
                    if header["alg"] == "RS256" { &RSA_PKCS1_SHA256 } else { &RSA_PKCS1_SHA384 };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(form, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// An assertion as it must be, but for `header` and `claims`, of which null takes one away.
    pub(crate) fn assertion(&self, root: &str, header: &Value, claims: &Value) -> String {
        let now = SystemClock.now().as_micros() / 1_000_000;
        let mut whole_header = json!({ "alg": self.algorithm(), "kid": "k", "typ": "JWT" });
        let mut whole = json!({
            "iss": "job", "sub": "job", "aud": format!("{root}/auth/token"), "exp": now + 300,
            "jti": SystemIds::default().ordered().to_string(),
        });
        change(&mut whole_header, header);
        change(&mut whole, claims);
        self.sign(&whole_header, &whole)
    }
}

/// Changes members; null takes one away.
pub(crate) fn change(whole: &mut Value, changes: &Value) {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            whole.as_object_mut().unwrap().remove(name);
        } else {
            whole[name] = value.clone();
        }
    }
}

/// A backend service with keys.
pub(crate) fn service(jwks: Option<&Value>, jwks_uri: Option<&str>, scopes: &str) -> App {
    App {
        kind: ClientKind::Key,
        app_type: AppType::Backend,
        redirect_uris: Vec::new(),
        jwks: jwks.map(Value::to_string),
        jwks_uri: jwks_uri.map(str::to_owned),
        ..browser::app("job", scopes)
    }
}

/// The fields of a request for a token.
pub(crate) fn fields<'a>(assertion: &'a str, scope: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", "client_credentials"),
        ("scope", scope),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion),
    ]
}

/// A place where keys are published.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) url: String,
    /// Status, Cache-Control and body of what is answered.
    pub(crate) answer: Arc<Mutex<(u16, String, String)>>,
    asked: Arc<AtomicU32>,
}

impl Published {
    /// A place on this machine.
    pub(crate) async fn start(jwks: &Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new((200, "max-age=600".to_owned(), jwks.to_string())));
        let asked = Arc::new(AtomicU32::new(0));
        let place = Self { url, answer, asked };
        let serving = place.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let place = serving.clone();
                let service = service_fn(move |_: Request<_>| {
                    place.asked.fetch_add(1, Ordering::SeqCst);
                    let (status, control, body) = place.answer.lock().unwrap().clone();
                    let response = Response::builder()
                        .status(status)
                        .header("Cache-Control", control)
                        .header("Location", "http://127.0.0.1/elsewhere")
                        .body(Full::new(Bytes::from(body)));
                    std::future::ready(response)
                });
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        place
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}
