-- The audit ledger: one compact row per attempted interaction, expanded to AuditEvents when read.
--
-- id is a UUIDv7, so an id tells the month and with it the partition.
-- grp is shared by the rows of one request (a Bundle has one row per entry).

CREATE TABLE ledger (
  id uuid NOT NULL,
  at timestamptz NOT NULL,
  grp uuid NOT NULL,
  tid int NOT NULL,
  interaction smallint NOT NULL,
  outcome smallint NOT NULL,
  rt smallint,
  vid int,
  logical_id text COLLATE "C",
  actor text NOT NULL,
  client text,
  token text,
  source text,
  request_id text NOT NULL,
  method text NOT NULL,
  query text NOT NULL,
  failure text,
  pats bigint[] NOT NULL,
  entities text[] NOT NULL,
  PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE ledger_default PARTITION OF ledger DEFAULT;

-- Makes the partitions of this month and the next two; the server asks for it at start and every day.
CREATE FUNCTION kiln_make_partitions(today date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  made int := 0;
  parent text;
  first date;
  name text;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('kiln_make_partitions'));
  FOREACH parent IN ARRAY ARRAY['feed', 'hist', 'ledger'] LOOP
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

-- The server's role writes data and adds to the ledger; it neither changes the ledger nor the schema.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO kiln_app', current_schema());
    GRANT SELECT ON deployment, _sqlx_migrations TO kiln_app;
    GRANT USAGE ON SEQUENCE rid_seq TO kiln_app;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ident, res, hist, meta_use, srow, comp, tok, num, dat, str, key, uniq
      TO kiln_app;
    GRANT SELECT, INSERT ON feed, ledger TO kiln_app;
  END IF;
END $$;
REVOKE ALL ON FUNCTION kiln_make_partitions(date) FROM PUBLIC;
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT EXECUTE ON FUNCTION kiln_make_partitions(date) TO kiln_app;
  END IF;
END $$;
