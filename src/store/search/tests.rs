use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use super::compile::Compiler;
use super::definitions::Definitions;
use super::driver::conjuncts;
use super::order::{Order, Walk};
use super::run::LONGEST;
use crate::access::interaction::{Interaction, Kind};
use crate::access::{
    Attempted, Caller, CommitError, Disclosed, Gate, LedgerRow, Permit, Principal, RequestContext,
    Unaudited, UnitOfWork, Units,
};
use crate::clock::{IdOrder, SystemClock, SystemIds};
use crate::error::Error;
use crate::fhir::datetime::Zone;
use crate::fhir::query::Query;
use crate::fhir::{Instant, ResourceType};
use crate::search::extract::{Extractor, Settings};
use crate::search::request::{Context, Limits, SearchRequest, SearchTarget, Strictness, parse};
use crate::search::values::quantity::Ucum;
use crate::spec::Spec;
use crate::spec::codes::Codes;
use crate::spec::search_parameter::SearchType;
use crate::store::Parameters;
use crate::store::hash::Hasher;
use crate::store::index::Indexer;

struct World {
    parameters: Arc<Parameters>,
    definitions: Definitions,
    hasher: Hasher,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let spec = Spec::r4().expect("the embedded pack");
    let codes = Codes::r4().expect("the embedded pack");
    let settings = Settings { base: "".into(), units: Box::new(Ucum), zone: Zone::UTC };
    let extractor = Extractor::new(spec.clone(), codes, settings).expect("all of R4 compiles");
    let hasher = Hasher::with_key([7; 16]);
    let indexer = Indexer::default();
    indexer.set(Arc::new(extractor), 0, &hasher);
    let parameters = indexer.parameters().expect("they are set");
    World { parameters, definitions: Definitions::new(spec), hasher }
});

/// Nothing is written and nothing recorded.
struct Nowhere;

impl UnitOfWork for Nowhere {
    async fn commit(self, _: Vec<LedgerRow>) -> Result<(), CommitError> {
        Ok(())
    }

    async fn settle(&mut self, _: &Permit<'_>) -> Result<(), Error> {
        Ok(())
    }

    async fn roll_back(self) {}

    fn is_raced(&self) -> bool {
        false
    }

    fn note(&mut self, _: Interaction, _: Disclosed) {}

    fn disclosed(&mut self) -> Vec<Attempted> {
        Vec::new()
    }
}

impl Units for Nowhere {
    type Unit = Self;
    type Memory = ();

    fn begin(&self, _: &Permit<'_>, (): &()) -> Self {
        Self
    }

    async fn record(&self, _: Vec<LedgerRow>) -> Result<(), Error> {
        Ok(())
    }
}

fn request(url: &str) -> SearchRequest {
    try_request(url).unwrap_or_else(|fault| panic!("{url}: {fault}"))
}

fn try_request(url: &str) -> Result<SearchRequest, String> {
    let (path, query) = url.split_once('?').expect("a query");
    let target = if path.is_empty() {
        SearchTarget::System
    } else {
        SearchTarget::Type(path.parse().expect("a type"))
    };
    let now = Instant::parse("2020-01-01T00:00:00Z").expect("an instant");
    let extractor = &WORLD.parameters.extractor;
    let limits = Limits { chain_depth: 8, ..Limits::default() };
    let (strictness, dates_overlap) = (Strictness::Strict, false);
    let context = Context { extractor, now, strictness, dates_overlap, limits };
    let query = Query::parse(query).expect("a query string");
    parse(&target, &query, &context).map_err(|fault| format!("{fault:?}"))
}

/// The best driver in words, and the query of the keys of the first page.
async fn compiled(url: &str) -> (&'static str, String) {
    try_compiled(&request(url)).await.unwrap_or_else(|error| panic!("{url}: {error:?}"))
}

async fn try_compiled(request: &SearchRequest) -> Result<(&'static str, String), Error> {
    let gate = Gate::new(Nowhere, Arc::new(SystemClock), Arc::new(SystemIds(IdOrder::Time)));
    let context = RequestContext {
        id: String::new(),
        method: "GET",
        path_and_query: String::new(),
        source: None,
    };
    let caller = Caller::new(Principal::open(), context);
    let mut found = None;
    let work = async |permit: &Permit<'_>| {
        found = Some(compile(request, permit)?);
        Ok(Unaudited::nothing())
    };
    let interaction = match *request.types {
        [of] => Kind::SearchType.of(of),
        _ => Kind::SearchSystem.of_system(),
    };
    gate.run(interaction, &caller, work).await?;
    Ok(found.expect("it ran"))
}

