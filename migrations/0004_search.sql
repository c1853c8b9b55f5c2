-- The search index as it is filled: see src/store/index/mod.rs for what each row says.
--
-- All tables are empty here, so they are made anew where columns change.

-- keys = {"parameter": "text" | ["smallest", "largest"]}: what a resource sorts by. Sorting compares
-- candidates, so an index over every parameter's values would be paid by every write for few readers.
DROP TABLE key;
ALTER TABLE srow ADD keys jsonb;

-- y = system of the first part of a composite; u, n = code and name of the unit; 0 = none.
DROP TABLE num;
CREATE TABLE num (
  h bigint NOT NULL, rid bigint NOT NULL,
  y int NOT NULL DEFAULT 0, u int NOT NULL DEFAULT 0, n int NOT NULL DEFAULT 0, dk int NOT NULL,
  lo numeric NOT NULL, hi numeric NOT NULL);
CREATE INDEX num_v ON num (h, lo, rid) INCLUDE (hi, y, u, n);
CREATE INDEX num_r ON num (rid);
-- Most numbers are exact: what is asked by its upper end asks for the few ranges apart.
CREATE INDEX num_w ON num (h, hi) WHERE lo < hi;
CREATE INDEX dat_hi ON dat (h, hi, rid);
ALTER TABLE num SET (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- One index is key and order at once: who changes a row knows its type and date.
ALTER TABLE comp DROP CONSTRAINT comp_pkey;
DROP INDEX comp_date;
CREATE UNIQUE INDEX comp_k ON comp (pat, rt, s DESC, rid DESC, dk) INCLUDE (hi, toks);

-- v is cut where a B-tree needs it; whole has all of such a text. exact = NULL: :exact does not find
-- the row (a later word of a name).
ALTER TABLE str ADD whole text COLLATE "C";
DROP INDEX str_r;
CREATE INDEX str_r ON str (rid, h);

-- The build of the index: of which format and parameters it is, and how far (resources up to after_rid).
CREATE TABLE index_build (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  fingerprint bytea NOT NULL,
  after_rid bigint NOT NULL DEFAULT 0,
  done bigint NOT NULL DEFAULT 0,
  is_finished boolean NOT NULL DEFAULT false);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON num TO kiln_app;
    GRANT SELECT, INSERT, UPDATE ON index_build TO kiln_app;
  END IF;
END $$;
