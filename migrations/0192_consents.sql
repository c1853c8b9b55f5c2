-- Consents by the transaction that touched them last: before each use a node reads what changed since it looked before.
-- By the times of versions it overlooked what was written while a clock was behind another one's, or behind itself.
-- 29 is Consent.
CREATE INDEX res_consents ON res (xid) WHERE rt = 29;
