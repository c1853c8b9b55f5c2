//! Tenants: whose data a connection reaches, and the list of them.
//!
//! A [`Realm`] is an address with a tenant, and nothing here connects without one: the connection
//! itself says whose data is meant, so that a statement cannot forget it. Each tenant has a schema
//! of its own; row level security in it shows nothing to connections of others.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::Row as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};

use crate::error::Error;
use crate::fhir::IssueCode;

use super::connection::{Address, CONNECT_TIMEOUT, Flush, Target};
use super::tls::AddressError;
use super::{failure, ledger};

const LIST: &str = "SELECT id, name, ready_at IS NOT NULL, disabled_at IS NOT NULL FROM tenant \
     ORDER BY name";
const MAKE: &str = "SELECT kiln_make_tenant($1)";
const GUARD: &str = "SELECT kiln_guard()";
const READY: &str =
    "UPDATE tenant SET ready_at = coalesce(ready_at, clock_timestamp()) WHERE id = $1";
const SWITCH: &str = "UPDATE tenant SET disabled_at = CASE WHEN $2 THEN \
     coalesce(disabled_at, clock_timestamp()) END WHERE id = $1";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[LIST, MAKE, GUARD, READY, SWITCH];

/// What compares numbers and lists, and takes the time out of an id. Behind a policy, PostgreSQL looks up in an index
/// only what it trusts to tell nothing of the rows that it hides: dates, texts and whole numbers, but not these.
const COMPARISONS: [&str; 9] = [
    "numeric_lt(numeric, numeric)",
    "numeric_le(numeric, numeric)",
    "numeric_eq(numeric, numeric)",
    "numeric_ge(numeric, numeric)",
    "numeric_gt(numeric, numeric)",
    "arraycontains(anyarray, anyarray)",
    "arrayoverlap(anyarray, anyarray)",
    "uuid_send(uuid)",
    "substr(bytea, integer, integer)",
];

/// Longest name of a tenant: it is a part of addresses and of host names.
const LONGEST_NAME: usize = 32;

/// One of those who share a database, or the only one who has it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tenant(i32);

impl Tenant {
    /// Who has the database while tenancy is off, and the list of tenants while it is on.
    pub const ONLY: Self = Self(0);

    /// What a connection says of itself, as names and values of settings; nothing without tenants.
    pub(super) fn settings(self) -> Option<[(&'static str, String); 2]> {
        let Self(number) = self;
        (self != Self::ONLY).then(|| {
            [("search_path", format!("kiln_t{number}")), ("kiln.tenant", number.to_string())]
        })
    }
}

/// The data of one tenant at an address: all that a connection can be made to.
///
/// ```
/// # use kiln::store::{Address, Integrity, Sizes, Store, Tenant};
/// # async fn connect(address: Address, sizes: Sizes) {
/// let store = Store::connect(&address.of(Tenant::ONLY), sizes, Integrity::default()).await;
/// # }
/// ```
///
/// Who forgets the tenant does not compile:
///
/// ```compile_fail,E0308
/// # use kiln::store::{Address, Integrity, Sizes, Store, Tenant};
/// # async fn connect(address: Address, sizes: Sizes) {
/// let store = Store::connect(&address, sizes, Integrity::default()).await;
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Realm {
    address: Address,
    tenant: Tenant,
    opened: Opened,
    /// What the tenant is called, for metrics.
    name: Option<String>,
    is_restored: bool,
}

impl Realm {
    pub(super) fn new(address: Address, tenant: Tenant) -> Self {
        Self { address, tenant, opened: Opened::default(), name: None, is_restored: false }
    }

    /// The same for who restores the data: nobody else gets a connection while that is under way.
    #[must_use]
    pub fn restored(self) -> Self {
        Self { is_restored: true, ..self }
    }

    pub(super) fn is_restored(&self) -> bool {
        self.is_restored
    }

