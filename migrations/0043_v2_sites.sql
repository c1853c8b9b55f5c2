-- What senders of HL7 version 2 have of their own: profiles in TOML, laid over the maps of the program.
--
-- A change is a new row, never another text of an old one: what a message was read by can be looked up
-- later, and going back is a new version too. NULL in toml: the profile is withdrawn. Nodes count the
-- rows to see whether something changed.
CREATE TABLE v2_site (
  id text NOT NULL,
  version int NOT NULL,
  toml text,
  active_from timestamptz NOT NULL,
  by text NOT NULL,
  note text NOT NULL,
  PRIMARY KEY (id, version));

-- Codes of senders for which no map had another one, by the message they came in. Work on the message
-- done anew forgets them first.
CREATE TABLE v2_unmapped (
  message_id uuid NOT NULL,
  site text NOT NULL,
  code_set text NOT NULL,
  system text NOT NULL,
  code text NOT NULL,
  display text NOT NULL,
  PRIMARY KEY (message_id, code_set, system, code));
CREATE INDEX v2_unmapped_code ON v2_unmapped (site, code_set, system, code, message_id);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT ON v2_site TO kiln_app;
    GRANT SELECT, INSERT, DELETE ON v2_unmapped TO kiln_app;
  END IF;
END $$;
