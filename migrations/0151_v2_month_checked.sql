-- Messages by month, second step: reads through the table once, while others read and write.
ALTER TABLE v2_message VALIDATE CONSTRAINT v2_message_month;
