-- Why somebody wants access to everything of everybody: stated when it was granted, and on record.
ALTER TABLE oauth_grant ADD COLUMN reason text;
