-- What a partition gets when it is made stands in a function of its own, so that the next thing it gets is a line there:
-- until now each of them restated all of kiln_make_partitions.

-- Makes the part of a month of one table, unless there is one; whether it did. A month of which messages came in already,
-- while nobody made its part, stays where they are. Who calls it holds the lock of kiln_make_partitions, or is alone.
CREATE FUNCTION kiln_make_partition(parent text, month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  name text := format('%s_%s', CASE parent WHEN 'ledger_row' THEN 'ledger' ELSE parent END, to_char(month, 'YYYYMM'));
  first timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
  next timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
  bounds text[] := ARRAY[first::text, next::text];
BEGIN
  IF parent = 'v2_message' THEN
    bounds := ARRAY[kiln_first_id(first)::text, kiln_first_id(next)::text];
    IF EXISTS (SELECT FROM v2_message_default WHERE id >= kiln_first_id(first) AND id < kiln_first_id(next)) THEN
      RETURN false;
    END IF;
  END IF;
  IF to_regclass(name) IS NOT NULL THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', name, parent, bounds[1], bounds[2]);
  PERFORM kiln_copy_statistics(to_regclass(name), to_regclass(parent));
  IF parent = 'v2_message' THEN
    EXECUTE format('ALTER TABLE %I SET (fillfactor = 70)', name);
  END IF;
  IF kiln_own_tenant() IS NOT NULL THEN
    PERFORM kiln_guard_table(name, kiln_own_tenant());
  END IF;
  RETURN true;
END $$;
REVOKE ALL ON FUNCTION kiln_make_partition(text, date) FROM PUBLIC;

-- As before, by that.
CREATE OR REPLACE FUNCTION kiln_make_partitions(today date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  made int := 0;
  parent text;
  month date;
BEGIN
  PERFORM pg_advisory_xact_lock(kiln_lock('kiln_make_partitions'));
  FOREACH parent IN ARRAY ARRAY['feed', 'hist', 'ledger_row', 'seal_rows', 'v2_message'] LOOP
    FOR step IN 0..2 LOOP
      month := date_trunc('month', today::timestamp) + make_interval(months => step);
      made := made + kiln_make_partition(parent, month)::int;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;
