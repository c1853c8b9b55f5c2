//! Where clients may have the server send things, as far as an address itself tells.
//!
//! What its name leads to is judged when it is called; here is refused what nobody needs to look up: other
//! schemes, addresses that are not public in whatever notation, and, where the operator has listed some,
//! what is not among them.

use std::net::{IpAddr, Ipv4Addr};

use crate::config::Network;

use super::Target;
use super::reach::Reach;

/// What may be named.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    networks: Vec<Network>,
    listed: Vec<String>,
}

impl Endpoints {
    /// Public addresses and those of `networks`; below one of `listed`, if there are any.
    pub fn new(networks: Vec<Network>, listed: Vec<String>) -> Self {
        Self { networks, listed }
    }

    /// Why nothing may be sent to an address, if so.
    pub fn refusal(&self, url: &str) -> Option<String> {
        let target = match Target::parse(url) {
            Ok(target) => target,
            Err(error) => return Some(error.to_string()),
        };
        if !self.may_be_called(&target) {
            let host = target.host;
            return Some(if target.is_secure {
                format!("{host} is not public, nor on the list of networks of this server")
            } else {
                format!(
                    "{host} is called with TLS alone (https), unless it is this machine and on the list of networks"
                )
            });
        }
        let is_listed = self.listed.is_empty()
            || self
                .listed
                .iter()
                .any(|place| Target::parse(place).is_ok_and(|place| is_below(&target, &place)));
        (!is_listed).then(|| format!("{} is not on the list of this server", target.host))
    }

    fn may_be_called(&self, target: &Target) -> bool {
        let host = target.host.trim_end_matches('.').to_ascii_lowercase();
        let is_local = host == "localhost" || host.ends_with(".localhost");
        let address = if is_local {
            Some(IpAddr::V4(Ipv4Addr::LOCALHOST))
        } else {
            target.host.parse::<IpAddr>().ok()
        };
        match address {
            Some(address) => Reach::new(self.networks.clone()).allows(address, target.is_secure),
            // A number in another notation is an address to those who look it up.
            None => target.is_secure && !ends_in_number(&host),
        }
    }
}

/// Whether the last part of a name is a number, so that it is an address or nothing.
fn ends_in_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_hexadecimal = last
        .strip_prefix("0x")
        .is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    is_hexadecimal || (!last.is_empty() && last.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Whether a request to `target` goes to the same server as `place`, and to its path or below.
fn is_below(target: &Target, place: &Target) -> bool {
    let is_same_server = target.is_secure == place.is_secure
        && target.host.eq_ignore_ascii_case(&place.host)
        && target.port == place.port;
    let root = place.path.trim_end_matches('/');
    if !is_same_server || root.is_empty() {
        return is_same_server;
    }
    let path = target.path.split('?').next().unwrap_or_default();
    // Steps up would lead out of it.
    let is_step =
        |part: &str| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    let rest = path.strip_prefix(root);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        && !path.split('/').any(is_step)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: security V28.
    #[test]
    fn addresses_of_the_inside_are_refused_in_whatever_notation() {
        let open = Endpoints::default();
        for (url, is_fit) in [
            ("https://hook.example.org/x", true),
            ("https://1.1.1.1/x", true),
            ("https://[2606:4700::1]:8443/x", true),
            ("http://hook.example.org/x", false),
            ("http://169.254.169.254/latest/meta-data", false),
            ("https://169.254.169.254/latest/meta-data", false),
            ("https://127.0.0.1/x", false),
            ("https://127.1/x", false),
            ("https://2130706433/x", false),
            ("https://0x7f000001/x", false),
            ("https://0x7f.0.0.1/x", false),
            ("https://0177.0.0.1/x", false),
            ("https://10.1.2.3/x", false),
            ("https://192.168.1.1/x", false),
            ("https://[::1]/x", false),
            ("https://[::ffff:127.0.0.1]/x", false),
            ("https://[fd00::1]/x", false),
            ("https://[fe80::1]/x", false),
            ("https://localhost/x", false),
            ("https://LOCALHOST./x", false),
            ("https://a.localhost/x", false),
            ("https://user:word@hook.example.org/", false),
            ("ftp://hook.example.org/", false),
            ("file:///etc/passwd", false),
            ("hook.example.org", false),
            ("adfdf", false),
            ("", false),
        ] {
            assert_eq!(open.refusal(url).is_none(), is_fit, "{url}");
        }
        // What is wrong is said.
        for (url, text) in [
            ("http://hook.example.org/x", "hook.example.org is called with TLS alone (https), "),
            ("https://10.1.2.3/x", "10.1.2.3 is not public, "),
        ] {
            assert!(open.refusal(url).is_some_and(|told| told.starts_with(text)), "{url}");
        }
        let inside = Endpoints::new(vec!["127.0.0.1".parse().unwrap()], Vec::new());
        for (url, is_fit) in [
            ("http://127.0.0.1:8080/x", true),
            ("http://localhost:8080/x", true),
            ("https://127.0.0.1/x", true),
            ("http://127.0.0.2/x", false),
            ("https://10.0.0.1/x", false),
        ] {
            assert_eq!(inside.refusal(url).is_none(), is_fit, "{url}");
        }
    }

    #[test]
    fn a_list_of_places_leaves_nothing_else() {
        let listed = ["https://hook.example.org/fhir/", "https://other.example.org:8443"];
        let listed = Endpoints::new(Vec::new(), listed.map(str::to_owned).to_vec());
        for (url, is_fit) in [
            ("https://hook.example.org/fhir", true),
            ("https://HOOK.example.org/fhir/a?b=c", true),
            ("https://hook.example.org:443/fhir/a", true),
            ("https://hook.example.org/fhirs", false),
            ("https://hook.example.org/", false),
            ("https://hook.example.org/fhir/../admin", false),
            ("https://hook.example.org/fhir/%2e%2E/admin", false),
            ("https://hook.example.org:8443/fhir", false),
            ("https://hook.example.org.evil.example/fhir", false),
            ("https://other.example.org:8443/", true),
            ("https://other.example.org:8443/any/x", true),
            ("https://other.example.org/", false),
        ] {
            assert_eq!(listed.refusal(url).is_none(), is_fit, "{url}");
        }
    }
}
