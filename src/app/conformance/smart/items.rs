//! The numbering of the checks: what public test kits assert of SMART servers, an item each.
//!
//! `I0.1` is the SMART App Launch kit, `I0.2` what the kit of (g)(10) adds, `I0.3` that of bulk data.

/// Id and short name of each item, in order.
pub(super) const ITEMS: &[(&str, &str)] = &[
    ("I0.1.1", "SMART configuration answers"),
    ("I0.1.2", "SMART configuration: fields and their types"),
    ("I0.1.3", "SMART configuration: grant, PKCE methods, issuer"),
    ("I0.1.4", "CORS of public documents"),
    ("I0.1.5", "Standalone launch: authorization and code"),
    ("I0.1.6", "Standalone launch: client authentication and token response"),
    ("I0.1.7", "Standalone launch: context, headers, CORS"),
    ("I0.1.8", "EHR launch"),
    ("I0.1.9", "OpenID Connect: configuration"),
    ("I0.1.10", "OpenID Connect: keys and id_token"),
    ("I0.1.11", "OpenID Connect: fhirUser"),
    ("I0.1.12", "Refresh"),
    ("I0.1.13", "Backend services"),
    ("I0.1.14", "Introspection"),
    ("I0.1.15", "User-access brands"),
    ("I0.2.1", "Required capabilities"),
    ("I0.2.2", "Granted scopes"),
    ("I0.2.3", "Patient and encounter in context, no token"),
    ("I0.2.4", "EHR launch: style, banner, POST authorize"),
    ("I0.2.5", "Unrestricted and limited access by type"),
    ("I0.2.6", "Choice of sub-categories at consent"),
    ("I0.2.7", "SMART v1 scopes"),
    ("I0.2.8", "Wrong audience, code, client and PKCE verifier"),
    ("I0.2.9", "Wrong refresh token"),
    ("I0.2.10", "Revocation"),
    ("I0.2.11", "Granular scopes restrict search and read"),
    ("I0.2.12", "SMART configuration: scopes and introspection"),
    ("I0.2.13", "Multi-patient authorization"),
    ("I0.3.1", "Bulk data export"),
];
