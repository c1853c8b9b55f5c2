//! The profile of a site, laid over the maps: it sets, takes away, adds codes, units and resources.
//!
//! What a resource is found again by, which messages there are and what they do to what is stored
//! is not the profile's to change.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml_edit::{Item, TableLike};

use crate::fhir::schema::Schema;
use crate::hl7v2::charset::Charset;
use crate::hl7v2::dtm::Zones;
use crate::hl7v2::er7::{Escapes, Reading};
use crate::hl7v2::tables::{Target, target};
use crate::hl7v2::types::id::Authority;

use super::read::{MapError, Reader};
use super::rules::ResourceRule;
use super::site::{Habit, Matching, Mode, Site, Wishes};
use super::{Maps, hash_of};

/// What a profile may have at its top.
const SECTIONS: [&str; 12] = [
    "site",
    "authority",
    "codes",
    "units",
    "mode",
    "escape",
    "table",
    "system",
    "resource",
    "extension",
    "slot",
    "message",
];

/// What a site may say of itself.
const SITE: [&str; 20] = [
    "id",
    "base",
    "match",
    "zone",
    "charset",
    "ack",
    "on_failure",
    "partial",
    "decimal_comma",
    "dns_urls",
    "us",
    "dedupe",
    "reading",
    "a04",
    "discharge_by_data",
    "merge_unknown",
    "refuse_untyped",
    "split_repeats",
    "transitions",
    "visit_by_account",
];

/// And of how its messages are taken in.
const INTAKE: [&str; 4] = ["undecodable", "gap_s", "copy", "answers"];

pub(super) fn lay(
    base: &Maps,
    file: &str,
    text: &str,
    schema: &Schema,
) -> Result<(Maps, Vec<MapError>), Vec<MapError>> {
    let mut maps = base.clone();
    let mut reader = Reader {
        file,
        text,
        schema,
        tables: &base.tables,
        slots: base.slots.clone(),
        resources: Vec::new(),
        groups: base.messages.iter().flat_map(|rule| rule.groups.clone()).collect(),
        asked: Vec::new(),
        faults: Vec::new(),
        idle: Vec::new(),
    };
    for rule in &base.resources {
        rule.all(&mut |rule| {
            reader.resources.push((rule.name.clone(), rule.resource_type.clone()));
        });
    }
    let Some(document) = reader.document() else { return Err(reader.faults) };
    let root: &dyn TableLike = document.as_table();
    reader.only(root, "", &SECTIONS);
    maps.site = site(&mut reader, root, &base.site);
    let mut tables = base.tables.clone();
    for (name, rows) in entries(root, "table") {
        for (code, item) in rows.as_table_like().into_iter().flat_map(|rows| rows.iter()) {
            let system = base.tables.system(name).unwrap_or_default().to_owned();
            match target(item, &system) {
                Some(target) => tables.set(name, code, target),
                None => reader.fault(item.span(), &format!("table.{name}.{code}"), WANTED),
            }
        }
    }
    reader.slots.local = Some(maps.site.base.clone());
    reader.read_slots(root);
    for (name, item) in entries(root, "resource") {
        if let Some(kind) = item.get("type").and_then(Item::as_str) {
            reader.resources.push((name.to_owned(), kind.to_owned()));
        }
    }
    for (name, item) in entries(root, "resource") {
        change(&mut reader, &mut maps.resources, name, item);
    }
    uses(&mut reader, root, &mut maps);
    reader.judge_asked(&maps.messages, &maps.resources);
    if !reader.faults.is_empty() {
        return Err(reader.faults);
    }
    maps.slots = reader.slots;
    maps.tables = tables;
    // Whatever its file is called: the same profile has the same hash.
    maps.texts.push(("site".to_owned(), text.to_owned()));
    maps.hash = hash_of(&maps.texts);
    Ok((maps, reader.idle))
}

const WANTED: &str = "a code, or a list of code and system, is wanted";

fn entries<'t>(root: &'t dyn TableLike, name: &str) -> Vec<(&'t str, &'t Item)> {
    let table = root.get(name).and_then(Item::as_table_like);
    table.into_iter().flat_map(|table| table.iter()).collect()
}

