//! The channel of a Subscription: whether a notification could be sent through it as it is told.
//!
//! Spec: <https://hl7.org/fhir/R4/subscription.html#channels>, rest 8.2, 8.4, 8.5, 8.6

use crate::fhir::json::Value;
use crate::fhir::{Issue, IssueCode};

/// The forms of a resource that this server writes.
const OF_RESOURCES: [&str; 6] = [
    "application/fhir+json",
    "application/fhir+xml",
    "application/json",
    "application/xml",
    "text/json",
    "text/xml",
];

/// What is wrong with the channel of a Subscription.
pub(super) fn findings(subscription: &Value<'_>) -> Vec<Issue> {
    let Some(channel) = subscription.get("channel") else { return Vec::new() };
    let mut issues = Vec::new();
    let mut wrong = |code, text: &str, element: &str| {
        issues.push(Issue::error_at(code, text, format!("Subscription.channel.{element}")));
    };
    let kind = channel.str_at("type").unwrap_or_default();
    if let Err((code, text)) = endpoint(kind, channel.str_at("endpoint")) {
        wrong(code, text, "endpoint");
    }
    if let Some(text) = channel.str_at("payload").and_then(|payload| no_payload(kind, payload)) {
        wrong(IssueCode::NotSupported, text, "payload");
    }
    for (at, header) in channel.items_at("header").iter().enumerate() {
        if let Some(text) = header.as_str().and_then(header_fault) {
            wrong(IssueCode::Value, text, &format!("header[{at}]"));
        }
    }
    issues
}

/// Checks that the endpoint is one of its kind of channel.
fn endpoint(kind: &str, endpoint: Option<&str>) -> Result<(), (IssueCode, &'static str)> {
    let needed = |text| endpoint.ok_or((IssueCode::Required, text));
    match kind {
        "message" | "rest-hook" => {
            let text = "this channel needs the http or https url to send to";
            let is_url = is_web(needed(text)?);
            if is_url { Ok(()) } else { Err((IssueCode::Value, text)) }
        }
        "email" => {
            let text = "this channel needs an address: mailto:name@host";
            let address = needed(text)?.strip_prefix("mailto:").unwrap_or_default();
            let is_address = address
                .split_once('@')
                .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
            if is_address { Ok(()) } else { Err((IssueCode::Value, text)) }
        }
        "sms" => {
            let text = "this channel needs a number: tel:+41790000000";
            let number = needed(text)?;
            let number = number.strip_prefix("tel:").or_else(|| number.strip_prefix("sms:"));
            let is_number = number.is_some_and(|it| {
                it.chars().any(|it| it.is_ascii_digit())
                    && it.chars().all(|it| it.is_ascii_digit() || "+-.()".contains(it))
            });
            if is_number { Ok(()) } else { Err((IssueCode::Value, text)) }
        }
        // Over a websocket the client comes to the server; others are no kind at all.
        _ => Ok(()),
    }
}

/// Whether a text is the absolute url of a web server, without a user.
fn is_web(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest.filter(|rest| !rest.contains('#')) else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let end = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[end..].find(':') {
        Some(at) => (&authority[..end + at], &authority[end + at + 1..]),
        None => (authority, "80"),
    };
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-._[]:".contains(it);
    !host.is_empty() && host.chars().all(is_plain) && port.parse::<u16>().is_ok()
}

/// Why nothing can be sent in this form, if so.
fn no_payload(kind: &str, payload: &str) -> Option<&'static str> {
    let mut parts = payload.split(';').map(str::trim);
    let form = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_text = matches!(kind, "email" | "sms") && form.starts_with("text/");
    if !is_text && !OF_RESOURCES.contains(&&*form) {
        return Some("a resource is sent as application/fhir+json or application/fhir+xml");
    }
    let mut named = parts.filter_map(|part| part.split_once('='));
    let is_other = |(name, value): (&str, &str)| {
        name.trim().eq_ignore_ascii_case("fhirVersion")
            && !value.trim().trim_matches('"').starts_with("4.0")
    };
    named.any(is_other).then_some("resources are sent in FHIR 4.0 alone")
}

