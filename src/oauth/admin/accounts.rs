//! Accounts as an administrator makes, changes and ends them.

use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::access::Caller;
use crate::fhir::{LogicalId, ResourceType};
use crate::oauth::Authority;
use crate::oauth::login::account::{Prepared, folded};
use crate::store::oauth::account::{self, Account, NewAccount};

use super::Fault;

/// What can stand for a person.
const PERSONS: [&str; 5] =
    ["Patient", "Person", "Practitioner", "PractitionerRole", "RelatedPerson"];

/// An account to be.
#[derive(Debug)]
pub struct NewPerson {
    /// What its person types to log in.
    pub name: String,
    /// Names of roles.
    pub roles: Vec<String>,
    /// The resource that stands for the person.
    pub fhir_user: Option<String>,
    /// Without one, its person chooses one by a link.
    pub password: Option<SecretString>,
}

impl Authority {
    /// Adds an account; without a password also the address where its person chooses one, once, within
    /// a day.
    ///
    /// # Errors
    /// Each [`Fault`]; so in all functions of this module.
    pub async fn admit_person(
        &self,
        new: NewPerson,
        by: &Caller,
    ) -> Result<(Account, Option<SecretString>), Fault> {
        let done = self.try_admit_person(new, by).await;
        self.acted(by, done).await
    }

    async fn try_admit_person(
        &self,
        new: NewPerson,
        by: &Caller,
    ) -> Result<(Account, Option<SecretString>), Fault> {
        self.check_roles(&new.roles)?;
        if let Some(user) = &new.fhir_user {
            check_user(user)?;
        }
        let has_password = new.password.is_some();
        let Prepared { folded, hash } = self.prepared(&new.name, new.password).await?;
        let taken = || Fault::Taken(format!("there is an account {} already", new.name));
        if account::by_name(&self.store, &folded).await?.is_some() {
            return Err(taken());
        }
        self.act(by, &new.name).await?;
        let id = self.ids.ordered();
        let row = NewAccount {
            id,
            name: &new.name,
            folded: &folded,
            password: hash.as_deref(),
            fhir_user: new.fhir_user.as_deref(),
            roles: &new.roles,
        };
        if !account::add(&self.store, row, self.clock.now()).await? {
            return Err(taken());
        }
        let link = if has_password { None } else { Some(self.setup_address(Some(id)).await?) };
        let (name, roles, fhir_user) = (new.name, new.roles, new.fhir_user);
        let (is_disabled, has_factor) = (false, false);
        let made = Account { id, name, password: hash, fhir_user, roles, is_disabled, has_factor };
        Ok((made, link))
    }

    fn check_roles(&self, roles: &[String]) -> Result<(), Fault> {
        let known = &self.persons.roles;
        let Some(unknown) = roles.iter().find(|role| known.get(role).is_none()) else {
            return Ok(());
        };
        let names: Vec<&str> = known.names().collect();
        let text = format!("there is no role {unknown}; there are {}", names.join(", "));
        Err(Fault::Invalid(text))
    }

    /// All accounts.
    pub async fn list_people(&self, by: &Caller) -> Result<Vec<Account>, Fault> {
        self.act(by, "users").await?;
        Ok(account::all(&self.store).await?)
    }

    /// The account of a name.
    pub async fn show_person(&self, name: &str, by: &Caller) -> Result<Account, Fault> {
        let found = self.person(name).await;
        let found = self.acted(by, found).await?;
        self.act(by, name).await?;
        Ok(found)
    }

    async fn person(&self, name: &str) -> Result<Account, Fault> {
        let found = match folded(name) {
            Some(folded) => account::by_name(&self.store, &folded).await?,
            None => None,
        };
        found.ok_or_else(|| Fault::Missing(format!("there is no user {name}")))
    }

    /// The account of a name, about which an act is on record from now on.
    async fn person_to(&self, name: &str, about: &str, by: &Caller) -> Result<Account, Fault> {
        let found = self.person(name).await;
        let found = self.acted(by, found).await?;
        self.act(by, about).await?;
        Ok(found)
    }

