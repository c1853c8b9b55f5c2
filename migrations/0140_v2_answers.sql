-- Answers to the work on messages that go over a connection of their own, because the profile of the sender
-- says so. What an answer says stands beside its message; a row goes when its answer was sent.
CREATE TABLE v2_answer (
  message_id uuid PRIMARY KEY,
  endpoint text NOT NULL,
  -- When MSH-16 wants it: AL, ER or SU.
  wanted text NOT NULL,
  since timestamptz NOT NULL,
  tries int NOT NULL DEFAULT 0,
  next_try timestamptz NOT NULL);
CREATE INDEX v2_answer_next ON v2_answer (next_try);
CREATE INDEX v2_answer_order ON v2_answer (endpoint, message_id);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON v2_answer TO kiln_app;
  END IF;
END $$;
