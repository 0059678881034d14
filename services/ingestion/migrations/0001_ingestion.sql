-- What entered and what did not: receipts, quarantine, and the runs of pushed feeds.
-- Mixed-tenant writes happen in functions of ingestion_owner; requests read and repair their own tenant's rows.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'ingestion_owner') THEN
    CREATE ROLE ingestion_owner NOLOGIN BYPASSRLS;
  END IF;
END $$;

CREATE SCHEMA ingestion;
GRANT USAGE ON SCHEMA ingestion TO plumbline_ingestion;

-- One row for the items of one batch that have one topic and one source (at most 1,000: piece counts on from there).
-- Rejects have the topic ''. Written in the transaction that stored the records, so the sums are never an estimate.
CREATE TABLE ingestion.receipt (
  tenant      text NOT NULL,
  scope       text NOT NULL,                 -- the source that the key owns; '' for an operator
  batch       text NOT NULL,                 -- the caller's Idempotency-Key, or made at the edge
  topic       text NOT NULL,
  source      text NOT NULL,
  piece       smallint NOT NULL,
  digest      uuid NOT NULL,                 -- of the batch as it was sent: another batch under this id is refused
  accepted    int NOT NULL,
  stored      int NOT NULL,
  duplicate   int NOT NULL,
  quarantined int NOT NULL,
  indexes     int[] NOT NULL,                -- which items of the batch, from 0
  outcomes    text NOT NULL,                 -- one letter for each: s stored, d duplicate, c conflict, q invalid
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant, scope, batch, topic, source, piece),
  CHECK (accepted = stored + duplicate + quarantined AND stored >= 0 AND duplicate >= 0 AND quarantined >= 0),
  CHECK (accepted = cardinality(indexes) AND accepted = length(outcomes))
);

-- Rejects, kept whole. Beside the log, and so erasable. An invalid item may hold anything, a person's data too: it is
-- sealed under a key of its own, wrapped by the vault's master key. A conflict is the draft itself: typed, and no secret.
CREATE TABLE ingestion.quarantine (
  tenant            text NOT NULL,
  id                uuid NOT NULL,           -- a function of (tenant, scope, batch, index)
  n                 bigint GENERATED ALWAYS AS IDENTITY,
  scope             text NOT NULL,
  batch             text NOT NULL,
  index             int NOT NULL,
  source            text NOT NULL,
  type              text,
  record_id         text,
  kind              text NOT NULL CHECK (kind IN ('invalid', 'conflict')),
  item              bytea NOT NULL,
  faults            bytea,                   -- of an invalid item, JSON: [[field, reason, fix], ...]
  master            text,                    -- of an invalid item: which master key wraps its key
  wrapped           bytea,                   -- of an invalid item: its key
  origin_document   text,
  origin_locator    text,
  actor             text NOT NULL,
  correlation       text,
  received_at       timestamptz NOT NULL,    -- the time at the edge: what a repaired item asserts, unless it says more
  first_topic       text,                    -- of a conflict: the record that came first
  first_partition   smallint,
  first_position    bigint,
  resolved_at       timestamptz,
  resolved_topic    text,                    -- the record that a repair stored
  resolved_partition smallint,
  resolved_position bigint,
  PRIMARY KEY (tenant, id),
  CHECK (num_nulls(resolved_at, resolved_topic, resolved_partition, resolved_position) IN (0, 4)),
  CHECK (num_nulls(faults, master, wrapped) = CASE kind WHEN 'invalid' THEN 0 ELSE 3 END),
  CHECK (num_nulls(first_topic, first_partition, first_position) = CASE kind WHEN 'conflict' THEN 0 ELSE 3 END)
);
CREATE INDEX quarantine_by_n ON ingestion.quarantine (tenant, n DESC);