fn compile(request: &SearchRequest, permit: &Permit<'_>) -> Result<(&'static str, String), Error> {
    let World { parameters, definitions, hasher } = &*WORLD;
    let none = HashSet::new();
    let mut compiler = Compiler::new(parameters, definitions, hasher, permit, &none);
    let given_up = HashSet::from([
        hasher.absent(hasher.parameter(ResourceType::PATIENT, "death-date")),
        hasher.parameter(ResourceType::OBSERVATION, "code"),
    ]);
    compiler.given_up = Some(&given_up);
    let (filters, types) = (conjuncts(&request.filters), &request.types);
    let best = compiler.candidates(&filters, types)?.swap_remove(0);
    let source = compiler.source(&best, &filters, types)?;
    let rest = compiler.rest(&best, &filters, &source.row)?;
    let order = compiler.native(&request.sort, types);
    let order = order.unwrap_or_else(|| match Order::of(&request.sort, types, true) {
        Order::Sorted(sort) if compiler.is_indexed(&sort, &best, types) => Order::First(sort),
        order => order,
    });
    let keys = compiler.keys(&order, &source, &rest, None, (21, &filters))?;
    let text = format!("{}{}", keys.before, keys.query);
    Ok((best.driver.name(), compiler.binds.finish(&text).sql))
}

