-- What tenants of a database still had in common, and where their second wall had a gap.

-- The tenant whose schema this is, as text; NULL in the first one.
CREATE FUNCTION kiln_own_tenant() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT substring(current_schema()::text FROM '^kiln_t([0-9]+)$')
$$;

-- The key of an advisory lock of this name: each tenant has its own, so that none waits for another.
CREATE FUNCTION kiln_lock(name text) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN kiln_own_tenant() IS NULL THEN hashtext(name)
    ELSE hashtextextended(name || ' ' || kiln_own_tenant(), 0) END
$$;

-- Where nodes tell each other what ended: each tenant has its own, so that nobody hears of another's grants.
CREATE FUNCTION kiln_channel() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT 'kiln_token' || coalesce('_t' || kiln_own_tenant(), '')
$$;

-- Guards a table of the schema of a tenant, unless it is guarded just so; whether there was something to do. A policy
-- of another kind would open what this one closes (policies that permit are joined by OR), so there must be none.
CREATE FUNCTION kiln_guard_table(name text, own text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  guarded regclass := format('%I.%I', current_schema(), name);
  condition text := format('(current_setting(''kiln.tenant''::text, true) = %L::text)', own);
BEGIN
  IF EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = guarded AND p.polname <> 'tenant' AND p.polpermissive) THEN
    RAISE EXCEPTION 'table % has a policy beside that of its tenant', guarded;
  END IF;
  IF EXISTS (SELECT FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
             WHERE p.polrelid = guarded AND p.polname = 'tenant' AND p.polpermissive AND p.polcmd = '*'
               AND p.polroles = '{0}' AND p.polwithcheck IS NULL
               AND pg_get_expr(p.polqual, p.polrelid) = condition
               AND c.relrowsecurity AND c.relforcerowsecurity) THEN
    RETURN false;
  END IF;
  IF EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = guarded AND p.polname = 'tenant') THEN
    EXECUTE format('DROP POLICY tenant ON %s', guarded);
  END IF;
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', guarded);
  EXECUTE format('CREATE POLICY tenant ON %s USING %s', guarded, condition);
  RETURN true;
END $$;

CREATE OR REPLACE FUNCTION kiln_guard() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  own text := current_setting('kiln.tenant');
  made int := 0;
  name text;
BEGIN
  IF kiln_own_tenant() IS DISTINCT FROM own THEN
    RAISE EXCEPTION 'schema % is not that of tenant %', current_schema(), own;
  END IF;
  FOR name IN
    SELECT c.relname FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') ORDER BY c.relname
  LOOP
    made := made + kiln_guard_table(name, own)::int;
  END LOOP;
  RETURN made;
END $$;

-- As before; what is made in the schema of a tenant is guarded from its first moment on.
CREATE OR REPLACE FUNCTION kiln_make_partitions(today date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  made int := 0;
  parent text;
  first date;
  name text;
BEGIN
  PERFORM pg_advisory_xact_lock(kiln_lock('kiln_make_partitions'));
  FOREACH parent IN ARRAY ARRAY['feed', 'hist', 'ledger_row', 'seal_rows'] LOOP
    FOR step IN 0..2 LOOP
      first := date_trunc('month', today) + make_interval(months => step);
      name := format('%s_%s', CASE parent WHEN 'ledger_row' THEN 'ledger' ELSE parent END, to_char(first, 'YYYYMM'));
      IF to_regclass(name) IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
          name, parent, first::timestamp AT TIME ZONE 'UTC',
          (first + interval '1 month')::timestamp AT TIME ZONE 'UTC');
        IF kiln_own_tenant() IS NOT NULL THEN
          PERFORM kiln_guard_table(name, kiln_own_tenant());
        END IF;
        made := made + 1;
      END IF;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;

CREATE OR REPLACE FUNCTION kiln_current(epoch bigint) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(kiln_lock('kiln_parameter_epoch'));
  IF kiln_epoch() <> epoch THEN
    RAISE EXCEPTION 'search parameters changed meanwhile' USING ERRCODE = 'KC002';
  END IF;
  RETURN 0;
END $$;

CREATE OR REPLACE FUNCTION kiln_parameters() RETURNS TABLE (
  epoch bigint, generation int, definition text, done bigint, total bigint, is_active boolean)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(kiln_lock('kiln_parameter_epoch'));
  RETURN QUERY SELECT kiln_epoch(), p.generation, p.definition, p.done, coalesce(p.total, 0), p.is_active
    FROM (VALUES (1)) one (x) LEFT JOIN search_parameter p ON true ORDER BY p.generation;
END $$;

REVOKE ALL ON FUNCTION kiln_guard_table(text, text) FROM PUBLIC;
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT EXECUTE ON FUNCTION kiln_own_tenant(), kiln_lock(text), kiln_channel() TO kiln_app;
  END IF;
END $$;
