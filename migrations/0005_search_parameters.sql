-- Search parameters that clients define, while they are in force: which definition, and how far the
-- index has been built for it (resources up to after_rid).
--
-- A definition that changes takes a new generation, and with it new hashes: rows of the old one are
-- never found again.
CREATE TABLE search_parameter (
  generation int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  rid bigint NOT NULL UNIQUE,
  definition text NOT NULL,
  since timestamptz NOT NULL DEFAULT clock_timestamp(),
  after_rid bigint NOT NULL DEFAULT 0,
  done bigint NOT NULL DEFAULT 0,
  total bigint,
  is_active boolean NOT NULL DEFAULT false);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON search_parameter TO kiln_app;
  END IF;
END $$;
