-- Which of its type's parameters a resource has a value for: one bit each, by the place of the parameter among FHIR's
-- of that type in the order of their codes. As hashes in toks they took eight bytes each, some hundred in each row.
-- What has no such place (parameters of clients) stays in toks.
ALTER TABLE srow ADD present bigint NOT NULL DEFAULT 0;
-- A node of the version before would leave rows without it: it is refused.
ALTER TABLE srow ALTER present DROP DEFAULT;
