-- The seal over the ledger: a Merkle log of batches of rows, with a signed checkpoint after each batch.
--
-- ledger.xid orders the rows: below the snapshot's horizon nothing comes between them any more. A column of its
--   own, because the system's one is 32 bits, and rows of restored copies get another.
-- ledger.person is the resource that stands for the user, ledger.purpose the purpose of use of the token.
-- seal has a row for each batch: n counts from 0, total is the number of rows up to its end, (last_xid, last_id) is
--   the place of its last row, root the root over its rows, log_root the one over all batches so far.
-- seal_rows has the ids (16 bytes each) and the hashes (32 bytes each) of a batch; it goes with the partition of its
--   rows, and at is the time of the first of them.

ALTER TABLE ledger
  ADD COLUMN person text,
  ADD COLUMN purpose text,
  ADD COLUMN xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint);
CREATE INDEX ledger_order ON ledger (xid);

CREATE TABLE seal (
  n bigint PRIMARY KEY,
  at timestamptz NOT NULL,
  month date NOT NULL,
  size int NOT NULL CHECK (size > 0),
  total bigint NOT NULL,
  last_xid bigint NOT NULL,
  last_id uuid NOT NULL,
  root bytea NOT NULL,
  log_root bytea NOT NULL,
  key bytea NOT NULL,
  signature bytea NOT NULL);
CREATE INDEX seal_last ON seal (last_xid, last_id);

CREATE TABLE seal_rows (
  n bigint NOT NULL,
  at timestamptz NOT NULL,
  ids bytea NOT NULL,
  leaves bytea NOT NULL,
  PRIMARY KEY (n, at)) PARTITION BY RANGE (at);
CREATE TABLE seal_rows_default PARTITION OF seal_rows DEFAULT;

-- As before, with the partitions of the seal.
CREATE OR REPLACE FUNCTION kiln_make_partitions(today date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  made int := 0;
  parent text;
  first date;
  name text;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('kiln_make_partitions'));
  FOREACH parent IN ARRAY ARRAY['feed', 'hist', 'ledger', 'seal_rows'] LOOP
    FOR step IN 0..2 LOOP
      first := date_trunc('month', today) + make_interval(months => step);
      name := format('%s_%s', parent, to_char(first, 'YYYYMM'));
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
    GRANT SELECT, INSERT ON seal, seal_rows TO kiln_app;
  END IF;
END $$;
