-- Of how many resources a build could not index all that a search parameter looks at.
ALTER TABLE reindex ADD COLUMN skipped bigint NOT NULL DEFAULT 0;
