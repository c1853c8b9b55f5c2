-- Search index tables: design D of the storage experiments. Filled once search parameters are indexed.
--
-- h = keyed 64-bit hash of (tenant, parameter, code), or idh(target) # (parameter << 48) for references.
-- s = the resource's primary sort date, the same in all its rows; hi = the end of that date's range.

CREATE TABLE srow (
  rid bigint NOT NULL, idh bigint NOT NULL, s timestamptz NOT NULL, hi timestamptz NOT NULL,
  dk int NOT NULL, rt smallint NOT NULL, toks bigint[] NOT NULL,
  PRIMARY KEY (rid, dk)) WITH (fillfactor = 90);
CREATE INDEX srow_type ON srow (rt, s DESC, rid DESC);
CREATE INDEX srow_idh ON srow (idh) INCLUDE (rid, rt);

-- One row per patient and live resource: what a compartment search walks.
CREATE TABLE comp (
  pat bigint NOT NULL, rt smallint NOT NULL, s timestamptz NOT NULL, rid bigint NOT NULL,
  dk int NOT NULL, hi timestamptz NOT NULL, toks bigint[] NOT NULL,
  PRIMARY KEY (pat, rid, dk));
CREATE INDEX comp_date ON comp (pat, rt, s DESC, rid DESC) INCLUDE (hi, toks);

CREATE TABLE tok (
  h bigint NOT NULL, s timestamptz NOT NULL, rid bigint NOT NULL,
  sysh int NOT NULL DEFAULT 0, dk int NOT NULL);
CREATE UNIQUE INDEX tok_k ON tok (h, s DESC, rid DESC, dk, sysh);
ALTER TABLE tok ALTER h SET STATISTICS 2000;

CREATE TABLE num (
  h bigint NOT NULL, lo numeric NOT NULL, hi numeric NOT NULL, rid bigint NOT NULL,
  s timestamptz NOT NULL, dk int NOT NULL);
CREATE INDEX num_v ON num (h, lo, rid) INCLUDE (hi, s, dk);
CREATE INDEX num_s ON num (h, s DESC, rid DESC) INCLUDE (lo, hi, dk);
CREATE INDEX num_r ON num (rid);

CREATE TABLE dat (
  h bigint NOT NULL, lo timestamptz NOT NULL, hi timestamptz NOT NULL, rid bigint NOT NULL,
  dk int NOT NULL);
CREATE INDEX dat_lo ON dat (h, lo, hi, rid) INCLUDE (dk);
CREATE INDEX dat_r ON dat (rid);

CREATE TABLE str (
  h bigint NOT NULL, v text COLLATE "C" NOT NULL, rid bigint NOT NULL, dk int NOT NULL,
  exact text COLLATE "C");
CREATE INDEX str_v ON str (h, v, rid);
CREATE INDEX str_r ON str (rid, h, v);

-- Smallest and largest sort value of a resource for each sortable parameter.
CREATE TABLE key (
  h bigint NOT NULL, v text COLLATE "C" NOT NULL, rid bigint NOT NULL, dk int NOT NULL);
CREATE INDEX key_v ON key (h, v, rid);
CREATE INDEX key_r ON key (rid);

-- Race guard for conditional writes and unique identifiers.
CREATE TABLE uniq (
  h bigint NOT NULL, rid bigint NOT NULL, dk int NOT NULL,
  PRIMARY KEY (h, dk));

ALTER TABLE srow SET (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE comp SET (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE tok SET (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02,
                     autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE num SET (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
