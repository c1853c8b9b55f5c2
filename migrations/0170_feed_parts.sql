-- How much of the row behind its place an outside destination has: `taken` events of the row `part`. A row of very many
-- events (a search that showed thousands of patients) goes out in several requests, and what has been taken of it is
-- not sent again.
ALTER TABLE audit_feed
  ADD COLUMN part uuid,
  ADD COLUMN taken int NOT NULL DEFAULT 0;

-- Alerts: what the rules found, added by the statement that moves their place behind its row. So it is told whatever
-- becomes of the node that found it, and found once.
--
-- `stored` and `posted` say where it has been told, or need not be. Each node counts for itself, and so may find the same
-- at another row: what another node has found of a party (and a patient, where the rule is about one) is not told again
-- before `until`, and stays here as long.
CREATE TABLE audit_alert (
  event uuid NOT NULL,
  rule text NOT NULL,
  party text NOT NULL,
  patient bigint,
  count int NOT NULL,
  xid bigint NOT NULL,
  node uuid NOT NULL,
  until timestamptz NOT NULL,
  stored boolean NOT NULL DEFAULT false,
  posted boolean NOT NULL DEFAULT false,
  PRIMARY KEY (event, rule));
CREATE INDEX audit_alert_party ON audit_alert (party, rule);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON audit_alert TO kiln_app;
  END IF;
END $$;
