-- What the money engine reads besides: time entries and closings, bundles, bills by their newest version, spans of usage
-- longer than a month. docs/decisions/0105 says how groups of several products stay exact.

SELECT messaging.add_consumer('matching', 'matching.fold', ARRAY['time-entries', 'statements']);

-- A silent feed is compared by itself: (feed, source, -infinity, the feed's name).
ALTER TABLE matching.compare_key DROP CONSTRAINT compare_key_level_check;
ALTER TABLE matching.compare_key ADD CONSTRAINT compare_key_level_check
  CHECK (level IN ('product', 'client', 'account', 'sku', 'feed'));

-- What a bundle is made of, by each source that says so; which of them holds the product's newest cell says. Kept with
-- the cells: product -> component, and back.
CREATE TABLE matching.component (
  tenant  text NOT NULL,
  product text NOT NULL,
  source  text NOT NULL,
  part    text NOT NULL,
  PRIMARY KEY (tenant, product, source, part)
);
CREATE INDEX component_part ON matching.component (tenant, part, product);

-- Of each vendor's bill the newest version of which a line is here. All of a bill comes through one partition.
CREATE TABLE matching.bill (
  tenant text NOT NULL,
  source text NOT NULL,
  issuer text NOT NULL,
  bill   text NOT NULL,
  newest int NOT NULL,
  PRIMARY KEY (tenant, source, issuer, bill)
) WITH (fillfactor = 80);

-- Every product that bundles tie to some, whatever source says so: a little too much rather than too little.
CREATE FUNCTION matching.tied(p_tenant text, p_products text[]) RETURNS TABLE (product text, tied text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
BEGIN ATOMIC
  WITH RECURSIVE reached(product, tied) AS (
    SELECT DISTINCT p.one, p.one FROM unnest(p_products) AS p(one)
    UNION
    SELECT r.product, n.other FROM reached r
     CROSS JOIN LATERAL (
       (SELECT c.part AS other FROM matching.component c WHERE c.tenant = p_tenant AND c.product = r.tied)
       UNION ALL
       (SELECT c.product FROM matching.component c WHERE c.tenant = p_tenant AND c.part = r.tied)) n)
  SELECT r.product, r.tied FROM reached r;
END;

-- Terms under which a day concerns more than its own month: other periods than calendar months, prepaid blocks.
CREATE FUNCTION matching.reaches_far(p_value jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(p_value -> 'terms' ? 'period' OR p_value #> '{terms,labour,blocks}' IS NOT NULL, false);

-- What earlier records said besides is read from them again; a line's content is part of its key from now on.
UPDATE matching.cell c SET value = c.value || m.more
  FROM (
    SELECT k.tenant, k.kind, k.key, CASE k.kind
        WHEN 'product' THEN jsonb_build_object('unit_cost', d.data -> 'unit_cost', 'cost_currency',
          d.data -> 'cost_currency', 'components', coalesce(d.data -> 'components', '[]'))
        WHEN 'invoice' THEN jsonb_build_object('total', d.data -> 'total', 'tax_total', d.data -> 'tax_total',
          'gross_total', d.data -> 'gross_total', 'exchange_rate', d.data -> 'exchange_rate', 'exchange_from',
          d.data -> 'exchange_from')
        WHEN 'invoice_line' THEN jsonb_build_object('tax', d.data -> 'tax', 'tax_pct', d.data -> 'tax_pct', 'discount',
          coalesce(d.data -> 'discount', 'false'))
        ELSE jsonb_build_object('category', d.data -> 'category', 'charge_from', d.data -> 'charge_from', 'charge_to',
          d.data -> 'charge_to', 'quantity', d.data -> 'quantity', 'unit', d.data -> 'unit', 'unit_price',
          d.data -> 'unit_price', 'correction', coalesce(d.data -> 'correction', 'false'))
      END AS more
      FROM matching.cell k
     CROSS JOIN LATERAL (SELECT string_to_array(k.cause ->> 'record', '/') AS at) p
      JOIN log.record r ON (r.topic, r.partition, r.position) = (p.at[1], p.at[2]::smallint, p.at[3]::bigint)
     CROSS JOIN LATERAL (SELECT convert_from(r.body, 'UTF8')::jsonb -> 'data' AS data) d
     WHERE k.kind IN ('product', 'invoice', 'invoice_line', 'vendor_bill_line') AND k.value IS NOT NULL) m
 WHERE (c.tenant, c.kind, c.key) = (m.tenant, m.kind, m.key);
UPDATE matching.cell SET key = key || (value ->> 'digest') WHERE kind = 'invoice_line' AND array_length(key, 1) = 4;
INSERT INTO matching.bill (tenant, source, issuer, bill, newest)
SELECT c.tenant, c.key[1], c.key[2], c.key[3], max((c.value ->> 'version')::int)
  FROM matching.cell c WHERE c.kind = 'vendor_bill_line' AND c.value IS NOT NULL GROUP BY 1, 2, 3, 4;

CREATE INDEX cell_contract_scope ON matching.cell (tenant, client)
 WHERE kind = 'contract_line' AND value #> '{terms,scope}' IS NOT NULL;
CREATE INDEX cell_contract_far ON matching.cell (tenant, client)
 WHERE kind = 'contract_line' AND matching.reaches_far(value);
CREATE INDEX cell_charge ON matching.cell (tenant, source, account, sku, (value ->> 'charge_from') COLLATE "C")
 WHERE kind = 'vendor_bill_line';
CREATE INDEX cell_bill ON matching.cell (tenant, (key[1]), (key[2]), (key[3])) WHERE kind = 'vendor_bill_line';
CREATE INDEX cell_time_entry ON matching.cell (tenant, client, product, (value ->> 'worked_on') COLLATE "C")
 WHERE kind = 'time_entry';
CREATE INDEX cell_missed ON matching.cell (tenant, source) WHERE kind = 'feed_missed';

-- What vendors charge makes groups from now on. (The next migration has everything drawn again that there is.)
INSERT INTO matching.due (tenant, kind, key, cause)
SELECT DISTINCT ON (c.tenant, c.source, c.account, c.sku) c.tenant, 'charges', ARRAY[c.source, c.account, c.sku], c.cause
  FROM matching.cell c WHERE c.kind = 'vendor_bill_line' AND c.value IS NOT NULL;

-- --- who may -------------------------------------------------------------------------------------------------------
DO $$
DECLARE v_table text;
BEGIN
  FOREACH v_table IN ARRAY ARRAY['component', 'bill'] LOOP
    EXECUTE format('ALTER TABLE matching.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', v_table);
    EXECUTE format($ddl$CREATE POLICY tenant ON matching.%I
      USING (tenant = (SELECT NULLIF(current_setting('plumbline.tenant', true), '')))$ddl$, v_table);
  END LOOP;
END $$;
GRANT SELECT, INSERT, UPDATE, DELETE, MAINTAIN ON matching.component, matching.bill TO plumbline_matching_work;
REVOKE ALL ON FUNCTION matching.tied(text, text[]), matching.reaches_far(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION matching.tied(text, text[]), matching.reaches_far(jsonb) TO plumbline_matching_work;