fn site(reader: &mut Reader<'_>, root: &dyn TableLike, before: &Site) -> Site {
    let mut site = before.clone();
    if let Some(own) = root.get("site").and_then(Item::as_table_like) {
        reader.only(own, "site", &[&SITE[..], &INTAKE].concat());
        let word = |key: &str| own.get(key).and_then(Item::as_str);
        let yes = |key: &str, before: bool| own.get(key).and_then(Item::as_bool).unwrap_or(before);
        site.id = word("id").unwrap_or(&site.id).to_owned();
        let base = word("base").unwrap_or(&site.base).trim_end_matches('/').to_owned();
        site.base = base;
        site.decimal_comma = yes("decimal_comma", site.decimal_comma);
        site.dns_urls = yes("dns_urls", site.dns_urls);
        site.is_us = yes("us", site.is_us);
        site.says_us = yes("us", site.says_us);
        site.habits.extend(habits(reader, own));
        site.matching = matching(reader, own);
        site.wishes = wishes(reader, own);
        site.answers = word("answers").map(str::to_owned);
        if let Some(zone) = own.get("zone") {
            match zone.as_str().and_then(Zones::named) {
                Some(zones) => site.zones = zones,
                None => reader.fault(zone.span(), "site.zone", "no time zone of that name"),
            }
        }
    }
    for (name, item) in entries(root, "authority") {
        let key = format!("authority.{name}");
        let Some(system) = item.get("system").and_then(Item::as_str) else {
            reader.fault(item.span(), &key, "system is missing");
            continue;
        };
        if let Some(table) = item.as_table_like() {
            reader.only(table, &key, &["system", "trusted", "type"]);
        }
        let authority = Authority {
            system: system.to_owned(),
            trusted: item.get("trusted").and_then(Item::as_bool),
            kind: item.get("type").and_then(Item::as_str).map(str::to_owned),
        };
        site.authorities.insert(name.to_owned(), authority);
    }
    words(reader, root, &mut site);
    site
}

/// What is usual at a site.
fn habits(reader: &mut Reader<'_>, own: &dyn TableLike) -> Vec<Habit> {
    let named = [
        (Habit::EndsByData, "discharge_by_data"),
        (Habit::MakesLosing, "merge_unknown"),
        (Habit::RefusesUntyped, "refuse_untyped"),
        (Habit::SplitsRepeats, "split_repeats"),
        (Habit::VisitByAccount, "visit_by_account"),
    ];
    let is_set = |key: &str| own.get(key).and_then(Item::as_bool) == Some(true);
    let mut all: Vec<_> =
        named.into_iter().filter(|(_, key)| is_set(key)).map(|(habit, _)| habit).collect();
    let arrived = wish(reader, own, "a04", "in-progress or arrived", |word| match word {
        "arrived" => Some(true),
        "in-progress" => Some(false),
        _ => None,
    });
    all.extend(arrived.filter(|arrived| *arrived).map(|_| Habit::RegistersArrivals));
    let refuses = wish(reader, own, "transitions", "accept or refuse", |word| match word {
        "accept" => Some(false),
        "refuse" => Some(true),
        _ => None,
    });
    all.extend(refuses.filter(|refuses| *refuses).map(|_| Habit::RefusesTransitions));
    all
}

/// For whom a profile is.
fn matching(reader: &mut Reader<'_>, own: &dyn TableLike) -> Matching {
    let Some(item) = own.get("match") else { return Matching::default() };
    let Some(table) = item.as_table_like() else {
        reader.fault(item.span(), "site.match", "a table is wanted");
        return Matching::default();
    };
    reader.only(table, "site.match", &["app", "facility", "listener", "certificate"]);
    let word = |key: &str| table.get(key).and_then(Item::as_str).unwrap_or_default().to_owned();
    Matching {
        application: word("app"),
        facility: word("facility"),
        listener: word("listener"),
        certificate: word("certificate"),
    }
}

