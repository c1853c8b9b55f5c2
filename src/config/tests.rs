use std::path::Path;

use super::*;

pub(super) fn with(flags: &[(&str, &str)]) -> Config {
    let flags: Vec<_> =
        flags.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
    source::load(None, Vec::new(), &flags).unwrap()
}

#[test]
fn the_example_file_is_what_the_doc_comments_say() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kiln.toml");
    #[expect(clippy::disallowed_methods, reason = "asked by a person at the test, no setting")]
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    if update {
        std::fs::write(&file, Config::example()).unwrap();
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, Config::example(), "run UPDATE_GOLDEN=1 cargo test --lib config");
}

#[test]
fn the_example_file_read_back_gives_the_defaults() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kiln.toml");
    let read = source::load(Some(&file), Vec::new(), &[]).unwrap();
    assert_eq!(format!("{read:?}"), format!("{:?}", with(&[])));
}

#[test]
fn the_digest_tells_each_change_and_nothing_of_secrets() {
    let url = |secret: &str| ("database.url", format!("postgres://u:{secret}@h/d"));
    let of = |flags: &[(&str, String)]| {
        let flags: Vec<_> = flags.iter().map(|(key, text)| (*key, text.as_str())).collect();
        with(&flags).digest()
    };
    let kept = of(&[url("a")]);
    assert_eq!(kept, of(&[url("a")]));
    assert_eq!(kept, of(&[url("b")]));
    for changed in [
        vec![],
        vec![url("a"), ("audit.reads", "flushed".to_owned())],
        vec![url("a"), ("alerts.patients", "7".to_owned())],
        vec![url("a"), ("alerts.token", "x".to_owned())],
        vec![url("a"), ("trusted.hospital.issuer", "https://h.org".to_owned())],
        vec![url("a"), ("trusted.hospital.issuer", "https://i.org".to_owned())],
    ] {
        assert_ne!(kept, of(&changed), "{changed:?}");
    }
}

/// Roles are changed in their file, by the same name.
///
/// Covers: security A7.
#[test]
fn the_digest_tells_what_stands_in_the_files_that_decide_who_may_do_what() {
    let file = std::env::temp_dir().join(format!("kiln-roles-{}.toml", std::process::id()));
    let path = file.display().to_string();
    for key in ["auth.roles", "auth.labels", "tls.client_authorities", "hl7v2.client_authorities"] {
        let of = |text: &str| {
            std::fs::write(&file, text).unwrap();
            with(&[(key, &path)]).digest()
        };
        let kept = of("[nurse]\n");
        assert_eq!(kept, of("[nurse]\n"), "{key}");
        assert_ne!(kept, of("[nurse]\nscopes = [\"user/*.rs\"]\n"), "{key}");
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn the_base_is_the_listener_unless_one_is_set() {
    let bound = "127.0.0.1:4711".parse().unwrap();
    for (flags, expected) in [
        (&[][..], "http://127.0.0.1:4711/fhir"),
        (&[("http.base_url", "https://h.org/r4/")], "https://h.org/r4"),
    ] {
        assert_eq!(with(flags).base_url(bound), expected);
    }
}