/// What a page walks, and what its statement must have in it.
const SHAPES: &[(&str, &str, &[&str])] = &[
    (
        "Observation?code=http://loinc.org|8480-6",
        "tokens",
        &[
            "FROM tok t1 WHERE t1.h = $1::bigint AND t1.sysh = $2::int ORDER BY t1.s DESC, t1.rid DESC LIMIT 21",
        ],
    ),
    (
        "Observation?code=8480-6",
        "tokens",
        &[
            "FROM unnest($1::bigint[]) t2(h) CROSS JOIN LATERAL (SELECT DISTINCT t1.s AS o, t1.rid AS rid FROM tok t1 \
           WHERE t1.h = t2.h ORDER BY t1.s DESC, t1.rid DESC LIMIT 21) x",
        ],
    ),
    (
        "Observation?patient=Patient/1&code=http://loinc.org|8480-6&date=ge2020-01-01&_sort=-date",
        "resources of patients",
        &[
            "FROM comp t1 WHERE t1.pat = $1::bigint AND t1.rt = $2::smallint",
            // The hashes of a row are fetched once, and what most have is asked last.
            "t1.hi, coalesce(nullif(t1.toks, '{}'), (SELECT w.toks FROM srow w WHERE w.rid = t1.rid)) AS toks",
            "ORDER BY t1.s DESC, t1.rid DESC OFFSET 0) t1 WHERE true AND ($3::bigint = ANY (t1.toks) AND (t1.hi > '-infinity' AND",
            "AND $7::bigint = ANY (t1.toks)) ORDER BY",
            "ORDER BY t1.s DESC, t1.rid DESC LIMIT 21",
        ],
    ),
    (
        "Observation?code=http://loinc.org|8480-6&date=2020-05&_sort=-date",
        "tokens",
        &["AND t1.s >= $3::timestamptz AND t1.s <= $4::timestamptz"],
    ),
    (
        "Observation?code=http://loinc.org|8480-6&value-quantity=gt5",
        "tokens",
        &["EXISTS (SELECT FROM (SELECT * FROM num WHERE rid = t1.rid OFFSET 0) t2 WHERE true \
             AND t2.h = $3::bigint AND t2.hi > ($4::text)::numeric OFFSET 0)"],
    ),
    (
        "Observation?code-value-quantity=http://loinc.org|8480-6$gt5",
        "values",
        &["num", ".y = $", ".lo > ($", "UNION ALL", ".lo < t"],
    ),
    (
        "Patient?name=smi",
        "values",
        &["FROM str t1 WHERE true AND t1.h = $1::bigint AND t1.v >= $2::text AND t1.v < $3::text"],
    ),
    (
        "Patient?birthdate=1980",
        "values",
        &[
            "FROM dat t1 WHERE true AND t1.h = $1::bigint AND t1.lo >= $2::timestamptz AND t1.lo < $3::timestamptz AND t1.hi <= $3::timestamptz",
        ],
    ),
    (
        "Observation?subject:Patient.name=smi",
        "references to targets found before",
        // The targets are resources, and what is contained.
        &[
            "k.idh # p.p AS h",
            "FROM str ",
            "k(rid) WHERE k.rid > 0)",
            " UNION ALL SELECT ",
            "k(rid) WHERE k.rid < 0)",
            "CROSS JOIN LATERAL (SELECT t1.s AS o",
        ],
    ),
    (
        "Patient?_has:Observation:patient:code=http://loinc.org|8480-6",
        "resources that others refer to",
        &[
            "(SELECT * FROM srow WHERE rid = k.rid OFFSET 0) t2 \
             CROSS JOIN LATERAL unnest((t2.toks)[2:(t2.toks)[1]::int + 1])",
            "(SELECT * FROM srow WHERE idh = q.idh AND rt = $",
        ],
    ),
    (
        "Observation?code:not=8480-6",
        "resources by type",
        &["FROM srow t1 WHERE t1.rt = $1::smallint AND NOT (t1.toks && $2::bigint[])"],
    ),
    (
        "Patient?gender:not=male",
        "other tokens",
        &[
            "FROM token_code u WHERE u.p = ANY ($1::bigint[]) AND NOT EXISTS",
            "UNION ALL SELECT unnest($4::bigint[]), 0) t2(h, y)",
            "t1.h = t2.h AND t1.sysh = t2.y AND NOT (EXISTS",
        ],
    ),
    (
        "Patient?birthdate:missing=true",
        "tokens",
        &["FROM tok t1 WHERE t1.h = $1::bigint", "AND NOT (EXISTS (SELECT FROM srow"],
    ),
    (
        "Patient?death-date:missing=true",
        "resources by type",
        &["NOT (t1.present & $2::bigint <> 0)"],
    ),
    (
        "ValueSet?url:above=http://example.org/a/b",
        "tokens",
        &["FROM (SELECT u.h FROM unnest($1::bigint[]) u(h) WHERE EXISTS (SELECT FROM tok e"],
    ),
    // Something says more than what most resources are.
    ("Patient?gender:not=male&family=x", "values", &["NOT ($5::bigint = ANY (t2.toks))"]),
    (
        "Observation?code=http://loinc.org|",
        "tokens of systems",
        &[
            "FROM (SELECT DISTINCT w.s, w.rid FROM (SELECT w.s, w.rid FROM tok w WHERE w.sysh BETWEEN",
            "ORDER BY w.s DESC, w.rid DESC) t1 WHERE true AND EXISTS (SELECT FROM srow",
        ],
    ),
    (
        "Observation?_sort=date",
        "resources by type",
        &[
            "t1.s > '-infinity' ORDER BY t1.s ASC",
            "UNION ALL",
            "t1.s = '-infinity' ORDER BY t1.s ASC",
        ],
    ),
    (
        "Patient?_id=1&_sort=family,-birthdate",
        "resources by id",
        &["ORDER BY k0 ASC NULLS LAST, k1 DESC NULLS LAST, rid DESC LIMIT 21", "LIMIT 200001"],
    ),
    (
        "Observation?code=http://loinc.org|8480-6&_sort=status,-date",
        "tokens",
        &[
            // The newest of what is searched, of a code; and of a code, of what is searched.
            "FROM tok t1 WHERE t1.h = $4::bigint AND t1.sysh = $5::int ORDER BY t1.s DESC, t1.rid DESC LIMIT 200000) t1",
            "OFFSET 200000 LIMIT 1)",
            "FROM tok t2 WHERE t2.h = u.h AND t2.sysh = u.y ORDER BY t2.s DESC, t2.rid DESC LIMIT 200000) t2",
        ],
    ),
    (
        "Observation?code=8480-6&_sort=status,code",
        "tokens",
        // What has several rows counts once, and no row of it is left out before.
        &[
            "LIMIT 400000), c AS MATERIALIZED (SELECT DISTINCT e.rid FROM ca e), ",
            "SELECT CASE WHEN (SELECT count(*) FROM ca) >= 400000 THEN 200001 ELSE count(*) END FROM c",
        ],
    ),
    (
        "Patient?_sort=family,-birthdate",
        "resources by type",
        // What has no value is found by itself.
        &[
            "FETCH FIRST 21 ROWS WITH TIES",
            "wl AS MATERIALIZED (SELECT t1.rid AS rid FROM srow t1 WHERE t1.rt = $",
            "NOT EXISTS (SELECT FROM str ",
            "LIMIT 200001)",
        ],
    ),
    (
        "Patient?_sort=-_lastUpdated,family",
        "resources by type",
        &["FROM res t", "ORDER BY t2.lu DESC FETCH FIRST 21 ROWS WITH TIES", "AND false LIMIT"],
    ),
    (
        "Patient?active=true&_sort=family",
        "tokens",
        // The index of values is gone by where many have the token.
        &[
            "OFFSET 200000 LIMIT 1) AS is_many)",
            "AND ((SELECT wm.is_many FROM wm) AND",
            "SELECT NOT (SELECT wm.is_many FROM wm) OR coalesce(max(octet_length(w.v)) >= 253, false) AS is_all",
            "ELSE 2000 + 1 END)",
            "wr AS MATERIALIZED (SELECT t",
        ],
    ),
    (
        "Patient?_profile:below=http://example.org",
        "resources by type",
        &["jsonb_path_query(m.meta, '$.profile[*]')", "lower(left(p.v, 4)) <> 'urn:'"],
    ),
    ("Patient?_id=1&_sort=_profile", "resources by id", &["min(split_part(p #>> '{}', '|', 1)"]),
];