    /// The same with what its tenant is called.
    #[must_use]
    pub fn called(self, name: Option<&str>) -> Self {
        Self { name: name.map(str::to_owned), ..self }
    }

    /// What parts the numbers of its tenant from those of others; nothing without tenants.
    pub(super) fn labels(&self) -> Vec<(&'static str, String)> {
        self.name.iter().map(|name| ("tenant", name.clone())).collect()
    }

    /// The connections that are opened to it by way of this value and its clones.
    pub(super) fn opened(&self) -> &Opened {
        &self.opened
    }

    /// The same for connections that are not counted with the others.
    pub(super) fn apart(&self) -> Self {
        Self { opened: Opened::default(), ..self.clone() }
    }

    /// Whether there may be others beside its tenant.
    pub(super) fn is_shared(&self) -> bool {
        self.tenant != Tenant::ONLY
    }

    /// The number of its tenant, where there may be others.
    pub(super) fn number(&self) -> Option<i32> {
        self.is_shared().then_some(self.tenant.0)
    }

    pub(super) fn sqlx_options(&self) -> Result<PgConnectOptions, AddressError> {
        let (text, _, tls) = self.address.read()?;
        // The driver would say less about authorities that cannot be read.
        tls.connector()?;
        let options = PgConnectOptions::from_str(&text);
        let options = options.map_err(|error| AddressError::Url(error.to_string()))?;
        let options = match self.tenant.settings() {
            Some(own) => options.options(own),
            None => options,
        };
        Ok(tls.options(options))
    }

    /// Where and how to connect; `more` are settings beside those of all connections.
    pub(super) fn target(
        &self,
        statement_timeout_ms: u32,
        flush: Flush,
        more: &str,
    ) -> Result<Target, Error> {
        let (_, mut config, tls) = self.address.read().map_err(Error::internal)?;
        let own = self.tenant.settings().into_iter().flatten();
        let own = own.fold(String::new(), |all, (name, value)| format!("{all} -c {name}={value}"));
        // Our statements keep their plans whatever the values, so planning each time is waste. What they look
        // up row by row is seldom asked for twice: a memory of it costs a third of such a look.
        // Page links hold positions as text, so no setting of the database may change its form.
        config.application_name("kiln").connect_timeout(CONNECT_TIMEOUT).options(format!(
            "-c plan_cache_mode=force_generic_plan -c jit=off -c enable_memoize=off \
                 -c max_parallel_workers_per_gather=0 -c synchronous_commit={} \
                 -c timezone=UTC -c datestyle=ISO -c extra_float_digits=1 \
                 -c idle_in_transaction_session_timeout=60s \
                 -c statement_timeout={statement_timeout_ms}{own}{}{more}",
            flush.setting(),
            ledger::setting()
        ));
        config.ssl_mode(tls.mode());
        let tls = tls.connector().map_err(Error::internal)?;
        let (opened, is_restored) = (self.opened.clone(), self.is_restored);
        Ok(Target { config, tls, opened, is_restored })
    }
}

/// How many connections have been opened: what is at their other end may be another database from one to
/// the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Opened(Arc<AtomicU64>);

impl Opened {
    /// How many there are so far.
    pub(super) fn number(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Counts one more, before it is used.
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// A row of the list of tenants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// Which one.
    pub tenant: Tenant,
    /// What it is called in addresses.
    pub name: String,
    /// Whether its schema was whole once.
    pub is_ready: bool,
    /// Whether it is not served.
    pub is_disabled: bool,
}

impl Listed {
    /// Whether it is served.
    pub fn is_served(&self) -> bool {
        self.is_ready && !self.is_disabled
    }
}

/// Whether a tenant may be called so: lower case letters, digits and hyphens inside.
pub fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    bytes.len() <= LONGEST_NAME
        && ends.iter().all(|end| end.is_some_and(|byte| is_plain(*byte)))
        && bytes.iter().all(|byte| is_plain(*byte) || *byte == b'-')
}

/// The list of tenants, kept by a connection of its own.
#[derive(Clone, Debug)]
pub struct Directory(PgPool);

impl Directory {
    /// The list of the database at `address`; a change of it needs the owner of the tables.
    ///
    /// # Errors
    /// [`Error::Internal`] for an address that cannot be used.
    pub fn new(address: &Address) -> Result<Self, Error> {
        let options = address.of(Tenant::ONLY).sqlx_options().map_err(Error::internal)?;
        Ok(Self(PgPoolOptions::new().max_connections(1).connect_lazy_with(options)))
    }

