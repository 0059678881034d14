-- Matching: the registers of the fold, their views, what is due, and what was found. README.md says which part is whose.
-- Only the _work role writes. The _api role reads drawn, verdict and compare_key, one tenant at a time.
CREATE SCHEMA matching;

-- --- the fold's registers ------------------------------------------------------------------------------------------

-- A meter is (tenant, source, account, sku, name, kind, unit); its id is a hash of these, so nobody has to ask for it.
CREATE TABLE matching.meter (
  meter   uuid PRIMARY KEY,
  tenant  text NOT NULL,
  source  text NOT NULL,
  account text NOT NULL,
  sku     text NOT NULL,
  name    text NOT NULL,
  kind    text NOT NULL CHECK (kind IN ('gauge', 'counter', 'peak')),
  unit    text
);
CREATE INDEX meter_account ON matching.meter (tenant, source, account, sku);
CREATE INDEX meter_sku ON matching.meter (tenant, source, sku);

-- One register for each slot of a meter, and the record that holds it: which records made this figure.
-- No tenant column and no index on one: whoever reads it comes from a meter.
CREATE TABLE matching.slot (
  meter        uuid NOT NULL,
  slot         uuid NOT NULL,
  at           timestamptz NOT NULL,
  until        timestamptz,
  value        numeric NOT NULL,
  rank_at      timestamptz NOT NULL,
  rank_run     bigint NOT NULL,
  rank_content uuid NOT NULL,
  record       text NOT NULL,
  record_type  text NOT NULL,
  topic        text NOT NULL,
  partition    smallint NOT NULL,
  position     bigint NOT NULL,
  day          date NOT NULL GENERATED ALWAYS AS ((at AT TIME ZONE 'UTC')::date) STORED,
  PRIMARY KEY (meter, slot)
);
-- A meter's days in order, and within a day the records in the order in which evidence is named.
CREATE INDEX slot_day ON matching.slot (meter, day, record COLLATE "C");

-- The maintained view of counters: sum and number of slots per UTC day. Moved by "+ new - old", never by "+ value".
-- No CHECK (n >= 0): it would be asked of what is to be added, which is negative where a slot leaves a day.
CREATE TABLE matching.total (
  meter uuid NOT NULL,
  day   date NOT NULL,
  value numeric NOT NULL,
  n     bigint NOT NULL,
  PRIMARY KEY (meter, day)
) WITH (fillfactor = 80);

-- What vendors call their identifiers. One register per partition that says so: an account's usage comes through many,
-- and they must not wait for each other. Whoever asks takes the greatest rank, and of equal ones the least name.
CREATE TABLE matching.name (
  tenant    text NOT NULL,
  kind      text NOT NULL CHECK (kind IN ('account', 'sku')),
  source    text NOT NULL,
  key       text NOT NULL,
  topic     text NOT NULL,
  partition smallint NOT NULL,
  rank_at   timestamptz NOT NULL,
  rank_run  bigint NOT NULL,
  name      text NOT NULL COLLATE "C",
  position  bigint NOT NULL,   -- of the record that says so
  PRIMARY KEY (tenant, kind, source, key, topic, partition)
) WITH (fillfactor = 70);

-- Every other cell of the fold. value NULL: withdrawn.
CREATE TABLE matching.cell (
  tenant       text NOT NULL,
  kind         text NOT NULL,
  key          text[] NOT NULL,
  rank_at      timestamptz NOT NULL,
  rank_run     bigint NOT NULL,
  rank_content text NOT NULL COLLATE "C",
  value        jsonb,
  source       text NOT NULL,
  record       text NOT NULL,
  record_type  text NOT NULL,
  cause        jsonb NOT NULL,
  client  text GENERATED ALWAYS AS (value ->> 'client') STORED,
  product text GENERATED ALWAYS AS (value ->> 'product') STORED,
  account text GENERATED ALWAYS AS (value ->> 'account') STORED,
  sku     text GENERATED ALWAYS AS (value ->> 'sku') STORED,
  PRIMARY KEY (tenant, kind, key)
);
CREATE INDEX cell_client ON matching.cell (tenant, client) WHERE kind = 'client';
CREATE INDEX cell_product ON matching.cell (tenant, product) WHERE kind = 'product';
CREATE INDEX cell_contract_client ON matching.cell (tenant, client, product) WHERE kind = 'contract_line';
CREATE INDEX cell_contract_line ON matching.cell (tenant, (key[1]), (key[2]), (key[3])) WHERE kind = 'contract_line';
CREATE INDEX cell_contract_from ON matching.cell (tenant, (key[4])) WHERE kind = 'contract_line';
CREATE INDEX cell_invoice_line ON matching.cell (tenant, (key[1]), (key[2]), (key[3]), product) WHERE kind = 'invoice_line';
CREATE INDEX cell_charge_account ON matching.cell (tenant, source, account) WHERE kind = 'vendor_bill_line';
CREATE INDEX cell_charge_sku ON matching.cell (tenant, source, sku) WHERE kind = 'vendor_bill_line';
CREATE INDEX cell_feed ON matching.cell (tenant, source) WHERE kind = 'feed';

