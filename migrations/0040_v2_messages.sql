-- Messages of HL7 version 2: each as it came, before anything was answered, and what became of it.
--
-- id is a UUIDv7: the order of ids is the order of receipt. The table is not partitioned, because the
-- queue updates its newest rows by id; raw is set to NULL where messages are kept for a time only.
CREATE TABLE v2_message (
  id uuid PRIMARY KEY,
  listener text NOT NULL,
  peer text,
  tls_subject text,
  received_at timestamptz NOT NULL,
  raw bytea,
  sha256 bytea NOT NULL,
  site text NOT NULL,
  map_hash text,
  charset text NOT NULL,
  send_app text NOT NULL,
  send_fac text NOT NULL,
  control_id text NOT NULL,
  type text NOT NULL,
  event text NOT NULL,
  structure text NOT NULL,
  version text NOT NULL,
  processing text NOT NULL,
  msg_time timestamptz,
  order_keys bigint[] NOT NULL,
  batch_id uuid,
  state text NOT NULL CHECK (state IN ('received', 'processing', 'processed', 'processed_with_issues',
    'duplicate', 'rejected', 'failed', 'held', 'discarded')),
  attempts int NOT NULL DEFAULT 0,
  next_try timestamptz,
  lease_until timestamptz,
  duplicate_of uuid,
  ack_code text,
  ack bytea,
  processed_at timestamptz,
  reason text NOT NULL DEFAULT '');

-- raw is text of a few kilobytes: lz4 costs least.
ALTER TABLE v2_message ALTER COLUMN raw SET COMPRESSION lz4;

-- What waits and what is worked on is a small part.
CREATE INDEX v2_message_open ON v2_message (id) WHERE state IN ('received', 'processing');
CREATE INDEX v2_message_state ON v2_message (state, id);
CREATE INDEX v2_message_sender ON v2_message (site, id);

-- The line of each patient: the least message of a key is the one that may be worked on. A message
-- stands in the lines of all identifiers of its patients.
CREATE TABLE v2_queue (
  key bigint NOT NULL,
  message_id uuid NOT NULL,
  PRIMARY KEY (key, message_id));
CREATE INDEX v2_queue_message ON v2_queue (message_id);

-- By what a message is known when it comes again.
CREATE TABLE v2_dedupe (
  site text NOT NULL,
  control_id text NOT NULL,
  sha256 bytea NOT NULL,
  message_id uuid NOT NULL,
  at timestamptz NOT NULL,
  PRIMARY KEY (site, control_id, sha256));
CREATE INDEX v2_dedupe_at ON v2_dedupe (at);

-- What was wrong with a message, or worth knowing; numbers as in ERR, 0 where there is none.
CREATE TABLE v2_issue (
  message_id uuid NOT NULL,
  n int NOT NULL,
  severity text NOT NULL,
  code0357 int NOT NULL,
  app_code text NOT NULL,
  segment text NOT NULL,
  seq int NOT NULL,
  field int NOT NULL,
  rep int NOT NULL,
  comp int NOT NULL,
  sub int NOT NULL,
  text text NOT NULL,
  PRIMARY KEY (message_id, n));
CREATE INDEX v2_issue_code ON v2_issue (app_code, message_id) WHERE app_code <> '';

-- What a message did: the versions it made.
CREATE TABLE v2_effect (
  message_id uuid NOT NULL,
  n int NOT NULL,
  action text NOT NULL,
  resource_type text NOT NULL,
  resource_id text NOT NULL,
  version int NOT NULL,
  map_rule text NOT NULL,
  PRIMARY KEY (message_id, n));
CREATE INDEX v2_effect_resource ON v2_effect (resource_type, resource_id);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE
      ON v2_message, v2_queue, v2_dedupe, v2_issue, v2_effect TO kiln_app;
  END IF;
END $$;
