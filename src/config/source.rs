//! Reading a [`Config`] out of its four sources, with errors that name key and place.
//!
//! Layer: 0. The one place that reads environment variables.

use std::path::Path;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::{Config, ConfigError, Preset, Section, Setting};

/// The name of that source in messages.
const ENVIRONMENT: &str = "the environment";

/// The environment as text; what is no UTF-8 cannot be one of our keys.
#[expect(clippy::disallowed_methods, reason = "this is where settings come from")]
pub(super) fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("KILN_"))
        .collect()
}

/// Reads defaults, file, environment and flags, each over the one before.
pub(super) fn load(
    file: Option<&Path>,
    environment: Vec<(String, String)>,
    flags: &[(String, String)],
) -> Result<Config, ConfigError> {
    let mut sources = Vec::new();
    if let Some(path) = file {
        sources.push(from_file(path)?);
    }
    sources.push(from_environment(environment)?);
    sources.push(from_flags(flags)?);
    let figment = Figment::from(defaults(&sources));
    let figment = sources.into_iter().fold(figment, Figment::merge);
    figment.extract().map_err(|error| {
        let key = error.path.join(".");
        let mut origin = error.metadata.as_ref().map(|it| it.name.to_string()).unwrap_or_default();
        if let (ENVIRONMENT, Some(found)) = (origin.as_str(), find(&key)) {
            origin = found.variable();
        }
        ConfigError::Value { key, origin, reason: error.kind.to_string() }
    })
}

/// A setting that a key names; `table`: the name of one of many.
struct Found {
    section: &'static Section,
    setting: &'static Setting,
    table: Option<String>,
}

impl Found {
    /// The dotted name.
    fn path(&self) -> String {
        match &self.table {
            Some(table) => format!("{}.{table}.{}", self.section.name, self.setting.key),
            None => self.section.path(self.setting),
        }
    }

    /// The environment variable.
    fn variable(&self) -> String {
        format!("KILN_{}", self.path().replace('.', "__").to_uppercase())
    }
}

/// One source: values by section and key, with a name for messages.
struct Source {
    name: String,
    values: Dict,
}

impl Source {
    fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), values: Dict::new() }
    }

    fn set(&mut self, found: &Found, value: Value) {
        let mut dict = &mut self.values;
        let section = Some(found.section.name).filter(|name| !name.is_empty());
        for name in section.into_iter().chain(found.table.as_deref()) {
            let place = dict.entry(name.to_owned()).or_insert_with(|| Dict::new().into());
            // What stands there in the place of a table is told by who reads it.
            let Value::Dict(_, below) = place else { return };
            dict = below;
        }
        dict.insert(found.setting.key.to_owned(), value);
    }

    /// The names of the tables of a section of which there are many.
    fn tables(&self, section: &Section) -> Vec<String> {
        match self.values.get(section.name) {
            Some(Value::Dict(_, tables)) if section.is_many => tables.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }
}

impl Provider for Source {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

fn every_setting() -> impl Iterator<Item = (&'static Section, &'static Setting)> {
    Config::SECTIONS
        .iter()
        .flat_map(|section| section.settings.iter().map(move |setting| (section, setting)))
}

/// The defaults, also of each table that `sources` have.
fn defaults(sources: &[Source]) -> Source {
    let mut all = Source::new("the defaults");
    for section in Config::SECTIONS.iter().filter(|section| !section.name.is_empty()) {
        all.values.insert(section.name.to_owned(), Dict::new().into());
    }
    for (section, setting) in every_setting() {
        let value = match setting.preset {
            Preset::Flag(value) => Value::from(value),
            Preset::List => Value::from(Vec::<Value>::new()),
            Preset::Number(number) => Value::from(number),
            Preset::Secret(_) | Preset::Unset(_) => continue,
            Preset::Text(text) => Value::from(text),
        };
        if !section.is_many {
            all.set(&Found { section, setting, table: None }, value);
            continue;
        }
        for table in sources.iter().flat_map(|source| source.tables(section)) {
            all.set(&Found { section, setting, table: Some(table) }, value.clone());
        }
    }
    all
}

fn from_file(path: &Path) -> Result<Source, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| ConfigError::File { path: path.to_owned(), cause })?;
    let mut source = Source::new(path.display().to_string());
    let parsed = Toml::string(&text).data().map_err(|error| ConfigError::Value {
        key: "TOML".to_owned(),
        origin: source.name.clone(),
        reason: error.to_string(),
    })?;
    source.values = parsed.into_values().next().unwrap_or_default();
    for (name, value) in &source.values {
        let section = Config::SECTIONS.iter().find(|section| section.name == name);
        let section_known = section.is_some();
        let keys = match section {
            Some(section) if section.is_many => keys_of_tables(section, value, &source.name)?,
            _ => keys_below(name, value),
        };
        let unknown = keys.into_iter().find(|key| find(key).is_none());
        let unknown = unknown.or_else(|| {
            let empty = matches!(value, Value::Dict(_, dict) if dict.is_empty());
            (empty && !section_known).then(|| name.clone())
        });
        if let Some(key) = unknown {
            return Err(ConfigError::Unknown { key, origin: source.name });
        }
    }
    Ok(source)
}

