-- Whom a tenant's discrepancies go to, and one intent for each message: what is said, and how far it has got.
CREATE SCHEMA notification;

-- The folded settings of a tenant's webhook, each ranked by the version of its stream. "since" is when the webhook was
-- last completed: only what was recorded from then on goes out, so that configuring it never releases a flood.
CREATE TABLE notification.webhook (
    tenant         text PRIMARY KEY,
    url            text,
    url_version    int NOT NULL DEFAULT 0,
    url_since      timestamptz,
    secret         text,                   -- the document in the vault
    secret_version int NOT NULL DEFAULT 0,
    secret_since   timestamptz,
    former_secret  text,                   -- signs as well until former_until, so that a receiver can change over
    former_until   timestamptz,
    since          timestamptz GENERATED ALWAYS AS (
        CASE WHEN url IS NOT NULL AND secret IS NOT NULL THEN greatest(url_since, secret_since) END) STORED
);

-- planned -> sending (committed before the call) -> sent | failed (final) | planned again, later.
-- "unrouted" is no state: it is a planned intent that the webhook of its tenant, as it is set now, does not reach.
CREATE TABLE notification.intent (
    tenant         text NOT NULL,
    intent         text NOT NULL,          -- the webhook-id, for ever
    stream         uuid NOT NULL,          -- the discrepancy: the object of which one message at a time is on its way
    version        int NOT NULL,
    type           text NOT NULL,
    place          text NOT NULL,
    recorded_at    timestamptz NOT NULL,
    record_id      text NOT NULL,
    correlation_id text,
    payload        text NOT NULL,          -- the bytes that are sent, the same on every attempt
    state          text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'sending', 'sent', 'failed')),
    attempt        int NOT NULL DEFAULT 0,
    started_at     timestamptz,
    due_at         timestamptz NOT NULL,
    PRIMARY KEY (tenant, intent)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX intent_version ON notification.intent (tenant, stream, version);
CREATE INDEX intent_due ON notification.intent (tenant, due_at) WHERE state = 'planned';
CREATE INDEX intent_sending ON notification.intent (started_at) WHERE state = 'sending';
CREATE INDEX intent_open ON notification.intent (tenant, stream, version) WHERE state IN ('planned', 'sending');
CREATE INDEX intent_listed ON notification.intent (tenant, recorded_at DESC, intent DESC);

DO $$
DECLARE v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['webhook', 'intent'] LOOP
        EXECUTE format('ALTER TABLE notification.%I ENABLE ROW LEVEL SECURITY', v_table);
        EXECUTE format('ALTER TABLE notification.%I FORCE ROW LEVEL SECURITY', v_table);
        EXECUTE format($p$CREATE POLICY tenant ON notification.%I
            USING (tenant = (SELECT NULLIF(current_setting('plumbline.tenant', true), '')))$p$, v_table);
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA notification TO plumbline_notification;
GRANT SELECT ON notification.webhook, notification.intent TO plumbline_notification_api;
GRANT SELECT, INSERT, UPDATE ON notification.webhook, notification.intent TO plumbline_notification_work;

SELECT messaging.add_consumer('notification', 'notification.alerts', ARRAY['discrepancies', 'settings']);
