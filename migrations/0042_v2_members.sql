-- Results that came before the one they belong to: where that one will stand, and who belongs to it.
CREATE TABLE v2_member (
  place text NOT NULL,
  member text NOT NULL,
  PRIMARY KEY (place, member));

-- Messages in several parts: all but the last are kept until that one comes. part_of = MSH-14, the name
-- under which the part before it went on; goes_on = DSC-1.
ALTER TABLE v2_message
  ADD part_of text NOT NULL DEFAULT '',
  ADD goes_on text NOT NULL DEFAULT '',
  DROP CONSTRAINT v2_message_state_check,
  ADD CONSTRAINT v2_message_state_check CHECK (state IN ('received', 'processing', 'processed',
    'processed_with_issues', 'duplicate', 'rejected', 'failed', 'held', 'discarded', 'fragment'));
CREATE INDEX v2_message_goes_on ON v2_message (site, goes_on) WHERE state = 'fragment';

-- The number that the next message of a sender has, where messages are numbered (MSH-13).
CREATE TABLE v2_sequence (
  site text PRIMARY KEY,
  expected bigint NOT NULL) WITH (fillfactor = 70);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON v2_member, v2_sequence TO kiln_app;
  END IF;
END $$;
