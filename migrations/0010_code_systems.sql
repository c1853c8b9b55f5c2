-- Code systems that were loaded from the releases of their publishers (SNOMED CT, LOINC, ..), a row a
-- system and a row a concept. Nodes read a system whole and keep it in memory, where a concept is
-- known by its place; so parents are places, and there is no closure: walking up from a concept takes a
-- few dozen steps, and no statement has to do it.
--
-- A load adds rows in batches and counts them in `done`, so one that was killed goes on where it was.
-- The one before stays until `completed` says that the new one is whole.
CREATE TABLE code_system (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  url text NOT NULL,
  version text NOT NULL,
  name text NOT NULL,
  is_complete boolean NOT NULL,
  is_case_sensitive boolean NOT NULL,
  -- What rows name by their index: property, kind | language, system, code.
  property_kinds text[] NOT NULL,
  designation_uses text[] NOT NULL,
  concepts int NOT NULL,
  done int NOT NULL DEFAULT 0,
  -- Of the content: the same release is not loaded twice, and a load goes on only with the same.
  digest bytea NOT NULL,
  since timestamptz NOT NULL DEFAULT clock_timestamp(),
  completed timestamptz);

CREATE UNIQUE INDEX code_system_current ON code_system (url) WHERE completed IS NOT NULL;
CREATE UNIQUE INDEX code_system_loading ON code_system (url) WHERE completed IS NULL;

-- Without a foreign key, which would be looked up for each of half a million rows.
CREATE TABLE code_system_concept (
  system int NOT NULL,
  place int NOT NULL,
  is_inactive boolean NOT NULL,
  code text NOT NULL,
  display text NOT NULL,
  definition text NOT NULL,
  parents int[] NOT NULL,
  property_kinds smallint[] NOT NULL,
  property_values text[] NOT NULL,
  designation_uses smallint[] NOT NULL,
  designations text[] NOT NULL,
  PRIMARY KEY (system, place));

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON code_system, code_system_concept TO kiln_app;
  END IF;
END $$;
