-- Code systems by whose codes an app keeps state of its own here, as Basic resources (SMART App Launch 2.2): no other client
-- sees what has a code of one.
ALTER TABLE oauth_client ADD COLUMN state_systems text[] NOT NULL DEFAULT '{}';
CREATE INDEX oauth_client_state ON oauth_client (id) WHERE state_systems <> '{}';
