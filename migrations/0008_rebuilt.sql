-- built = the transaction that has made the index rows of the version anew. A writer whose snapshot is
-- older cannot see these rows and would leave some of them behind: it is to begin again.
ALTER TABLE res ADD built xid8;
