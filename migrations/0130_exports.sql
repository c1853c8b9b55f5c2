-- Exports of many resources ($export): what was asked for, how far it is, and the files until they expire.
--
-- The files stand in the database, in parts of about a megabyte, and not in a folder: any node may be asked for them, a
-- tenant's are behind the same walls as its resources, and what was written of a file and how far the export is are
-- committed together. An export whose node is gone begins anew on another one, with a snapshot of its own: its number
-- of tries tells its writes from those of the node before.
CREATE TABLE export_job (
  id uuid PRIMARY KEY,
  -- The party, as the ledger names it; only that one hears of it.
  actor text NOT NULL,
  -- The client and what it was granted, where tokens are asked for: so much of it as stands at each moment counts.
  client text COLLATE "C",
  token uuid,
  scopes text NOT NULL DEFAULT '',
  -- The address that was asked, and what it comes down to.
  request text NOT NULL,
  asked jsonb NOT NULL,
  -- The types that are exported, and those that must be granted still to who works on it or asks for the files.
  types smallint[] NOT NULL,
  needs smallint[] NOT NULL,
  state text NOT NULL DEFAULT 'accepted'
    CHECK (state IN ('accepted', 'in-progress', 'completed', 'failed')),
  asked_at timestamptz NOT NULL,
  ended_at timestamptz,
  expires_at timestamptz,
  lease_until timestamptz,
  attempt int NOT NULL DEFAULT 0,
  -- How many lines are written so far.
  done bigint NOT NULL DEFAULT 0,
  -- What no exported resource is newer than; of one that is completed.
  transaction_time timestamptz,
  failure text NOT NULL DEFAULT '',
  -- When its state was told last.
  told_at timestamptz);
CREATE INDEX export_job_open ON export_job (asked_at) WHERE state IN ('accepted', 'in-progress');
CREATE INDEX export_job_actor ON export_job (actor);

-- kind: o output, d deleted, e error. pats: the patients whose data are in it, for the ledger's rows of who took it.
CREATE TABLE export_file (
  job uuid NOT NULL REFERENCES export_job ON DELETE CASCADE,
  number int NOT NULL,
  kind "char" NOT NULL,
  rt smallint NOT NULL,
  lines bigint NOT NULL,
  bytes bigint NOT NULL,
  parts int NOT NULL,
  pats bigint[] NOT NULL DEFAULT '{}',
  PRIMARY KEY (job, number));

CREATE TABLE export_part (
  job uuid NOT NULL REFERENCES export_job ON DELETE CASCADE,
  file int NOT NULL,
  number int NOT NULL,
  data bytea NOT NULL,
  PRIMARY KEY (job, file, number));

DO $$
BEGIN
  ALTER TABLE export_part ALTER data SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
  RAISE NOTICE 'this PostgreSQL was built without lz4: exports are compressed by pglz';
END
$$;

-- What an export saw at its transactionTime. Versions bear the time at which they were made, which is before that of
-- their commit, so that time alone does not tell what the next export (_since) has to bring.
CREATE TABLE export_point (
  at timestamptz PRIMARY KEY,
  seen pg_snapshot NOT NULL);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON export_job, export_file, export_part TO kiln_app;
    GRANT SELECT, INSERT ON export_point TO kiln_app;
  END IF;
END $$;

-- Whether the token of an export was taken back is asked every few seconds.
CREATE INDEX oauth_token_id ON oauth_token (id);
