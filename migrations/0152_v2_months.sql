-- Messages by month, third step, and what changes of a message in a table of its own. No row of a message is
-- rewritten or read through: the table becomes the part of the months up to this one.
--
-- v2_open has what is not done well: what waits or is at work, and what ended otherwise. Who claims, frees, renews or
-- counts looks there alone, in a small table that is not partitioned; its rows change without a new entry in an
-- index. A message itself changes once, at its end, and none of its indexes has what changes. Messages that were
-- processed have no row here.

-- Nodes of the version before still write: nothing of theirs comes between what is copied and what is dropped.
LOCK TABLE v2_message IN ACCESS EXCLUSIVE MODE;

CREATE TABLE v2_open (
  message_id uuid PRIMARY KEY,
  site text NOT NULL,
  received_at timestamptz NOT NULL,
  order_keys bigint[] NOT NULL,
  -- How it ended; NULL: it waits, or is at work as long as there is a lease.
  state text CHECK (state IN ('duplicate', 'rejected', 'failed', 'held', 'discarded', 'fragment')),
  -- Another one is before it in a line.
  blocked boolean NOT NULL DEFAULT false,
  attempts int NOT NULL DEFAULT 0,
  next_try timestamptz,
  lease_until timestamptz,
  -- Whether what it made before and makes no longer goes.
  prunes boolean NOT NULL DEFAULT false,
  -- Why it waits for another try.
  reason text) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

INSERT INTO v2_open (message_id, site, received_at, order_keys, state, blocked, attempts, next_try, lease_until, prunes,
  reason)
SELECT id, site, received_at, order_keys, CASE WHEN state NOT IN ('received', 'processing') THEN state END,
  blocked AND state IN ('received', 'processing'), attempts, next_try,
  CASE state WHEN 'processing' THEN coalesce(lease_until, received_at) END, prunes,
  CASE WHEN state IN ('received', 'processing') THEN reason END
  FROM v2_message
 WHERE state IN ('received', 'processing', 'duplicate', 'rejected', 'failed', 'held', 'discarded', 'fragment');
INSERT INTO v2_open (message_id, site, received_at, order_keys, state, attempts, prunes)
SELECT id, site, received_at, order_keys, CASE WHEN state NOT IN ('received', 'processing') THEN state END, attempts, prunes
  FROM v2_message_odd WHERE state NOT IN ('processed', 'processed_with_issues');

CREATE INDEX v2_open_ready ON v2_open (message_id) WHERE state IS NULL AND NOT blocked;
CREATE INDEX v2_open_blocked ON v2_open (message_id) WHERE state IS NULL AND blocked;
CREATE INDEX v2_open_ended ON v2_open (state, message_id) WHERE state IS NOT NULL;

-- The table of before is the first part.
DROP INDEX v2_message_state, v2_message_ready, v2_message_blocked, v2_message_goes_on, v2_dedupe_at;
ALTER TABLE v2_message DROP COLUMN blocked, DROP COLUMN next_try, DROP COLUMN lease_until, DROP COLUMN prunes;
ALTER TABLE v2_message_odd DROP COLUMN blocked, DROP COLUMN next_try, DROP COLUMN lease_until, DROP COLUMN prunes;
-- Which data key the text is sealed with; NULL: it is as it came.
ALTER TABLE v2_message ADD raw_key int;
ALTER TABLE v2_message_odd ADD raw_key int;
DO $$
DECLARE
  month timestamp := date_trunc('month', CURRENT_DATE);
  part text := 'v2_message_' || to_char(month, 'YYYYMM');
BEGIN
  EXECUTE format('ALTER TABLE v2_message RENAME TO %I', part);
  EXECUTE format('ALTER INDEX v2_message_pkey RENAME TO %I', part || '_pkey');
  EXECUTE format('ALTER INDEX v2_message_sender RENAME TO %I', part || '_site_id_idx');
  EXECUTE format('ALTER INDEX v2_message_repeats RENAME TO %I', part || '_duplicate_of_idx');
  EXECUTE format('CREATE TABLE v2_message (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE '
    'INCLUDING COMPRESSION) PARTITION BY RANGE (id)', part);
  ALTER TABLE v2_message DROP CONSTRAINT v2_message_month;
  ALTER TABLE v2_message ADD PRIMARY KEY (id);
  CREATE INDEX v2_message_sender ON v2_message (site, id);
  CREATE INDEX v2_message_repeats ON v2_message (duplicate_of) WHERE duplicate_of IS NOT NULL;
  EXECUTE format('ALTER TABLE v2_message ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)', part,
    kiln_first_id((month + interval '1 month') AT TIME ZONE 'UTC'));
  EXECUTE format('ALTER TABLE %I DROP CONSTRAINT v2_message_month', part);
  -- Room for what a message becomes at its end.
  EXECUTE format('ALTER TABLE %I SET (fillfactor = 70)', part);
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    EXECUTE format('REVOKE ALL ON %I FROM kiln_app', part);
  END IF;
