-- Tokens of a system, whatever their codes. Rows of their own would be three for each resource, with
-- 160 bytes each; in this index equal keys share a list, so that a row of tok takes 7 bytes.
CREATE INDEX tok_system ON tok (sysh) WHERE sysh <> 0;
