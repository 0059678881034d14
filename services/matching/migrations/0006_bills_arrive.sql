-- How many lines of each vendor's bill are here, of its newest version: where the bill says what was used, fewer than its
-- header names prove no absence.
ALTER TABLE matching.bill ADD COLUMN here int NOT NULL DEFAULT 0;
UPDATE matching.bill b SET here = c.here
  FROM (SELECT tenant, key[1] AS source, key[2] AS issuer, key[3] AS bill, key[4]::int AS version, count(*)::int AS here
          FROM matching.cell WHERE kind = 'vendor_bill_line' AND value IS NOT NULL GROUP BY 1, 2, 3, 4, 5) c
 WHERE (b.tenant, b.source, b.issuer, b.bill, b.newest) = (c.tenant, c.source, c.issuer, c.bill, c.version);

-- What vendors charge says what was used from now on where no meter does.
INSERT INTO matching.due (tenant, kind, key, cause)
SELECT DISTINCT ON (c.tenant, c.source, c.account, c.sku) c.tenant, 'charges', ARRAY[c.source, c.account, c.sku], c.cause
  FROM matching.cell c WHERE c.kind = 'vendor_bill_line' AND c.value IS NOT NULL;
