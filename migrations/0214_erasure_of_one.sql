-- Erasure of one patient's record, and of nobody else's: messages of whoever has the identifiers by now keep their texts, and
-- no message loses one that still waits; what leads to others over what is in no compartment is not one patient's alone.
-- Binaries that were deleted before, and exports with what is in no compartment, go too; what is written about a patient
-- later can be erased in its turn.
--
-- As before, all of it is for the owner of the tables alone.

-- The messages about a patient that wait for work or for somebody: those in the patient's lines, of before the record was
-- erased, and those that did something to it and were put back into the line. Parts that were not put together yet wait for
-- the others, for a day.
CREATE FUNCTION kiln_waiting(whose text, hash bigint, types text[], senders bigint[]) RETURNS uuid[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
  lines bigint[] := kiln_patient_lines(whose, senders);
  until timestamptz := coalesce((SELECT max(e.executed_at) FROM erasure e WHERE e.patient = whose), 'infinity');
BEGIN
  RETURN (SELECT coalesce(array_agg(o.message_id), '{}') FROM v2_open o
    WHERE (o.state IS NULL OR o.state IN ('failed', 'held')
        OR o.state = 'fragment' AND o.attempts = 0 AND o.received_at > now() - interval '1 day')
      AND (o.order_keys && lines AND o.received_at <= until OR EXISTS (
        SELECT FROM v2_effect e LEFT JOIN ident i
            ON i.tid = 0 AND i.rt = array_position(types, e.resource_type) AND i.id = e.resource_id
          LEFT JOIN res r ON r.rid = i.rid AND r.dk = i.dk
         WHERE e.message_id = o.message_id
           AND (e.resource_type = 'Patient' AND e.resource_id = whose OR r.pats = ARRAY[hash]))));
END $$;

-- Ends in a restored copy what of these waits there and had ended where the record was erased: nothing is made of it anew.
-- What had no effect yet and stands in a line of somebody else too, whose record is there, is left; how many were ended.
CREATE FUNCTION kiln_discard(whose text, hash bigint, types text[], senders bigint[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
  waits uuid[] := kiln_waiting(whose, hash, types, senders);
  gone uuid[];
  lined bigint[];
BEGIN
  SELECT coalesce(array_agg(o.message_id), '{}') INTO gone FROM v2_open o
   WHERE o.message_id = ANY (waits) AND (EXISTS (
       SELECT FROM v2_effect e WHERE e.message_id = o.message_id AND e.resource_type = 'Patient' AND e.resource_id = whose)
     OR NOT EXISTS (
       SELECT FROM unnest(o.order_keys) k(key) JOIN v2_message m ON m.order_keys @> ARRAY[k.key]
         JOIN v2_effect e ON e.message_id = m.id
        WHERE k.key <> ALL (senders) AND e.resource_type = 'Patient' AND e.resource_id <> whose
          AND NOT EXISTS (SELECT FROM erasure g WHERE g.patient = e.resource_id AND g.executed_at IS NOT NULL)));
  SELECT coalesce(array_agg(DISTINCT k.key), '{}') INTO lined
    FROM v2_open o CROSS JOIN LATERAL unnest(o.order_keys) k(key) WHERE o.message_id = ANY (gone);
  DELETE FROM v2_answer WHERE message_id = ANY (gone);
  DELETE FROM v2_queue WHERE message_id = ANY (gone);
  UPDATE v2_message SET state = 'discarded' WHERE id = ANY (gone);
  UPDATE v2_open SET state = 'discarded', blocked = false, next_try = NULL, lease_until = NULL, reason = NULL
   WHERE message_id = ANY (gone);
  -- Whoever claims looks once more which one is first in its lines.
  UPDATE v2_open SET blocked = false WHERE state IS NULL AND blocked AND order_keys && lined;
  RETURN cardinality(gone);
END $$;

-- Whether there is a record of a patient, whether it was erased and nothing was written about the patient since, its last act
-- but for erasures, and how many messages about it wait for work or for somebody.
DROP FUNCTION kiln_record(text, bigint, bigint[]);
CREATE FUNCTION kiln_record(whose text, hash bigint, base text, types text[], kept smallint[], senders bigint[])
RETURNS TABLE (is_there boolean, is_erased boolean, last_act timestamptz, waiting bigint) LANGUAGE plpgsql AS $$
BEGIN
  is_there := EXISTS (SELECT FROM ident i WHERE i.tid = 0 AND i.rt = 103 AND i.id = whose);
  is_erased := EXISTS (SELECT FROM ident i JOIN res r ON r.rid = i.rid AND r.dk = i.dk
    WHERE i.tid = 0 AND i.rt = 103 AND i.id = whose AND r.op = 'D' AND coalesce(r.meta ? 'erased', false));
  IF is_erased THEN
    is_erased := cardinality(kiln_alone(whose, hash, base, types, kept)) = 0;
  END IF;
  last_act := (SELECT max(r.lu) FROM res r WHERE (hash = ANY (r.pats) OR r.rt = 103 AND r.id = whose)
    AND NOT (r.op = 'D' AND coalesce(r.meta ? 'erased', false)));
  waiting := cardinality(kiln_waiting(whose, hash, types, senders));
  RETURN NEXT;
END $$;

-- Of whom of `held`, patients on hold with their hashes, there are old versions that would go with a patient's record: what is
-- the patient's alone by now was theirs before.
CREATE FUNCTION kiln_held(whose text, hash bigint, base text, types text[], kept smallint[], held text[], hashes bigint[])
RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  own bigint[];
BEGIN
  IF cardinality(held) = 0 THEN
    RETURN '{}'::text[];
  END IF;
  own := kiln_alone(whose, hash, base, types, kept);
  RETURN (SELECT coalesce(array_agg(DISTINCT o.patient), '{}') FROM unnest(held, hashes) o(patient, theirs)
    WHERE EXISTS (SELECT FROM unnest(own) k(rid) JOIN hist h ON h.rid = k.rid
      WHERE o.theirs = ANY (h.pats)
         OR h.pats = '{}' AND h.body IS NOT NULL AND 'Patient/' || o.patient = ANY (kiln_named(h.rt, h.body, base))));
END $$;

-- The keys of the resources that are a patient's alone: what lies in that patient's compartment and in no other; what is in
-- no compartment and names the patient, and nothing of others, or something of the patient's, and nothing of others nor what
-- leads to something of others in the same way, five references far; and Binaries that nothing else has attached, deleted
-- ones too. `types` are the names of types in the order of their numbers, `kept` are types of which nothing is anybody's
-- alone. 103 is Patient, 9 is Binary.
CREATE OR REPLACE FUNCTION kiln_alone(whose text, hash bigint, base text, types text[], kept smallint[]) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
  own bigint[];
  more bigint[];
  names text[];
BEGIN
  SELECT coalesce(array_agg(r.rid), '{}') INTO own FROM res r
   WHERE (r.rt = 103 AND r.id = whose OR r.pats = ARRAY[hash] AND r.rt <> ALL (kept))
     AND NOT (r.op = 'D' AND coalesce(r.meta ? 'erased', false));
  FOR round IN 1..5 LOOP
    names := ARRAY['Patient/' || whose] || (SELECT coalesce(array_agg(types[r.rt] || '/' || r.id), '{}')
      FROM unnest(own) k(rid) JOIN res r ON r.rid = k.rid);
    -- Of what was deleted, the last version with a content tells.
    WITH RECURSIVE c AS (
        SELECT r.rid, r.rt, coalesce(r.body, (SELECT h.body FROM hist h WHERE h.rid = r.rid AND h.body IS NOT NULL
            ORDER BY h.vid DESC LIMIT 1)) AS body
          FROM res r WHERE r.pats = '{}' AND r.rt <> ALL (kept) AND r.rt <> 103),
      x AS MATERIALIZED (
        SELECT c.rid, u.name FROM c CROSS JOIN LATERAL unnest(kiln_named(c.rt, c.body, base)) u(name)
         WHERE c.body IS NOT NULL),
      mine AS MATERIALIZED (
        SELECT DISTINCT x.rid FROM x JOIN unnest(names) n(name) ON n.name = x.name
         WHERE NOT EXISTS (SELECT FROM unnest(own) k(rid) WHERE k.rid = x.rid)),
      -- What leads on from these over what is in no compartment either; what names the patient itself is judged by what it
      -- names, wherever that leads.
      reached (origin, rid) AS (
        SELECT m.rid, m.rid FROM mine m
        UNION
        SELECT w.origin, o.rid FROM reached w JOIN x ON x.rid = w.rid
          JOIN ident i ON i.tid = 0 AND i.rt = array_position(types, split_part(x.name, '/', 1))
            AND i.id = split_part(x.name, '/', 2)
          JOIN res o ON o.rid = i.rid AND o.dk = i.dk
         WHERE o.pats = '{}' AND o.rt <> ALL (kept) AND o.rt <> 103
           AND NOT EXISTS (SELECT FROM unnest(own) k(rid) WHERE k.rid = o.rid)
           AND NOT EXISTS (SELECT FROM x p WHERE p.rid = w.origin AND p.name = 'Patient/' || whose))
    SELECT coalesce(array_agg(m.rid), '{}') INTO more FROM mine m WHERE NOT EXISTS (
      SELECT FROM reached w JOIN x ON x.rid = w.rid WHERE w.origin = m.rid
         AND (x.name LIKE 'Patient/%' AND x.name <> 'Patient/' || whose OR EXISTS (
        SELECT FROM ident i JOIN res o ON o.rid = i.rid AND o.dk = i.dk
         WHERE i.tid = 0 AND i.rt = array_position(types, split_part(x.name, '/', 1))
           AND i.id = split_part(x.name, '/', 2) AND o.pats <> '{}' AND o.pats <> ARRAY[hash])));
    EXIT WHEN more = '{}';
    own := own || more;
  END LOOP;
  RETURN own || (SELECT coalesce(array_agg(b.rid), '{}') FROM res b
    WHERE b.rt = 9 AND NOT (b.op = 'D' AND coalesce(b.meta ? 'erased', false)) AND (b.pats = '{}' OR b.pats = ARRAY[hash])
      AND NOT EXISTS (SELECT FROM unnest(own) k(rid) WHERE k.rid = b.rid)
      AND ARRAY['Binary/' || b.id, base || 'Binary/' || b.id] && (
        SELECT coalesce(array_agg(DISTINCT u.url), '{}') FROM (
          SELECT r.rt, r.body FROM unnest(own) k(rid) JOIN res r ON r.rid = k.rid WHERE r.body IS NOT NULL
          UNION ALL SELECT h.rt, h.body FROM unnest(own) k(rid) JOIN hist h ON h.rid = k.rid WHERE h.body IS NOT NULL) v
        CROSS JOIN LATERAL unnest(kiln_attached(v.rt, v.body)) u(url))
      AND NOT EXISTS (SELECT FROM res o
        WHERE o.rt IN (2, 11, 16, 19, 20, 23, 24, 26, 29, 30, 36, 40, 41, 42, 43, 49, 50, 51, 53, 60, 68, 70, 72, 74, 87, 88, 102, 103, 106, 107, 108, 112, 113, 114, 115, 116, 117, 118, 121, 132, 133, 134, 137, 140)
          AND kiln_attached(o.rt, o.body) <> '{}'::text[]
          AND kiln_attached(o.rt, o.body) && ARRAY['Binary/' || b.id, base || 'Binary/' || b.id] AND o.rid <> ALL (own)));
END $$;

-- Takes a patient's record away: all versions of what is the patient's alone, with all rows of the index; a tombstone
-- without content stays for each id, whose `meta` says that it was erased and not deleted. Old versions of what is
-- others' by now go as well where they were this patient's alone. Texts of messages that were about the patient, keys by
-- which messages find what is gone, files of exports with the patient in them, grants, and the account of the patient go.
--
-- What is counted, and what is left: resources that name others too, or are of types in `kept`.
CREATE OR REPLACE FUNCTION kiln_erase(whose text, hash bigint, base text, types text[], kept smallint[], senders bigint[])
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  -- Before anything is gone by which it is found.
  lines bigint[] := kiln_patient_lines(whose, senders);
  own bigint[] := kiln_alone(whose, hash, base, types, kept);
  exact text := '[^A-Za-z0-9.-]Patient/' || replace(whose, '.', '\.') || '($|[^A-Za-z0-9.-])';
  -- What came after the record was erased is about whoever has the identifiers by then.
  until timestamptz := coalesce((SELECT max(e.executed_at) FROM erasure e WHERE e.patient = whose), 'infinity');
  names text[];
  messages uuid[];
  more uuid[];
  accounts uuid[];
  jobs uuid[];
  taken jsonb := '{}';
  n bigint;
  left_over text[];
  left_count bigint;
  old_left bigint;
BEGIN
  -- Who writes one of them meanwhile has this fail or fails itself.
  PERFORM FROM res WHERE rid = ANY (own) ORDER BY rid FOR UPDATE;
  names := ARRAY['Patient/' || whose] || (SELECT coalesce(array_agg(types[r.rt] || '/' || r.id), '{}')
    FROM unnest(own) k(rid) JOIN res r ON r.rid = k.rid);

  -- Texts of messages: of those that did something to what goes, whoever else they name (a merge), or that stand in the
  -- patient's lines and did nothing to what is others' alone; and the parts of messages that went on with them.
  SELECT coalesce(array_agg(f.id), '{}') INTO messages FROM (
    SELECT m.id FROM v2_message m WHERE m.order_keys && lines AND m.received_at <= until AND NOT EXISTS (
      SELECT FROM v2_effect o LEFT JOIN ident i
          ON i.tid = 0 AND i.rt = array_position(types, o.resource_type) AND i.id = o.resource_id
        LEFT JOIN res r ON r.rid = i.rid AND r.dk = i.dk
       WHERE o.message_id = m.id
         AND (o.resource_type = 'Patient' AND o.resource_id <> whose OR r.pats <> '{}' AND hash <> ALL (r.pats)))
    UNION SELECT e.message_id FROM unnest(names) x(name) JOIN v2_effect e
      ON e.resource_type = split_part(x.name, '/', 1) AND e.resource_id = split_part(x.name, '/', 2)) f;
  -- Names of parts come again: the newest part before is the one that is gone on from, of a day at most.
  LOOP
    SELECT coalesce(array_agg(DISTINCT f.id), '{}') INTO more FROM (
      SELECT DISTINCT ON (m.id) p.id FROM unnest(messages) k(id) JOIN v2_message m ON m.id = k.id
        JOIN v2_message p ON p.state = 'fragment' AND p.site = m.site AND p.goes_on = m.part_of AND p.id < m.id
          AND p.id >= kiln_first_id(m.received_at - interval '1 day 1 minute')
       WHERE m.part_of <> '' AND p.received_at > m.received_at - interval '1 day'
       ORDER BY m.id, p.id DESC) f
     WHERE NOT EXISTS (SELECT FROM unnest(messages) o(id) WHERE o.id = f.id);
    EXIT WHEN more = '{}';
    messages := messages || more;
  END LOOP;
  -- One that waits is still to be worked on.
  messages := ARRAY(SELECT k.id FROM unnest(messages) k(id) WHERE NOT EXISTS (SELECT FROM v2_open o
    WHERE o.message_id = k.id AND (o.state IS NULL OR o.state IN ('failed', 'held')
      OR o.state = 'fragment' AND o.attempts = 0 AND o.received_at > now() - interval '1 day')));
  UPDATE v2_message SET raw = NULL, raw_key = NULL, ack = NULL, reason = ''
   WHERE id = ANY (messages) AND (raw IS NOT NULL OR ack IS NOT NULL OR reason <> '');
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('v2_message', n);
  DELETE FROM v2_issue WHERE message_id = ANY (messages);
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('v2_issue', n);
  DELETE FROM v2_unmapped WHERE message_id = ANY (messages);
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('v2_unmapped', n);
  DELETE FROM v2_answer WHERE message_id = ANY (messages);
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('v2_answer', n);
  DELETE FROM v2_key v USING unnest(names) x(name)
   WHERE v.resource_type = split_part(x.name, '/', 1) AND v.resource_id = split_part(x.name, '/', 2);
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('v2_key', n);
  DELETE FROM v2_watermark v USING unnest(names) x(name)
   WHERE v.entity_type = split_part(x.name, '/', 1) AND v.entity_id = split_part(x.name, '/', 2);
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('v2_watermark', n);
  DELETE FROM v2_member v USING unnest(names) x(name) WHERE v.member = x.name;
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('v2_member', n);
  DELETE FROM v2_merge_key k USING v2_merge m WHERE k.message_id = m.message_id AND k.source_id = m.source_id
    AND ARRAY[m.resource_type || '/' || m.source_id, m.resource_type || '/' || m.target_id] && names;
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('v2_merge_key', n);
  DELETE FROM v2_merge_log l USING v2_merge m WHERE l.message_id = m.message_id AND l.source_id = m.source_id
    AND ARRAY[m.resource_type || '/' || m.source_id, m.resource_type || '/' || m.target_id] && names;
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('v2_merge_log', n);
  DELETE FROM v2_merge WHERE ARRAY[resource_type || '/' || source_id, resource_type || '/' || target_id] && names;
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('v2_merge', n);
  -- A message that is being worked out by what is gone is worked out anew.
  UPDATE v2_line SET n = v2_line.n + 1 WHERE patient = whose;

  -- Exports that are under way begin anew, without the patient; those that have ended and have the patient go, and those
  -- with files of a type of which something goes that is in no compartment: whose it is, files do not say.
  UPDATE export_job SET state = 'accepted', attempt = attempt + 1, lease_until = NULL, done = 0 WHERE state = 'in-progress';
  SELECT coalesce(array_agg(DISTINCT f.job), '{}') INTO jobs FROM export_file f WHERE hash = ANY (f.pats)
    OR f.kind = 'o' AND f.rt IN (SELECT r.rt FROM unnest(own) k(rid) JOIN res r ON r.rid = k.rid WHERE r.pats = '{}');
  DELETE FROM export_part p WHERE p.job = ANY (jobs) OR EXISTS (
    SELECT FROM export_job j WHERE j.id = p.job AND j.state = 'accepted');
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('export_part', n);
  DELETE FROM export_file f WHERE f.job = ANY (jobs) OR EXISTS (
    SELECT FROM export_job j WHERE j.id = f.job AND j.state = 'accepted');
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('export_file', n);
  DELETE FROM export_job WHERE id = ANY (jobs) AND state IN ('completed', 'failed');
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('export_job', n);

  -- The patient's own login, and what anybody was granted to the record.
  SELECT coalesce(array_agg(a.id), '{}') INTO accounts FROM account a WHERE a.fhir_user = 'Patient/' || whose;
  DELETE FROM oauth_grant WHERE patient = whose OR account_id = ANY (accounts) OR fhir_user = 'Patient/' || whose;
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('oauth_grant', n);
  DELETE FROM consent_decision WHERE patient = whose OR account_id = ANY (accounts);
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('consent_decision', n);
  DELETE FROM account WHERE id = ANY (accounts);
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('account', n);
  PERFORM pg_notify(kiln_channel(), 'erasure');

  -- The index: rows of the resources, and of what is contained in them (keys below zero).
  DELETE FROM tok t USING unnest(own) k(rid) WHERE CASE WHEN t.rid < 0 THEN -t.rid / 2097152 ELSE t.rid END = k.rid;
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('tok', n);
  DELETE FROM num t USING unnest(own) k(rid) WHERE CASE WHEN t.rid < 0 THEN -t.rid / 2097152 ELSE t.rid END = k.rid;
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('num', n);
  DELETE FROM dat t USING unnest(own) k(rid) WHERE CASE WHEN t.rid < 0 THEN -t.rid / 2097152 ELSE t.rid END = k.rid;
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('dat', n);
  DELETE FROM str t USING unnest(own) k(rid) WHERE CASE WHEN t.rid < 0 THEN -t.rid / 2097152 ELSE t.rid END = k.rid;
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('str', n);
  DELETE FROM comp t USING unnest(own) k(rid) WHERE t.rid = k.rid;
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('comp', n);
  DELETE FROM srow t USING unnest(own) k(rid) WHERE CASE WHEN t.rid < 0 THEN -t.rid / 2097152 ELSE t.rid END = k.rid;
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('srow', n);

  -- Subscriptions that were the patient's, if a resource of that type ever is.
  DELETE FROM subscription s USING unnest(own) k(rid) JOIN res r ON r.rid = k.rid
   WHERE types[r.rt] = 'Subscription' AND s.id = r.id;
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('subscription', n);

  -- Versions. Where one is the patient's alone, and its resource somebody else's by now, the version goes.
  DELETE FROM hist h USING unnest(own) k(rid) WHERE h.rid = k.rid;
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('hist', n);
  DELETE FROM hist WHERE pats = ARRAY[hash] AND rt <> ALL (kept);
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('hist_of_others', n);
  UPDATE res SET vid = vid + 1, op = 'D', xid = pg_current_xact_id(), meta = '{"erased": true}', body = NULL,
    lu = greatest(date_trunc('milliseconds', clock_timestamp()), lu + interval '1 ms')
   WHERE rid = ANY (own);
  GET DIAGNOSTICS n = ROW_COUNT;
  taken := taken || jsonb_build_object('res', n);
  -- Whoever follows the feed hears of it: indexes of words, subscriptions.
  INSERT INTO feed (at, rid, dk, vid, rt, op) SELECT lu, rid, dk, vid, rt, 'D' FROM res WHERE rid = ANY (own);

  -- What still names the patient, whoever else it is about.
  SELECT count(*), coalesce((array_agg(types[r.rt] || '/' || r.id ORDER BY r.rt, r.id COLLATE "C"))[1:1000], '{}')
    INTO left_count, left_over FROM res r
   WHERE r.body IS NOT NULL AND (hash = ANY (r.pats) OR CASE WHEN strpos(r.body::text, 'Patient/' || whose) > 0
     THEN r.body::text ~ exact ELSE false END);
  SELECT count(*) INTO old_left FROM hist h
   WHERE h.body IS NOT NULL AND (hash = ANY (h.pats) OR CASE WHEN strpos(h.body::text, 'Patient/' || whose) > 0
     THEN h.body::text ~ exact ELSE false END);
  RETURN jsonb_build_object('taken', taken, 'left', to_jsonb(left_over), 'left_count', left_count,
    'old_versions_left', old_left);
END $$;

REVOKE ALL ON FUNCTION kiln_waiting(text, bigint, text[], bigint[]), kiln_discard(text, bigint, text[], bigint[]),
  kiln_record(text, bigint, text, text[], smallint[], bigint[]),
  kiln_held(text, bigint, text, text[], smallint[], text[], bigint[]) FROM PUBLIC;
