-- Access in an emergency: who broke the glass for which patient and why, until somebody has looked at it.
-- It outlives the grant that it is about.
CREATE TABLE oauth_emergency (
  grant_id uuid PRIMARY KEY,
  account text NOT NULL,
  client_id text NOT NULL,
  patient text NOT NULL,
  purpose text NOT NULL,
  reason text NOT NULL,
  at timestamptz NOT NULL,
  until timestamptz NOT NULL,
  reviewed_at timestamptz,
  reviewed_by text,
  finding text);
CREATE INDEX oauth_emergency_open ON oauth_emergency (at) WHERE reviewed_at IS NULL;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE ON oauth_emergency TO kiln_app;
  END IF;
END $$;
