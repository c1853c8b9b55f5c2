-- AuditEvents are read and searched in the ledger: by patient, by party, and by time, which an id tells.
--
-- The ledger names patients by hashes. patient_name says whose they are, also when the patient is deleted; the
-- sealer adds to it, so that writers do not have to.

CREATE INDEX ledger_patients ON ledger USING gin (pats);
CREATE INDEX ledger_actor ON ledger (actor, id);

CREATE TABLE patient_name (
  hash bigint PRIMARY KEY,
  id text COLLATE "C" NOT NULL);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT ON patient_name TO kiln_app;
  END IF;
END $$;
