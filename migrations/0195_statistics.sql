-- No statistics of columns that no statement compares, and fewer looks at tables that grow.
--
-- ANALYZE sorts a sample of each column that it has statistics of. Of bodies that meant to fetch and compare thirty
-- thousand documents each time, for numbers that no plan is made by: documents are asked by expressions, of which the
-- statistics of their column say nothing. What remains a statement may compare (=, <, LIKE), join, order or group by.
--
-- A partition does not take over the targets of its table when it is made; who makes it copies them.

ALTER TABLE res ALTER meta SET STATISTICS 0, ALTER body SET STATISTICS 0;
ALTER TABLE hist ALTER id SET STATISTICS 0, ALTER meta SET STATISTICS 0, ALTER body SET STATISTICS 0;
ALTER TABLE srow ALTER keys SET STATISTICS 0;
ALTER TABLE ledger_row ALTER request_id SET STATISTICS 0, ALTER source SET STATISTICS 0,
  ALTER method SET STATISTICS 0, ALTER query SET STATISTICS 0, ALTER failure SET STATISTICS 0,
  ALTER entities SET STATISTICS 0;
ALTER TABLE seal_rows ALTER ids SET STATISTICS 0, ALTER leaves SET STATISTICS 0;
ALTER TABLE export_part ALTER data SET STATISTICS 0;
ALTER TABLE v2_message ALTER peer SET STATISTICS 0, ALTER tls_subject SET STATISTICS 0, ALTER raw SET STATISTICS 0,
  ALTER sha256 SET STATISTICS 0, ALTER map_hash SET STATISTICS 0, ALTER charset SET STATISTICS 0,
  ALTER send_app SET STATISTICS 0, ALTER send_fac SET STATISTICS 0, ALTER structure SET STATISTICS 0,
  ALTER version SET STATISTICS 0, ALTER processing SET STATISTICS 0, ALTER ack_code SET STATISTICS 0,
  ALTER ack SET STATISTICS 0, ALTER reason SET STATISTICS 0;
ALTER TABLE v2_issue ALTER severity SET STATISTICS 0, ALTER segment SET STATISTICS 0, ALTER text SET STATISTICS 0;
ALTER TABLE v2_effect ALTER action SET STATISTICS 0, ALTER map_rule SET STATISTICS 0;

-- A plan takes the size of a table as it is at that moment and only the shares of values from ANALYZE, and these change
-- little while a table grows by a tenth. The one of tok, whose hashes are told apart by six hundred thousand rows, ran
-- at each growth by a fiftieth.
ALTER TABLE srow SET (autovacuum_analyze_scale_factor = 0.1);
ALTER TABLE comp SET (autovacuum_analyze_scale_factor = 0.1);
ALTER TABLE tok SET (autovacuum_analyze_scale_factor = 0.1);
ALTER TABLE num SET (autovacuum_analyze_scale_factor = 0.1);

-- Has a partition take over from its table of which columns there are statistics, and how fine.
CREATE FUNCTION kiln_copy_statistics(part regclass, whole regclass) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  name text;
  target int;
BEGIN
  FOR name, target IN
    SELECT p.attname, coalesce(w.attstattarget, -1) FROM pg_attribute w JOIN pg_attribute p
        ON p.attrelid = part AND p.attname = w.attname AND NOT p.attisdropped
     WHERE w.attrelid = whole AND w.attnum > 0 AND NOT w.attisdropped
       AND coalesce(p.attstattarget, -1) <> coalesce(w.attstattarget, -1)
  LOOP
    EXECUTE format('ALTER TABLE %s ALTER %I SET STATISTICS %s', part, name, target);
  END LOOP;
END $$;
REVOKE ALL ON FUNCTION kiln_copy_statistics(regclass, regclass) FROM PUBLIC;

-- As before, with the statistics that the table has.
CREATE OR REPLACE FUNCTION kiln_make_partitions(today date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  made int := 0;
  parent text;
  first timestamptz;
  next timestamptz;
  name text;
  bounds text[];
BEGIN
  PERFORM pg_advisory_xact_lock(kiln_lock('kiln_make_partitions'));
  FOREACH parent IN ARRAY ARRAY['feed', 'hist', 'ledger_row', 'seal_rows', 'v2_message'] LOOP
    FOR step IN 0..2 LOOP
      name := format('%s_%s', CASE parent WHEN 'ledger_row' THEN 'ledger' ELSE parent END,
        to_char(date_trunc('month', today) + make_interval(months => step), 'YYYYMM'));
      first := (date_trunc('month', today) + make_interval(months => step))::timestamp AT TIME ZONE 'UTC';
      next := (date_trunc('month', today) + make_interval(months => step + 1))::timestamp AT TIME ZONE 'UTC';
      bounds := ARRAY[first::text, next::text];
      IF parent = 'v2_message' THEN
        bounds := ARRAY[kiln_first_id(first)::text, kiln_first_id(next)::text];
        CONTINUE WHEN EXISTS (SELECT FROM v2_message_default
          WHERE id >= kiln_first_id(first) AND id < kiln_first_id(next));
      END IF;
      IF to_regclass(name) IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', name, parent,
          bounds[1], bounds[2]);
        PERFORM kiln_copy_statistics(to_regclass(name), to_regclass(parent));
        IF parent = 'v2_message' THEN
          EXECUTE format('ALTER TABLE %I SET (fillfactor = 70)', name);
        END IF;
        IF kiln_own_tenant() IS NOT NULL THEN
          PERFORM kiln_guard_table(name, kiln_own_tenant());
        END IF;
        made := made + 1;
      END IF;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;
