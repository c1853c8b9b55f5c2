-- Builds of the search index that were asked for ($reindex): of one type, or of all (rt = 0), and how
-- far each is (resources up to after_rid). All nodes see it, and one that is killed leaves it to another.
CREATE TABLE reindex (
  rt smallint PRIMARY KEY,
  asked timestamptz NOT NULL DEFAULT clock_timestamp(),
  after_rid bigint NOT NULL DEFAULT 0,
  done bigint NOT NULL DEFAULT 0,
  total bigint,
  ended timestamptz);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE ON reindex TO kiln_app;
  END IF;
END $$;
