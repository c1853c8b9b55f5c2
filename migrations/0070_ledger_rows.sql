-- Smaller rows of the ledger: what repeats from row to row stands in a table of its own, and what is a UUID is kept as
-- one. A row without its query and patients took 355 bytes with its indexes, now less than 200.
--
-- The table of the rows is ledger_row from now on, and ledger a view of them as they always were: what is sealed are the
-- columns of the view, so that seals of before hold, rows of before are read as before, and a node of the version before
-- reads, seals and adds as it did.
--
-- Of a new row these stand elsewhere than before:
--   party: actor, client, person, purpose, source and method, by their key in ledger_party.
--   subject, token_id, request: logical_id, token and request_id, where they are UUIDs as we write them.
--   pat: the patient, where there is one alone.
--   grp is null where it is the id; entities where there are none.
-- The first half of a party's key is a hash of the actor (kiln_actor), so that one index finds the rows of a party
-- with whatever client, and those of before.

-- A party stays when the last of its rows is dropped with its month: servers remember keys.
CREATE TABLE ledger_party (
  key bigint PRIMARY KEY,
  actor text NOT NULL,
  client text,
  person text,
  purpose text,
  source text,
  method text NOT NULL);

ALTER TABLE ledger RENAME TO ledger_row;
ALTER TABLE ledger_row
  ALTER COLUMN grp DROP NOT NULL,
  ALTER COLUMN actor DROP NOT NULL,
  ALTER COLUMN request_id DROP NOT NULL,
  ALTER COLUMN method DROP NOT NULL,
  ALTER COLUMN pats DROP NOT NULL,
  ALTER COLUMN entities DROP NOT NULL,
  ADD COLUMN party bigint,
  ADD COLUMN pat bigint,
  ADD COLUMN token_id uuid,
  ADD COLUMN subject uuid,
  ADD COLUMN request uuid;

-- 32 bits of SHA-256.
CREATE FUNCTION kiln_actor(actor text) RETURNS int LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT ('x' || encode(substr(sha256(convert_to($1, 'UTF8')), 1, 4), 'hex'))::bit(32)::int
$$;

CREATE FUNCTION kiln_patients(pats bigint[], pat bigint) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN $1 IS NOT NULL THEN $1 WHEN $2 IS NOT NULL THEN ARRAY[$2] ELSE '{}' END
$$;

DROP INDEX ledger_actor;
DROP INDEX ledger_patients;
CREATE INDEX ledger_actor ON ledger_row (coalesce((party >> 32)::int, kiln_actor(actor)), (kiln_span(id) >> 8));
CREATE INDEX ledger_patients ON ledger_row USING gin (kiln_patients(pats, pat));

CREATE VIEW ledger AS
SELECT r.id, r.at, coalesce(r.grp, r.id) AS grp, r.tid, r.interaction, r.outcome, r.rt, r.vid,
  coalesce(r.logical_id, r.subject::text) COLLATE "C" AS logical_id,
  coalesce(r.actor, p.actor) AS actor, coalesce(r.client, p.client) AS client,
  coalesce(r.token, r.token_id::text) AS token, coalesce(r.source, p.source) AS source,
  coalesce(r.request_id, r.request::text) AS request_id, coalesce(r.method, p.method) AS method,
  r.query, r.failure, kiln_patients(r.pats, r.pat) AS pats, coalesce(r.entities, '{}') AS entities,
  coalesce(r.person, p.person) AS person, coalesce(r.purpose, p.purpose) AS purpose, r.xid,
  coalesce((r.party >> 32)::int, kiln_actor(r.actor)) AS actor_key
FROM ledger_row r LEFT JOIN ledger_party p ON p.key = r.party;

-- What a node of the version before adds.
CREATE FUNCTION kiln_ledger_add() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO ledger_row (id, at, grp, tid, interaction, outcome, rt, vid, logical_id, actor, client, token, source,
    request_id, method, query, failure, pats, entities, person, purpose, xid)
  VALUES (NEW.id, NEW.at, NEW.grp, NEW.tid, NEW.interaction, NEW.outcome, NEW.rt, NEW.vid, NEW.logical_id, NEW.actor,
    NEW.client, NEW.token, NEW.source, NEW.request_id, NEW.method, NEW.query, NEW.failure, NEW.pats, NEW.entities,
    NEW.person, NEW.purpose, coalesce(NEW.xid, pg_current_xact_id()::text::bigint));
  RETURN NEW;
END $$;
CREATE TRIGGER kiln_ledger_add INSTEAD OF INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION kiln_ledger_add();

-- The key of a party, which is added where it is new. Two that would have one key are told apart by a number.
CREATE FUNCTION kiln_party(actor text, client text, person text, purpose text, source text, method text)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  said text := jsonb_build_array(actor, client, person, purpose, source, method)::text;
  wanted bigint;
BEGIN
  FOR number IN 0..99 LOOP
    wanted := (kiln_actor($1)::bigint << 32) | (kiln_actor(number || said)::bigint & 4294967295);
    INSERT INTO ledger_party VALUES (wanted, $1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING;
    IF EXISTS (SELECT FROM ledger_party p WHERE p.key = wanted
               AND (p.actor, p.client, p.person, p.purpose, p.source, p.method) IS NOT DISTINCT FROM ($1, $2, $3, $4, $5, $6))
    THEN
      RETURN wanted;
    END IF;
  END LOOP;
  RAISE EXCEPTION 'no key for a party of the ledger is free';
END $$;

-- As before: the partitions of ledger_row keep the names that those of the ledger have.
CREATE OR REPLACE FUNCTION kiln_make_partitions(today date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  made int := 0;
  parent text;
  first date;
  name text;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('kiln_make_partitions'));
  FOREACH parent IN ARRAY ARRAY['feed', 'hist', 'ledger_row', 'seal_rows'] LOOP
    FOR step IN 0..2 LOOP
      first := date_trunc('month', today) + make_interval(months => step);
      name := format('%s_%s', CASE parent WHEN 'ledger_row' THEN 'ledger' ELSE parent END, to_char(first, 'YYYYMM'));
      IF to_regclass(name) IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
          name, parent, first::timestamp AT TIME ZONE 'UTC',
          (first + interval '1 month')::timestamp AT TIME ZONE 'UTC');
        made := made + 1;
      END IF;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT ON ledger, ledger_party TO kiln_app;
    GRANT EXECUTE ON FUNCTION kiln_actor(text), kiln_patients(bigint[], bigint), kiln_ledger_add(),
      kiln_party(text, text, text, text, text, text) TO kiln_app;
  END IF;
END $$;
