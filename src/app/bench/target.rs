//! The server under load: its address and the parts of a request that never change.

use std::fmt::Write as _;

/// A FHIR base over plain HTTP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Target {
    /// `host:port` to connect to.
    pub(super) address: String,
    /// Path of the base without a slash at its end.
    pub(super) path: String,
    /// Header lines sent with every request, each with its line end.
    pub(super) headers: String,
    /// What bodies are.
    pub(super) content_type: &'static str,
}

impl Target {
    /// Reads `http://host[:port][/path]`.
    ///
    /// # Errors
    /// A sentence for the user.
    pub(super) fn parse(base: &str, headers: &[String]) -> Result<Self, String> {
        let rest = base
            .strip_prefix("http://")
            .ok_or_else(|| format!("--base {base}: only http:// can be measured"))?;
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if host.is_empty() || (host.contains(':') && !has_port && !host.ends_with(']')) {
            return Err(format!("--base {base}: no host"));
        }
        let address = if has_port { host.to_owned() } else { format!("{host}:80") };
        let mut lines = format!("Host: {host}\r\nAccept: application/fhir+json\r\n");
        for header in headers {
            let (name, value) =
                header.split_once(':').ok_or_else(|| format!("--header {header}: no colon"))?;
            if header.contains(['\r', '\n']) {
                return Err("--header: more than one line".to_owned());
            }
            // Writing to a String cannot fail.
            let _ = write!(lines, "{}: {}\r\n", name.trim(), value.trim());
        }
        let path = path.trim_end_matches('/').to_owned();
        Ok(Self { address, path, headers: lines, content_type: "application/fhir+json" })
    }

    /// The same with one more header line.
    pub(super) fn with(&self, header: &str) -> Self {
        Self { headers: format!("{}{header}\r\n", self.headers), ..self.clone() }
    }

    pub(super) fn port(&self) -> u16 {
        let port = self.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.unwrap_or(80)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_host_port_and_path() {
        for (base, expected) in [
            ("http://127.0.0.1:8080/fhir", Some(("127.0.0.1:8080", "/fhir", 8080))),
            ("http://x/", Some(("x:80", "", 80))),
            ("http://[::1]:81/a/b/", Some(("[::1]:81", "/a/b", 81))),
            ("http://[::1]", Some(("[::1]:80", "", 80))),
            ("https://x/fhir", None),
            ("http://", None),
            ("http://x:y/", None),
        ] {
            let found = Target::parse(base, &[]).ok();
            let found =
                found.as_ref().map(|target| (&*target.address, &*target.path, target.port()));
            assert_eq!(found, expected, "{base}");
        }
        let with = Target::parse("http://x", &["A:  b".to_owned()]).unwrap();
        assert!(with.headers.ends_with("\r\nA: b\r\n"));
        assert!(Target::parse("http://x", &["no".to_owned()]).is_err());
    }
}
