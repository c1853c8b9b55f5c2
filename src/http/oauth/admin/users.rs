//! `/admin/users`

use axum::http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::oauth::admin::accounts::NewPerson;
use crate::oauth::login::Account;

use super::desk::{Desk, Done};

/// An account as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    name: String,
    #[serde(default)]
    roles: Vec<String>,
    fhir_user: Option<String>,
    password: Option<SecretString>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SentRoles {
    roles: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SentIdentity {
    subject: String,
}

/// `GET /admin/users`
pub(super) async fn list(desk: Desk) -> Done {
    let all = desk.authority.list_people(&desk.by).await?;
    Ok((StatusCode::OK, json!({ "users": all.iter().map(told).collect::<Vec<_>>() })))
}

/// `POST /admin/users`
pub(super) async fn add(mut desk: Desk) -> Done {
    let Sent { name, roles, fhir_user, password } = desk.json().await?;
    let new = NewPerson { name, roles, fhir_user, password };
    let (made, link) = desk.authority.admit_person(new, &desk.by).await?;
    let mut all = told(&made);
    if let Some(link) = link {
        all["setup_link"] = json!(link.expose_secret());
    }
    Ok((StatusCode::CREATED, all))
}

/// `GET /admin/users/{name}`
pub(super) async fn show(desk: Desk) -> Done {
    Ok((StatusCode::OK, told(&desk.authority.show_person(&desk.name(), &desk.by).await?)))
}

/// `POST /admin/users/{name}/disable`
pub(super) async fn disable(desk: Desk) -> Done {
    Ok((StatusCode::OK, told(&desk.authority.disable_person(&desk.name(), &desk.by).await?)))
}

/// `POST /admin/users/{name}/enable`
pub(super) async fn enable(desk: Desk) -> Done {
    Ok((StatusCode::OK, told(&desk.authority.enable_person(&desk.name(), &desk.by).await?)))
}

/// `POST /admin/users/{name}/identity`
pub(super) async fn identify(mut desk: Desk) -> Done {
    let SentIdentity { subject } = desk.json().await?;
    let issuer = desk.authority.link_person(&desk.name(), &subject, &desk.by).await?;
    Ok((StatusCode::OK, json!({ "name": desk.name(), "issuer": issuer, "subject": subject })))
}

/// `POST /admin/users/{name}/reset`
pub(super) async fn reset(desk: Desk) -> Done {
    let link = desk.authority.reset_person(&desk.name(), &desk.by).await?;
    let told = json!({ "name": desk.name(), "setup_link": link.expose_secret() });
    Ok((StatusCode::OK, told))
}

/// `PUT /admin/users/{name}/roles`
pub(super) async fn give_roles(mut desk: Desk) -> Done {
    let SentRoles { roles } = desk.json().await?;
    let given = desk.authority.give_roles(&desk.name(), roles, &desk.by).await?;
    Ok((StatusCode::OK, told(&given)))
}

/// An account as it is told: whether it has a password, not which.
fn told(account: &Account) -> Value {
    json!({
        "name": account.name,
        "fhir_user": account.fhir_user,
        "roles": account.roles,
        "disabled": account.is_disabled,
        "has_password": account.password.is_some(),
        "has_second_factor": account.has_factor,
    })
}
