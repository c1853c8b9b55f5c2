-- By what nodes label what is written now, and since when. Rules and the codes that they name change while other nodes still
-- write by those before: what was written meanwhile is labelled anew when nobody does so any more.
CREATE TABLE labelled_by (
  digest bytea PRIMARY KEY,
  began timestamptz NOT NULL,
  seen timestamptz NOT NULL);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE ON labelled_by TO kiln_app;
  END IF;
END $$;
