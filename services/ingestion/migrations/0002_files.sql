-- The documents (invoices, vendor bills) that each run of a file held, and the version that each got there. A document
-- whose content differs from its newest version becomes the next one; the same run again finds the same versions.
CREATE TABLE ingestion.document_run (
  tenant   text NOT NULL,
  source   text NOT NULL,
  feed     text NOT NULL,
  run      int NOT NULL,
  document uuid NOT NULL,                       -- a hash of its own key, such as the invoice's number
  version  int NOT NULL CHECK (version >= 1),
  digest   bytea NOT NULL CHECK (octet_length(digest) = 32),
  PRIMARY KEY (tenant, source, feed, run, document)
);
CREATE INDEX document_run_newest ON ingestion.document_run (tenant, source, feed, document, version DESC);

ALTER TABLE ingestion.document_run ENABLE ROW LEVEL SECURITY;
ALTER TABLE ingestion.document_run FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON ingestion.document_run USING (tenant = (SELECT NULLIF(current_setting('plumbline.tenant', true), '')));
GRANT SELECT, INSERT ON ingestion.document_run TO plumbline_ingestion;
