-- Resources: identities, current versions, superseded versions, change feed.
--
-- dk  = distribution key: (tenant << 10) | bucket; a part of every key, so that tables can be spread.
-- rid = surrogate key, never shown; the server takes blocks of 1,000 from the sequence.
-- op  = what made the version: C POST, N PUT that created or revived, U PUT, P PATCH, D DELETE.
-- pats = hashes of the patients in whose compartment the version lies; a deletion keeps the last ones.
-- meta = Resource.meta without versionId and lastUpdated; body = the resource without resourceType, id
--   and meta. Answers are spliced from them, so a read parses nothing and $meta-add leaves the body alone.

CREATE TABLE deployment (
  name text PRIMARY KEY,
  value bytea NOT NULL);

-- The key of every hash this deployment stores: nobody outside can craft collisions.
INSERT INTO deployment VALUES ('hash_key', uuid_send(gen_random_uuid()));

CREATE SEQUENCE rid_seq INCREMENT BY 1000;

-- The only owner of logical ids. dh spreads it by its own hash, because rows of a patient sit together elsewhere.
CREATE TABLE ident (
  tid int NOT NULL,
  rt smallint NOT NULL,
  id text COLLATE "C" NOT NULL,
  rid bigint NOT NULL,
  dk int NOT NULL,
  dh int NOT NULL,
  PRIMARY KEY (tid, rt, id, dh) INCLUDE (rid, dk));

CREATE TABLE res (
  rid bigint NOT NULL,
  lu timestamptz NOT NULL,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  tid int NOT NULL,
  dk int NOT NULL,
  vid int NOT NULL,
  rt smallint NOT NULL,
  codec smallint NOT NULL DEFAULT 0,
  op "char" NOT NULL,
  id text COLLATE "C" NOT NULL,
  pats bigint[] NOT NULL DEFAULT '{}',
  meta jsonb,
  body jsonb,
  blob bytea,
  PRIMARY KEY (rid, dk),
  CHECK (CASE WHEN op = 'D' THEN body IS NULL AND blob IS NULL
              ELSE (body IS NULL) <> (blob IS NULL) END)) WITH (fillfactor = 90);
CREATE INDEX res_type ON res (tid, rt, lu, rid);
CREATE INDEX res_system ON res (tid, lu, rid);

CREATE TABLE hist (
  rid bigint NOT NULL,
  lu timestamptz NOT NULL,
  xid xid8 NOT NULL,
  tid int NOT NULL,
  dk int NOT NULL,
  vid int NOT NULL,
  rt smallint NOT NULL,
  codec smallint NOT NULL,
  op "char" NOT NULL,
  id text COLLATE "C" NOT NULL,
  pats bigint[] NOT NULL,
  meta jsonb,
  body jsonb,
  blob bytea,
  PRIMARY KEY (rid, vid, lu, dk)) PARTITION BY RANGE (lu);

-- Faster than pglz and as small; some builds of PostgreSQL come without it.
DO $$
BEGIN
  ALTER TABLE res ALTER body SET COMPRESSION lz4;
  ALTER TABLE hist ALTER body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
  RAISE NOTICE 'this PostgreSQL was built without lz4: bodies are compressed by pglz';
END
$$;
CREATE INDEX hist_type ON hist (tid, rt, lu, rid);
CREATE INDEX hist_system ON hist (tid, lu, rid);
CREATE TABLE hist_default PARTITION OF hist DEFAULT;

-- The change feed: read in the order (xid, seq) below the snapshot horizon; old parts are dropped.
-- op adds M: tags, profiles or labels changed in place.
CREATE TABLE feed (
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  seq bigint GENERATED ALWAYS AS IDENTITY (CACHE 100),
  at timestamptz NOT NULL,
  rid bigint NOT NULL,
  dk int NOT NULL,
  vid int NOT NULL,
  rt smallint NOT NULL,
  op "char" NOT NULL) PARTITION BY RANGE (at);
CREATE INDEX feed_position ON feed (xid, seq);
CREATE TABLE feed_default PARTITION OF feed DEFAULT;

-- Which profiles (p), labels (s) and tags (t) have ever been used: $meta asks each whether it still is.
CREATE TABLE meta_use (
  tid int NOT NULL,
  rt smallint NOT NULL,
  kind "char" NOT NULL,
  system text COLLATE "C" NOT NULL,
  code text COLLATE "C" NOT NULL,
  PRIMARY KEY (tid, rt, kind, system, code));

-- Ends the statement that calls it: a resource is no longer in the version the writer saw.
CREATE FUNCTION kiln_conflict() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a resource changed meanwhile' USING ERRCODE = 'KC001';
END $$;
