-- Parts of messages that wait for others, by sender: how much a sender has of them is asked at each part. Not by
-- `attempts`, which claims change: those would no longer be updates in place.
CREATE INDEX v2_open_parts ON v2_open (site, message_id) WHERE state = 'fragment';
