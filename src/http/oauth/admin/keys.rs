//! `/admin/keys`

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::desk::{Desk, Done};

/// `GET /admin/keys`
pub(super) async fn list(desk: Desk) -> Done {
    let (keys, own) = desk.authority.list_keys(&desk.by).await?;
    let told = keys.iter().map(|key| {
        json!({
            "kid": key.id,
            "created": key.created.to_string(),
            "retired_at": key.retired_at.map(|at| at.to_string()),
            "signs_here": key.id == own,
        })
    });
    Ok((StatusCode::OK, json!({ "keys": told.collect::<Vec<Value>>() })))
}

/// `POST /admin/keys`
pub(super) async fn rotate(desk: Desk) -> Done {
    let id = desk.authority.rotate_key(&desk.by).await?;
    Ok((StatusCode::CREATED, json!({ "kid": id })))
}
