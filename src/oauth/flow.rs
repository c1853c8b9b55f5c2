//! The way of a request to authorize, from the app's question to the code.
//!
//! What waits lies here under a handle and belongs to the browser that first came with it. Each page
//! asks [`Authority::standing`] what is still missing; only when nothing is does a code come about.

use std::fmt::Write as _;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

use crate::access::Outcome;
use crate::access::interaction::Kind;
use crate::access::scope::{Context, ScopeSet, SmartScope, Special};
use crate::error::Error;
use crate::fhir::query::Query;
use crate::spec::search_parameter::SearchParameters;
use crate::store::oauth::authorization::{self, Waiting};
use crate::store::oauth::client::{self, Client, ClientKind};
use crate::store::oauth::decision::{self, Decision};
use crate::store::oauth::grant::{self, NewCode, NewGrant};
use crate::store::oauth::launch;

use super::Authority;
use super::authorize::{self, Code, Pending, Refusal, Rules, answer, without_patient};
use super::consent;
use super::discovery;
use super::login::handle;
use super::login::{Account, Browser, Stage, Visitor};
use super::secret::{CODE, Fresh};

/// How long a person has for all pages.
const WAIT_MILLIS: i64 = 30 * 60 * 1_000;
/// Scopes in a text of the ledger, in characters.
const TOLD: usize = 1_000;
/// What is told of a patient whom the user may not choose, or may choose no more.
pub const NOT_THEIRS: &str = "the user has no access to this patient";

/// A request that waits, and whose it is.
pub struct Ticket {
    /// What pages carry along.
    pub handle: SecretString,
    /// The request.
    pub pending: Pending,
    /// Who asks.
    pub client: Client,
    hash: [u8; 32],
}

/// Why a request does not begin.
pub enum NotBegun {
    /// The app, or whoever came from it, is told.
    Refused(Refusal),
    /// Something else.
    Failed(Error),
}

