-- Seconds by which a whole answer came after the host's own deadline; NULL where none did.
ALTER TABLE reports ADD COLUMN late REAL;
