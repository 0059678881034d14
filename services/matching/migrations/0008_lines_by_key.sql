-- The versions of a contract line by one value: right after a load every index that begins with the tenant promises one
-- row, and a look-up in the wrong one reads all lines of the tenant.
DROP INDEX matching.cell_contract_line;
CREATE INDEX cell_contract_line ON matching.cell ((ARRAY[tenant, key[1], key[2], key[3]])) WHERE kind = 'contract_line';
