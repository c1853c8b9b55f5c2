//! Users as events name them, and who is asked for by that.
//!
//! A user of this server goes by the name here; one of an outside authorization server by its issuer and what that
//! calls the user, as BALP has it (`iss` and `sub`).
//!
//! Spec: <https://profiles.ihe.net/ITI/BALP/StructureDefinition-IHE.BasicAudit.OAUTHaccessTokenUse.Comprehensive.html>

use serde_json::{Value, json};

use crate::access::grant::User;
use crate::search::request::compare::{AskedToken, Part};

use super::asked::some;
use super::balp::Entry;
use super::query::{Condition, Reader};

impl Entry {
    /// The name of the user, when the party is one.
    pub(super) fn user(&self) -> Option<&str> {
        self.actor.strip_prefix("user:")
    }

    /// A user by who vouches for the name, and by the resource that stands for the user.
    pub(super) fn who(&self, name: &str, base: &str) -> Value {
        let (system, value) = User::of_outside(name).unwrap_or((base, name));
        let mut who = json!({ "identifier": { "system": system, "value": value } });
        if let Some(person) = &self.person {
            who["reference"] = json!(person);
        }
        who
    }
}

impl Reader<'_> {
    /// Users by the identifier of who they are. Those of outside servers are found by their issuer alone or with
    /// it: no index knows them by what is behind it.
    pub(super) fn user(&self, asked: &AskedToken) -> Condition {
        let is_own = |name: &String| User::of_outside(name).is_none();
        let names: Vec<String> = match asked {
            AskedToken::Code(codes) => {
                codes.iter().map(|it| it.text.to_string()).filter(is_own).collect()
            }
            AskedToken::Coded { system, code } if **system == *self.base => {
                Some(code.text.to_string()).filter(is_own).into_iter().collect()
            }
            AskedToken::Coded { system, code } => {
                let name = User::outside_name(system, &code.text);
                let is_of_system =
                    User::of_outside(&name).is_some_and(|(issuer, _)| *issuer == **system);
                Some(name).filter(|_| is_of_system).into_iter().collect()
            }
            AskedToken::System(system) if **system == *self.base => {
                let outside = named(Part::Any, User::OUTSIDE);
                let own = Condition::Not(Box::new(outside));
                return Condition::All(vec![named(Part::Start, ""), own]);
            }
            AskedToken::System(system)
                if system.contains(User::OUTSIDE) && !system.contains('#') =>
            {
                return named(Part::Start, &User::outside_name(system, ""));
            }
            _ => Vec::new(),
        };
        some(names.iter().map(|name| format!("user:{name}")).collect(), Condition::Actor)
    }
}

fn named(part: Part, text: &str) -> Condition {
    Condition::Name { part, text: text.to_owned(), is_exact: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_an_issuer_is_of_an_outside_user() {
        for (name, expected) in [
            ("https://i.example#ada", Some(("https://i.example", "ada"))),
            ("https://i.example#a#b", Some(("https://i.example", "a#b"))),
            ("https://i.example", None),
            ("ada#1", None),
            ("ada", None),
        ] {
            assert_eq!(User::of_outside(name), expected, "{name}");
        }
        let name = User::outside_name("https://i.example", "a#b");
        assert_eq!(User::of_outside(&name), Some(("https://i.example", "a#b")));
    }
}
