-- "Since a moment" asks for what ends after it. Nearly all spans are short, so a walk by s may begin a
-- little before the moment; the few that are longer are found here, and tell how much earlier.
CREATE INDEX srow_long ON srow (rt, hi) INCLUDE (s)
  WHERE hi > '-infinity' AND CASE WHEN isfinite(s) AND isfinite(hi) THEN hi - s > '25:00:00'::interval ELSE true END;
