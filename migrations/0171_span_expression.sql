-- The span of an id as before, by fewer steps: two indexes of the ledger have it, and PostgreSQL prepares their
-- expressions anew for each statement that adds rows, which cost more than to evaluate them. The values are the same,
-- so no index is built anew and nobody waits.
CREATE OR REPLACE FUNCTION kiln_span(id uuid) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT least(2147483647, ('x' || encode(substr(uuid_send($1), 1, 5), 'hex'))::bit(40)::bigint >> 6)::int
$$;
