//! The ends of messages, with what is committed beside their effects: one statement for many.
//!
//! It changes nothing and fails ([`failure::is_outrun`]) where another message had its effect on one of
//! the patients since this one was worked out, where one that came before is still at work, where a key
//! belongs to another resource by now, or where the message is somebody else's.
//!
//! Spec: v2 S2, S5, S22, S30, M7, M11

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::rows::Timestamptz;
use super::companion::Companion;
use super::{MessageEnd, MessageIssue, UnmappedCode};

/// What was processed leaves `v2_open`, what ended otherwise stays there with its state; then the message itself
/// is written, the one time. Rows are taken in the order of their keys, so that statements wait for each other
/// and do not deadlock; what others have of those that are freed is theirs to free. Issues of work done before
/// that the new ones do not replace go; those below 0 are of the receipt. Of what waits in a line, the next one
/// is free to be claimed. What is looked for by a message's id is written so that no plan, made while a table was
/// small, looks for it among all there is: not as EXISTS, not as IN of a query, and not by what an index of the
/// blocked ones has; such a walk would pass all messages that have gone, too.
pub(in crate::store) const END: &str = "WITH g AS MATERIALIZED ( \
       SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::bytea[], $6::timestamptz[], \
         $7::text[], $8::text[], $9::bool[], $10::bool[]) \
         AS g(id, attempts, state, code, ack, at, hash, reason, holds, is_effect) ORDER BY id), \
     clash AS ( \
       SELECT FROM g JOIN v2_open o ON o.message_id = g.id CROSS JOIN LATERAL unnest(o.order_keys) AS k(key) \
         CROSS JOIN LATERAL (SELECT FROM v2_queue q \
           WHERE q.key = k.key AND q.message_id < g.id LIMIT 1) AS other \
        WHERE g.is_effect LIMIT 1), \
     line AS ( \
       INSERT INTO v2_line AS known (patient, n) \
       SELECT patient, n + 1 FROM unnest($11::text[], $12::bigint[]) AS l(patient, n) ORDER BY patient \
       ON CONFLICT (patient) DO UPDATE SET n = excluded.n WHERE known.n = excluded.n - 1 \
       RETURNING patient), \
     closed AS ( \
       DELETE FROM v2_open o USING g WHERE o.message_id = g.id AND o.state IS NULL \
         AND o.lease_until IS NOT NULL AND o.attempts = g.attempts \
         AND g.state IN ('processed', 'processed_with_issues') RETURNING g.*), \
     kept AS ( \
       UPDATE v2_open o SET state = g.state, lease_until = NULL, next_try = NULL, reason = NULL FROM g \
        WHERE o.message_id = ANY ($1) AND o.message_id = g.id AND o.state IS NULL \
          AND o.lease_until IS NOT NULL AND o.attempts = g.attempts \
          AND g.state NOT IN ('processed', 'processed_with_issues') RETURNING g.*), \
     ended AS ( \
       UPDATE v2_message m SET \
         state = CASE WHEN g.state = 'processed' AND ( \
           SELECT true FROM v2_issue i WHERE i.message_id = g.id AND i.n < 0 LIMIT 1) IS NOT NULL \
           THEN 'processed_with_issues' ELSE g.state END, \
         ack_code = COALESCE(m.ack_code, g.code), ack = COALESCE(m.ack, g.ack), processed_at = g.at, \
         map_hash = g.hash, reason = g.reason, attempts = g.attempts \
         FROM (SELECT * FROM closed UNION ALL SELECT * FROM kept) AS g WHERE m.id = g.id \
       RETURNING m.id, m.site, m.order_keys, g.holds), \
     gone AS ( \
       DELETE FROM v2_queue q USING ( \
         SELECT k.key, ended.id FROM ended CROSS JOIN LATERAL unnest(ended.order_keys) AS k(key) \
          WHERE NOT ended.holds OFFSET 0) AS own \
        WHERE q.key = own.key AND q.message_id = own.id), \
     next AS MATERIALIZED ( \
       SELECT o.message_id FROM v2_open o WHERE o.state IS NULL AND o.blocked::int = 1 AND o.message_id = ANY (ARRAY( \
         SELECT n.message_id FROM ended CROSS JOIN LATERAL unnest(ended.order_keys) AS k(key) \
          CROSS JOIN LATERAL (SELECT q.message_id FROM v2_queue q \
            WHERE q.key = k.key AND q.message_id > ended.id ORDER BY q.message_id LIMIT 1) AS n \
          WHERE NOT ended.holds)) \
        ORDER BY o.message_id FOR NO KEY UPDATE OF o SKIP LOCKED), \
     freed AS (UPDATE v2_open o SET blocked = false FROM next WHERE o.message_id = next.message_id), \
     given AS (SELECT * FROM unnest($13::text[], $14::text[], $15::text[], $16::text[]) \
       AS k(type, system, value, id)), \
     added AS ( \
       INSERT INTO v2_key AS known (resource_type, system, value, resource_id) \
       SELECT type, system, value, id FROM given ORDER BY type, system, value \
       ON CONFLICT (resource_type, system, value) DO UPDATE SET resource_id = known.resource_id \
       RETURNING resource_type, system, value, resource_id), \
     taken AS ( \
       SELECT FROM given JOIN added \
         ON (added.resource_type, added.system, added.value) = (given.type, given.system, given.value) \
        WHERE added.resource_id <> given.id LIMIT 1), \
     marked AS ( \
       INSERT INTO v2_watermark AS known (entity_type, entity_id, aspect, event_time, message_id) \
       SELECT type, id, aspect, at, message FROM unnest($17::text[], $18::text[], $19::text[], \
         $20::timestamptz[], $21::uuid[]) AS w(type, id, aspect, at, message) ORDER BY type, id, aspect \
       ON CONFLICT (entity_type, entity_id, aspect) DO UPDATE \
         SET event_time = excluded.event_time, message_id = excluded.message_id \
         WHERE known.event_time <= excluded.event_time), \
     waiting AS ( \
       INSERT INTO v2_member (place, member) SELECT * FROM unnest($22::text[], $23::text[]) AS m(place, member) \
       ORDER BY place, member ON CONFLICT DO NOTHING), \
     did AS ( \
       INSERT INTO v2_effect (message_id, n, action, resource_type, resource_id, version, map_rule) \
       SELECT ended.id, (SELECT count(*) FROM v2_effect b WHERE b.message_id = ended.id) + e.n, e.action, \
         e.type, e.resource, e.version, e.rule \
         FROM unnest($24::uuid[], $25::int[], $26::text[], $27::text[], $28::text[], $29::int[], $30::text[]) \
           AS e(message, n, action, type, resource, version, rule) JOIN ended ON ended.id = e.message), \
     said AS (SELECT * FROM unnest($31::uuid[], $32::int[], $33::text[], $34::int[], $35::text[], \
       $36::text[], $37::int[], $38::int[], $39::int[], $40::int[], $41::int[], $42::text[]) \
       AS i(message, n, severity, code, name, segment, seq, field, rep, comp, sub, text)), \
     told AS ( \
       INSERT INTO v2_issue (message_id, n, severity, code0357, app_code, segment, seq, field, rep, comp, \
         sub, text) \
       SELECT ended.id, i.n, i.severity, i.code, i.name, i.segment, i.seq, i.field, i.rep, i.comp, i.sub, \
         i.text FROM said i JOIN ended ON ended.id = i.message \
       ON CONFLICT (message_id, n) DO UPDATE SET severity = excluded.severity, \
         code0357 = excluded.code0357, app_code = excluded.app_code, segment = excluded.segment, \
         seq = excluded.seq, field = excluded.field, rep = excluded.rep, comp = excluded.comp, \
         sub = excluded.sub, text = excluded.text), \
     untold AS ( \
       DELETE FROM v2_issue x USING ended WHERE x.message_id = ended.id AND x.n >= 0 \
         AND x.n >= (SELECT count(*) FROM said WHERE said.message = x.message_id)), \
     lacked AS (SELECT * FROM unnest($43::uuid[], $44::text[], $45::text[], $46::text[], $47::text[]) \
       AS c(message, code_set, system, code, display)), \
     unmapped AS ( \
       INSERT INTO v2_unmapped (message_id, site, code_set, system, code, display) \
       SELECT ended.id, ended.site, c.code_set, c.system, c.code, c.display \
         FROM lacked c JOIN ended ON ended.id = c.message ON CONFLICT DO NOTHING), \
     mapped AS ( \
       DELETE FROM v2_unmapped u USING ended WHERE u.message_id = ended.id AND NOT EXISTS ( \
         SELECT FROM lacked c WHERE (c.message, c.code_set, c.system, c.code) \
           = (u.message_id, u.code_set, u.system, u.code))) \
     SELECT CASE WHEN EXISTS (SELECT FROM clash) OR EXISTS (SELECT FROM taken) \
         OR (SELECT count(*) FROM line) < cardinality($11::text[]) \
         OR (SELECT count(*) FROM ended) < cardinality($1::uuid[]) \
       THEN kiln_outrun() END";

