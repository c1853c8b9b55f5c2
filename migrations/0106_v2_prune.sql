-- Whether a message that is worked on again takes back what it made before and makes no longer.
ALTER TABLE v2_message ADD prunes boolean NOT NULL DEFAULT false;
