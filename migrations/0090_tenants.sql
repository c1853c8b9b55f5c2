-- Tenants, where one server has several: each has a schema of its own, `kiln_t` and its number, with all tables,
-- sequences and functions of this folder in it. Whoever connects says at once whose data is meant (the search path
-- and `kiln.tenant`), so no statement has to name the tenant and none can forget it.
--
-- Row level security is the second wall: in the schema of a tenant no role but a superuser sees or writes a row, not
-- even the owner, unless its connection is that tenant's.
--
-- The list of tenants is that of the first schema; elsewhere the table stays empty. Without tenants it is empty too.
CREATE TABLE tenant (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text COLLATE "C" NOT NULL UNIQUE,
  created timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- When its schema was whole for the first time.
  ready_at timestamptz,
  disabled_at timestamptz);

-- Makes a tenant and its empty schema; NULL where there is one of that name.
CREATE FUNCTION kiln_make_tenant(called text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  number int;
BEGIN
  INSERT INTO tenant (name) VALUES (called) ON CONFLICT (name) DO NOTHING RETURNING id INTO number;
  IF number IS NOT NULL THEN
    EXECUTE format('CREATE SCHEMA %I', 'kiln_t' || number);
  END IF;
  RETURN number;
END $$;

-- Guards the tables of the schema of a tenant, those that are not guarded yet; how many there were. The condition
-- names the tenant as a constant: a session that says it is another's sees nothing.
CREATE FUNCTION kiln_guard() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  own text := current_setting('kiln.tenant');
  made int := 0;
  name text;
BEGIN
  IF current_schema() <> 'kiln_t' || own THEN
    RAISE EXCEPTION 'schema % is not that of tenant %', current_schema(), own;
  END IF;
  FOR name IN
    SELECT c.relname FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
      AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant ON %I USING (current_setting(''kiln.tenant'', true) = %L)', name, own);
    made := made + 1;
  END LOOP;
  RETURN made;
END $$;

REVOKE ALL ON FUNCTION kiln_make_tenant(text), kiln_guard() FROM PUBLIC;
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT SELECT ON tenant TO kiln_app;
  END IF;
END $$;
