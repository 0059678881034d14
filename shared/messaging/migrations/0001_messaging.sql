-- What every consumer keeps in its own schema: its marks and its dead letters (protocols: "Consumer").
CREATE SCHEMA messaging;

-- Called by the migration of a service, once per consumer (and again, with more topics, when it reads more):
--   SELECT messaging.add_consumer('matching', 'matching.fold', ARRAY['usage', 'contracts']);
-- Rows of marks are made here and never by the consumer: FOR UPDATE on a row that does not exist locks nothing, and the
-- lock on the mark is what keeps two members of a group from applying one record twice.
CREATE FUNCTION messaging.add_consumer(p_schema text, p_consumer text, p_topics text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  v_unknown text;
BEGIN
  SELECT t INTO v_unknown FROM unnest(p_topics) AS t WHERE NOT EXISTS (SELECT FROM log.topic k WHERE k.topic = t) LIMIT 1;
  IF v_unknown IS NOT NULL THEN
    RAISE EXCEPTION 'consumer % reads topic %, which the log does not have', p_consumer, v_unknown;
  END IF;

  IF to_regclass(format('%I.consumed', p_schema)) IS NULL THEN
    -- fillfactor: a mark moves with every batch; room on the page keeps the update off the index.
    EXECUTE format($ddl$
      CREATE TABLE %1$I.consumed (
        consumer  text NOT NULL,
        topic     text NOT NULL,
        partition smallint NOT NULL,
        position  bigint NOT NULL DEFAULT 0 CHECK (position >= 0),
        PRIMARY KEY (consumer, topic, partition)
      ) WITH (fillfactor = 10)$ddl$, p_schema);
    EXECUTE format($ddl$
      CREATE TABLE %1$I.dead_letter (
        consumer  text NOT NULL,
        topic     text NOT NULL,
        partition smallint NOT NULL,
        position  bigint NOT NULL,
        tenant    text NOT NULL,
        stream    uuid,
        reason    text NOT NULL CHECK (reason IN ('unreadable', 'newer', 'refused', 'behind')),
        detail    text NOT NULL,
        attempts  integer NOT NULL DEFAULT 1,
        state     text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'replayed', 'dropped')),
        buried_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (consumer, topic, partition, position)
      )$ddl$, p_schema);
    EXECUTE format('CREATE INDEX dead_letter_open ON %I.dead_letter (consumer, stream) WHERE state = ''open''', p_schema);
    EXECUTE format('CREATE INDEX dead_letter_tenant ON %I.dead_letter (tenant, buried_at)', p_schema);
    EXECUTE format('ALTER TABLE %1$I.dead_letter ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', p_schema);
    EXECUTE format($ddl$
      CREATE POLICY tenant ON %I.dead_letter
        USING (tenant = (SELECT NULLIF(current_setting('plumbline.tenant', true), '')))$ddl$, p_schema);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', p_schema, 'plumbline_' || p_schema);
    EXECUTE format('GRANT SELECT, UPDATE ON %I.consumed TO %I', p_schema, 'plumbline_' || p_schema || '_work');
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I.dead_letter TO %I', p_schema, 'plumbline_' || p_schema || '_work');
    EXECUTE format('GRANT SELECT ON %I.dead_letter TO %I', p_schema, 'plumbline_' || p_schema || '_api');
  END IF;

  EXECUTE format($dml$
    INSERT INTO %I.consumed (consumer, topic, partition)
    SELECT $1, t.topic, p::smallint
    FROM log.topic t, generate_series(0, t.partitions - 1) AS p
    WHERE t.topic = ANY ($2)
    ON CONFLICT DO NOTHING$dml$, p_schema) USING p_consumer, p_topics;
END $$;
REVOKE ALL ON FUNCTION messaging.add_consumer(text, text, text[]) FROM PUBLIC;
