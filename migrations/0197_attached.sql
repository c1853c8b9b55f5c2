-- What a resource has attached, in a language whose plans are kept. Of the function in SQL each statement that wrote a
-- DiagnosticReport, a DocumentReference or a Media parsed the body twice, once to see that it does not fit into the
-- expression of the index, and planned it, for one row. Most reports have nothing attached, which takes one look now.
-- The values are the same, so the index is not built anew and nobody waits.
CREATE OR REPLACE FUNCTION kiln_attached(body jsonb) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF NOT body ?| '{content,presentedForm}'::text[] THEN
    RETURN '{}'::text[];
  END IF;
  RETURN (SELECT coalesce(array_agg(regexp_replace(url, '/_history/[^/]*$', '')), '{}')
    FROM (SELECT jsonb_path_query(body, '$.content.attachment.url') #>> '{}' AS url
          UNION ALL SELECT jsonb_path_query(body, '$.presentedForm.url') #>> '{}'
          UNION ALL SELECT jsonb_path_query(body, '$.content.url') #>> '{}') AS attached
    WHERE url LIKE '%Binary/%');
END $$;
