-- Matching keeps the lines of the statements that it records, and opens them again to compare. It erases nothing.
GRANT USAGE ON SCHEMA vault TO plumbline_matching;
GRANT SELECT, INSERT ON vault.key, vault.piece, vault.document TO plumbline_matching;
