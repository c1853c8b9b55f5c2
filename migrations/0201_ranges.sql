-- The few numbers that are ranges, with all that a search asks of them.
--
-- What is asked by its upper end looks for ranges apart from exact numbers. Without `rid` in the index of ranges the
-- database expected a third of all numbers to be ranges, a look at the table for each, and walked the index of all
-- numbers under the hash instead: thousands of rows to find none.

DROP INDEX num_w;
CREATE INDEX num_w ON num (h, hi) INCLUDE (rid, lo, y, u, n) WHERE lo < hi;