#[tokio::test]
async fn a_page_by_code_and_date_is_kept_prepared() {
    // Beside the keys, a statement has what is shown, the total and the page's ledger row.
    const REST: usize = 2_000;
    for url in [
        "Condition?code=http://snomed.info/sct|44054006&_sort=clinical-status,-recorded-date",
        "Observation?code=http://loinc.org|8480-6&_sort=status,-date",
        "Observation?_sort=status,-date",
    ] {
        let (_, sql) = compiled(url).await;
        assert!(sql.len() + REST < LONGEST, "{url}: {}\n{sql}", sql.len());
    }
}

#[test]
fn keys_behind_an_id_decide_nothing() {
    for (url, keys, is_walked) in [
        ("Patient?_sort=_id", 1, true),
        ("Patient?_sort=-_id,family", 1, true),
        ("Patient?_sort=family,_id,birthdate", 2, false),
        // Of several types some may have the same.
        ("?_type=Patient,Observation&_sort=_id,_lastUpdated", 2, false),
    ] {
        let SearchRequest { sort, types, .. } = request(url);
        let is_descending = sort[0].is_descending;
        // However many there are, a link has as many keys.
        let few = Order::of(&sort, &types, true);
        assert_eq!(few, Order::Sorted(sort[..keys].to_vec()), "{url}");
        let walked = Order::Walked { by: Walk::Id, is_descending, has_missing: false };
        let expected = if is_walked { walked } else { few };
        assert_eq!(Order::of(&sort, &types, false), expected, "{url}");
    }
}