-- Whether a mapping's value (NULL: none, or withdrawn) says what an identifier is, at a date: targets, or an exclusion that
-- has not ended (shared.reconciliation.views.mapping).
CREATE FUNCTION matching.known(p_mapping jsonb, p_as_of date) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN p_mapping IS NOT NULL
   AND (p_mapping -> 'excluded' = 'null'::jsonb OR coalesce((p_mapping -> 'excluded' ->> 'until')::date > p_as_of, true));

-- The zone of a client: what its newest cell says (shared.reconciliation.views.newest), else UTC.
CREATE FUNCTION matching.zone_of(p_tenant text, p_client text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce((
  SELECT c.value ->> 'time_zone' FROM matching.cell c
   WHERE c.tenant = p_tenant AND c.kind = 'client' AND c.client = p_client
   ORDER BY c.rank_at DESC, c.rank_run DESC, c.rank_content DESC, c.source COLLATE "C" DESC LIMIT 1), 'UTC');

-- --- views of the cells that are worth keeping -----------------------------------------------------------------------

-- Every target that a mapping has ever had; share NULL: no longer. What was drawn under a former target is found here.
CREATE TABLE matching.route (
  tenant text NOT NULL,
  kind   text NOT NULL CHECK (kind IN ('account', 'sku')),
  source text NOT NULL,
  key    text NOT NULL,
  target text NOT NULL,
  share  numeric,
  PRIMARY KEY (tenant, kind, source, key, target)
);
CREATE INDEX route_target ON matching.route (tenant, kind, target, source, key);

-- One row per version of an invoice or credit note: how many of its lines are here, and whether they are all of them.
CREATE TABLE matching.document (
  tenant   text NOT NULL,
  source   text NOT NULL,
  invoice  text NOT NULL,
  version  int NOT NULL,
  client   text,               -- NULL until the header is here
  period_from date,
  period_to   date,
  corrects text,
  lines    int,                -- as the header counts them
  digest   text,
  have     int NOT NULL DEFAULT 0,
  span_from date,              -- least and greatest day of the lines that have a service period of their own
  span_to   date,
  complete boolean NOT NULL DEFAULT false,
  PRIMARY KEY (tenant, source, invoice, version)
) WITH (fillfactor = 80);
CREATE INDEX document_client ON matching.document (tenant, client, period_to);
CREATE INDEX document_corrects ON matching.document (tenant, source, corrects) WHERE corrects IS NOT NULL;

-- How far a tenant's calendar has got, and where it began. The greatest date, and the least: any order of ticks ends here.
CREATE TABLE matching.calendar (
  tenant    text PRIMARY KEY,
  as_of     date NOT NULL,
  first_day date NOT NULL,
  cause     jsonb NOT NULL
);

-- --- what is due -----------------------------------------------------------------------------------------------------

-- Raw: what moved, in its own words. Insert only; the resolver takes rows away.
CREATE TABLE matching.due (
  id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant   text NOT NULL,
  kind     text NOT NULL,
  meter    uuid,
  key      text[],
  first_at timestamptz,
  last_at  timestamptz,
  cause    jsonb NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0,
        autovacuum_analyze_threshold = 100000, autovacuum_vacuum_cost_delay = 0);

-- A group: (product, client, month, product id), the level above it (client, client, month, '*'), or an identifier of a
-- vendor (account or sku, source, -infinity, identifier). The row exists to be locked, and is the universe of groups:
-- what was ever drawn has one, committed before it was drawn.
CREATE TABLE matching.compare_key (
  tenant  text NOT NULL,
  level   text NOT NULL CHECK (level IN ('product', 'client', 'account', 'sku')),
  owner   text NOT NULL,
  month   date NOT NULL,
  item    text NOT NULL,
  wait_ms int NOT NULL DEFAULT 100,   -- how long a change waits for others: 100 ms to 10 s, by what the last draw read
  PRIMARY KEY (tenant, level, owner, month, item)
) WITH (fillfactor = 80);
CREATE INDEX compare_key_item ON matching.compare_key (tenant, level, item, month);

CREATE TABLE matching.due_key (
  id       bigint GENERATED ALWAYS AS IDENTITY,
  tenant   text NOT NULL,
  level    text NOT NULL,
  owner    text NOT NULL,
  month    date NOT NULL,
  item     text NOT NULL,
  ready_at timestamptz NOT NULL,
  cause    jsonb NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0,
        autovacuum_analyze_threshold = 100000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX due_key_ready ON matching.due_key (ready_at);
CREATE INDEX due_key_key ON matching.due_key (tenant, level, owner, month, item);

-- The date whose coming may change a group's answer by itself.
CREATE TABLE matching.wake (
  tenant  text NOT NULL,
  level   text NOT NULL,
  owner   text NOT NULL,
  month   date NOT NULL,
  item    text NOT NULL,
  on_date date NOT NULL,
  PRIMARY KEY (tenant, level, owner, month, item)
);
CREATE INDEX wake_date ON matching.wake (tenant, on_date);

-- --- what was found --------------------------------------------------------------------------------------------------

-- One row for each group that has anything to say. A group of nothing at all has none.
CREATE TABLE matching.drawn (
  tenant    text NOT NULL,
  level     text NOT NULL,
  owner     text NOT NULL,
  month     date NOT NULL,
  item      text NOT NULL,
  state     text NOT NULL CHECK (state IN ('matched', 'break', 'not_comparable')),
  expected  numeric,
  billed    numeric,
  explained numeric NOT NULL,
  explained_by text,
  broken    numeric NOT NULL,
  currency  text,
  owed      boolean NOT NULL,
  waiting   jsonb NOT NULL,    -- [{side, what, until}]
  name      text,              -- of an identifier, at its vendor, as drawn
  rests_on_absence boolean NOT NULL,  -- a feed's completeness, or an identifier nobody mapped, may change it
  digest    text NOT NULL,     -- of the whole verdict: where it is the same, nothing is written
  PRIMARY KEY (tenant, level, owner, month, item),
  CHECK (billed - expected - explained - broken = 0)
);
CREATE INDEX drawn_absence ON matching.drawn (tenant, level, item) WHERE rests_on_absence;
CREATE INDEX drawn_identifier ON matching.drawn (tenant, level, owner, item) WHERE level IN ('account', 'sku') AND state = 'break';
CREATE INDEX drawn_owner ON matching.drawn (tenant, owner, month, item);
CREATE INDEX drawn_state ON matching.drawn (tenant, level, state);

-- The last verdict of each discrepancy stream.
CREATE TABLE matching.verdict (
  tenant    text NOT NULL,
  stream    uuid NOT NULL,
  level     text NOT NULL,
  owner     text NOT NULL,
  month     date NOT NULL,
  item      text NOT NULL,
  key       jsonb NOT NULL,    -- of the stream: [family, client, period, the finest business identifiers]
  version   int NOT NULL,
  state     text NOT NULL CHECK (state IN ('open', 'cleared')),
  reopened  int NOT NULL,      -- how often it had been cleared before
  code      text NOT NULL,
  client    text,
  amount    numeric,
  currency  text,
  body      jsonb NOT NULL,    -- as drawn last; of a cleared one as it was last open
  recorded  jsonb NOT NULL,    -- as the last record says
  PRIMARY KEY (tenant, stream)
);
CREATE INDEX verdict_group ON matching.verdict (tenant, level, owner, month, item);
CREATE INDEX verdict_size ON matching.verdict (tenant, (-coalesce(amount, -1)), stream);
CREATE INDEX verdict_open ON matching.verdict (tenant) WHERE state = 'open';

-- --- who may -----------------------------------------------------------------------------------------------------------

DO $$
DECLARE v_table text;
BEGIN
  FOREACH v_table IN ARRAY ARRAY['meter', 'name', 'cell', 'route', 'document', 'calendar', 'due', 'compare_key', 'due_key', 'wake', 'drawn', 'verdict'] LOOP
    EXECUTE format('ALTER TABLE matching.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', v_table);
    EXECUTE format($ddl$CREATE POLICY tenant ON matching.%I
      USING (tenant = (SELECT NULLIF(current_setting('plumbline.tenant', true), '')))$ddl$, v_table);
  END LOOP;
END $$;
-- MAINTAIN: to analyze a table that has just grown.
GRANT SELECT, INSERT, UPDATE, DELETE, MAINTAIN ON matching.meter, matching.slot, matching.total, matching.name, matching.cell,
  matching.route, matching.document, matching.calendar, matching.due, matching.compare_key, matching.due_key, matching.wake, matching.drawn,
  matching.verdict TO plumbline_matching_work;
REVOKE ALL ON FUNCTION matching.known(jsonb, date), matching.zone_of(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION matching.known(jsonb, date), matching.zone_of(text, text) TO plumbline_matching_work;
GRANT SELECT ON matching.drawn, matching.verdict, matching.compare_key TO plumbline_matching_api;

SELECT messaging.add_consumer('matching', 'matching.fold',
  ARRAY['catalog', 'usage', 'contracts', 'invoices', 'vendor-bills', 'mappings', 'feeds', 'settings']);
