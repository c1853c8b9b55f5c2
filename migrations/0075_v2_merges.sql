-- What merges of patients, visits and accounts moved: by it a merge goes on until nothing is left with
-- the one that ended, and by it a merge is taken back.
CREATE TABLE v2_merge (
  message_id uuid NOT NULL,
  resource_type text NOT NULL,
  source_id text NOT NULL,
  target_id text NOT NULL,
  at timestamptz NOT NULL,
  -- When it is looked at next whether something still leads to the source; NULL: nothing does, for good.
  next_look timestamptz,
  undone_at timestamptz,
  undone_by text,
  reason text,
  PRIMARY KEY (message_id, source_id));
CREATE INDEX v2_merge_look ON v2_merge (next_look) WHERE next_look IS NOT NULL;

-- path: a reference that led to the source; or `active:..`, `status:..`, `identifier:..`, what the merge
-- changed of the two themselves. version: the one that the merge followed.
CREATE TABLE v2_merge_log (
  message_id uuid NOT NULL,
  source_id text NOT NULL,
  resource_type text NOT NULL,
  resource_id text NOT NULL,
  path text NOT NULL,
  version int NOT NULL,
  PRIMARY KEY (message_id, source_id, resource_type, resource_id, path));

-- The keys that went over to the target.
CREATE TABLE v2_merge_key (
  message_id uuid NOT NULL,
  source_id text NOT NULL,
  system text NOT NULL,
  value text NOT NULL,
  PRIMARY KEY (message_id, source_id, system, value));

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON v2_merge, v2_merge_log, v2_merge_key TO kiln_app;
  END IF;
END $$;
