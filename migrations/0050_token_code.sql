-- The codes that a parameter of tokens has, where they are few: a search for what lacks a code walks the others.
-- Written by whoever stores a code for the first time, before that is committed, and never taken away: a row
-- may tell of a code that nothing has any more.
--
-- p = hash of the parameter, h and y as in tok. h = 0: it has too many codes to be listed; where p is the hash of
-- a parameter's absence: too many resources lack it for that to be in tok.
CREATE TABLE token_code (p bigint NOT NULL, h bigint NOT NULL, y int NOT NULL, PRIMARY KEY (p, h, y));
CREATE INDEX token_code_given_up ON token_code (p) WHERE h = 0;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT, INSERT ON token_code TO kiln_app;
  END IF;
END $$;