/// How the messages of a site are taken in.
fn wishes(reader: &mut Reader<'_>, own: &dyn TableLike) -> Wishes {
    Wishes {
        charset: wish(reader, own, "charset", "no character set of table 0211", Charset::named),
        reading: wish(reader, own, "reading", "lenient or strict", |word| match word {
            "lenient" => Some(Reading::Lenient),
            "strict" => Some(Reading::Strict),
            _ => None,
        }),
        waits_for_effect: wish(reader, own, "ack", "processed or stored", |word| match word {
            "processed" => Some(true),
            "stored" => Some(false),
            _ => None,
        }),
        holds_lines: wish(reader, own, "on_failure", "continue or hold-key", |word| match word {
            "continue" => Some(false),
            "hold-key" => Some(true),
            _ => None,
        }),
        is_partial: own.get("partial").and_then(|item| {
            let found = item.as_bool();
            if found.is_none() {
                reader.fault(item.span(), "site.partial", "true or false");
            }
            found
        }),
        ignores_sent_time: own.get("dedupe").and_then(|item| {
            let ignored = item.get("ignore").and_then(Item::as_array);
            let mut words = ignored.into_iter().flatten().map(|item| item.as_str());
            let is_known = ignored.is_some() || item.get("reuse").is_some();
            if !is_known || !words.all(|word| word == Some("MSH-7")) {
                reader.fault(item.span(), "site.dedupe", "ignore = [\"MSH-7\"]");
            }
            ignored.map(|all| !all.is_empty())
        }),
        refuses_reuse: own.get("dedupe").and_then(|item| {
            let table = item.as_table_like()?;
            reader.only(table, "site.dedupe", &["ignore", "reuse"]);
            wish(reader, table, "reuse", "accept or refuse", |word| match word {
                "accept" => Some(false),
                "refuse" => Some(true),
                _ => None,
            })
        }),
        ..intake(reader, own)
    }
}

/// What of a message is taken that others refuse, and what is kept of it.
fn intake(reader: &mut Reader<'_>, own: &dyn TableLike) -> Wishes {
    let gap = own.get("gap_s").map(|item| {
        let seconds = item.as_integer().and_then(|number| u32::try_from(number).ok());
        let seconds = seconds.filter(|seconds| *seconds <= LONGEST_GAP);
        if seconds.is_none() {
            reader.fault(item.span(), "site.gap_s", "0 to 60 seconds");
        }
        seconds
    });
    Wishes {
        replaces_undecodable: wish(reader, own, "undecodable", "refuse or replace", |word| {
            match word {
                "refuse" => Some(false),
                "replace" => Some(true),
                _ => None,
            }
        }),
        copies: wish(reader, own, "copy", "none or document", |word| match word {
            "none" => Some(false),
            "document" => Some(true),
            _ => None,
        }),
        gap_seconds: gap.flatten(),
        ..Wishes::default()
    }
}

/// Longest time that a message may be kept waiting for those before it, in seconds.
const LONGEST_GAP: u32 = 60;

fn wish<T>(
    reader: &mut Reader<'_>,
    own: &dyn TableLike,
    key: &str,
    wanted: &str,
    named: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let item = own.get(key)?;
    let found = item.as_str().and_then(named);
    if found.is_none() {
        reader.fault(item.span(), &format!("site.{key}"), wanted);
    }
    found
}

/// Codes, units, systems and modes of a site.
fn words(reader: &mut Reader<'_>, root: &dyn TableLike, site: &mut Site) {
    for (set, systems) in entries(root, "codes") {
        for (system, rows) in systems.as_table_like().into_iter().flat_map(|it| it.iter()) {
            let key = format!("codes.{set}.{system}");
            let found = codes(reader, rows, &key);
            site.codes.entry((set.to_owned(), system.to_owned())).or_default().extend(found);
        }
    }
    let texts = [("units", 0), ("system", 1)];
    for (section, at) in texts {
        for (word, item) in entries(root, section) {
            match item.as_str() {
                Some(text) if at == 0 => {
                    if crate::ucum::Unit::parse(text).is_err() {
                        let key = format!("units.{word}");
                        reader.fault(item.span(), &key, format!("{text:?} is no unit of UCUM"));
                    }
                    site.units.insert(word.to_owned(), text.to_owned());
                }
                Some(text) => {
                    site.systems.insert(word.to_owned(), text.to_owned());
                }
                None => reader.fault(item.span(), &format!("{section}.{word}"), "a text is wanted"),
            }
        }
    }
    let mut escapes = Escapes::new();
    for (name, item) in entries(root, "escape") {
        let is_own = name.len() > 1 && name.starts_with('Z') && !name.contains(['\\', '|', '\r']);
        if let Some(text) = item.as_str().filter(|_| is_own) {
            escapes.insert(name.to_owned(), text.to_owned());
        } else {
            let key = format!("escape.{name}");
            reader.fault(item.span(), &key, "a name that begins with Z, and a text");
        }
    }
    site.escapes = Arc::new(escapes);
    for (segment, item) in entries(root, "mode") {
        if let Some(mode) = item.as_str().and_then(Mode::named) {
            site.modes.insert(segment.to_owned(), mode);
        } else {
            let key = format!("mode.{segment}");
            reader.fault(item.span(), &key, "snapshot, action-code or upsert");
        }
    }
}

