-- Up to where each outside destination, and the rules of alerts, have the rows of the ledger: all up to (xid, id), in
-- the order in which they are sealed.
--
-- holder is the node whose turn it is until held_until: one sends at a time, and who is gone loses the turn. What was
-- sent before the place was noted is sent again: nothing is lost, and nothing goes out before it is committed.
CREATE TABLE audit_feed (
  name text PRIMARY KEY,
  xid bigint NOT NULL,
  id uuid NOT NULL,
  holder uuid,
  held_until timestamptz NOT NULL DEFAULT '-infinity');

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE ON audit_feed TO kiln_app;
  END IF;
END $$;
