-- The lock of search parameters without a query of its own: every write asks for it. PERFORM starts the executor for what is
-- one call of a function; a condition is evaluated where it stands. What it answers is void, which is not NULL.
--
-- Two conditions, in this order: the lock is had before the epoch is read, and a condition of both would leave open which comes
-- first. The epoch is read from its sequence as it is now, as before; and the lock is shared, and kept until the commit.
CREATE OR REPLACE FUNCTION kiln_current(epoch bigint) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  IF pg_advisory_xact_lock_shared(kiln_lock('kiln_parameter_epoch')) IS NULL THEN
    RAISE EXCEPTION 'the lock of search parameters has no key';
  END IF;
  IF kiln_epoch() <> epoch THEN
    RAISE EXCEPTION 'search parameters changed meanwhile' USING ERRCODE = 'KC002';
  END IF;
  RETURN 0;
END $$;