fn codes(reader: &mut Reader<'_>, rows: &Item, key: &str) -> BTreeMap<String, Target> {
    let mut out = BTreeMap::new();
    for (code, item) in rows.as_table_like().into_iter().flat_map(|rows| rows.iter()) {
        let word = |key: &str| item.get(key).and_then(Item::as_str).map(str::to_owned);
        let row = match (word("code"), word("system")) {
            (Some(code), Some(system)) => Some(Target { code, system, display: word("display") }),
            _ => target(item, "").filter(|row| !row.system.is_empty()),
        };
        if let Some(row) = row {
            out.insert(code.to_owned(), row);
        } else {
            reader.fault(item.span(), &format!("{key}.{code}"), "code and system are wanted");
        }
    }
    out
}

/// Lays the entry of a resource over its rule, or adds a resource.
fn change(reader: &mut Reader<'_>, rules: &mut Vec<ResourceRule>, name: &str, item: &Item) {
    let key = format!("resource.{name}");
    let map = reader.file.to_owned();
    let Some(known) = find(rules, name) else {
        if let Some(rule) = reader.read_resource(name, item, &map) {
            rules.push(rule);
        }
        return;
    };
    let Some(table) = item.as_table_like() else {
        reader.fault(item.span(), &key, "a table is wanted");
        return;
    };
    reader.only(table, &key, &["set", "unset", "profile", "mode"]);
    for path in reader.words(table, &key, "unset") {
        let before = known.rules.len();
        known.rules.retain(|rule| rule.element.text != path);
        if known.rules.len() == before {
            reader.fault(item.span(), &format!("{key}.unset"), format!("no rule sets {path:?}"));
        }
    }
    if let Some(mode) = table.get("mode") {
        match mode.as_str().and_then(Mode::named) {
            Some(mode) => known.mode = mode,
            None => reader.fault(mode.span(), &key, "snapshot, action-code or upsert"),
        }
    }
    if let Some(profile) = table.get("profile").and_then(Item::as_str) {
        known.profile = Some(profile.to_owned()).filter(|profile| !profile.is_empty());
    }
    if let Some(set) = table.get("set") {
        let kind = known.resource_type.clone();
        let id = format!("{map} {name}");
        let added = reader.rules(set, &kind, &id, &format!("{key}.set"));
        reader.ask(name, &added, &key);
        known.rules.retain(|rule| !added.iter().any(|own| own.element.text == rule.element.text));
        known.rules.extend(added);
    }
}

fn find<'r>(rules: &'r mut [ResourceRule], name: &str) -> Option<&'r mut ResourceRule> {
    for rule in rules {
        if rule.name == name {
            return Some(rule);
        }
        if let Some(found) = find(&mut rule.children, name) {
            return Some(found);
        }
    }
    None
}

/// `[message.adt] add = [..]`: resources that messages make beside those of the maps.
fn uses(reader: &mut Reader<'_>, root: &dyn TableLike, maps: &mut Maps) {
    for (name, item) in entries(root, "message") {
        let key = format!("message.{name}");
        let Some(table) = item.as_table_like() else {
            reader.idle(item.span(), &key, "a table is wanted");
            continue;
        };
        reader.only(table, &key, &["add"]);
        let added = reader.words(table, &key, "add");
        let Some(message) = maps.messages.iter_mut().find(|rule| rule.name == name) else {
            reader.fault(item.span(), &key, "the maps have no such message");
            continue;
        };
        for name in added {
            if maps.resources.iter().any(|rule| rule.name == name) {
                message.uses.push((name, false));
            } else {
                reader.fault(item.span(), &key, format!("there is no resource {name:?}"));
            }
        }
    }
}
