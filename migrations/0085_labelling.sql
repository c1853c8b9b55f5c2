-- By which rules all that is stored was labelled: a row for each version of the rules, by the digest of their text. What
-- has no row in which it ended is done at the next start; to do it twice changes nothing.
CREATE TABLE labelling (
  digest bytea PRIMARY KEY,
  version text NOT NULL,
  ended timestamptz NOT NULL,
  changed bigint NOT NULL);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT ON labelling TO kiln_app;
  END IF;
END $$;
