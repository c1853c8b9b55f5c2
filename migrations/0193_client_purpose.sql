-- What a service uses data for, as a code of v3-PurposeOfUse. Those of an emergency are of who breaks the glass.
ALTER TABLE oauth_client ADD COLUMN purpose text CHECK (purpose NOT IN ('BTG', 'ETREAT'));
