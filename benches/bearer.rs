//! What a request pays for a token that was looked up a moment ago: less than 20 microseconds. It is what
//! `Authority::bearer` does then, from the text of a token to what stands behind it and whether it counts now.
//!
//! `cargo bench --bench bearer`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use kiln::access::Principal;
use kiln::clock::{IdSource as _, SystemClock, SystemIds};
use kiln::fhir;
use kiln::oauth::bearer::{Known, Tokens};
use kiln::oauth::secret::{self, ACCESS, Fresh};
use secrecy::ExposeSecret as _;

/// Tokens that are known at a time.
const TOKENS: usize = 10_000;

fn bearer(criterion: &mut Criterion) {
    let (ids, tokens) = (SystemIds::default(), Tokens::default());
    let texts: Vec<String> =
        (0..TOKENS).map(|_| Fresh::new(ACCESS, &ids).text.expose_secret().to_owned()).collect();
    let keep = || {
        for text in &texts {
            let known = Known {
                principal: Principal::open(),
                origins: Vec::new(),
                expires: fhir::Instant::from_micros(i64::MAX),
                grant: ids.ordered(),
            };
            tokens.keep(secret::hash(text), Instant::now(), Arc::new(known));
        }
    };
    let mut next = 0;
    criterion.bench_function("a token that is known", |bencher| {
        keep();
        bencher.iter(|| {
            next = (next + 1) % TOKENS;
            let found = tokens.remembered(black_box(&texts[next]), &SystemClock);
            assert!(matches!(black_box(found), Ok(Ok(_))));
        });
    });
}

criterion_group!(benches, bearer);
criterion_main!(benches);