-- The runs of feeds that are pushed here; the row of ingestion.feed is locked while a number is given away.
CREATE TABLE ingestion.feed (
  tenant text NOT NULL,
  source text NOT NULL,
  feed   text NOT NULL,
  run    int NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, source, feed)
);
CREATE TABLE ingestion.feed_run (
  tenant      text NOT NULL,
  source      text NOT NULL,
  feed        text NOT NULL,
  run         int NOT NULL,
  command     text NOT NULL,                 -- the Idempotency-Key (or content) that the number was given to
  asserted_at timestamptz NOT NULL,
  PRIMARY KEY (tenant, source, feed, run),
  UNIQUE (tenant, source, feed, command)
);

DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['receipt', 'quarantine', 'feed', 'feed_run'] LOOP
    EXECUTE format('ALTER TABLE ingestion.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE ingestion.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format($p$CREATE POLICY own ON ingestion.%I
      USING (tenant = (SELECT NULLIF(current_setting('plumbline.tenant', true), '')))$p$, t);
    EXECUTE format('GRANT SELECT ON ingestion.%I TO plumbline_ingestion', t);
  END LOOP;
END $$;
GRANT UPDATE (resolved_at, resolved_topic, resolved_partition, resolved_position) ON ingestion.quarantine TO plumbline_ingestion;
GRANT INSERT, UPDATE (run) ON ingestion.feed TO plumbline_ingestion;
GRANT INSERT ON ingestion.feed_run TO plumbline_ingestion;
GRANT SELECT, INSERT ON ingestion.receipt, ingestion.quarantine TO ingestion_owner;
GRANT USAGE ON SCHEMA ingestion, log TO ingestion_owner;
GRANT SELECT ON log.identity TO ingestion_owner;
GRANT EXECUTE ON FUNCTION
  log.append(text, timestamptz, int[], smallint[], text[], uuid[], uuid[], bytea[], int[], uuid[], int[]) TO ingestion_owner;

-- As services.ingestion.domain.facts.quarantine_id: a repeated batch finds the same rows.
CREATE FUNCTION ingestion.quarantine_id(p_tenant text, p_scope text, p_batch text, p_index int) RETURNS uuid
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
  SELECT encode(substr(sha256(convert_to(p_tenant, 'UTF8') || '\x00'::bytea || convert_to(p_scope, 'UTF8') || '\x00'::bytea
    || convert_to(p_batch, 'UTF8') || '\x00'::bytea || convert_to(p_index::text, 'UTF8')), 1, 16), 'hex')::uuid
$$;

-- Appends a group of units of one topic and writes their receipts, all or nothing.
-- u_*: one element per unit. r_*: one per record; r_unit counts from 1, r_twin marks an id that an earlier record of the
-- same unit has (it is not appended, but compared with what then stands in the log); NULL: there is none.
-- A unit whose receipt exists raises unique_violation on receipt_pkey, and nothing happens: the caller reads the receipt.
CREATE FUNCTION ingestion.accept(
  p_topic text,
  u_tenant text[], u_scope text[], u_batch text[], u_source text[], u_piece smallint[], u_digest uuid[],
  r_unit int[], r_index int[], r_partition smallint[], r_tenant text[], r_id uuid[], r_content uuid[], r_body bytea[],
  r_off int[], r_twin boolean[])