/// The columns of messages, as [`END`] takes them.
#[derive(Default)]
struct Ends<'a> {
    id: Vec<Uuid>,
    attempts: Vec<i32>,
    state: Vec<&'a str>,
    code: Vec<&'a str>,
    ack: Vec<&'a [u8]>,
    at: Vec<Timestamptz>,
    hash: Vec<Option<&'a str>>,
    reason: Vec<&'a str>,
    holds: Vec<bool>,
    is_effect: Vec<bool>,
}

#[derive(Default)]
struct Effects<'a> {
    message: Vec<Uuid>,
    number: Vec<i32>,
    version: Vec<i32>,
    /// Action, type, id, rule.
    texts: [Vec<&'a str>; 4],
}

/// Issues of messages, as statements take them.
#[derive(Default)]
pub(super) struct Issues<'a> {
    message: Vec<Uuid>,
    number: Vec<i32>,
    severity: Vec<&'a str>,
    code: Vec<i32>,
    name: Vec<&'a str>,
    segment: Vec<&'a str>,
    place: [Vec<i32>; 5],
    text: Vec<&'a str>,
}

impl<'a> Issues<'a> {
    pub(super) fn push(&mut self, message: Uuid, issues: &'a [MessageIssue]) {
        self.number_and_push(message, issues, |at| at);
    }

