-- Takes away what nothing reads or writes, and tells the epoch in one place.

-- Unique identifiers are kept by locks and the index of tokens.
DROP TABLE uniq;

-- Bodies are jsonb alone. The constraints that named `blob` go with it.
ALTER TABLE res DROP COLUMN codec, DROP COLUMN blob;
ALTER TABLE res ADD CHECK ((op = 'D') = (body IS NULL));
ALTER TABLE hist DROP COLUMN codec, DROP COLUMN blob;

-- Of a language whose plans are kept: every write asks.
CREATE OR REPLACE FUNCTION kiln_epoch() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RETURN (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM search_parameter_generation_seq);
END $$;

CREATE OR REPLACE FUNCTION kiln_current(epoch bigint) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtext('kiln_parameter_epoch'));
  IF kiln_epoch() <> epoch THEN
    RAISE EXCEPTION 'search parameters changed meanwhile' USING ERRCODE = 'KC002';
  END IF;
  RETURN 0;
END $$;
