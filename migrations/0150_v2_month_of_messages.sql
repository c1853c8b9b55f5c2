-- Messages of HL7 version 2 by month, first of three steps: the bound that makes of the table the part of all months
-- up to this one. It is checked for rows to come at once, for those that are there by the next step, which keeps
-- nobody from writing.
--
-- The month of a message is that of its id, a UUIDv7, which is made when it comes. So an id finds its part, it
-- is unique over all of them, and the index by id that is there serves on.

-- The least id of a moment.
CREATE FUNCTION kiln_first_id(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT (lpad(to_hex(least(greatest(floor(extract(epoch FROM $1) * 1000), 0), 281474976710655)::bigint), 12, '0')
    || '00000000000000000000')::uuid
$$;

-- Ids that tell no time of ours, if there are any, are not of these months.
CREATE TABLE v2_message_odd (LIKE v2_message);
DO $$
DECLARE
  bound uuid := kiln_first_id(
    (date_trunc('month', CURRENT_DATE) + interval '1 month')::timestamp AT TIME ZONE 'UTC');
BEGIN
  WITH odd AS (DELETE FROM v2_message WHERE id >= bound RETURNING *) INSERT INTO v2_message_odd SELECT * FROM odd;
  EXECUTE format('ALTER TABLE v2_message ADD CONSTRAINT v2_message_month CHECK (id < %L) NOT VALID', bound);
END $$;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_app') THEN
    GRANT EXECUTE ON FUNCTION kiln_first_id(timestamptz) TO kiln_app;
  END IF;
END $$;
