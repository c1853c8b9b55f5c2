-- What says that months of the ledger were dropped: signed by the key of checkpoints, so that nobody who may add rows or
-- delete them can have a month go unseen. A row of the ledger said so before, which whoever adds rows could write.
--
-- statement is what was signed, as text: the month, its batches and a digest over them. It stays when the rows of the
-- ledger that tell of the same are dropped with their own month. The server reads it; only the owner of the tables adds.

CREATE TABLE seal_retired (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  statement text NOT NULL,
  key bytea NOT NULL,
  signature bytea NOT NULL);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT ON seal_retired TO kiln_app;
  END IF;
END $$;
