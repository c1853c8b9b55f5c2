-- What consents came down to is sought by the organization of who asked, which stands among the entities of few rows:
-- without an index of these a search for it walks through the whole ledger.
CREATE INDEX ledger_decisions ON ledger_row (kiln_time(id)) WHERE interaction = 67;
