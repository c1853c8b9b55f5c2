-- The dates of a resource are asked for by its key, row by row: for tests beside a walk, and for orders.
DROP INDEX dat_r;
CREATE INDEX dat_r ON dat (rid, h) INCLUDE (lo, hi);
