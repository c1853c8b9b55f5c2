-- Accounts of persons, how they prove who they are, and what they agreed to.
--
-- Whatever opens a door (a session, a link, a launch, a recovery code) stands here as its SHA-256
-- only; secrets of second factors are sealed with a key that no database holds.

CREATE TABLE account (
  id uuid PRIMARY KEY,
  name text NOT NULL,
  -- The name as two of them are compared: no two accounts share one.
  folded text COLLATE "C" NOT NULL UNIQUE,
  -- Argon2id with its parameters and salt; none until the person has chosen one.
  password text,
  -- The resource that stands for the person: Patient/1, Practitioner/2.
  fhir_user text,
  roles text[] NOT NULL,
  created timestamptz NOT NULL,
  disabled_at timestamptz);

-- An identity at an outside provider that may log in as an account: linked by issuer and subject alone.
CREATE TABLE account_identity (
  issuer text NOT NULL,
  subject text NOT NULL,
  account_id uuid NOT NULL REFERENCES account ON DELETE CASCADE,
  PRIMARY KEY (issuer, subject));

-- Second factors. counter is the last time step of a TOTP, the last signature count of a WebAuthn key.
CREATE TABLE account_factor (
  id uuid PRIMARY KEY,
  account_id uuid NOT NULL REFERENCES account ON DELETE CASCADE,
  kind text NOT NULL CHECK (kind IN ('recovery', 'totp', 'webauthn')),
  label text NOT NULL,
  secret bytea NOT NULL,
  credential bytea,
  counter bigint NOT NULL DEFAULT 0,
  created timestamptz NOT NULL,
  confirmed_at timestamptz,
  used_at timestamptz);
CREATE INDEX account_factor_account ON account_factor (account_id);
CREATE UNIQUE INDEX account_factor_credential ON account_factor (credential)
  WHERE credential IS NOT NULL;

-- One-time links: to choose a password, or, without an account, to make the first one.
CREATE TABLE account_link (
  hash bytea PRIMARY KEY,
  account_id uuid REFERENCES account ON DELETE CASCADE,
  expires timestamptz NOT NULL,
  used_at timestamptz);

-- id is what grants name; hash is of what the browser holds, and changes when somebody logs in.
-- factors: what was proved ('password', 'totp', ...); is_complete: all that is needed was.
CREATE TABLE auth_session (
  hash bytea PRIMARY KEY,
  id uuid NOT NULL UNIQUE,
  account_id uuid REFERENCES account ON DELETE CASCADE,
  started timestamptz NOT NULL,
  seen timestamptz NOT NULL,
  auth_at timestamptz,
  factors text[] NOT NULL,
  is_complete boolean NOT NULL,
  -- What a WebAuthn key has to sign next.
  challenge bytea);
CREATE INDEX auth_session_account ON auth_session (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX auth_session_seen ON auth_session (seen);

-- Failures since the last success, by the hash of name and address.
CREATE TABLE login_attempt (
  key bytea PRIMARY KEY,
  failures int NOT NULL,
  last timestamptz NOT NULL);
CREATE INDEX login_attempt_last ON login_attempt (last);

-- What an EHR session hands to an app that it launches.
CREATE TABLE auth_launch (
  hash bytea PRIMARY KEY,
  account_id uuid NOT NULL REFERENCES account ON DELETE CASCADE,
  client_id text NOT NULL,
  context text NOT NULL,
  expires timestamptz NOT NULL,
  used_at timestamptz);

-- What a person decided about an app, newest last; nothing granted means no.
CREATE TABLE consent_decision (
  id uuid PRIMARY KEY,
  account_id uuid NOT NULL REFERENCES account ON DELETE CASCADE,
  client_id text NOT NULL,
  patient text,
  offered text NOT NULL,
  granted text NOT NULL,
  at timestamptz NOT NULL,
  withdrawn_at timestamptz);
CREATE INDEX consent_decision_account ON consent_decision (account_id, client_id);

-- Logins that an outside provider is asked about at the moment.
CREATE TABLE auth_upstream (
  hash bytea PRIMARY KEY,
  session_id uuid NOT NULL,
  issuer text NOT NULL,
  nonce text NOT NULL,
  verifier text NOT NULL,
  request text,
  expires timestamptz NOT NULL);

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON account, account_identity, account_factor, account_link,
      auth_session, login_attempt, auth_launch, consent_decision, auth_upstream TO kiln_app;
  END IF;
END $$;
