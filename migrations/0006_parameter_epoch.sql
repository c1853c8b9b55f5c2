-- Whoever writes rows of the index says by which search parameters: their epoch grows with every
-- definition that comes into force.
--
-- A writer holds the lock shared until its commit, a definition comes into force under it alone: a write
-- that made its rows without a definition is committed before the definition is in force, or not at all.
-- The sequence is read as it is now, whatever the snapshot of the transaction.
CREATE FUNCTION kiln_epoch() RETURNS bigint LANGUAGE sql VOLATILE AS $$
  SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM search_parameter_generation_seq
$$;

CREATE FUNCTION kiln_current(epoch bigint) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  now bigint;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtext('kiln_parameter_epoch'));
  SELECT CASE WHEN is_called THEN last_value ELSE 0 END INTO now FROM search_parameter_generation_seq;
  IF now <> epoch THEN
    RAISE EXCEPTION 'search parameters changed meanwhile' USING ERRCODE = 'KC002';
  END IF;
  RETURN 0;
END $$;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT ON SEQUENCE search_parameter_generation_seq TO kiln_app;
  END IF;
END $$;
