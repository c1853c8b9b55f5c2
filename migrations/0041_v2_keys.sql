-- By what resources are known to messages of HL7 version 2: identifiers of patients and visits, order
-- and result numbers, and keys that maps make. A key belongs to one resource of a type.
CREATE TABLE v2_key (
  resource_type text NOT NULL,
  system text NOT NULL,
  value text NOT NULL,
  resource_id text NOT NULL,
  PRIMARY KEY (resource_type, system, value));
CREATE INDEX v2_key_resource ON v2_key (resource_type, resource_id);

-- How new what is known of a resource is, by aspect: an older message does not overwrite it.
CREATE TABLE v2_watermark (
  entity_type text NOT NULL,
  entity_id text NOT NULL,
  aspect text NOT NULL,
  event_time timestamptz NOT NULL,
  message_id uuid NOT NULL,
  PRIMARY KEY (entity_type, entity_id, aspect));

-- How many messages have had their effect on a patient. Who works on one reads the number before it reads
-- anything of the patient, and may commit only while it is the same: two messages that name the patient by
-- different numbers do not meet in a line of v2_queue, but they meet here.
CREATE TABLE v2_line (
  patient text PRIMARY KEY,
  n bigint NOT NULL) WITH (fillfactor = 70);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON v2_key, v2_line, v2_watermark TO kiln_app;
  END IF;
END $$;