impl From<Error> for NotBegun {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// How a request has ended.
pub enum Ended {
    /// Before: it is answered once.
    Before,
    /// With a code: the address of the app with it.
    Granted(String),
    /// With a no.
    Refused(Refusal),
}

/// What a request still waits for.
#[derive(Debug)]
pub enum Standing<'b> {
    /// The person has to agree.
    Consent(&'b Account),
    /// A second factor has to be proved.
    Factor,
    /// A second factor has to be set up.
    Enrol,
    /// Somebody has to log in.
    Login,
    /// An encounter has to be chosen.
    Encounter(&'b Account),
    /// A patient has to be chosen.
    Patient(&'b Account),
    /// The app is told no.
    Refused(Refusal),
}

impl Authority {
    /// What scopes may ask by.
    pub fn parameters(&self) -> &SearchParameters {
        self.persons.roles.extractor().search_parameters()
    }

    /// Reads a request and keeps it: the handle that pages carry along.
    ///
    /// # Errors
    /// [`NotBegun`] says who is told what.
    pub async fn begin_request(
        &self,
        query: &Query,
        raw: &str,
        visitor: &Visitor,
    ) -> Result<SecretString, NotBegun> {
        let client = match authorize::client_id(query) {
            Some(id) => client::find(&self.store, id).await?,
            None => None,
        };
        let now = self.clock.now();
        let rules = Rules {
            client: client.as_ref(),
            settings: &self.settings,
            parameters: self.parameters(),
            now: now.as_micros(),
        };
        let pending = match authorize::read(query, raw, &rules) {
            Ok(pending) => pending,
            Err(refusal) => {
                let actor = visitor.nobody();
                let text = refusal.to_string();
                self.gate.note(Kind::Authorize, &actor, Outcome::Refused, &text).await?;
                return Err(NotBegun::Refused(refusal));
            }
        };
        let Fresh { text, hash } = Fresh::new("", &*self.ids);
        let waiting =
            Waiting { request: written(&pending)?, session_id: None, step: "begun".to_owned() };
        let expires = now.plus_millis(WAIT_MILLIS);
        authorization::add(&self.store, &hash, &waiting, expires).await?;
        Ok(text)
    }

    /// The request under a handle, when this browser may go on with it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn ticket(&self, handle: &str, browser: &Browser) -> Result<Option<Ticket>, Error> {
        let Some(hash) = handle::hash_of(handle) else { return Ok(None) };
        let found = authorization::find(&self.store, &hash, self.clock.now()).await?;
        let Some(Waiting { request, .. }) = found else { return Ok(None) };
        // Who comes first has it: a request that somebody else began leads nowhere here.
        if !authorization::bind(&self.store, &hash, browser.session.id).await? {
            return Ok(None);
        }
        let pending: Pending = serde_json::from_str(&request).map_err(Error::internal)?;
        let client = client::find(&self.store, &pending.client).await?;
        let client = client.filter(|client| client.disabled_at.is_none());
        let handle = SecretString::from(handle.to_owned());
        Ok(client.map(|client| Ticket { handle, pending, client, hash }))
    }

    /// Keeps what the request has become.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn keep(&self, ticket: &Ticket, step: &str) -> Result<(), Error> {
        let request = written(&ticket.pending)?;
        authorization::advance(&self.store, &ticket.hash, &request, step).await
    }

    /// What the request waits for. Takes its launch when somebody has logged in.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn standing<'b>(
        &self,
        ticket: &mut Ticket,
        browser: &'b Browser,
        visitor: &Visitor,
    ) -> Result<Standing<'b>, Error> {
        let pending = &ticket.pending;
        let is_silent = pending.is_silent;
        let refused = |pending: &Pending, code, text| Standing::Refused(pending.refuse(code, text));
        let account = match browser.stage() {
            Stage::Whole(account) if pending.accepts_login(browser.session.auth_at) => account,
            _ if is_silent => {
                return Ok(refused(pending, Code::LoginRequired, "nobody has logged in"));
            }
            Stage::Half(account) if account.has_factor => return Ok(Standing::Factor),
            Stage::Half(_) => return Ok(Standing::Enrol),
            Stage::Nobody | Stage::Whole(_) => return Ok(Standing::Login),
        };
        // Whom the app does not mean, it gets no tokens of (OpenID Connect Core section 3.1.2.1).
        if pending.hinted.as_ref().is_some_and(|hinted| *hinted != account.id.to_string()) {
            return Ok(refused(pending, Code::LoginRequired, "somebody else has logged in"));
        }
        // Whose browser it was before chose for somebody else, or was handed what is nobody else's.
        let is_handed_over = ticket.pending.belongs_to(&account.id.to_string());
        if !is_handed_over {
            self.note_launch(ticket, account, visitor).await?;
        }
        let has_launch = ticket.pending.launch.is_some();
        if !is_handed_over || has_launch && !self.take_launch(ticket, account, visitor).await? {
            let text = "the launch was used, is too old, or is not for this user and app";
            return Ok(refused(&ticket.pending, Code::InvalidRequest, text));
        }
        let scopes = ticket.pending.scopes(self.parameters());
        let needs_patient = ticket.pending.needs_patient(&scopes);
        if needs_patient && ticket.pending.patient.is_none() && !ticket.pending.has_no_patient {
            if self.settings.offers(discovery::CHOICE_OF_PATIENT) {
                return Ok(Standing::Patient(account));
            }
            ticket.pending.has_no_patient = true;
        }
        if ticket.pending.needs_encounter(&scopes) {
            return Ok(Standing::Encounter(account));
        }
        let scopes = self.grantable(&ticket.pending);
        if scopes.is_empty() || scopes.resources().next().is_none() && ticket.pending.has_no_patient
        {
            let text = "there is no patient that this user could choose";
            return Ok(refused(&ticket.pending, Code::AccessDenied, text));
        }
        Ok(Standing::Consent(account))
    }

    /// What can be granted: without a patient, nothing of a patient, and an encounter only where one was
    /// chosen or handed over.
    pub fn grantable(&self, pending: &Pending) -> ScopeSet {
        let mut scopes = pending.scopes(self.parameters());
        if pending.encounter.is_none() {
            let visit = SmartScope::Special(Special::LaunchEncounter);
            scopes = scopes.filtered(|scope| *scope != visit);
        }
        if pending.has_no_patient { without_patient(&scopes) } else { scopes }
    }

    async fn take_launch(
        &self,
        ticket: &mut Ticket,
        account: &Account,
        visitor: &Visitor,
    ) -> Result<bool, Error> {
        let handle = ticket.pending.launch.take();
        let (now, client) = (self.clock.now(), ticket.client.id.as_str());
        let taken = match handle.as_deref().and_then(handle::hash_of) {
            Some(hash) => launch::take(&self.store, &hash, account.id, client, now).await?,
            None => None,
        };
        let Some(text) = taken else {
            self.note_launch(ticket, account, visitor).await?;
            return Ok(false);
        };
        let context: Value = serde_json::from_str(&text).map_err(Error::internal)?;
        let text_of = |name: &str| context.get(name).and_then(Value::as_str).map(str::to_owned);
        ticket.pending.patient = text_of("patient");
        ticket.pending.encounter = text_of("encounter");
        ticket.pending.context = Some(context);
        self.keep(ticket, "launched").await?;
        Ok(true)
    }

    /// Puts on record that a launch leads nowhere.
    async fn note_launch(
        &self,
        ticket: &Ticket,
        account: &Account,
        visitor: &Visitor,
    ) -> Result<(), Error> {
        let client = &ticket.client.id;
        let text = format!("{client}: the launch was used, is too old, or is another's");
        self.gate.note(Kind::Launch, &visitor.actor(account), Outcome::Refused, &text).await
    }

    /// What an earlier decision grants now; none when the person has to be asked.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn remembered(
        &self,
        ticket: &Ticket,
        account: &Account,
    ) -> Result<Option<ScopeSet>, Error> {
        let pending = &ticket.pending;
        if pending.wants_consent || !is_known(&ticket.client, &pending.redirect_uri) {
            return Ok(None);
        }
        let patient = pending.patient.as_deref();
        let last = decision::last(&self.store, account.id, &pending.client, patient).await?;
        let asked = self.grantable(pending);
        let again = last.and_then(|last| consent::remembered(&asked, &last, self.parameters()));
        // To whom everything is open says why each time.
        Ok(again.filter(|scopes| !self.needs_reason(account, scopes)))
    }

    /// Whether these scopes open everything to a person, who then has to say why.
    pub fn needs_reason(&self, account: &Account, scopes: &ScopeSet) -> bool {
        self.persons.roles.are_open(&account.roles, scopes)
    }

    /// Keeps what the person decided.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database or a ledger.
    pub async fn decide(
        &self,
        pending: &Pending,
        account: &Account,
        granted: &ScopeSet,
        visitor: &Visitor,
    ) -> Result<(), Error> {
        let (offered, told) = (self.grantable(pending).to_string(), granted.to_string());
        let made = Decision {
            account: account.id,
            client: &pending.client,
            patient: pending.patient.as_deref(),
            offered: &offered,
            granted: &told,
        };
        let text: String = format!("{}: {told}", pending.client).chars().take(TOLD).collect();
        let outcome = if granted.is_empty() { Outcome::Refused } else { Outcome::Success };
        self.gate.note(Kind::Consent, &visitor.actor(account), outcome, &text).await?;
        decision::add(&self.store, self.ids.ordered(), made, self.clock.now()).await
    }

    /// Ends the request with a no; the address of the app with it. None when it has ended before.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn end_refused(&self, ticket: &Ticket) -> Result<bool, Error> {
        authorization::take(&self.store, &ticket.hash).await
    }

    /// Ends the request with a code, unless the account has lost the patient meanwhile.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database or a ledger.
    pub async fn end_granted(
        &self,
        ticket: &Ticket,
        browser: &Browser,
        account: &Account,
        (granted, reason): (&ScopeSet, Option<&str>),
        visitor: &Visitor,
    ) -> Result<Ended, Error> {
        let pending = &ticket.pending;
        let patient = pending.patient.as_deref().filter(|_| is_about_patient(granted));
        let is_theirs = match patient {
            Some(patient) => self.may_choose(account, patient).await?,
            None => true,
        };
        if !authorization::take(&self.store, &ticket.hash).await? {
            return Ok(Ended::Before);
        }
        if !is_theirs {
            let actor = visitor.actor(account);
            self.gate.note(Kind::Authorize, &actor, Outcome::Refused, NOT_THEIRS).await?;
            return Ok(Ended::Refused(pending.refuse(Code::AccessDenied, NOT_THEIRS)));
        }
        let grant = self.new_grant(pending, browser, account, (granted, reason));
        let mut text: String =
            format!("{}: {granted}", pending.client).chars().take(TOLD).collect();
        if let Some(reason) = reason {
            let id = grant.id;
            let _ = write!(text, "; grant {id} opens everything, for this reason: {reason}");
        }
        self.gate.note(Kind::Authorize, &visitor.actor(account), Outcome::Success, &text).await?;
        let Fresh { text: code, hash } = Fresh::new(CODE, &*self.ids);
        let millis = i64::try_from(self.settings.code.as_millis()).unwrap_or(i64::MAX);
        let code_row = NewCode {
            hash,
            redirect_uri: pending.redirect_uri.clone(),
            challenge: pending.challenge.clone(),
            aud: pending.aud.clone(),
            expires: grant.created.plus_millis(millis),
        };
        grant::issue_code(&self.store, &grant, &code_row).await?;
        let pairs = [("code", code.expose_secret()), ("iss", self.settings.issuer.as_str())];
        Ok(Ended::Granted(answer(&pending.redirect_uri, &pairs, pending.state.as_deref())))
    }

    fn new_grant(
        &self,
        pending: &Pending,
        browser: &Browser,
        account: &Account,
        (granted, reason): (&ScopeSet, Option<&str>),
    ) -> NewGrant {
        let is_offline = granted.has(Special::OfflineAccess);
        NewGrant {
            id: self.ids.ordered(),
            client: pending.client.clone(),
            account: Some(account.id),
            scopes: granted.to_string(),
            patient: pending.patient.clone().filter(|_| is_about_patient(granted)),
            encounter: pending.encounter.clone().filter(|_| is_about_encounter(granted)),
            context: Some(self.context(pending).to_string()),
            fhir_user: account.fhir_user.clone(),
            is_offline,
            session: (!is_offline).then_some(browser.session.id),
            auth_time: browser.auth_time(),
            nonce: pending.nonce.clone(),
            purpose: None,
            reason: reason.map(str::to_owned),
            created: self.clock.now(),
        }
    }

    /// What else the token response tells an app (SMART App Launch, launch context).
    fn context(&self, pending: &Pending) -> Value {
        let mut told = Map::new();
        let handed = pending.context.as_ref().and_then(Value::as_object);
        for name in ["fhirContext", "intent", "need_patient_banner", "tenant"] {
            if let Some(value) = handed.and_then(|handed| handed.get(name)) {
                told.insert(name.to_owned(), value.clone());
            }
        }
        told.entry("need_patient_banner").or_insert(json!(true));
        if !self.settings.offers(discovery::BANNER) {
            told.remove("need_patient_banner");
        }
        if self.settings.offers(discovery::STYLE) {
            told.insert("smart_style_url".to_owned(), json!(self.style_url()));
        }
        Value::Object(told)
    }

    /// Where apps find how our pages look.
    pub fn style_url(&self) -> String {
        format!("{}/style", self.settings.issuer)
    }
}

/// Whether who asks in the name of a client can be nobody else: it proves itself, or the answer goes to a
/// host that is its own. A scheme or a port of the user's device may be anybody's there (RFC 8252 section
/// 8.6, RFC 6749 section 10.2).
fn is_known(client: &Client, redirect_uri: &str) -> bool {
    client.kind != ClientKind::Public || redirect_uri.starts_with("https://")
}

fn is_about_patient(granted: &ScopeSet) -> bool {
    granted.has_context(Context::Patient)
        || granted.has(Special::LaunchPatient)
        || granted.has(Special::Launch)
}

fn is_about_encounter(granted: &ScopeSet) -> bool {
    granted.has(Special::LaunchEncounter) || granted.has(Special::Launch)
}

fn written(pending: &Pending) -> Result<String, Error> {
    serde_json::to_string(pending).map_err(Error::internal)
}
