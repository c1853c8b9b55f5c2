-- What 0070 says of ledger_row.pat holds for the rows that the ledger's writer and reads add. The statement that finds a
-- page of a search has the patients of its matches as an array, also where that is one alone. Both are read by
-- kiln_patients and indexed by it, so this is a matter of words.

COMMENT ON COLUMN ledger_row.pat IS 'The patient, where one alone is told of, but in rows of searches.';
COMMENT ON COLUMN ledger_row.pats IS 'The patients where several are told of, and in rows of searches also one alone.';
