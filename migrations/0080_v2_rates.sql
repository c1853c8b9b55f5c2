-- What cannot be worked on yet is not looked at again and again: a message that came behind another one of
-- the same line is blocked. The end of the one before it frees it; what is missed by that, because both
-- happened at the same moment, is found by a look at the oldest ones each second.
ALTER TABLE v2_message ADD blocked boolean NOT NULL DEFAULT false;
DROP INDEX v2_message_open;
CREATE INDEX v2_message_ready ON v2_message (id)
  WHERE state IN ('received', 'processing') AND NOT blocked;
CREATE INDEX v2_message_blocked ON v2_message (id)
  WHERE state IN ('received', 'processing') AND blocked;

-- The lines of a message are known from the message, and a line is asked for by its key alone: with an index by
-- message beside it, who comes before a message was looked for among all that came before.
DROP INDEX v2_queue_message;

-- Ends the statement that calls it: what a message was worked out by has changed since.
CREATE FUNCTION kiln_outrun() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a message was outrun' USING ERRCODE = 'KC003';
END $$;
