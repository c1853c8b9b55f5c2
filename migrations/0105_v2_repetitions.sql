-- How often a message came again is shown beside it.
CREATE INDEX v2_message_repeats ON v2_message (duplicate_of) WHERE duplicate_of IS NOT NULL;