#[tokio::test]
async fn each_form_of_search_has_its_statement() {
    let mut faults = Vec::new();
    for (url, driver, parts) in SHAPES {
        let (found, sql) = compiled(url).await;
        if found != *driver {
            faults.push(format!("{url} goes by {found}\n{sql}"));
        }
        let lacking = parts.iter().filter(|part| !sql.contains(**part));
        faults.extend(lacking.map(|part| format!("{url} lacks\n{part}\nin\n{sql}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[tokio::test]
async fn a_link_more_makes_the_statement_longer_and_not_twice_as_long() {
    let mut lengths = Vec::new();
    for links in [1, 4, 8] {
        let (_, sql) = compiled(&format!("Organization?{}name=x", "partof.".repeat(links))).await;
        lengths.push(sql.len());
    }
    let [one, four, eight] = lengths[..] else { panic!("{lengths:?}") };
    assert!(four < 4 * one && eight < 8 * one && eight - four < 2 * (four - one), "{lengths:?}");
}

/// Covers: security H8.
#[tokio::test]
async fn a_statement_holds_no_value_of_the_search() {
    for url in [
        "Patient?name=zanzibar&_sort=name",
        "Patient?family:exact=Zanzibar",
        "Patient?identifier=http://zanzibar|zanzibar",
        "Patient?general-practitioner.name=zanzibar",
        "Patient?_has:Observation:patient:code=zanzibar",
        "Patient?_id=zanzibar",
        "DocumentReference?contenttype:below=text/zanzibar",
        "ValueSet?url:below=http://zanzibar",
        "Location?partof:below=zanzibar",
        "Observation?value-quantity=5.4|zanzibar",
        "Observation?component-code-value-quantity=zanzibar|zanzibar$5.4|zanzibar",
    ] {
        let (_, sql) = compiled(url).await;
        assert!(!sql.to_lowercase().contains("zanzibar"), "{url}\n{sql}");
    }
}

/// Modifiers of parameters of a type, and values: of words and digits that no statement has.
fn forms(kind: SearchType) -> (&'static [&'static str], &'static [&'static str]) {
    match kind {
        SearchType::Composite | SearchType::Special => (&[""], &[]),
        SearchType::Date => (&[""], &["ge1987-06-05", "1987"]),
        SearchType::Number => (&[""], &["98765", "lt98765.4321"]),
        SearchType::Quantity => (&[""], &["98765.4321|http://zanzibar|zanzibar", "gt98765"]),
        SearchType::Reference => {
            (&["", ":identifier"], &["zanzibar", "Patient/zanzibar", "http://zanzibar/1987|1987"])
        }
        SearchType::String => (&["", ":exact", ":contains"], &["Zanzibar"]),
        SearchType::Token => (&["", ":not"], &["http://zanzibar|zanzibar", "zanzibar", "true"]),
        SearchType::Uri => (&["", ":above", ":below"], &["http://zanzibar/zanzibar"]),
    }
}

/// The searches by a parameter whose values fit; a composite has two parts, or a token and two numbers.
fn searches(of: ResourceType, code: &str, kind: SearchType) -> Vec<(String, SearchRequest)> {
    let (modifiers, values) = forms(kind);
    let mut values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
    if kind == SearchType::Composite {
        let parts = || SearchType::ALL.into_iter().filter_map(|part| forms(part).1.first());
        values = parts().flat_map(|a| parts().map(move |b| format!("{a}${b}"))).collect();
        values.push("http://zanzibar|zanzibar$98765$lt98765.4321".to_owned());
    }
    let mut found = Vec::new();
    for modifier in modifiers {
        for value in &values {
            let url = format!("{of}?{code}{modifier}={value}");
            if let Ok(request) = try_request(&url) {
                found.push((url, request));
            }
        }
    }
    found
}

/// Covers: security H8.
#[tokio::test]
async fn no_value_of_any_parameter_of_any_type_is_in_a_statement() {
    let mut count = 0;
    for of in ResourceType::all() {
        for parameter in WORLD.parameters.extractor.parameters(of) {
            let (code, kind) = (&*parameter.code, parameter.search_type);
            // What every type has is the same for each.
            if kind == SearchType::Special || code.starts_with('_') && of != ResourceType::PATIENT {
                continue;
            }
            let mut made = 0;
            for (url, request) in searches(of, code, kind) {
                let Ok((_, sql)) = try_compiled(&request).await else { continue };
                let text = sql.to_lowercase();
                for value in ["zanzibar", "1987", "98765", "4321"] {
                    assert!(!text.contains(value), "{url} has {value} in\n{sql}");
                }
                made += 1;
            }
            assert!(made > 0, "{of}.{code} has no statement");
            count += made;
        }
    }
    assert!(count > 3_000, "{count}");
}

/// Covers: security H8.
#[tokio::test]
async fn searches_of_one_form_are_one_statement() {
    for (one, other) in [
        ("Patient?name=a", "Patient?name=bcd"),
        ("Patient?_id=1,2", "Patient?_id=1,2,3,4"),
        ("Observation?code=a,b", "Observation?code=a,b,c,d,e"),
        ("Observation?date=ge2020", "Observation?date=ge2021-05-06"),
    ] {
        assert_eq!(compiled(one).await, compiled(other).await, "{one} {other}");
    }
}
