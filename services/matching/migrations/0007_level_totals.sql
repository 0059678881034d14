-- What a group rests on: the first twenty records by id, and how many they are. A client's level names them without drawing
-- its groups again.
ALTER TABLE matching.drawn
  ADD COLUMN sources jsonb NOT NULL DEFAULT '[]',
  ADD COLUMN records bigint NOT NULL DEFAULT 0,
  ADD COLUMN first_source text COLLATE "C" GENERATED ALWAYS AS (sources #>> '{0,id}') STORED;

-- What was drawn before knows nothing of it: everything is drawn again, client by client.
INSERT INTO matching.due (tenant, kind, key, cause) SELECT c.tenant, 'tenant', '{}', c.cause FROM matching.calendar c;
