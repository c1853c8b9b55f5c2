-- Who stood behind a party, found by an index: rows of the ledger that are of a person are looked for by the keys of the
-- parties that are that person, with which the index of parties finds them. Without it, a page of the events of a patient
-- of whom few rows tell walked the whole ledger: the patient could stand behind any of its rows.

CREATE INDEX ledger_party_person ON ledger_party (person) WHERE person IS NOT NULL;

-- Rows of before migration 70 have their party in themselves: it gets a key too, so that all persons are in one table.
DO $$
BEGIN
  PERFORM kiln_party(p.actor, p.client, p.person, p.purpose, p.source, p.method)
  FROM (SELECT DISTINCT actor, client, person, purpose, source, method FROM ledger_row WHERE person IS NOT NULL) p;
END $$;

CREATE OR REPLACE FUNCTION kiln_ledger_add() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.person IS NOT NULL THEN
    PERFORM kiln_party(NEW.actor, NEW.client, NEW.person, NEW.purpose, NEW.source, NEW.method);
  END IF;
  INSERT INTO ledger_row (id, at, grp, tid, interaction, outcome, rt, vid, logical_id, actor, client, token, source,
    request_id, method, query, failure, pats, entities, person, purpose, xid)
  VALUES (NEW.id, NEW.at, NEW.grp, NEW.tid, NEW.interaction, NEW.outcome, NEW.rt, NEW.vid, NEW.logical_id, NEW.actor,
    NEW.client, NEW.token, NEW.source, NEW.request_id, NEW.method, NEW.query, NEW.failure, NEW.pats, NEW.entities,
    NEW.person, NEW.purpose, coalesce(NEW.xid, pg_current_xact_id()::text::bigint));
  RETURN NEW;
END $$;
