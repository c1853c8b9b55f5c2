-- What a resource has attached by a URL: who may see one of these may see a Binary that is attached so.
--
-- 40, 42 and 74 are DiagnosticReport, DocumentReference and Media. The index is of these types alone;
-- which version of a Binary is named does not count.

CREATE FUNCTION kiln_attached(body jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT coalesce(array_agg(regexp_replace(url, '/_history/[^/]*$', '')), '{}')
  FROM (SELECT jsonb_path_query(body, '$.content.attachment.url') #>> '{}' AS url
        UNION ALL SELECT jsonb_path_query(body, '$.presentedForm.url') #>> '{}'
        UNION ALL SELECT jsonb_path_query(body, '$.content.url') #>> '{}') AS attached
  WHERE url LIKE '%Binary/%'
$$;

CREATE INDEX res_attached ON res USING gin (kiln_attached(body)) WITH (fastupdate = off)
  WHERE rt IN (40, 42, 74);
