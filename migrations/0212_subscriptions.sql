-- Subscriptions as the server works on them: what each waits for, where it is told, whose it is, and how far it has
-- the change feed.
--
-- The row is written in the transaction of the version of the resource that it goes by. A worker takes a subscription
-- under a lease, looks at the changes behind (xid, seq) in the order of the feed, and moves the place on after each
-- delivery: who is killed between the two delivers once more, and nothing is left out. A version of the resource takes
-- the lease away.
CREATE TABLE subscription (
  -- The logical id of the resource, and the version that this goes by.
  id text COLLATE "C" PRIMARY KEY,
  vid int NOT NULL,
  state text NOT NULL CHECK (state IN ('requested', 'active', 'off', 'error')),
  -- The type and the search that are waited for; no type: of a kind that is not served.
  rt smallint,
  criteria text NOT NULL,
  -- Where it is told. Values of headers are sealed for the party.
  channel text NOT NULL,
  endpoint text NOT NULL,
  payload text,
  headers text[] NOT NULL DEFAULT '{}',
  -- The party, as the ledger names it, its client and what it was granted: so much of it as stands at each delivery counts.
  actor text NOT NULL,
  client text COLLATE "C",
  token uuid,
  grant_id uuid,
  has_user boolean NOT NULL DEFAULT false,
  scopes text NOT NULL DEFAULT '',
  ends_at timestamptz,
  -- What was there when it was asked for is not told; all changes up to (xid, seq) are dealt with.
  began pg_snapshot NOT NULL,
  xid xid8 NOT NULL,
  seq bigint NOT NULL,
  -- How often in a row the next one could not be delivered, and when it is tried again.
  tries int NOT NULL DEFAULT 0,
  due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  holder uuid,
  held_until timestamptz NOT NULL DEFAULT '-infinity');
CREATE INDEX subscription_due ON subscription (due_at) WHERE state IN ('requested', 'active');
CREATE INDEX subscription_actor ON subscription (actor) WHERE state IN ('requested', 'active');

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON subscription TO kiln_app;
  END IF;
END $$;