    /// Those of a receipt, which the end of work leaves: numbers below that of a control id used again.
    pub(super) fn push_notes(&mut self, message: Uuid, notes: &'a [MessageIssue]) {
        self.number_and_push(message, notes, |at| -2 - at);
    }

    fn number_and_push(
        &mut self,
        message: Uuid,
        issues: &'a [MessageIssue],
        number: fn(i32) -> i32,
    ) {
        for (at, issue) in (0..).zip(issues) {
            self.message.push(message);
            self.number.push(number(at));
            self.severity.push(&issue.severity);
            self.code.push(issue.code);
            self.name.push(&issue.name);
            self.segment.push(&issue.segment);
            for (column, value) in self.place.iter_mut().zip(issue.numbers) {
                column.push(value);
            }
            self.text.push(&issue.text);
        }
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 12] {
        let [sequence, field, repetition, component, subcomponent] = &self.place;
        [
            &self.message,
            &self.number,
            &self.severity,
            &self.code,
            &self.name,
            &self.segment,
            sequence,
            field,
            repetition,
            component,
            subcomponent,
            &self.text,
        ]
    }
}

/// What [`END`] takes, column by column.
#[derive(Default)]
pub(in crate::store) struct EndColumns<'a> {
    ends: Ends<'a>,
    lines: (Vec<&'a str>, Vec<i64>),
    keys: [Vec<&'a str>; 4],
    /// Type, id and aspect.
    marks: [Vec<&'a str>; 3],
    mark_times: Vec<Timestamptz>,
    mark_messages: Vec<Uuid>,
    waiting: [Vec<&'a str>; 2],
    effects: Effects<'a>,
    issues: Issues<'a>,
    unmapped_messages: Vec<Uuid>,
    /// Set, system, code, display.
    unmapped: [Vec<&'a str>; 4],
}

impl<'a> EndColumns<'a> {
    /// An end of work that had no effect.
    pub(super) fn of_end(end: &'a MessageEnd) -> Self {
        let mut columns = Self::default();
        columns.push_end(end, false);
        columns
    }

    /// Ends of work with their effects.
    pub(in crate::store) fn of(companions: &[&'a Companion]) -> Self {
        let mut columns = Self::default();
        for companion in companions {
            columns.push(companion);
        }
        columns
    }

    fn push(&mut self, companion: &'a Companion) {
        if let Some(end) = &companion.end {
            self.push_end(end, true);
        }
        for (patient, number) in &companion.lines {
            self.lines.0.push(patient);
            self.lines.1.push(*number);
        }
        for key in &companion.keys {
            let values = [&key.resource_type, &key.system, &key.value, &key.id];
            push_all(&mut self.keys, values.map(String::as_str));
        }
        let said =
            companion.end.iter().flat_map(|end| companion.marks.iter().map(move |it| (end.id, it)));
        for (id, mark) in said {
            push_all(&mut self.marks, [&mark.resource_type, &mark.id, &mark.aspect]);
            self.mark_times.push(Timestamptz(mark.at));
            self.mark_messages.push(id);
        }
        for member in &companion.waiting {
            push_all(&mut self.waiting, [&member.place, &member.member]);
        }
    }

    fn push_end(&mut self, end: &'a MessageEnd, is_effect: bool) {
        let ends = &mut self.ends;
        ends.id.push(end.id);
        ends.attempts.push(end.attempts);
        ends.state.push(end.state.as_str());
        ends.code.push(end.ack.0);
        ends.ack.push(&end.ack.1);
        ends.at.push(Timestamptz(end.at));
        ends.hash.push(end.map_hash.as_deref());
        ends.reason.push(&end.reason);
        ends.holds.push(end.holds_its_line);
        ends.is_effect.push(is_effect);
        for (number, effect) in (0..).zip(&end.effects) {
            self.effects.message.push(end.id);
            self.effects.number.push(number);
            self.effects.version.push(effect.version);
            let texts = [&effect.action, &effect.resource_type, &effect.id, &effect.rule];
            push_all(&mut self.effects.texts, texts.map(String::as_str));
        }
        self.issues.push(end.id, &end.issues);
        for UnmappedCode { set, system, code, display } in &end.unmapped {
            self.unmapped_messages.push(end.id);
            push_all(&mut self.unmapped, [set, system, code, display].map(String::as_str));
        }
    }

    pub(in crate::store) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let Ends { id, attempts, state, code, ack, at, hash, reason, holds, is_effect } =
            &self.ends;
        let mut all: Vec<&(dyn ToSql + Sync)> =
            vec![id, attempts, state, code, ack, at, hash, reason, holds, is_effect];
        all.extend([&self.lines.0 as &(dyn ToSql + Sync), &self.lines.1]);
        all.extend(self.keys.iter().map(as_parameter));
        all.extend(self.marks.iter().map(as_parameter));
        all.extend([&self.mark_times as &(dyn ToSql + Sync), &self.mark_messages]);
        all.extend(self.waiting.iter().map(as_parameter));
        let Effects { message, number, version, texts: [action, of, id, rule] } = &self.effects;
        let effects: [&(dyn ToSql + Sync); 7] = [message, number, action, of, id, version, rule];
        all.extend(effects);
        all.extend(self.issues.parameters());
        all.push(&self.unmapped_messages);
        all.extend(self.unmapped.iter().map(as_parameter));
        all
    }
}

fn as_parameter<'p>(column: &'p Vec<&str>) -> &'p (dyn ToSql + Sync) {
    column
}

fn push_all<'a, const N: usize>(columns: &mut [Vec<&'a str>; N], values: [&'a str; N]) {
    for (column, value) in columns.iter_mut().zip(values) {
        column.push(value);
    }
}
