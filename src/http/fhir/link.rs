//! The links of a page: a URL of this server with parameters that read back as they were.
//!
//! Spec: rest 4.195

/// Room for the parameters of most links.
const ROOM: usize = 256;

/// `base`, `path` below it and the parameters.
pub(super) fn url<'p>(
    base: &str,
    path: &str,
    parameters: impl IntoIterator<Item = (&'p str, &'p str)>,
) -> String {
    let mut text = String::with_capacity(base.len() + path.len() + ROOM);
    text.push_str(base);
    if !path.is_empty() {
        text.push('/');
        text.push_str(path);
    }
    for (at, (name, value)) in parameters.into_iter().enumerate() {
        text.push(if at == 0 { '?' } else { '&' });
        encode(name, &mut text);
        text.push('=');
        encode(value, &mut text);
    }
    text
}

/// Appends `value` so that it stands for itself in a query.
fn encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:,/*".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value & 15)]);
            out.extend(['%', digit(byte >> 4), digit(byte)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::fhir::query::Query;

    use super::*;

    #[test]
    fn a_link_reads_back_as_the_parameters_it_was_made_of() {
        for parameters in [
            vec![],
            vec![("name:exact", "Müller & Co+1=2")],
            vec![("code", r"http://loinc.org|a\,b,c"), ("_sort", "-date"), ("_sort", "_id")],
            vec![("_has:Observation:patient:code", "x%y"), ("_include", "*:*"), ("d", "a b#?")],
        ] {
            let text = url("http://a/fhir", "Patient", parameters.iter().copied());
            let query = text.split_once('?').map_or("", |(_, query)| query);
            let read = Query::parse(query).expect("query");
            assert_eq!(read.iter().collect::<Vec<_>>(), parameters, "{text}");
        }
        assert_eq!(url("http://a/fhir", "", [("_type", "A,B")]), "http://a/fhir?_type=A,B");
    }
}
