//! Who does something about erasures: a person with an account, who proves it at the command.

use std::error::Error;
use std::io::Read as _;
use std::sync::Arc;

use clap::Args;
use secrecy::SecretString;

use crate::access::interaction::Kind;
use crate::access::roles::ERASURE;
use crate::access::{Actor, Outcome, RequestContext};
use crate::oauth::Authority;
use crate::oauth::login::account::{Account, LoggedIn};
use crate::oauth::login::factor::{Proof, Proved};
use crate::oauth::login::session::{Browser, Stage, Visitor};

/// Longest text that is read from the standard input.
const LONGEST: u64 = 4_096;

/// Who does it.
#[derive(Args, Debug)]
pub(in crate::app) struct By {
    /// The account of who does it, with the role `privacy`. Its password is read from the standard input, and from
    /// the next line a code of its second factor.
    #[arg(long = "by", value_name = "NAME")]
    name: String,
}

/// A person who has proved who it is, and may.
pub(super) struct Officer {
    /// The name of the account.
    pub(super) name: String,
    /// For the ledger.
    pub(super) actor: Actor,
}

impl By {
    /// Lets the person prove it.
    pub(super) async fn proven(
        &self,
        authority: &Authority,
        command: &str,
    ) -> Result<Officer, Box<dyn Error>> {
        let request = RequestContext {
            id: authority.ids.ordered().to_string(),
            method: "OTHER",
            path_and_query: format!("kiln {command}"),
            source: None,
        };
        let visitor = Visitor(Arc::new(request));
        let account = self.logged_in(authority, &visitor).await?;
        let actor = visitor.actor(&account);
        let known = authority.persons.roles.get(ERASURE).is_some();
        if !known || !account.roles.iter().any(|role| role == ERASURE) {
            let text = format!("{command}: the account has not the role {ERASURE}");
            authority.gate.note(Kind::Admin, &actor, Outcome::Refused, &text).await?;
            return Err(format!("{} has not the role `{ERASURE}`", account.name).into());
        }
        Ok(Officer { name: account.name, actor })
    }

    async fn logged_in(
        &self,
        authority: &Authority,
        visitor: &Visitor,
    ) -> Result<Account, Box<dyn Error>> {
        let mut text = String::new();
        std::io::stdin().take(LONGEST).read_to_string(&mut text)?;
        let mut lines = text.lines();
        let password = SecretString::from(lines.next().unwrap_or_default().to_owned());
        let code = lines.next().map(str::trim).filter(|code| !code.is_empty());
        let browser = match authority.log_in(&self.name, password, None, visitor).await? {
            LoggedIn::Done(browser) => *browser,
            LoggedIn::Wait(seconds) => return Err(wait(seconds)),
            LoggedIn::Wrong => return Err("wrong name or password".into()),
        };
        let whole = proved(browser, code, authority, visitor).await?;
        // Nothing is left that could be used again.
        authority.log_out(&whole, visitor).await?;
        whole.account.ok_or_else(|| "nobody has logged in".into())
    }
}

/// The same where a second factor is asked for.
async fn proved(
    browser: Browser,
    code: Option<&str>,
    authority: &Authority,
    visitor: &Visitor,
) -> Result<Browser, Box<dyn Error>> {
    let account = match browser.stage() {
        Stage::Half(account) => account.clone(),
        Stage::Nobody | Stage::Whole(_) => return Ok(browser),
    };
    let Some(code) = code else {
        authority.log_out(&browser, visitor).await?;
        return Err("a second factor is needed: its code goes into the second line".into());
    };
    match authority.prove(&browser, &account, Proof::Code(code), visitor).await? {
        Proved::Done(whole) => Ok(*whole),
        Proved::Wait(seconds) => Err(wait(seconds)),
        Proved::Wrong => Err("the code of the second factor is wrong".into()),
    }
}

fn wait(seconds: i64) -> Box<dyn Error> {
    format!("too many failures: try again in {seconds} seconds").into()
}
