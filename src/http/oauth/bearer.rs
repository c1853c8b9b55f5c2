//! Who asks, by the access token of the request.
//!
//! The token stands in the Authorization header and nowhere else.
//!
//! Spec: RFC 6750, security E1, T11, T12

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use futures_util::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;

use crate::access::{Principal, party_of};
use crate::error::Error;
use crate::fhir::IssueCode;
use crate::http::caller::Authenticator;
use crate::oauth::Authority;
use crate::oauth::bearer::Rejected;
use crate::oauth::limits::ALL;
use crate::oauth::refusal::Refusal;
use crate::oauth::secret;

use super::request::bearer_of;

/// `auth.mode = "smart"`: whoever calls must have a token.
pub struct Bearer(Arc<Authority>);

impl Bearer {
    /// Callers are known by what `authority` says of their tokens.
    pub fn new(authority: Arc<Authority>) -> Self {
        Self(authority)
    }
}

/// One request at work, whose time is charged when it ends.
struct Place {
    authority: Arc<Authority>,
    party: String,
    began: Instant,
    _seats: [Option<OwnedSemaphorePermit>; 2],
}

impl Drop for Place {
    fn drop(&mut self) {
        let (limits, took) = (&self.authority.limits, self.began.elapsed());
        limits.requests.charge(&self.party, took);
        limits.total.charge(ALL, took);
    }
}

/// The token of a request.
///
/// # Errors
/// [`Error::Unauthenticated`] when there is none; [`Error::Invalid`] when there may be two.
fn token(headers: &HeaderMap) -> Result<&str, Error> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let first = all.next().ok_or(Error::Unauthenticated)?;
    if all.next().is_some() {
        return Err(Error::invalid(IssueCode::Invalid, "two Authorization headers"));
    }
    first.to_str().ok().and_then(bearer_of).ok_or(Error::Unauthenticated)
}

impl Authenticator for Bearer {
    fn authenticate<'a>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> BoxFuture<'a, Result<Principal, Error>> {
        Box::pin(async {
            match self.0.bearer(token(headers)?).await {
                Ok(known) => Ok(known.principal.clone()),
                Err(Rejected::Expired) => Err(Error::TokenExpired),
                // What is looked up here is never more than the caller may ask for.
                Err(Rejected::Fault(Error::TimedOut(text) | Error::TooCostly(text))) => {
                    Err(Error::Unavailable(text.into()))
                }
                Err(Rejected::Fault(error)) => Err(error),
                Err(Rejected::Unknown) => Err(Error::TokenUnknown),
            }
        })
    }

    fn admit(&self, principal: &Principal) -> Result<Option<Box<dyn Any + Send>>, Error> {
        let Some(grant) = principal.grant() else { return Ok(None) };
        let party = grant.party();
        let limits = &self.0.limits;
        // Who is over their own limit takes nothing of what is for all.
        if let Err(Refusal::TooMany) = limits.requests.count(&party) {
            return Err(Error::Throttled("you ask too often; try again later".to_owned()));
        }
        let seat = limits.at_a_time.enter(&party)?;
        if let Err(Refusal::TooMany) = limits.total.count(ALL) {
            let text = "too many requests come from all together; try again later";
            return Err(Error::Throttled(text.to_owned()));
        }
        let full = |_| {
            let text = "as many requests are at work as the server takes at a time";
            Error::Throttled(text.to_owned())
        };
        let seats = [seat, limits.total_at_a_time.enter(ALL).map_err(full)?];
        let place =
            Place { authority: self.0.clone(), party, began: Instant::now(), _seats: seats };
        Ok(Some(Box::new(place)))
    }

    fn turn_away(&self, address: Option<IpAddr>) -> Result<(), Error> {
        let party = party_of(address);
        let text =
            "too many requests without a valid token come from your address; try again later";
        let counted = self.0.limits.refusals.count(&party);
        counted.map_err(|_| Error::Throttled(text.to_owned()))
    }

    fn origins(&self, headers: &HeaderMap) -> Option<Vec<String>> {
        let hash = secret::hash(token(headers).ok()?);
        self.0.tokens.get(&hash).map(|known| known.origins.clone())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_stands_in_one_header_of_its_scheme() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            match token(&headers) {
                Ok(token) => token.to_owned(),
                Err(error) => error.to_string(),
            }
        };
        for (values, expected) in [
            (&["Bearer abc"][..], "abc"),
            (&["bearer abc"], "abc"),
            (&["Basic abc"], "missing, unknown or expired credentials"),
            (&["abc"], "missing, unknown or expired credentials"),
            (&[], "missing, unknown or expired credentials"),
            (&["Bearer a", "Bearer a"], "two Authorization headers"),
        ] {
            assert!(read(values).contains(expected), "{values:?}");
        }
    }
}