/// The dotted names of what is in a table, or of what stands in its place.
fn keys_below(name: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Dict(_, dict) => dict.keys().map(|key| format!("{name}.{key}")).collect(),
        _ => vec![name.to_owned()],
    }
}

/// The same of a section of which there are many: whoever leaves the name away is told so.
fn keys_of_tables(
    section: &Section,
    value: &Value,
    origin: &str,
) -> Result<Vec<String>, ConfigError> {
    let Value::Dict(_, tables) = value else { return Ok(vec![section.name.to_owned()]) };
    let mut keys = Vec::new();
    for (table, value) in tables {
        let name = format!("{}.{table}", section.name);
        if !matches!(value, Value::Dict(..)) {
            let reason = format!("there may be several: write it below [{}.NAME]", section.name);
            return Err(ConfigError::Value { key: name, origin: origin.to_owned(), reason });
        }
        keys.extend(keys_below(&name, value));
    }
    Ok(keys)
}

/// Takes `KILN_<SECTION>__<KEY>`, `KILN_<SECTION>__<NAME>__<KEY>` where there are many, and `KILN_<KEY>` of the top level; other `KILN_` names without
/// two underscores are not ours, with them they are mistakes.
fn from_environment(variables: Vec<(String, String)>) -> Result<Source, ConfigError> {
    let mut source = Source::new(ENVIRONMENT);
    let mut taken: Vec<(String, String)> = Vec::new();
    for (name, text) in variables {
        let Some(rest) = name.strip_prefix("KILN_") else { continue };
        let mut key = rest.to_lowercase().replacen("__", ".", 1);
        if key.split_once('.').is_some_and(|(name, _)| is_many(name)) {
            key = key.replacen("__", ".", 1);
        }
        let origin = format!("the environment variable {name}");
        let (key, text) = match find(&key) {
            Some(_) => (key, text),
            None => match secret_file(&key) {
                Some(key) => (key, read_secret(&text)?),
                None if key.contains('.') => return Err(ConfigError::Unknown { key, origin }),
                None => continue,
            },
        };
        if let Some((_, other)) = taken.iter().find(|(other, _)| *other == key) {
            let reason = format!("{other} sets it too");
            return Err(ConfigError::Value { key, origin, reason });
        }
        let found = find(&key)
            .ok_or_else(|| ConfigError::Unknown { key: key.clone(), origin: origin.clone() })?;
        source.set(&found, value_of(&found, &text, &origin)?);
        taken.push((key, name));
    }
    Ok(source)
}

fn from_flags(flags: &[(String, String)]) -> Result<Source, ConfigError> {
    let mut source = Source::new("the command line");
    for (key, text) in flags {
        let origin = "the command line".to_owned();
        let found = find(key)
            .ok_or_else(|| ConfigError::Unknown { key: key.clone(), origin: origin.clone() })?;
        source.set(&found, value_of(&found, text, &origin)?);
    }
    Ok(source)
}

/// Reads the text of a flag or variable as its key wants it.
fn value_of(found: &Found, text: &str, origin: &str) -> Result<Value, ConfigError> {
    match found.setting.preset {
        Preset::Flag(_) => {
            text.trim().parse::<bool>().map(Value::from).map_err(|_| ConfigError::Value {
                key: found.path(),
                origin: origin.to_owned(),
                reason: format!("{text:?} is neither true nor false"),
            })
        }
        Preset::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::from(items.map(Value::from).collect::<Vec<_>>()))
        }
        Preset::Number(_) => {
            text.trim().parse::<u64>().map(Value::from).map_err(|_| ConfigError::Value {
                key: found.path(),
                origin: origin.to_owned(),
                reason: format!("{text:?} is not a whole number"),
            })
        }
        Preset::Secret(_) | Preset::Text(_) | Preset::Unset(_) => Ok(Value::from(text)),
    }
}

