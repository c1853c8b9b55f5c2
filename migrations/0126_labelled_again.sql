-- What all that is stored was labelled by has a digest of the rules and of the codes of the value sets that they name.
-- Both can become again what they were: the last row is the one that counts.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT UPDATE (ended, changed) ON labelling TO kiln_app;
  END IF;
END $$;
