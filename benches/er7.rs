//! The reader of HL7 version 2 on results of 8 kB: every segment, field, component and text of it.
//!
//! The aim is 100 MB a second on one core.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln::hl7v2::charset::Charset;
use kiln::hl7v2::er7::{Message, Reading};

/// An ORU^R01 with 60 results.
fn oru() -> String {
    let mut text = String::from(
        "MSH|^~\\&|LAB|STM|KILN|H|20260704120000||ORU^R01^ORU_R01|77|P|2.5.1\r\
         PID|1||12345^^^STM&1.2.3&ISO^MR~98765^^^NAT^NI||Muster^Anna^B||19700101|F\r\
         OBR|1|4711^LAB|0815^LAB|24323-8^Panel^LN|||20260704110000\r",
    );
    for n in 1..=60 {
        let _ = write!(
            text,
            "OBX|{n}|NM|{n}-8^Result number {n}^LN^{n}^Local name^99STM||{n}.5|mmol/L^^UCUM|3.0-5.0|N|||F|||20260704113000|LAB \\T\\ more\r"
        );
    }
    text
}

fn read(c: &mut Criterion) {
    let text = oru();
    let mut group = c.benchmark_group("er7");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("split", |b| {
        b.iter(|| Message::parse(black_box(&text), Charset::UTF_8, Reading::Lenient));
    });
    group.bench_function("all", |b| {
        b.iter(|| {
            let message = Message::parse(black_box(&text), Charset::UTF_8, Reading::Lenient);
            let mut count = 0;
            for segment in message.iter().flat_map(Message::segments) {
                for field in segment.fields() {
                    for part in field.repetitions().flat_map(kiln::hl7v2::er7::Part::components) {
                        count += part.text().len();
                    }
                }
            }
            count
        });
    });
    group.finish();
}

criterion_group!(benches, read);
criterion_main!(benches);
