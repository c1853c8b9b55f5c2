-- What a client that registered itself shows to see, change or end its registration (RFC 7592): SHA-256 of
-- the text that it was told once. None: nobody can, be it that the operator made the client, or that it
-- registered before there was such a text.

ALTER TABLE oauth_client ADD COLUMN registration bytea CHECK (octet_length(registration) = 32);