RETURNS TABLE (ord bigint, outcome "char", partition smallint, "position" bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = ingestion, pg_temp AS $$
#variable_conflict use_column
DECLARE
  v_ord bigint[];
  v_outcome "char"[];
  v_partition smallint[];
  v_position bigint[];
BEGIN
  IF r_twin IS NULL THEN
    SELECT array_agg(a.ord ORDER BY a.ord), array_agg(a.outcome ORDER BY a.ord),
           array_agg(a.r_partition ORDER BY a.ord), array_agg(a.r_position ORDER BY a.ord)
      INTO v_ord, v_outcome, v_partition, v_position
      FROM log.append(p_topic, NULL, r_unit, r_partition, r_tenant, r_id, r_content, r_body, r_off, NULL, NULL) a;
  ELSE
    WITH sent AS (
      SELECT array_agg(x.ord ORDER BY x.ord) AS ord, array_agg(x.unit ORDER BY x.ord) AS unit,
             array_agg(x.partition ORDER BY x.ord) AS partition, array_agg(x.tenant ORDER BY x.ord) AS tenant,
             array_agg(x.id ORDER BY x.ord) AS id, array_agg(x.content ORDER BY x.ord) AS content,
             array_agg(x.body ORDER BY x.ord) AS body, array_agg(x.off ORDER BY x.ord) AS off
        FROM unnest(r_unit, r_partition, r_tenant, r_id, r_content, r_body, r_off, r_twin) WITH ORDINALITY
             AS x(unit, partition, tenant, id, content, body, off, twin, ord)
       WHERE NOT x.twin)
    SELECT array_agg(s.ord[a.ord] ORDER BY a.ord), array_agg(a.outcome ORDER BY a.ord),
           array_agg(a.r_partition ORDER BY a.ord), array_agg(a.r_position ORDER BY a.ord)
      INTO v_ord, v_outcome, v_partition, v_position
      FROM sent s CROSS JOIN LATERAL
           log.append(p_topic, NULL, s.unit, s.partition, s.tenant, s.id, s.content, s.body, s.off, NULL, NULL) a;
    -- A new statement, and so a snapshot that holds what was just appended.
    SELECT array_agg(y.ord ORDER BY y.ord), array_agg(y.outcome ORDER BY y.ord),
           array_agg(y.partition ORDER BY y.ord), array_agg(y.position ORDER BY y.ord)
      INTO v_ord, v_outcome, v_partition, v_position
      FROM (
        SELECT * FROM unnest(v_ord, v_outcome, v_partition, v_position) AS sent(ord, outcome, partition, position)
        UNION ALL
        SELECT x.ord, CASE WHEN e.content_hash = x.content THEN 'd' ELSE 'c' END::"char", e.partition, e.position
          FROM unnest(r_id, r_content, r_twin) WITH ORDINALITY AS x(id, content, twin, ord)
          JOIN log.identity e ON e.topic = p_topic AND e.id_hash = x.id
         WHERE x.twin) y;
  END IF;

  INSERT INTO ingestion.receipt (tenant, scope, batch, topic, source, piece, digest,
                                 accepted, stored, duplicate, quarantined, indexes, outcomes)
  SELECT u.tenant, u.scope, u.batch, p_topic, u.source, u.piece, u.digest, n.accepted, n.stored, n.duplicate, n.quarantined,
         n.indexes, n.outcomes
    FROM unnest(u_tenant, u_scope, u_batch, u_source, u_piece, u_digest) WITH ORDINALITY
         AS u(tenant, scope, batch, source, piece, digest, unit)
    JOIN (SELECT x.unit, count(*) AS accepted, count(*) FILTER (WHERE x.outcome = 's') AS stored,
                 count(*) FILTER (WHERE x.outcome = 'd') AS duplicate, count(*) FILTER (WHERE x.outcome = 'c') AS quarantined,
                 array_agg(x.index ORDER BY x.ord) AS indexes, string_agg(x.outcome::text, '' ORDER BY x.ord) AS outcomes
            FROM unnest(r_unit, r_index, v_outcome) WITH ORDINALITY AS x(unit, index, outcome, ord) GROUP BY x.unit) n
      ON n.unit = u.unit
   ORDER BY 1, 2, 3, 5, 6;

  IF 'c' = ANY (v_outcome) THEN
    INSERT INTO ingestion.quarantine (tenant, id, scope, batch, index, source, type, record_id, kind, item,
                                      origin_document, origin_locator, actor, correlation, received_at,
                                      first_topic, first_partition, first_position)
    SELECT u.tenant, ingestion.quarantine_id(u.tenant, u.scope, u.batch, x.index), u.scope, u.batch, x.index, u.source,
           j.fields ->> 'type', j.fields ->> 'id', 'conflict', x.body, j.fields ->> 'origindocument',
           j.fields ->> 'originlocator', j.fields ->> 'actor', j.fields ->> 'correlationid', clock_timestamp(),
           p_topic, x.partition, x.position
      FROM unnest(r_unit, r_index, r_body, v_outcome, v_partition, v_position) AS x(unit, index, body, outcome, partition, position)
      JOIN unnest(u_tenant, u_scope, u_batch, u_source) WITH ORDINALITY AS u(tenant, scope, batch, source, unit) ON u.unit = x.unit
      CROSS JOIN LATERAL (SELECT convert_from(x.body, 'UTF8')::jsonb AS fields) j
     WHERE x.outcome = 'c';
  END IF;
  RETURN QUERY SELECT * FROM unnest(v_ord, v_outcome, v_partition, v_position);
END $$;

-- Keeps a group of units of invalid items and writes their receipts, all or nothing. q_*: one element per item.
CREATE FUNCTION ingestion.reject(
  u_tenant text[], u_scope text[], u_batch text[], u_source text[], u_piece smallint[], u_digest uuid[], u_actor text[],
  u_correlation text[], u_received_at timestamptz[],
  q_unit int[], q_index int[], q_type text[], q_record_id text[], q_faults bytea[], q_item bytea[], q_master text[],
  q_wrapped bytea[], q_origin_document text[], q_origin_locator text[])
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = ingestion, pg_temp AS $$
BEGIN
  INSERT INTO ingestion.receipt (tenant, scope, batch, topic, source, piece, digest,
                                 accepted, stored, duplicate, quarantined, indexes, outcomes)
  SELECT u.tenant, u.scope, u.batch, '', u.source, u.piece, u.digest, n.items, 0, 0, n.items, n.indexes, repeat('q', n.items)
    FROM unnest(u_tenant, u_scope, u_batch, u_source, u_piece, u_digest) WITH ORDINALITY
         AS u(tenant, scope, batch, source, piece, digest, unit)
    JOIN (SELECT x.unit, count(*)::int AS items, array_agg(x.index ORDER BY x.ord) AS indexes
            FROM unnest(q_unit, q_index) WITH ORDINALITY AS x(unit, index, ord) GROUP BY x.unit) n ON n.unit = u.unit
   ORDER BY 1, 2, 3, 5, 6;                    -- one order everywhere: no two groups can wait for each other
  INSERT INTO ingestion.quarantine (tenant, id, scope, batch, index, source, type, record_id, kind, item, faults, master,
                                    wrapped, origin_document, origin_locator, actor, correlation, received_at)
  SELECT u.tenant, ingestion.quarantine_id(u.tenant, u.scope, u.batch, x.index), u.scope, u.batch, x.index, u.source, x.type,
         x.record_id, 'invalid', x.item, x.faults, x.master, x.wrapped, x.origin_document, x.origin_locator, u.actor,
         u.correlation, u.received_at
    FROM unnest(q_unit, q_index, q_type, q_record_id, q_faults, q_item, q_master, q_wrapped, q_origin_document, q_origin_locator)
         AS x(unit, index, type, record_id, faults, item, master, wrapped, origin_document, origin_locator)
    JOIN unnest(u_tenant, u_scope, u_batch, u_source, u_actor, u_correlation, u_received_at) WITH ORDINALITY
         AS u(tenant, scope, batch, source, actor, correlation, received_at, unit) ON u.unit = x.unit
   ORDER BY x.unit, x.index;
END $$;

DO $$
DECLARE f regprocedure;
BEGIN
  FOR f IN SELECT p.oid::regprocedure FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'ingestion'::regnamespace LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO ingestion_owner', f);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO plumbline_ingestion', f);
  END LOOP;
END $$;
