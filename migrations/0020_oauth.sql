-- The authorization server: clients, what was granted to them, and codes and tokens of it.
--
-- Codes and tokens are random; only their SHA-256 is kept, so that nobody can use what stands here.

CREATE TABLE oauth_client (
  id text PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('public', 'secret', 'key')),
  app_type text NOT NULL CHECK (app_type IN ('web', 'native', 'backend', 'ehr')),
  name text NOT NULL,
  logo_uri text,
  redirect_uris text[] NOT NULL DEFAULT '{}',
  -- Web origins whose pages may call with tokens of this client.
  origins text[] NOT NULL DEFAULT '{}',
  launch_uri text,
  -- What it may be granted at most; for a backend service also what it has without asking a user.
  scopes text NOT NULL,
  -- Its public keys, by value or by address.
  jwks jsonb,
  jwks_uri text,
  -- SHA-256 of its secrets, two at most: [{"hash": "hex", "created": "instant"}].
  secrets jsonb NOT NULL DEFAULT '[]',
  created timestamptz NOT NULL,
  disabled_at timestamptz,
  -- It registered itself.
  is_registered bool NOT NULL DEFAULT false);

CREATE TABLE oauth_grant (
  id uuid PRIMARY KEY,
  client_id text NOT NULL REFERENCES oauth_client,
  account_id uuid,
  scopes text NOT NULL,
  patient text,
  encounter text,
  -- What else the token response tells: fhirContext, need_patient_banner, intent, ...
  context jsonb,
  -- The user as a resource, as it was when the grant was made: Practitioner/1.
  fhir_user text,
  offline bool NOT NULL,
  -- The session that the grant ends with (online_access).
  session_id uuid,
  auth_time timestamptz,
  nonce text,
  purpose text,
  created timestamptz NOT NULL,
  used timestamptz NOT NULL,
  ended_at timestamptz,
  ended_why text);
CREATE INDEX oauth_grant_client ON oauth_grant (client_id) WHERE ended_at IS NULL;
CREATE INDEX oauth_grant_account ON oauth_grant (account_id) WHERE ended_at IS NULL;
CREATE INDEX oauth_grant_session ON oauth_grant (session_id) WHERE ended_at IS NULL AND session_id IS NOT NULL;

CREATE TABLE oauth_code (
  hash bytea PRIMARY KEY,
  grant_id uuid NOT NULL REFERENCES oauth_grant ON DELETE CASCADE,
  redirect_uri text NOT NULL,
  challenge text NOT NULL,
  aud text NOT NULL,
  expires timestamptz NOT NULL,
  used_at timestamptz);
CREATE INDEX oauth_code_grant ON oauth_code (grant_id);

CREATE TABLE oauth_token (
  hash bytea PRIMARY KEY,
  -- What AuditEvents and introspection name the token by.
  id uuid NOT NULL,
  kind text NOT NULL CHECK (kind IN ('access', 'refresh')),
  grant_id uuid NOT NULL REFERENCES oauth_grant ON DELETE CASCADE,
  scopes text NOT NULL,
  created timestamptz NOT NULL,
  expires timestamptz NOT NULL,
  -- Of a refresh token that was used: the hash of its successor, when, and the successor itself under
  -- a key that only who has this token can make, for a client that lost the answer.
  replaced_by bytea,
  replaced_at timestamptz,
  successor bytea,
  revoked_at timestamptz);
CREATE INDEX oauth_token_grant ON oauth_token (grant_id);
CREATE INDEX oauth_token_replaced_by ON oauth_token (replaced_by) WHERE replaced_by IS NOT NULL;

-- Assertions of clients that were used: none counts twice.
CREATE TABLE oauth_jti (
  client_id text NOT NULL,
  jti bytea NOT NULL,
  expires timestamptz NOT NULL,
  PRIMARY KEY (client_id, jti));

-- Requests to authorize that wait for a login, a choice or a consent.
CREATE TABLE oauth_authorization (
  hash bytea PRIMARY KEY,
  request jsonb NOT NULL,
  session_id uuid,
  step text NOT NULL,
  expires timestamptz NOT NULL);

-- Public halves of the keys that nodes sign with; each private half stays in the folder of its node.
CREATE TABLE oauth_key (
  kid text PRIMARY KEY,
  jwk jsonb NOT NULL,
  created timestamptz NOT NULL,
  seen timestamptz NOT NULL,
  retired_at timestamptz);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON oauth_client, oauth_grant, oauth_code, oauth_token, oauth_jti,
      oauth_authorization, oauth_key TO kiln_app;
  END IF;
END $$;
