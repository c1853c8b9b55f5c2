-- Row level security takes no COPY. Concepts are copied into a table of the session, and from there by an INSERT, which
-- it judges.
CREATE FUNCTION kiln_take_concepts() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO code_system_concept SELECT * FROM copied_concept;
END $$;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT EXECUTE ON FUNCTION kiln_take_concepts() TO kiln_app;
  END IF;
END $$;
