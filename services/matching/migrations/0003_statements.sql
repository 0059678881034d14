-- The live statement: each group keeps the lines of its last verdict, what they come to by currency, and what it came to
-- when its period was closed. docs/decisions/0106 says why it is a read model.

ALTER TABLE matching.drawn
  ADD COLUMN pending numeric NOT NULL DEFAULT 0,          -- of the difference, what cannot be concluded yet
  ADD COLUMN lines jsonb NOT NULL DEFAULT '[]',           -- of the statement, by key (shared.reconciliation.statement)
  ADD COLUMN vendor jsonb NOT NULL DEFAULT '[]',          -- the vendors' side, by currency
  ADD COLUMN scope jsonb NOT NULL DEFAULT '[]',           -- its contract lines, for commitments that cover several
  ADD COLUMN measured numeric,                            -- the quantity measured, if it is one
  ADD COLUMN lines_matched int NOT NULL DEFAULT 0,
  ADD COLUMN lines_explained int NOT NULL DEFAULT 0,
  ADD COLUMN lines_pending int NOT NULL DEFAULT 0,
  ADD COLUMN lines_broken int NOT NULL DEFAULT 0,
  DROP CONSTRAINT drawn_check,
  ADD CONSTRAINT drawn_residual CHECK (billed - expected - explained - pending - broken = 0),
  ADD CONSTRAINT drawn_lines CHECK (jsonb_array_length(lines) = lines_matched + lines_explained + lines_pending + lines_broken);
CREATE INDEX drawn_month ON matching.drawn (tenant, month, owner, item) WHERE level IN ('product', 'client');

-- What the lines of a group come to, by currency. A group without a known amount has none.
CREATE TABLE matching.subtotal (
  tenant    text NOT NULL,
  owner     text NOT NULL,
  month     date NOT NULL,
  item      text NOT NULL,
  currency  text NOT NULL,
  expected  numeric NOT NULL,
  billed    numeric NOT NULL,
  explained numeric NOT NULL,
  pending   numeric NOT NULL,
  broken    numeric NOT NULL,
  cost      numeric,                                      -- what vendors billed; NULL: nothing is known of it
  PRIMARY KEY (tenant, month, owner, item, currency),
  CONSTRAINT subtotal_residual CHECK (billed - expected - explained - pending - broken = 0)
);

-- The last closing of a client's month, and what each of its groups came to. Written with the records that say so.
CREATE TABLE matching.closing (
  tenant    text NOT NULL,
  owner     text NOT NULL,
  month     date NOT NULL,
  record    text NOT NULL,        -- the id of statement.closed
  drawn     text NOT NULL,        -- the id of the statement.drawn beside it, which names the document
  digest    text NOT NULL,
  closed_at timestamptz NOT NULL,
  PRIMARY KEY (tenant, month, owner)
);
CREATE TABLE matching.closed_group (
  tenant   text NOT NULL,
  owner    text NOT NULL,
  month    date NOT NULL,
  item     text NOT NULL,
  currency text,
  expected numeric,
  billed   numeric,
  quantity numeric,
  record   text NOT NULL,         -- the id of statement.group_closed
  PRIMARY KEY (tenant, month, owner, item)
);

-- --- who may -------------------------------------------------------------------------------------------------------
DO $$
DECLARE v_table text;
BEGIN
  FOREACH v_table IN ARRAY ARRAY['subtotal', 'closing', 'closed_group'] LOOP
    EXECUTE format('ALTER TABLE matching.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', v_table);
    EXECUTE format($ddl$CREATE POLICY tenant ON matching.%I
      USING (tenant = (SELECT NULLIF(current_setting('plumbline.tenant', true), '')))$ddl$, v_table);
  END LOOP;
END $$;
GRANT SELECT, INSERT, UPDATE, DELETE, MAINTAIN ON matching.subtotal, matching.closing, matching.closed_group
  TO plumbline_matching_work;
GRANT SELECT ON matching.subtotal, matching.closing, matching.closed_group TO plumbline_matching_api;

-- What was drawn before has no lines yet: everything is drawn again, client by client.
INSERT INTO matching.due (tenant, kind, key, cause) SELECT c.tenant, 'tenant', '{}', c.cause FROM matching.calendar c;