/// Whether there are many of a section.
fn is_many(name: &str) -> bool {
    Config::SECTIONS.iter().any(|section| section.is_many && section.name == name)
}

fn find(key: &str) -> Option<Found> {
    let (name, rest) = key.split_once('.').unwrap_or(("", key));
    let (table, key) = match rest.split_once('.') {
        Some((table, key)) if is_many(name) && is_name(table) => (Some(table.to_owned()), key),
        _ if is_many(name) => return None,
        _ => (None, rest),
    };
    let is_it =
        |(section, setting): &(&Section, &Setting)| section.name == name && setting.key == key;
    let (section, setting) = every_setting().find(is_it)?;
    Some(Found { section, setting, table })
}

/// Whether something can be the name of one of many.
fn is_name(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.bytes().all(is_fit)
}

/// The secret that `<key>_file` stands for.
fn secret_file(key: &str) -> Option<String> {
    let key = key.strip_suffix("_file")?;
    let found = find(key)?;
    matches!(found.setting.preset, Preset::Secret(_)).then(|| key.to_owned())
}

fn read_secret(path: &str) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| ConfigError::File { path: path.into(), cause })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
    }

    /// A file of the given text, in the temporary folder until it is dropped.
    struct Written(std::path::PathBuf);

    impl Written {
        fn new(name: &str, text: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("kiln-config-{}-{name}", std::process::id()));
            std::fs::write(&path, text).unwrap();
            Self(path)
        }
    }

    impl Drop for Written {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
        let file =
            Written::new("rank", "[http]\nmax_page = 2\nmax_depth = 7\nmax_body_bytes = 9\n");
        let environment = pairs(&[("KILN_HTTP__MAX_PAGE", "3"), ("KILN_HTTP__MAX_DEPTH", "8")]);
        let flags = pairs(&[("http.max_page", "4")]);
        let config = load(Some(&file.0), environment, &flags).unwrap();
        assert_eq!(config.http.max_page.get(), 4);
        assert_eq!(config.http.max_depth, 8);
        assert_eq!(config.http.max_body_bytes, 9);
        assert_eq!(config.http.default_page.get(), 50);
    }

    #[test]
    fn texts_are_read_as_their_key_wants_them() {
        let environment = pairs(&[
            ("KILN_DATA_DIR", "/srv/7"),
            ("KILN_HTTP__CORS_ORIGINS", "https://a.org, https://b.org"),
            ("KILN_LOG__FILTER", "12"),
            ("KILN_DATABASE__URL", "postgres://u:true@h/d"),
            ("KILN_IDS", "random"),
            ("KILN_SHARED", "ignored"),
            ("KILN_CI", "ignored"),
        ]);
        let config = load(None, environment, &[]).unwrap();
        assert_eq!(config.data_dir, Path::new("/srv/7"));
        assert_eq!(config.http.cors_origins, ["https://a.org", "https://b.org"]);
        assert_eq!(config.log.filter, "12");
        assert_eq!(config.ids, super::super::Ids::Random);
        let url = config.database.url.unwrap();
        assert_eq!(url.expose_secret(), "postgres://u:true@h/d");
        assert!(!format!("{url:?}").contains("true"), "a secret is not shown");
    }

    #[test]
    fn an_unknown_key_or_a_wrong_value_is_named_with_its_place() {
        let cases = [
            ("env", "KILN_HTTP__LISTN", "1", "`http.listn`", "KILN_HTTP__LISTN"),
            ("env", "KILN_NOPE__X", "1", "`nope.x`", "KILN_NOPE__X"),
            ("env", "KILN_HTTP__MAX_PAGE", "many", "`http.max_page`", "KILN_HTTP__MAX_PAGE"),
            ("env", "KILN_HTTP__MAX_PAGE", "0", "`http.max_page`", "KILN_HTTP__MAX_PAGE"),
            ("env", "KILN_HTTP__LISTEN", "here", "`http.listen`", "KILN_HTTP__LISTEN"),
            ("env", "KILN_HTTP__LISTEN_FILE", "/x", "`http.listen_file`", "LISTEN_FILE"),
            ("flag", "log.level", "info", "`log.level`", "the command line"),
            ("flag", "auth.mode", "none", "`auth.mode`", "the command line"),
            ("env", "KILN_TRUSTED__ISSUER", "x", "`trusted.issuer`", "KILN_TRUSTED__ISSUER"),
            ("env", "KILN_TRUSTED__A__ISUER", "x", "`trusted.a.isuer`", "KILN_TRUSTED__A__ISUER"),
            ("flag", "trusted.issuer", "x", "`trusted.issuer`", "the command line"),
            ("file", "[trusted]\nissuer = \"x\"", "", "[trusted.NAME]", "kiln-config-"),
            ("file", "[trusted.a]\nisuer = \"x\"", "", "`trusted.a.isuer`", "kiln-config-"),
            ("file", "[trusted.a]\nscopes = 1", "", "`trusted.a.scopes`", "kiln-config-"),
            ("file", "trusted = 1", "", "`trusted`", "kiln-config-"),
            ("file", "htpp = 1", "", "`htpp`", "kiln-config-"),
            ("file", "[htpp]", "", "`htpp`", "kiln-config-"),
            ("file", "[http]\nlisten_to = 1", "", "`http.listen_to`", "kiln-config-"),
            ("file", "[http]\nmax_page = \"x\"", "", "`http.max_page`", "kiln-config-"),
            ("file", "http = 1", "", "`http`", "kiln-config-"),
            ("file", "[http", "", "TOML", "kiln-config-"),
        ];
        for (kind, name, text, key, place) in cases {
            let result = match kind {
                "env" => load(None, pairs(&[(name, text)]), &[]),
                "flag" => load(None, Vec::new(), &pairs(&[(name, text)])),
                _ => load(Some(&Written::new("wrong", name).0), Vec::new(), &[]),
            };
            let message = result.map(|_| ()).unwrap_err().to_string();
            assert!(message.contains(key) && message.contains(place), "{name}: {message}");
        }
    }

    #[test]
    fn a_secret_may_come_from_a_file_but_not_from_two_places() {
        let secret = Written::new("secret", "postgres://u:p@h/d\n");
        let path = secret.0.to_str().unwrap();
        let file = ("KILN_DATABASE__URL_FILE", path);
        let config = load(None, pairs(&[file]), &[]).unwrap();
        assert_eq!(config.database.url.unwrap().expose_secret(), "postgres://u:p@h/d");

        let both = pairs(&[file, ("KILN_DATABASE__URL", "postgres://h/d")]);
        let message = load(None, both, &[]).unwrap_err().to_string();
        assert!(message.contains("KILN_DATABASE__URL_FILE"), "{message}");

        let missing = pairs(&[("KILN_DATABASE__URL_FILE", "/nowhere/at/all")]);
        assert!(matches!(load(None, missing, &[]), Err(ConfigError::File { .. })));
    }

    #[test]
    fn of_some_sections_there_are_many_each_by_its_name() {
        let secret = Written::new("many-secret", "hidden\n");
        let file = Written::new(
            "many",
            "[trusted.state]\nissuer = \"https://s.org\"\n[trusted.hospital]\nroles = [\"a\"]\n",
        );
        let environment = pairs(&[
            ("KILN_TRUSTED__HOSPITAL__ISSUER", "https://h.org"),
            ("KILN_TRUSTED__HOSPITAL__CLIENT_SECRET_FILE", secret.0.to_str().unwrap()),
        ]);
        let flags = pairs(&[("trusted.state.scopes", "patient/*.rs,openid")]);
        let config = load(Some(&file.0), environment, &flags).unwrap();
        let names: Vec<&str> = config.trusted.keys().map(String::as_str).collect();
        assert_eq!(names, ["hospital", "state"]);
        let (hospital, state) = (&config.trusted["hospital"], &config.trusted["state"]);
        assert_eq!(hospital.issuer.as_deref(), Some("https://h.org"));
        assert_eq!(hospital.client_secret.as_ref().unwrap().expose_secret(), "hidden");
        assert_eq!((hospital.roles.len(), hospital.scopes.len()), (1, 0));
        assert_eq!(state.issuer.as_deref(), Some("https://s.org"));
        assert_eq!((state.roles.len(), state.scopes.len()), (0, 2));
        assert!(load(None, Vec::new(), &[]).unwrap().trusted.is_empty());
    }

    #[test]
    fn a_file_that_was_asked_for_must_be_there() {
        let missing = load(Some(Path::new("/nowhere/kiln.toml")), Vec::new(), &[]);
        assert!(matches!(missing, Err(ConfigError::File { .. })));
    }
}
