-- FHIR packages that were installed beside what the program has: each as its definition pack. A package
-- that is installed again takes another id, so that nodes see that something changed.
CREATE TABLE package (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  version text NOT NULL,
  installed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  pack bytea NOT NULL,
  UNIQUE (name, version));

-- A pack is compressed already.
ALTER TABLE package ALTER pack SET STORAGE EXTERNAL;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON package TO kiln_app;
  END IF;
END $$;