END $$;
CREATE TABLE v2_message_default PARTITION OF v2_message DEFAULT;
INSERT INTO v2_message SELECT * FROM v2_message_odd;
DROP TABLE v2_message_odd;

-- As before, and the parts of v2_message, which is partitioned by id. A month of which messages came in already,
-- while nobody made its part, stays where they are.
CREATE OR REPLACE FUNCTION kiln_make_partitions(today date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  made int := 0;
  parent text;
  first timestamptz;
  next timestamptz;
  name text;
  bounds text[];
BEGIN
  PERFORM pg_advisory_xact_lock(kiln_lock('kiln_make_partitions'));
  FOREACH parent IN ARRAY ARRAY['feed', 'hist', 'ledger_row', 'seal_rows', 'v2_message'] LOOP
    FOR step IN 0..2 LOOP
      name := format('%s_%s', CASE parent WHEN 'ledger_row' THEN 'ledger' ELSE parent END,
        to_char(date_trunc('month', today) + make_interval(months => step), 'YYYYMM'));
      first := (date_trunc('month', today) + make_interval(months => step))::timestamp AT TIME ZONE 'UTC';
      next := (date_trunc('month', today) + make_interval(months => step + 1))::timestamp AT TIME ZONE 'UTC';
      bounds := ARRAY[first::text, next::text];
      IF parent = 'v2_message' THEN
        bounds := ARRAY[kiln_first_id(first)::text, kiln_first_id(next)::text];
        CONTINUE WHEN EXISTS (SELECT FROM v2_message_default
          WHERE id >= kiln_first_id(first) AND id < kiln_first_id(next));
      END IF;
      IF to_regclass(name) IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', name, parent,
          bounds[1], bounds[2]);
        IF parent = 'v2_message' THEN
          EXECUTE format('ALTER TABLE %I SET (fillfactor = 70)', name);
        END IF;
        IF kiln_own_tenant() IS NOT NULL THEN
          PERFORM kiln_guard_table(name, kiln_own_tenant());
        END IF;
        made := made + 1;
      END IF;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;

-- Drops the part of a month (six digits) that is over. What is known of its messages beside goes first; while one
-- of them, or of those before, waits, failed or is held, nothing goes.
CREATE FUNCTION kiln_drop_messages(month text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '2s' AS $$
DECLARE
  bound uuid := kiln_first_id((to_date(month || '01', 'YYYYMMDD') + interval '1 month')::timestamp AT TIME ZONE 'UTC');
BEGIN
  IF month !~ '^[0-9]{6}$' OR bound > kiln_first_id(date_trunc('month', now())) THEN
    RAISE EXCEPTION '% is no month that is over', month;
  END IF;
  -- A message that is put back into the line at this moment is seen.
  LOCK TABLE v2_message IN ACCESS EXCLUSIVE MODE;
  IF EXISTS (SELECT FROM v2_open WHERE message_id < bound AND (state IS NULL OR state IN ('failed', 'held'))) THEN
    RAISE EXCEPTION 'a message of % or before waits for somebody', month;
  END IF;
  EXECUTE format('DROP TABLE IF EXISTS %I', 'v2_message_' || month);
END $$;

-- The keys that texts are sealed with, each sealed with the one in the file of this server or tenant.
CREATE TABLE v2_data_key (
  id int PRIMARY KEY,
  sealed bytea NOT NULL,
  -- By which key of a file: the beginning of a digest of it.
  sealed_by text NOT NULL,
  made_at timestamptz NOT NULL);

-- How far texts of before are sealed.
CREATE TABLE v2_sealing (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  sealed_to uuid NOT NULL,
  is_done boolean NOT NULL);
INSERT INTO v2_sealing (sealed_to, is_done)
VALUES ('00000000-0000-0000-0000-000000000000', NOT EXISTS (SELECT FROM v2_message));

REVOKE ALL ON FUNCTION kiln_drop_messages(text) FROM PUBLIC;
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON v2_message, v2_open, v2_data_key TO kiln_app;
    GRANT SELECT, UPDATE ON v2_sealing TO kiln_app;
    GRANT EXECUTE ON FUNCTION kiln_drop_messages(text) TO kiln_app;
  END IF;
END $$;
