//! The settings of sections of which there may be many. The doc comments are the reference manual, as those of
//! [`super::manual`] are.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::SecretString;

use super::Preset::{List, Number, Secret, Unset};
use super::setting::section;
use super::{Network, Section, Setting};

section! {
    true
    /// Where each signed checkpoint of the ledger goes besides the file in audit.folder, each place under a name
    /// of the operator's choice: out of reach of who administers the database, so that nobody can cut the
    /// record off or write it anew unseen. A place is a bucket or a syslog server.
    [checkpoints] CheckpointPlace {
        /// Address of a bucket of an object store (S3 and its like), with or without a prefix. What is added is an
        /// object of its own (`LOG/FIRST-LAST-ROOT.jsonl`) and never written over: the store must know
        /// `If-None-Match: *` on PUT, and gets nothing when it says that it does not (501). In a private network it
        /// is called only where auth.outbound_networks has it. As all that goes out of the ledger, it is known by
        /// atna.authorities, where they are set, and shown atna.certificate.
        store: Option<String> = Unset("https://s3.eu-west-1.amazonaws.com/kiln-checkpoints"),
        /// The region that requests to it are signed for. Default: us-east-1.
        region: Option<String> = Unset("eu-west-1"),
        /// The id of the key that they are signed with (AWS Signature Version 4). Default: they are not.
        key_id: Option<String> = Unset("kiln"),
        /// That key. KILN_CHECKPOINTS__NAME__SECRET_FILE names a file that holds it.
        secret: Option<SecretString> = Secret("a long random text"),
        /// Host and port of a syslog server that gets them over TLS (RFC 5425), by the certificates of `[atna]`.
        syslog: Option<String> = Unset("syslog.example.org:6514"),
    }
}

section! {
    true
    /// What is otherwise for one tenant: NAME is its name. A limit of 0 is that of `[limits]`.
    [tenants] TenantSettings {
        /// Address of its own MLLP listener, which is as `[hl7v2]` says. Default: there is none.
        mllp: Option<SocketAddr> = Unset("127.0.0.1:2576"),
        /// In the place of hl7v2.allow: who may send to one tenant may not by that send to another.
        mllp_allow: Vec<Network> = List,
        /// In the place of hl7v2.client_authorities, likewise.
        mllp_client_authorities: Option<PathBuf> = Unset("/etc/kiln/v2/north.pem"),
        /// In the place of hl7v2.senders, likewise.
        mllp_senders: Vec<String> = List,
        /// In the place of limits.requests_per_minute.
        requests_per_minute: u32 = Number(0),
        /// In the place of limits.requests_at_a_time.
        requests_at_a_time: u32 = Number(0),
        /// In the place of limits.tokens_per_minute.
        tokens_per_minute: u32 = Number(0),
        /// In the place of limits.total_per_minute.
        total_per_minute: u32 = Number(0),
        /// In the place of limits.total_at_a_time.
        total_at_a_time: u32 = Number(0),
    }
}

section! {
    true
    /// Outside authorization servers whose access tokens count here, each under a name of the
    /// operator's choice. A signed token (JWT) is of the server that it names as its issuer, and
    /// judged by that server's keys, or by asking it; any other is asked about.
    [trusted] Trusted {
        /// Its issuer. A token of another is nobody's.
        issuer: Option<String> = Unset("https://tokens.example.org"),
        /// Where its keys are (RS256, RS384, ES256, ES384).
        jwks_uri: Option<String> = Unset("https://tokens.example.org/jwks"),
        /// Where it says what a token is (RFC 7662).
        introspection_uri: Option<String> = Unset("https://tokens.example.org/introspect"),
        /// What its tokens begin with that are not signed. Where several servers are asked, each needs
        /// it: no token is shown to another server than its own.
        token_prefix: Option<String> = Unset("hsp_"),
        /// What it knows this server by when it is asked.
        client_id: Option<String> = Unset("kiln"),
        /// What this server proves itself by then. KILN_TRUSTED__NAME__CLIENT_SECRET_FILE names a
        /// file that holds it.
        client_secret: Option<SecretString> = Secret("a long random text"),
        /// What its tokens must be for. Default: the FHIR base.
        audience: Option<String> = Unset("https://fhir.example.org/fhir"),
        /// Scopes that count at most. Its tokens grant nothing where none are set.
        scopes: Vec<String> = List,
        /// Roles that its users have here: what their scopes of user/ can do at most.
        roles: Vec<String> = List,
        /// What its tokens are used for (v3-PurposeOfUse, but for BTG and ETREAT), which consents are told
        /// and the record tells. Default: what the roles of its users say, and of services nothing.
        purpose: Option<String> = Unset("TREAT"),
    }
}
