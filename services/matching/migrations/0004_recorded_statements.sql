-- Statements that somebody has had recorded: how far the calendar was then, and what their groups' digests came to. Once a
-- day those that have moved are recorded again.
CREATE TABLE matching.recorded (
  tenant text NOT NULL,
  owner  text NOT NULL,
  month  date NOT NULL,
  as_of  date NOT NULL,
  marks  text NOT NULL,           -- over item and digest of every group
  PRIMARY KEY (tenant, owner, month)
);
CREATE INDEX recorded_as_of ON matching.recorded (tenant, as_of);
ALTER TABLE matching.recorded ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON matching.recorded
  USING (tenant = (SELECT NULLIF(current_setting('plumbline.tenant', true), '')));
GRANT SELECT, INSERT, UPDATE, DELETE, MAINTAIN ON matching.recorded TO plumbline_matching_work;
