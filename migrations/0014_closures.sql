-- The closure tables of clients ($closure): which concepts each has, and since which version of it.
-- Relations are not kept: they follow from the code systems.
CREATE TABLE closure (
  name text PRIMARY KEY,
  version bigint NOT NULL);

CREATE TABLE closure_concept (
  name text NOT NULL REFERENCES closure ON DELETE CASCADE,
  system text NOT NULL,
  code text NOT NULL,
  version bigint NOT NULL,
  PRIMARY KEY (name, system, code));

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON closure, closure_concept TO kiln_app;
  END IF;
END $$;
