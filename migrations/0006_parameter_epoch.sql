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

-- The definitions and their epoch, while none comes into force; one row without a definition where there
-- is none.
CREATE FUNCTION kiln_parameters() RETURNS TABLE (
  epoch bigint, generation int, definition text, done bigint, total bigint, is_active boolean)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtext('kiln_parameter_epoch'));
  RETURN QUERY SELECT kiln_epoch(), p.generation, p.definition, p.done, coalesce(p.total, 0), p.is_active
    FROM (VALUES (1)) one (x) LEFT JOIN search_parameter p ON true ORDER BY p.generation;
END $$;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT ON SEQUENCE search_parameter_generation_seq TO kiln_app;
  END IF;
END $$;