    /// Keeps an account from logging in: its sessions and tokens end within seconds.
    pub async fn disable_person(&self, name: &str, by: &Caller) -> Result<Account, Fault> {
        let found = self.person_to(name, name, by).await?;
        let now = self.clock.now();
        account::disable(&self.store, found.id, now).await?;
        self.end_access(found.id, "the account was disabled", now).await?;
        Ok(Account { is_disabled: true, ..found })
    }

    /// Lets an account log in again.
    pub async fn enable_person(&self, name: &str, by: &Caller) -> Result<Account, Fault> {
        let found = self.person_to(name, name, by).await?;
        account::enable(&self.store, found.id).await?;
        Ok(Account { is_disabled: false, ..found })
    }

    /// Lets a user of the outside provider log in as an account; its issuer.
    pub async fn link_person(
        &self,
        name: &str,
        subject: &str,
        by: &Caller,
    ) -> Result<String, Fault> {
        let issuer = self.provider.as_ref().map(|provider| provider.issuer().to_owned());
        let issuer = issuer.ok_or_else(|| Fault::Invalid("`upstream.issuer` is not set".into()));
        let issuer = self.acted(by, issuer).await?;
        let is_fit = (1..=255).contains(&subject.len()) && !subject.chars().any(char::is_control);
        if !is_fit {
            let fault = Fault::Invalid("a subject has 1 to 255 characters".to_owned());
            return self.acted(by, Err(fault)).await;
        }
        let found = self.person_to(name, &format!("{name}: {issuer}"), by).await?;
        account::identify(&self.store, &issuer, subject, found.id).await?;
        Ok(issuer)
    }

    /// Voids the password, the second factors and all access of an account; the address where its
    /// person chooses a new password, once, within a day.
    pub async fn reset_person(&self, name: &str, by: &Caller) -> Result<SecretString, Fault> {
        let found = self.person_to(name, name, by).await?;
        self.reset_account(found.id).await?;
        Ok(self.setup_address(Some(found.id)).await?)
    }

    /// Sets what an account may do; its access ends.
    pub async fn give_roles(
        &self,
        name: &str,
        roles: Vec<String>,
        by: &Caller,
    ) -> Result<Account, Fault> {
        let checked = self.check_roles(&roles);
        self.acted(by, checked).await?;
        let about = format!("{name}: {}", roles.join(" "));
        let found = self.person_to(name, &about, by).await?;
        account::set_roles(&self.store, found.id, &roles).await?;
        self.end_access(found.id, "the roles were changed", self.clock.now()).await?;
        Ok(Account { roles, ..found })
    }

    /// Makes a link, and gives the address of the page that it opens.
    pub async fn setup_address(
        &self,
        account: Option<Uuid>,
    ) -> Result<SecretString, crate::error::Error> {
        let link = self.make_link(account).await?;
        let issuer = &self.settings.issuer;
        Ok(SecretString::from(format!("{issuer}/setup/{}", link.expose_secret())))
    }
}

/// Whether the text names a resource that can stand for a person.
fn check_user(text: &str) -> Result<(), Fault> {
    let is_fit = text.split_once('/').is_some_and(|(of, id)| {
        let is_known = of.parse::<ResourceType>().is_ok() && id.parse::<LogicalId>().is_ok();
        PERSONS.contains(&of) && is_known
    });
    if is_fit {
        return Ok(());
    }
    Err(Fault::Invalid(format!("{text} is none of {}/1", PERSONS.join("/1, "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_a_resource_of_few_types() {
        for (text, expected) in [
            ("Practitioner/ada", true),
            ("Patient/p1", true),
            ("Observation/1", false),
            ("Patient", false),
            ("Patient/", false),
            ("Patient/a/b", false),
            ("Nobody/1", false),
        ] {
            assert_eq!(check_user(text).is_ok(), expected, "{text}");
        }
    }
}
