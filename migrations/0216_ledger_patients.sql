-- Rows of the ledger are found by their patients through two indexes: those of one patient, which most are, through one of
-- the column itself in the order of time, and those of several through GIN. One index of an expression over both made each
-- row of one patient an array, and cost its writer the list of GIN and whoever came last the list's end; and the first of a
-- patient's rows could only be told when all were found.
--
-- The view has both columns at its end, for who looks for patients, and what stands in the row itself of its party, for who
-- sorts rows first and looks up the parties of those that are left: of a busy minute that is one in a thousand. Nodes of
-- the version before look for the expression and read the whole ledger for it until they are replaced.

CREATE OR REPLACE VIEW ledger AS
SELECT r.id, r.at, coalesce(r.grp, r.id) AS grp, r.tid, r.interaction, r.outcome, r.rt, r.vid,
  coalesce(r.logical_id, r.subject::text) COLLATE "C" AS logical_id,
  coalesce(r.actor, p.actor) AS actor, coalesce(r.client, p.client) AS client,
  coalesce(r.token, r.token_id::text) AS token, coalesce(r.source, p.source) AS source,
  coalesce(r.request_id, r.request::text) AS request_id, coalesce(r.method, p.method) AS method,
  r.query, r.failure, kiln_patients(r.pats, r.pat) AS pats, coalesce(r.entities, '{}') AS entities,
  coalesce(r.person, p.person) AS person, coalesce(r.purpose, p.purpose) AS purpose, r.xid,
  coalesce((r.party >> 32)::int, kiln_actor(r.actor)) AS actor_key,
  r.pat AS patient, r.pats AS patients, r.party, r.actor AS own_actor, r.client AS own_client, r.person AS own_person,
  r.purpose AS own_purpose, r.source AS own_source, r.method AS own_method
FROM ledger_row r LEFT JOIN ledger_party p ON p.key = r.party;

-- The time that an id tells in spans of 2^24 ms (4.7 h): a patient is there for hours, and then not for months.
CREATE FUNCTION kiln_hours(id uuid) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT substr(uuid_send($1), 1, 3)
$$;

-- Of all rows: what a partial index knows of its expressions no plan goes by.
CREATE INDEX ledger_patient ON ledger_row (pat, kiln_hours(id));
-- Rows of searches have theirs there, too, from now on, as all others had.
COMMENT ON COLUMN ledger_row.pat IS 'The patient, where one alone is told of.';
COMMENT ON COLUMN ledger_row.pats IS 'The patients where several are told of; in rows of before, also one alone.';
CREATE INDEX ledger_several ON ledger_row USING gin (pats) WHERE pats IS NOT NULL;
DROP INDEX ledger_patients;
-- No statement compares these as they lie (migration 195).
ALTER TABLE ledger_row ALTER subject SET STATISTICS 0, ALTER token_id SET STATISTICS 0, ALTER request SET STATISTICS 0;
-- So that searches are planned by what the new indexes have.
ANALYZE ledger_row;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT EXECUTE ON FUNCTION kiln_hours(uuid) TO kiln_app;
  END IF;
END $$;
