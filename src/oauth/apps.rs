//! The apps that a person let in: seeing them, and ending what they may do.

use crate::access::Outcome;
use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::Instant;
use crate::store::oauth::{client, decision, grant};

use super::Authority;
use super::login::{Account, Visitor};

/// An app that may do something.
pub struct App {
    /// Its id.
    pub client: String,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Since when.
    pub since: Instant,
    /// When it last did.
    pub used: Instant,
    /// Whether it may go on when the person has logged out.
    pub is_offline: bool,
}

impl Authority {
    /// The apps that may do something for an account, by name.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database; so in all functions of this module.
    pub async fn apps(&self, account: &Account) -> Result<Vec<App>, Error> {
        let mut apps: Vec<App> = Vec::new();
        for (granted, used) in grant::of_account(&self.store, account.id).await? {
            let it = granted.grant;
            let scopes = it.scopes.split(' ').map(str::to_owned);
            if let Some(known) = apps.iter_mut().find(|app| app.client == it.client) {
                known.used = known.used.max(used);
                known.since = known.since.min(it.created);
                known.is_offline |= it.is_offline;
                for scope in scopes {
                    if !known.scopes.contains(&scope) {
                        known.scopes.push(scope);
                    }
                }
                continue;
            }
            let client = client::find(&self.store, &it.client).await?;
            let name = client.map_or_else(|| it.client.clone(), |client| client.name);
            apps.push(App {
                name,
                scopes: scopes.collect(),
                since: it.created,
                used,
                is_offline: it.is_offline,
                client: it.client,
            });
        }
        apps.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(apps)
    }

    /// Ends whatever an app may do for an account; it has to be agreed to anew.
    pub async fn revoke_app(
        &self,
        account: &Account,
        client: &str,
        visitor: &Visitor,
    ) -> Result<u64, Error> {
        let now = self.clock.now();
        let why = "the user ended it";
        let store = &self.store;
        let ended =
            grant::end_grants_of_client_and_account(store, client, account.id, why, now).await?;
        decision::withdraw(store, account.id, client, now).await?;
        let client: String = client.chars().take(200).collect();
        let actor = visitor.actor(account);
        self.gate.note(Kind::Revoke, &actor, Outcome::Success, &client).await?;
        Ok(ended)
    }

    /// The account of a name, as long as it is not disabled.
    pub async fn account_named(&self, name: &str) -> Result<Option<Account>, Error> {
        let Some(folded) = super::login::account::folded(name) else { return Ok(None) };
        let found = crate::store::oauth::account::by_name(&self.store, &folded).await?;
        Ok(found.filter(|account| !account.is_disabled))
    }
}