    /// All tenants, by their names.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn list(&self) -> Result<Vec<Listed>, Error> {
        let rows = sqlx::query(LIST).fetch_all(&self.0).await.map_err(failure::sqlx_error)?;
        let listed = |row: &PgRow| {
            Ok(Listed {
                tenant: Tenant(row.try_get(0)?),
                name: row.try_get(1)?,
                is_ready: row.try_get(2)?,
                is_disabled: row.try_get(3)?,
            })
        };
        rows.iter().map(listed).collect::<Result<_, sqlx::Error>>().map_err(failure::sqlx_error)
    }

    /// Makes a tenant whose schema is empty; `None` where there is one of that name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no name, [`Error::Unavailable`] without a database.
    pub async fn make(&self, name: &str) -> Result<Option<Tenant>, Error> {
        if !is_name(name) {
            let text = format!(
                "{name:?} is no name for a tenant: it has lower case letters, digits and hyphens \
                 inside, {LONGEST_NAME} at most"
            );
            return Err(Error::invalid(IssueCode::Value, text));
        }
        let made = sqlx::query_scalar(MAKE).bind(name).fetch_one(&self.0).await;
        let made: Option<i32> = made.map_err(failure::sqlx_error)?;
        Ok(made.map(Tenant))
    }

    /// The schema of a tenant is whole.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn is_whole(&self, tenant: Tenant) -> Result<(), Error> {
        let done = sqlx::query(READY).bind(tenant.0).execute(&self.0).await;
        done.map(drop).map_err(failure::sqlx_error)
    }

    /// From now on a tenant is served, or not.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn switch(&self, tenant: Tenant, is_disabled: bool) -> Result<(), Error> {
        let done = sqlx::query(SWITCH).bind(tenant.0).bind(is_disabled).execute(&self.0).await;
        done.map(drop).map_err(failure::sqlx_error)
    }

    /// Has the database trust comparisons of numbers and lists, as only its superuser can: else searches
    /// by numbers and events of a patient are read through.
    ///
    /// # Errors
    /// [`Error::Internal`] for any other than the superuser.
    pub async fn trust(&self) -> Result<(), Error> {
        for comparison in COMPARISONS {
            let sql = format!("ALTER FUNCTION pg_catalog.{comparison} LEAKPROOF");
            let done = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&self.0).await;
            done.map_err(failure::sqlx_error)?;
        }
        Ok(())
    }

    /// Ends its connection.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

/// Has the database guard the tables of the tenant of this connection, as their owner.
pub(super) async fn guard(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query(GUARD).execute(pool).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_stand_in_addresses() {
        for (text, expected) in [
            ("north", true),
            ("a", true),
            ("7-north-2", true),
            (&"n".repeat(32), true),
            (&"n".repeat(33), false),
            ("", false),
            ("-north", false),
            ("north-", false),
            ("North", false),
            ("no_rth", false),
            ("no/rth", false),
            ("nörth", false),
        ] {
            assert_eq!(is_name(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_connection_says_whose_it_is_where_there_are_tenants() {
        assert_eq!(Tenant::ONLY.settings(), None);
        let said = Tenant(7).settings().expect("a tenant");
        assert_eq!(said, [("search_path", "kiln_t7".into()), ("kiln.tenant", "7".into())]);
    }
}