/// Headers that the connection needs for itself, or that say what the server sends.
const NOT_FOR_CLIENTS: [&str; 13] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Why a text is no header that a client may have sent along, if so.
pub(in crate::engine) fn header_fault(text: &str) -> Option<&'static str> {
    if !is_header(text) {
        return Some("a header is a name, a colon and a value, on one line");
    }
    let name = text.split(':').next().unwrap_or_default().to_ascii_lowercase();
    NOT_FOR_CLIENTS.contains(&&*name).then_some("this header is for the server to send")
}

/// Whether a text is one header line.
fn is_header(text: &str) -> bool {
    let Some((name, value)) = text.split_once(':') else { return false };
    let is_token = |it: char| it.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(it);
    !name.is_empty()
        && name.chars().all(is_token)
        && value.chars().all(|it| it == '\t' || !it.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;

    #[test]
    fn a_channel_is_one_that_could_be_used() {
        for (channel, expected) in [
            (r#""type":"rest-hook","endpoint":"https://a.example/x""#, vec![]),
            (r#""type":"rest-hook","endpoint":"http://10.0.0.1:8080/x?y=z""#, vec![]),
            (r#""type":"message","endpoint":"https://a.example/$process-message""#, vec![]),
            (r#""type":"websocket""#, vec![]),
            (r#""type":"email","endpoint":"mailto:a@b.example""#, vec![]),
            (r#""type":"sms","endpoint":"tel:+41-79-000""#, vec![]),
            (r#""type":"rest-hook""#, vec!["required endpoint"]),
            (r#""type":"message""#, vec!["required endpoint"]),
            (r#""type":"email""#, vec!["required endpoint"]),
            (r#""type":"sms""#, vec!["required endpoint"]),
            (r#""type":"rest-hook","endpoint":"mailto:a@b.example""#, vec!["value endpoint"]),
            (r#""type":"rest-hook","endpoint":"https:///x""#, vec!["value endpoint"]),
            (r#""type":"rest-hook","endpoint":"/x""#, vec!["value endpoint"]),
            (r#""type":"rest-hook","endpoint":"https://[2001:db8::1]:8443/x""#, vec![]),
            (
                r#""type":"rest-hook","endpoint":"https://a.example:99999/x""#,
                vec!["value endpoint"],
            ),
            (r#""type":"rest-hook","endpoint":"https://a.example/#x""#, vec!["value endpoint"]),
            (r#""type":"rest-hook","endpoint":"https://a:b@c.example""#, vec!["value endpoint"]),
            (r#""type":"rest-hook","endpoint":"file:///etc/passwd""#, vec!["value endpoint"]),
            (r#""type":"email","endpoint":"https://a.example/x""#, vec!["value endpoint"]),
            (r#""type":"email","endpoint":"mailto:a""#, vec!["value endpoint"]),
            (r#""type":"sms","endpoint":"tel:me""#, vec!["value endpoint"]),
            (r#""type":"websocket","payload":"application/fhir+json""#, vec![]),
            (r#""type":"websocket","payload":"application/fhir+xml; fhirVersion=4.0""#, vec![]),
            (
                r#""type":"websocket","payload":"application/fhir+json;fhirVersion=3.0""#,
                vec!["not-supported payload"],
            ),
            (r#""type":"websocket","payload":"image/png""#, vec!["not-supported payload"]),
            (
                r#""type":"rest-hook","endpoint":"https://a.example","payload":"text/plain""#,
                vec!["not-supported payload"],
            ),
            (r#""type":"email","endpoint":"mailto:a@b.c","payload":"text/plain""#, vec![]),
            (r#""type":"websocket","header":["Authorization: Bearer x","X-A:"]"#, vec![]),
            (
                r#""type":"websocket","header":["x","A b: c","A: b\r\nC: d"]"#,
                vec!["value header[0]", "value header[1]", "value header[2]"],
            ),
            (
                r#""type":"websocket","header":["Host: a","X-Host: a","content-Length: 3"]"#,
                vec!["value header[0]", "value header[2]"],
            ),
        ] {
            let text = format!(r#"{{"resourceType":"Subscription","channel":{{{channel}}}}}"#);
            let value = parse(text.as_bytes()).expect("JSON");
            let told: Vec<_> = findings(&value)
                .iter()
                .map(|it| {
                    let place = it.expression.strip_prefix("Subscription.channel.");
                    format!("{} {}", it.code.as_str(), place.unwrap_or_default())
                })
                .collect();
            assert_eq!(told, expected, "{channel}");
        }
    }
}
