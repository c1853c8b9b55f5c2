//! The settings themselves, section by section. The doc comments are the reference manual: `examples/kiln.toml` is made of them.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use secrecy::SecretString;

use super::Preset::{Flag, List, Number, Secret, Text, Unset};
use super::named::{CheckpointPlace, TenantSettings, Trusted};
use super::outward::{Otel, Subscriptions};
use super::setting::configuration;
use super::{
    AckWhen, AuthMode, ClientSource, Erasure, Graphql, Ids, LogFormat, MessageReading, Network,
    OnFailure, ProfilePolicy, ReadAudit, References, Registration, Section, Setting, TenancyMode,
    ValidationLevel,
};

/// Where the data are when nobody says it.
pub(super) const DATA_DIR: &str = "./kiln-data";

configuration! {
    /// Everything an operator can set.
    Config {
        /// Folder of the private PostgreSQL and of this node's derived files.
        data_dir: PathBuf = Text(DATA_DIR),
        /// Logical ids that the server gives: "time" (UUID version 7; new rows land side by side
        /// in the indexes, and an id tells when it was made), "random" (version 4) or "auto":
        /// random where callers need tokens, for an id is told to who may not see the resource.
        ids: Ids = Text("auto"),
    }

    /// The FHIR endpoint.
    [http] Http {
        /// Address of the listener. Port 0 takes a free one.
        listen: SocketAddr = Text("127.0.0.1:8080"),
        /// The base that clients see, when a proxy stands in front. Default: the listener's address with /fhir.
        base_url: Option<String> = Unset("https://fhir.example.org/fhir"),
        /// Addresses or networks of proxies, such as `10.0.0.0/8`. Who asks is whom they tell
        /// (X-Forwarded-For): by that address attempts are counted, and the ledger has it. Without
        /// base_url, what they say of the host that a client asked (Forwarded, X-Forwarded-Host, -Proto
        /// and -Prefix) counts too. What comes from this machine is believed always.
        trusted_proxies: Vec<Network> = List,
        /// Largest request body in bytes, also after decompression: 10 MiB. A parsed body takes
        /// about four times its size in memory; the largest of a hundred Synthea patients has
        /// 4 MB. It may hold one value for ten bytes of this, and three million at most.
        max_body_bytes: usize = Number(10_485_760),
        /// Largest body of a Binary, as a resource or as it is: 32 MiB.
        max_binary_bytes: usize = Number(33_554_432),
        /// Deepest nesting of arrays and objects in a body.
        max_depth: usize = Number(64),
        /// Most entries in a batch or transaction Bundle.
        max_bundle_entries: usize = Number(10_000),
        /// Largest page that _count can ask for, in entries.
        max_page: NonZeroU32 = Number(1_000),
        /// Size of a page when the request names none, in entries.
        default_page: NonZeroU32 = Number(50),
        /// Most resources that one conditional delete deletes. With 1, criteria that match several
        /// are refused; with more, all that match are deleted, or none.
        max_conditional_delete: NonZeroU32 = Number(1),
        /// Whether X-Provenance of a transaction is stored about all that it makes; else it is ignored.
        transaction_provenance: bool = Flag(false),
        /// What becomes of meta.source where a client writes: keep, or ignore. With ignore an update leaves
        /// it as it is stored, and what is new has none. What commands bring in, such as import, keeps it.
        client_source: ClientSource = Text("keep"),
        /// Web origins that browsers may call from, such as `https://app.example.org`; "*" for all, nothing for none.
        cors_origins: Vec<String> = List,
        /// Most connections of clients at a time, fewer where the system's limit of open files
        /// (`ulimit -n`) leaves no room for them: who comes then waits for one that ends.
        max_connections: NonZeroU32 = Number(10_000),
        /// Longest time that a request may take, in seconds.
        request_timeout_s: NonZeroU32 = Number(60),
    }

    /// TLS 1.2 and 1.3 of the HTTP listener. Without a certificate it speaks plain HTTP.
    [tls] Tls {
        /// The server's certificate and those that vouch for it, PEM, its own first. The files of this
        /// section are looked at every ten seconds, and a new one counts for connections from then on.
        certificate: Option<PathBuf> = Unset("/etc/kiln/tls/certificate.pem"),
        /// Its private key, PEM. Others than its owner and group must not be able to read the file.
        key: Option<PathBuf> = Unset("/etc/kiln/tls/key.pem"),
        /// Certificates of authorities, PEM: then a client must show a certificate of one of them.
        client_authorities: Option<PathBuf> = Unset("/etc/kiln/tls/clients.pem"),
    }

    /// Health and metrics.
    [admin] Admin {
        /// Own listener for /health and /metrics. Default: they are on the HTTP listener.
        listen: Option<SocketAddr> = Unset("127.0.0.1:9090"),
        /// Whether /metrics is on the HTTP listener where there is no other: whoever reaches it then
        /// learns how many requests there were of each kind, and how long they took.
        metrics_on_http: bool = Flag(true),
    }

    /// The listener for administration: clients, accounts and keys, as JSON below /admin, for who has a token with
    /// the scope system/__admin, or user/__admin and a role that administers. TLS is that of the HTTP listener.
    [administration] Administration {
        /// Its address. Default: there is none, and administration is by commands alone.
        listen: Option<SocketAddr> = Unset("127.0.0.1:9091"),
        /// Whether it may listen elsewhere than on a loopback address, which needs TLS.
        beyond_loopback: bool = Flag(false),
    }

    /// PostgreSQL 15 to 18.
    [database] Database {
        /// Where the database is. Default: Kiln runs a private PostgreSQL of its own in data_dir.
        /// KILN_DATABASE__URL_FILE names a file that holds the URL. `?sslmode=` may be disable, prefer (TLS
        /// where the server has it, unchecked), require (TLS, unchecked), or verify-full (TLS, and the
        /// certificate must bear the server's name and come from an authority in the file that `sslrootcert=`
        /// names, or that the system trusts); verify-ca is taken as verify-full. The default is prefer on this
        /// machine (localhost), and verify-full for any other.
        url: Option<SecretString> = Secret("postgres://kiln_app@localhost/kiln"),
        /// The role that owns the tables and migrates them. Without it `serve` refuses an
        /// outside database whose schema is old. KILN_DATABASE__OWNER_URL_FILE works too.
        owner_url: Option<SecretString> = Secret("postgres://kiln_owner@localhost/kiln"),
        /// Connections that carry pipelined reads: about one for each processor of the database.
        read_connections: NonZeroU32 = Number(2),
        /// Connections that carry transactions, one each at a time.
        write_connections: NonZeroU32 = Number(16),
        /// Connections that carry searches, one each at a time: a search that is slow holds back
        /// none but those that wait for one of these. One caller has at most half of them.
        search_connections: NonZeroU32 = Number(8),
        /// Longest time that one statement of a search may take, in milliseconds: then it is ended (504).
        search_timeout_ms: NonZeroU32 = Number(10_000),
        /// Longest time that one statement may take, in milliseconds.
        statement_timeout_ms: NonZeroU32 = Number(30_000),
        /// Folder with `postgres` and `initdb` for the private PostgreSQL. Default: asked from
        /// pg_config, then looked for in the usual places.
        postgres_bin: Option<PathBuf> = Unset("/usr/lib/postgresql/17/bin"),
    }

    /// Tenants: organizations that share a server and nothing else. `kiln tenant add` makes one.
    [tenancy] Tenancy {
        /// "off", "path" (/t/NAME/fhir, with /t/NAME/auth beside it) or "header".
        mode: TenancyMode = Text("off"),
        /// That header. It counts from http.trusted_proxies and from this machine.
        header: String = Text("x-kiln-tenant"),
        /// The FHIR base of each. Default with "path": that of the server, with /t/{tenant} before /fhir.
        base_url: Option<String> = Unset("https://{tenant}.example.org/fhir"),
        /// The tenant that a command is about, as by `--tenant NAME`.
        tenant: Option<String> = Unset("north"),
    }

    /// Rules between resources. All nodes of a database need the same.
    [integrity] IntegrityRules {
        /// "enforced" refuses references to resources of this server that are not there, and the
        /// deletion of a resource that others refer to; a reference to one version neither needs
        /// nor holds the current one. "off" stores what comes. A change builds the search index anew.
        references: References = Text("off"),
        /// Types whose business identifiers belong to one resource each: `Patient`, or
        /// `Patient|https://hospital.example/mrn` for those of one system. A write of one that
        /// another resource of the type carries is refused; what is stored already stays.
        unique_identifiers: Vec<String> = List,
    }

    /// What is checked of what is written. The form (elements, kinds, cardinalities, primitives)
    /// always is; `$validate` always checks everything.
    [validation] Validation {
        /// "base": what FHIR itself defines (required bindings, invariants, extensions); "profiles":
        /// also the profiles that `meta.profile` names; "off": the form alone.
        level: ValidationLevel = Text("profiles"),
        /// The same for creates alone. Default: level.
        create: Option<ValidationLevel> = Unset("base"),
        /// The same for updates alone. Default: level.
        update: Option<ValidationLevel> = Unset("base"),
        /// The same for patches alone. Default: level.
        patch: Option<ValidationLevel> = Unset("base"),
        /// Whether a client may ask for less by `Prefer: validation=off` or `=base`. For more it may always ask.
        clients_may_lower: bool = Flag(false),
        /// What becomes of what breaks a profile in its `meta.profile`, at level "profiles": "enforce" refuses
        /// it, "warn" tells (to who asks for an OperationOutcome), "ignore" does not look.
        profiles: ProfilePolicy = Text("warn"),
        /// Profiles that are treated otherwise: `http://hl7.org/fhir/StructureDefinition/bp=warn`,
        /// with `|version` before the `=` where it is about one version.
        exceptions: Vec<String> = List,
        /// The same for a profile that is not known here.
        unknown_profiles: ProfilePolicy = Text("warn"),
        /// The same for `implicitRules`, of which this server knows none.
        implicit_rules: ProfilePolicy = Text("warn"),
        /// The same for extensions that are not known here, which FHIR allows.
        unknown_extensions: ProfilePolicy = Text("ignore"),
        /// The same for required codes whose system is in the value set, but not known here.
        unknown_code_systems: ProfilePolicy = Text("warn"),
        /// The same for markup in plain texts such as names, which a careless page would show.
        markup: ProfilePolicy = Text("ignore"),
        /// The same for urls of domains of examples (`example.org`).
        example_urls: ProfilePolicy = Text("ignore"),
    }

    /// Who may call.
    [auth] Auth {
        /// "smart" asks for SMART on FHIR tokens; "off" lets every caller do everything, on a loopback address only.
        mode: AuthMode = Text("smart"),
        /// How long an access token of an app counts, in seconds.
        access_token_seconds: NonZeroU32 = Number(3_600),
        /// The same of a backend service.
        backend_token_seconds: NonZeroU32 = Number(300),
        /// How long a refresh token counts from its last use on, in days.
        refresh_token_days: NonZeroU32 = Number(100),
        /// How long an authorization code can be exchanged, in seconds.
        code_seconds: NonZeroU32 = Number(60),
        /// How long a secret of a client counts from when it was made, in days; 0: until it is replaced.
        /// It is about secrets that are made from then on.
        client_secret_days: u32 = Number(0),
        /// Who may register a client: nobody ("off"), who has registration_token ("token"), or
        /// anybody ("open"). A client that registered itself never gets system/ scopes.
        registration: Registration = Text("off"),
        /// What a client shows to register. KILN_AUTH__REGISTRATION_TOKEN_FILE names a file that holds it.
        registration_token: Option<SecretString> = Secret("a long random text"),
        /// Whether anybody may ask what a token is: who does so must have the token.
        introspection_open: bool = Flag(false),
        /// Folder of the keys that this node signs and seals with, for its owner alone. Default: keys in data_dir.
        keys_dir: Option<PathBuf> = Unset("/etc/kiln/keys"),
        /// After how many days a new key is made to sign with; the old one is published for a day more.
        key_days: NonZeroU32 = Number(90),
        /// What users may do by their roles. Default: built-in roles.
        roles: Option<PathBuf> = Unset("/etc/kiln/roles.toml"),
        /// Rules by which the server labels what is stored: codes and value sets of them, and the label
        /// of whatever holds one. What was stored before is labelled when the rules are others. Default:
        /// labels are what clients send.
        labels: Option<PathBuf> = Unset("/etc/kiln/labels.toml"),
        /// Types that a scope over all types of a patient (`patient/*`) does not mean, beside AuditEvent,
        /// Group and Subscription: an app asks for them by name.
        by_name: Vec<String> = List,
        /// Whether a patient's consent that denies access for the purpose BTG or ETREAT is heeded when the
        /// glass is broken: where the law lets patients forbid that.
        heed_emergency_bans: bool = Flag(false),
        /// Capabilities of smart-configuration that are switched off, such as `permission-v1`.
        without: Vec<String> = List,
        /// After how many minutes without a request a user must log in again.
        session_idle_minutes: NonZeroU32 = Number(15),
        /// After how many hours in any case.
        session_hours: NonZeroU32 = Number(12),
        /// Shortest password, in characters: 12 at least, or 8 where each role wants a second factor.
        password_min_length: NonZeroU32 = Number(12),
        /// Private networks that the server itself may call, for keys of clients: `10.0.0.0/8`. A
        /// loopback address on this list may be called without TLS.
        outbound_networks: Vec<Network> = List,
    }

    /// An outside provider to log in at as well (OpenID Connect): for accounts that `kiln user link` has linked.
    [upstream] Upstream {
        /// Its issuer: /.well-known/openid-configuration below it says the rest.
        issuer: Option<String> = Unset("https://login.example.org"),
        /// What it knows this server by. It sends people back to /auth/callback.
        client_id: Option<String> = Unset("kiln"),
        /// What this server proves itself by. KILN_UPSTREAM__CLIENT_SECRET_FILE names a file that holds it.
        client_secret: Option<SecretString> = Secret("a long random text"),
        /// What the login page calls it.
        label: String = Text("my organization"),
    }

    /// How people find this server in a list of those of other organizations (user-access brands),
    /// which is published at /auth/brands.
    [brand] Brand {
        /// The name of the organization.
        name: String = Text("Kiln"),
        /// Its website. Default: the address of this server.
        website: Option<String> = Unset("https://hospital.example.org"),
        /// Where a picture of it is.
        logo: Option<String> = Unset("https://hospital.example.org/logo.svg"),
        /// Where its patients log in.
        portal: Option<String> = Unset("https://my.hospital.example.org"),
    }

    /// How often one client, user or address may call where tokens are asked for; else 429. Zero is no limit.
    [limits] Limits {
        /// Requests of one client or user, in a minute. One that takes long counts as one more for each 100 ms.
        requests_per_minute: u32 = Number(60_000),
        /// Requests of one client or user at a time.
        requests_at_a_time: u32 = Number(256),
        /// Requests of all clients and users together, in a minute; of each tenant by itself.
        total_per_minute: u32 = Number(0),
        /// The same at a time.
        total_at_a_time: u32 = Number(0),
        /// Requests for tokens of one client, or of one address, in a minute.
        tokens_per_minute: u32 = Number(600),
        /// Questions about tokens of one client, or of one address, in a minute.
        introspections_per_minute: u32 = Number(6_000),
        /// Requests from one address without a valid token, in a minute: each of them is on record.
        refusals_per_minute: u32 = Number(6_000),
        /// Registrations from one address, in a minute.
        registrations_per_minute: u32 = Number(10),
    }

    /// Search.
    [search] Search {
        /// The zone of what names none, stored dates and dates that are asked for: "Z" or hours and minutes
        /// from UTC such as "+01:00". The same on every node. Another zone builds the search index anew.
        zone: String = Text("Z"),
        /// Whether a date without a prefix finds whatever overlaps it, as HAPI has it. R4 wants what lies within it.
        dates_overlap: bool = Flag(false),
        /// Most links of a chain, `_has` included, 16 at most. More are refused, as is what the next two do not allow.
        max_chain: NonZeroU32 = Number(5),
        /// Most values of a parameter, separated by commas.
        max_values: NonZeroU32 = Number(500),
        /// Most parameters of a query.
        max_parameters: NonZeroU32 = Number(50),
        /// Most resources that come along with a page (_include, _revinclude). That some are left out is told.
        max_included: NonZeroU32 = Number(1_000),
        /// How often iterated includes are followed. That some are left out is told.
        max_iterations: NonZeroU32 = Number(5),
    }

    /// Definitions beside those of FHIR R4 itself.
    [definitions] Definitions {
        /// Guides in the program that do not count, by name (`hl7.fhir.uv.ips`) or by name and version
        /// (`hl7.fhir.us.core#3.1.1`); `kiln package list` names them. A canonical without a version means the
        /// newest of those that count. What `kiln package install` has put into the database counts always.
        without: Vec<String> = List,
        /// Whether the definitions of FHIR and of guides in the program are among the resources: read
        /// by their ids, found by searches of their types, and not to be changed. Without it there are
        /// only those that clients store.
        readable: bool = Flag(true),
    }

    /// Exports of many resources ($export, Bulk Data Access): for clients with scopes of system/.
    [export] Export {
        /// How many this node works on at a time, each with a connection of its own. 0: it leaves them to other nodes.
        workers: u32 = Number(2),
        /// How many of one client may wait or be worked on: one more is refused (429).
        max_open: NonZeroU32 = Number(4),
        /// Most resources of one file.
        file_resources: NonZeroU32 = Number(10_000),
        /// Most seconds of one export: it fails when it takes longer.
        max_seconds: NonZeroU32 = Number(86_400),
        /// How long files are kept, in hours.
        keep_hours: NonZeroU32 = Number(24),
    }

    /// Full text search: _text, _content and :text-advanced.
    [fulltext] FullText {
        /// Whether this node keeps an index of words, in the folder fulltext of data_dir. It is
        /// made of the database and may be lost: then it is built again.
        enabled: bool = Flag(true),
        /// The language by whose stems words are found too (`fracture` finds `fractures`):
        /// arabic, danish, dutch, english, finnish, french, german, greek, hungarian, italian,
        /// norwegian, portuguese, romanian, russian, spanish, swedish, tamil or turkish. Default:
        /// words are found as they are. Another language builds the index anew.
        language: Option<String> = Unset("english"),
    }

    /// Messages of HL7 version 2, over MLLP and by POST /v2/messages.
    [hl7v2] Hl7v2 {
        /// Address of the MLLP listener. Default: there is none.
        listen: Option<SocketAddr> = Unset("127.0.0.1:2575"),
        /// Its certificate, PEM; with `key` it speaks TLS and nothing else.
        certificate: Option<PathBuf> = Unset("/etc/kiln/v2/certificate.pem"),
        /// The private key of the certificate, PEM.
        key: Option<PathBuf> = Unset("/etc/kiln/v2/key.pem"),
        /// Certificates of authorities, PEM: then a sender must show a certificate of one of them.
        client_authorities: Option<PathBuf> = Unset("/etc/kiln/v2/clients.pem"),
        /// Who may send in whose name: `lab.example.org=LAB*|STM` lets the client whose certificate has
        /// that DNS name (or `sha256:` and its digest) send with MSH-3 and MSH-4, or their first components,
        /// of those patterns, and nothing else. Without entries certificates are bound to no sender.
        senders: Vec<String> = List,
        /// Addresses or networks that may connect, where there are such: then nobody else may. A port that
        /// other machines can reach wants them, or `client_authorities`.
        allow: Vec<Network> = List,
        /// Where the answers to the work on messages go of senders whose profile names an endpoint
        /// (`answers = "lab"`): `lab=192.0.2.7:2576`, by MLLP. It is for enhanced mode, in which the
        /// receipt is confirmed on the connection of the message.
        answer_to: Vec<String> = List,
        /// When a sender without enhanced mode is told AA: "processed" or "stored".
        ack: AckWhen = Text("processed"),
        /// Longest wait for "processed", in seconds: then the answer is AE 206, and the work goes on.
        ack_timeout_s: NonZeroU32 = Number(10),
        /// The character set where MSH-18 names none: by table 0211 or as the web names it.
        charset: String = Text("UNICODE UTF-8"),
        /// The zone of times without an offset, by its name in the IANA database.
        zone: String = Text("UTC"),
        /// "lenient" or "strict".
        reading: MessageReading = Text("lenient"),
        /// Whether messages for tests and training (MSH-11 T or D) are refused.
        production: bool = Flag(true),
        /// Whether messages that differ in MSH-7 alone are repetitions.
        ignore_sent_time: bool = Flag(false),
        /// The release of MLLP, 1 or 2: in release 2 a frame of its own confirms each frame.
        release: NonZeroU32 = Number(1),
        /// Whether senders number their messages (MSH-13): then one that comes too early is refused.
        numbered: bool = Flag(false),
        /// What a failed message does to later ones of its patients: "continue" or "hold".
        on_failure: OnFailure = Text("continue"),
        /// Largest message in bytes: 16 MiB.
        max_message_bytes: usize = Number(16_777_216),
        /// Most connections.
        max_connections: NonZeroU32 = Number(1_000),
        /// Most connections of one address.
        max_connections_per_peer: NonZeroU32 = Number(200),
        /// Seconds after which a silent connection is closed; 0: never.
        idle_timeout_s: u32 = Number(0),
        /// Seconds in which a message that has begun must be there.
        frame_timeout_s: NonZeroU32 = Number(30),
        /// Messages that wait, beyond which no more are read.
        max_waiting: NonZeroU32 = Number(10_000),
        /// Resources that a merge moves in its own transaction; what is more follows within seconds.
        max_merge: NonZeroU32 = Number(10_000),
        /// Days after which the text of a message that is done goes; what it was known by, its answer and
        /// what it did stay. One that failed keeps its text until it is replayed or discarded. 0: all is kept.
        keep_days: u32 = Number(0),
        /// Whole months after which messages go with all that is known of them, unless one waits or has
        /// failed; what comes again after that is new. 0: all are kept.
        keep_months: u32 = Number(0),
        /// Whether texts of messages are sealed in the database, by the key in `messages.key` in the folder of
        /// `auth.keys_dir`. Nodes of one database share that file; a backup is of no use without a copy of it.
        encrypt: bool = Flag(true),
        /// Messages that this node works on at the same time; 0: it takes them in, and others work.
        workers: u32 = Number(8),
    }

    /// The ledger of who did what.
    [audit] Audit {
        /// When a read is answered: "committed" (the default) once the database has its row, which
        /// reaches the disk within milliseconds, or "flushed" once the disk has it. All else, such as
        /// writes, refusals and logins, always waits for the disk, with its row. What a crash of the database takes
        /// of "committed" rows, kiln writes again: they are lost only where it ends in the same moment.
        reads: ReadAudit = Text("committed"),
        /// Folder of the key that checkpoints of the ledger are signed with (`checkpoints.key`, which only its
        /// owner may read), of the public keys that are trusted (`*.pub`), and of the checkpoints
        /// (`checkpoints.jsonl`). Nodes of one database share the key. Keep a copy of the checkpoints where the
        /// database's administrators cannot change them. Default: the folder audit of data_dir.
        folder: Option<PathBuf> = Unset("/etc/kiln/audit"),
        /// Whether this node seals the ledger.
        seal: bool = Flag(true),
        /// Serve by whatever role `database.url` names. Else `serve` refuses one that can change the ledger: a
        /// superuser, the owner of the tables, who can become it, or who was given more than to read and add.
        any_role: bool = Flag(false),
    }

    /// Where the events of the ledger go besides, each at least once and in their order (IHE ATNA,
    /// ITI-20): those from the first start with the setting on. What cannot be sent is tried again.
    [atna] Atna {
        /// FHIR base of a repository of AuditEvents, in a private network only where auth.outbound_networks has it.
        repository: Option<String> = Unset("https://audit.example.org/fhir"),
        /// The bearer token for it. KILN_ATNA__TOKEN_FILE names a file that holds it.
        token: Option<SecretString> = Secret("a long random text"),
        /// Most events of one request: with 1 each is posted by itself, else in batch Bundles.
        batch: NonZeroU32 = Number(50),
        /// Host and port of a syslog server that gets them as DICOM audit messages over TLS (RFC 5425).
        /// A message may have several thousand bytes: see to it that the server takes them whole.
        syslog: Option<String> = Unset("syslog.example.org:6514"),
        /// Certificates of the authorities that vouch for both, PEM. Default: the system's.
        authorities: Option<PathBuf> = Unset("/etc/kiln/atna/authorities.pem"),
        /// This server's certificate for both, PEM, where they want to see one.
        certificate: Option<PathBuf> = Unset("/etc/kiln/atna/certificate.pem"),
        /// Its private key, PEM.
        key: Option<PathBuf> = Unset("/etc/kiln/atna/key.pem"),
        /// Whether a search of AuditEvents without a date is refused, as ITI-81 has it.
        requires_date: bool = Flag(false),
    }

    /// What in the ledger somebody should look at. Each rule is off unless it is set; what it finds is
    /// in the log, without names, and where the settings say so.
    [alerts] Alerts {
        /// A user or client has had access to the data of more patients than this within patients_minutes. 0: no rule.
        patients: u32 = Number(0),
        /// The time in which patients are counted.
        patients_minutes: NonZeroU32 = Number(10),
        /// More failed logins, second factors too, than this within logins_minutes, as one user or from one address. 0: no rule.
        failed_logins: u32 = Number(0),
        /// The time in which failed logins are counted.
        logins_minutes: NonZeroU32 = Number(10),
        /// Somebody broke the glass: saw what is closed to them, and said why. The log has a line of each broken
        /// glass without this rule too; it has the webhook and the resources told.
        break_glass: bool = Flag(false),
        /// The hours in which users work, `07:00-19:00` in the zone of search.zone: data of patients
        /// that a user sees at others are told about, once in an hour.
        working_hours: Option<String> = Unset("07:00-19:00"),
        /// Where alerts are posted as JSON: in a private network only where auth.outbound_networks has it.
        webhook: Option<String> = Unset("https://alerts.example.org/kiln"),
        /// The bearer token for it. KILN_ALERTS__TOKEN_FILE names a file that holds it.
        token: Option<SecretString> = Secret("a long random text"),
        /// Whether each alert becomes a Communication resource.
        communication: bool = Flag(false),
    }

    /// The log on standard error. It never holds patient data.
    [log] Log {
        /// "pretty", "json", or "auto": pretty on a terminal, JSON otherwise.
        format: LogFormat = Text("auto"),
        /// What is logged, in the syntax of tracing's EnvFilter.
        filter: String = Text("info"),
    }

    beside {
        erasure: Erasure,
        graphql: Graphql,
        otel: Otel,
        subscriptions: Subscriptions,
    }

    many {
        /// Where checkpoints of the ledger go besides the file, by names of the operator's choice.
        checkpoints: CheckpointPlace,
        /// What is otherwise for one tenant, by its name.
        tenants: TenantSettings,
        /// Outside authorization servers whose access tokens count here, by names of the operator's choice.
        trusted: Trusted,
    }
}
