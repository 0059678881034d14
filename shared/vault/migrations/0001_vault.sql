-- Ciphertext and wrapped keys, kept beside the log. Erasing deletes the key and the ciphertext; the document's row stays,
-- so that a record which names it still finds "erased" and not "unknown".
CREATE SCHEMA vault;

-- A key of its own for each object, wrapped by the master key that is named here (never stored here).
CREATE TABLE vault.key (
    tenant  text  NOT NULL,
    object  uuid  NOT NULL,
    master  text  NOT NULL,
    wrapped bytea NOT NULL,
    PRIMARY KEY (tenant, object)
);

CREATE TABLE vault.document (
    tenant     text   NOT NULL,
    sha256     bytea  NOT NULL CHECK (octet_length(sha256) = 32),   -- of the ciphertext, all pieces in order
    object     uuid   NOT NULL,
    media_type text   NOT NULL,
    size       bigint NOT NULL,                                     -- of the plaintext, in bytes
    mac        bytea,                                               -- of the plaintext, under a key of the tenant; gone when erased
    stored_at  timestamptz NOT NULL DEFAULT now(),
    erased_at  timestamptz,
    PRIMARY KEY (tenant, sha256),
    UNIQUE (tenant, mac),
    CHECK ((mac IS NULL) = (erased_at IS NOT NULL))
);

-- In pieces, so that neither side ever holds a row of many megabytes.
CREATE TABLE vault.piece (
    tenant     text  NOT NULL,
    object     uuid  NOT NULL,
    n          int   NOT NULL,
    ciphertext bytea NOT NULL,
    PRIMARY KEY (tenant, object, n)
);
ALTER TABLE vault.piece ALTER COLUMN ciphertext SET STORAGE EXTERNAL;   -- ciphertext does not compress

CREATE TABLE vault.person (
    tenant     text  NOT NULL,
    person     uuid  NOT NULL,
    mac        bytea,                                               -- of the e-mail (else the name), under a key of the tenant
    ciphertext bytea,
    stored_at  timestamptz NOT NULL DEFAULT now(),
    erased_at  timestamptz,
    PRIMARY KEY (tenant, person),
    UNIQUE (tenant, mac),
    CHECK ((mac IS NULL) = (erased_at IS NOT NULL) AND (ciphertext IS NULL) = (erased_at IS NOT NULL))
);

DO $$
DECLARE v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['key', 'document', 'piece', 'person'] LOOP
        EXECUTE format('ALTER TABLE vault.%I ENABLE ROW LEVEL SECURITY', v_table);
        EXECUTE format('ALTER TABLE vault.%I FORCE ROW LEVEL SECURITY', v_table);
        EXECUTE format($p$CREATE POLICY tenant ON vault.%I
            USING (tenant = (SELECT NULLIF(current_setting('plumbline.tenant', true), '')))$p$, v_table);
    END LOOP;
END $$;

-- Ingestion owns what enters and what is erased; notification reads the webhook's secret.
GRANT USAGE ON SCHEMA vault TO plumbline_ingestion, plumbline_notification;
GRANT SELECT, INSERT, DELETE ON vault.key, vault.piece TO plumbline_ingestion;
GRANT SELECT, INSERT ON vault.document, vault.person TO plumbline_ingestion;
GRANT UPDATE (mac, erased_at) ON vault.document TO plumbline_ingestion;
GRANT UPDATE (mac, ciphertext, erased_at) ON vault.person TO plumbline_ingestion;
GRANT SELECT ON vault.key, vault.piece, vault.document TO plumbline_notification;
