//! Why the authorization server does not do what it is asked, in the words of OAuth.
//!
//! Spec: RFC 6749 sections 4.1.2.1 and 5.2, RFC 7591 section 3.2.2

use std::borrow::Cow;

use crate::error::Error;

macro_rules! codes {
    ($($variant:ident $text:literal,)*) => {
        /// The code of an error, as clients read it.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Code {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl Code {
            /// As it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

codes! {
    AccessDenied "access_denied",
    InvalidClient "invalid_client",
    InvalidClientMetadata "invalid_client_metadata",
    InvalidGrant "invalid_grant",
    InvalidRedirectUri "invalid_redirect_uri",
    InvalidRequest "invalid_request",
    InvalidScope "invalid_scope",
    InvalidToken "invalid_token",
    LoginRequired "login_required",
    ServerError "server_error",
    TemporarilyUnavailable "temporarily_unavailable",
    UnauthorizedClient "unauthorized_client",
    UnsupportedGrantType "unsupported_grant_type",
    UnsupportedResponseType "unsupported_response_type",
}

/// Why something was not done.
#[derive(Debug)]
pub enum Refusal {
    /// Our fault, or the database's.
    Fault(Error),
    /// Against the protocol, or not allowed.
    Protocol {
        /// The code.
        code: Code,
        /// For the developer of the client. Holds nothing secret, and nothing of what was sent.
        text: Cow<'static, str>,
    },
    /// The body is larger than is read.
    TooLarge,
    /// Asked too often.
    TooMany,
}

impl Refusal {
    /// A refusal by the protocol.
    pub fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self::Protocol { code, text: text.into() }
    }

    /// `invalid_client`
    pub fn client(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidClient, text)
    }

    /// `invalid_grant`
    pub fn grant(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidGrant, text)
    }

    /// `invalid_request`
    pub fn request(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, text)
    }

    /// `invalid_scope`
    pub fn scope(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidScope, text)
    }

    /// The code, as far as there is one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Protocol { code, .. } => Some(*code),
            Self::Fault(_) | Self::TooLarge | Self::TooMany => None,
        }
    }

    /// What the ledger keeps of it.
    pub fn told(&self) -> String {
        match self {
            Self::Fault(error) => error.to_string(),
            Self::Protocol { code, text } => format!("{}: {text}", code.as_str()),
            Self::TooLarge => "the request is too large".to_owned(),
            Self::TooMany => "asked too often".to_owned(),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Fault(error)
    }
}
