-- The log. Everything here belongs to log_owner (NOLOGIN, BYPASSRLS); services may SELECT, and EXECUTE the functions.
-- Nobody holds INSERT, UPDATE, DELETE or TRUNCATE. docs/decisions/0020 to 0024 say why it looks as it does.

CREATE SCHEMA log AUTHORIZATION log_owner;
SET LOCAL ROLE log_owner;
REVOKE ALL ON SCHEMA log FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA log REVOKE ALL ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC;

-- The epoch fences messages of a time before a restore; the timeline is PostgreSQL's own, at which that epoch began.
CREATE TABLE log.meta (
  epoch int NOT NULL,
  generation int NOT NULL,
  timeline int NOT NULL,
  partitions smallint NOT NULL
);
CREATE UNIQUE INDEX meta_has_one_row ON log.meta ((true));
INSERT INTO log.meta
  VALUES (1, 1, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int, 12);

-- topic and head are updated by every append: room in the page keeps those updates HOT.
CREATE TABLE log.topic (
  topic text PRIMARY KEY CHECK (topic ~ '^[a-z][a-z-]{0,40}$'),
  writer name NOT NULL,          -- the group role of the one service that writes it
  partitions smallint NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10);

CREATE TABLE log.head (
  topic text NOT NULL REFERENCES log.topic,
  partition smallint NOT NULL,
  position bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (topic, partition)
) WITH (fillfactor = 10);

CREATE TABLE log.record (
  topic text NOT NULL,
  partition smallint NOT NULL,
  position bigint NOT NULL CHECK (position >= 1),
  tenant text NOT NULL,
  recorded_at timestamptz NOT NULL,
  body bytea NOT NULL CHECK (octet_length(body) BETWEEN 2 AND 65535),
  PRIMARY KEY (topic, partition, position)
) PARTITION BY LIST (topic);

-- One tenant's tail under row-level security: 1 ms instead of a scan, for 2 % of an append (decision record 0023).
CREATE INDEX record_of_tenant ON log.record (tenant, partition, position);

-- A table of its own: a unique key on record would have to contain the position, and would end with its block.
CREATE TABLE log.identity (
  topic text NOT NULL,
  id_hash uuid NOT NULL,
  content_hash uuid NOT NULL,
  partition smallint NOT NULL,
  position bigint NOT NULL,
  PRIMARY KEY (topic, id_hash)
) PARTITION BY LIST (topic);

CREATE TABLE log.stream (
  topic text NOT NULL,
  stream uuid NOT NULL,
  version int NOT NULL CHECK (version >= 1),
  partition smallint NOT NULL,
  position bigint NOT NULL,
  PRIMARY KEY (topic, stream, version)
) PARTITION BY LIST (topic);

-- How far each partition has been produced to Kafka, and who may produce.
CREATE TABLE log.relay (
  topic text NOT NULL REFERENCES log.topic,
  partition smallint NOT NULL,
  position bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (topic, partition)
) WITH (fillfactor = 10);

CREATE TABLE log.lease (
  topic text PRIMARY KEY REFERENCES log.topic,
  owner text NOT NULL DEFAULT '',
  token bigint NOT NULL DEFAULT 0,
  until timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10);

-- Append-only, even for the owner and for whoever is granted too much by mistake.
CREATE FUNCTION log.refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = log, pg_temp AS $$
BEGIN
  RAISE insufficient_privilege USING MESSAGE = format('the log is append-only: %s on log.%s is refused', TG_OP, TG_TABLE_NAME);
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON log.record FOR EACH ROW EXECUTE FUNCTION log.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON log.identity FOR EACH ROW EXECUTE FUNCTION log.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON log.stream FOR EACH ROW EXECUTE FUNCTION log.refuse();

-- A leaf is closed by itself too: a trigger on the parent does not fire when a child is truncated, and a policy on the
-- parent does not hold for a partition named directly (so a leaf has row security, no policy and no grants).
CREATE FUNCTION log.close_leaf(p_leaf regclass) RETURNS void LANGUAGE plpgsql SET search_path = log, pg_temp AS $$
BEGIN
  EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION log.refuse()', p_leaf);
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', p_leaf);
END $$;

-- Makes the block of every head and the one after it; returns the least number of positions left in any partition.
-- ATTACH takes a lock that readers and writers do not wait for; CREATE ... PARTITION OF would stop them.
CREATE FUNCTION log.ensure_room() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = log, pg_temp AS $$
DECLARE
  v_block CONSTANT bigint := 4194304;
  v_least bigint;
  v_parent text;
  v_leaf text;
  v record;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('log.ensure_room', 0));
  FOR v IN
    SELECT w.topic, n.block
      FROM (SELECT h.topic, max(h.position) / v_block AS block FROM log.head h GROUP BY h.topic) w
      CROSS JOIN LATERAL generate_series(w.block, w.block + 1) AS n(block)
     ORDER BY w.topic, n.block
  LOOP
    v_parent := 'record_' || replace(v.topic, '-', '_');
    v_leaf := v_parent || '_' || v.block;
    CONTINUE WHEN to_regclass(format('log.%I', v_leaf)) IS NOT NULL;
    EXECUTE format('CREATE TABLE log.%I (LIKE log.%I INCLUDING ALL)', v_leaf, v_parent);
    EXECUTE format('ALTER TABLE log.%I ATTACH PARTITION log.%I FOR VALUES FROM (%s) TO (%s)',
                   v_parent, v_leaf, v.block * v_block, (v.block + 1) * v_block);
    PERFORM log.close_leaf(format('log.%I', v_leaf)::regclass);
  END LOOP;
  SELECT min((h.position / v_block + 2) * v_block - 1 - h.position) INTO v_least FROM log.head h;
  RETURN v_least;
END $$;

-- A later migration that brings a topic calls this, then log.ensure_room().
CREATE FUNCTION log.add_topic(p_topic text, p_writer name) RETURNS void
LANGUAGE plpgsql SET search_path = log, pg_temp AS $$
DECLARE
  v_suffix text := replace(p_topic, '-', '_');
  v_partitions smallint;
BEGIN
  SELECT m.partitions INTO STRICT v_partitions FROM log.meta m;
  INSERT INTO log.topic (topic, writer, partitions) VALUES (p_topic, p_writer, v_partitions);
  INSERT INTO log.head (topic, partition) SELECT p_topic, generate_series(0, v_partitions - 1);
  INSERT INTO log.relay (topic, partition) SELECT p_topic, generate_series(0, v_partitions - 1);
  INSERT INTO log.lease (topic) VALUES (p_topic);
  EXECUTE format('CREATE TABLE log.%I PARTITION OF log.record FOR VALUES IN (%L) PARTITION BY RANGE (position)',
                 'record_' || v_suffix, p_topic);
  EXECUTE format('ALTER TABLE log.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', 'record_' || v_suffix);
  EXECUTE format('CREATE TABLE log.%I PARTITION OF log.identity FOR VALUES IN (%L)', 'identity_' || v_suffix, p_topic);
  EXECUTE format('CREATE TABLE log.%I PARTITION OF log.stream FOR VALUES IN (%L)', 'stream_' || v_suffix, p_topic);
  PERFORM log.close_leaf(format('log.%I', 'identity_' || v_suffix)::regclass);
  PERFORM log.close_leaf(format('log.%I', 'stream_' || v_suffix)::regclass);
END $$;

-- One element per record. p_cmd: the caller's unit (of a command: all or nothing). p_off: 1-based offset of the 27 bytes
-- that recordedat is stamped over. Outcomes: s stored, d duplicate, c conflict, v version moved.
-- The lock is taken in its own statement: in one statement with the lookups, their snapshot would be older than the lock.
CREATE FUNCTION log.append(
  p_topic text, p_floor timestamptz, p_cmd int[], p_partition smallint[], p_tenant text[], p_id uuid[], p_content uuid[],
  p_body bytea[], p_off int[], p_stream uuid[], p_expected int[])
RETURNS TABLE (ord bigint, outcome "char", r_partition smallint, r_position bigint, r_recorded_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = log, pg_temp
-- One plan for tables of any size: it is made when they are empty and kept while they grow, and then a join, a sequential
-- or a bitmap scan would read them whole for each group (LATERAL ... LIMIT 1 keeps a lookup a lookup for the same reason).
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
  v_last timestamptz;
  v_writer name;
  v_stamp timestamptz;
  v_bytes bytea;
BEGIN
  SELECT t.recorded_at, t.writer INTO STRICT v_last, v_writer FROM log.topic t WHERE t.topic = p_topic FOR UPDATE;
  IF NOT pg_has_role(session_user, v_writer, 'MEMBER') THEN
    RAISE insufficient_privilege USING MESSAGE = format('%s does not write topic %s; only %s does', session_user, p_topic, v_writer);
  END IF;
  -- Read after the lock was granted: never decreasing along the topic, never before a cause.
  v_stamp := greatest(clock_timestamp(), v_last, p_floor);
  IF v_stamp > clock_timestamp() + interval '60 s' THEN
    RAISE 'clock went back or a cause lies in the future: topic %, stamp %', p_topic, v_stamp;
  END IF;
  v_bytes := convert_to(to_char(v_stamp AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'UTF8');
  RETURN QUERY WITH
  i AS MATERIALIZED (
    SELECT u.*, e.content_hash AS e_content, e.partition AS e_partition, e.position AS e_position
      FROM unnest(p_cmd, p_partition, p_tenant, p_id, p_content, p_body, p_off, p_stream, p_expected) WITH ORDINALITY
           AS u(cmd, partition, tenant, id, content, body, off, stream, expected, ord)
      LEFT JOIN LATERAL (SELECT x.content_hash, x.partition, x.position FROM log.identity x
                          WHERE x.topic = p_topic AND x.id_hash = u.id LIMIT 1) e ON true),
  s AS MATERIALIZED (
    SELECT d.stream, v.version
      FROM (SELECT DISTINCT stream FROM i WHERE stream IS NOT NULL) d
      CROSS JOIN LATERAL (SELECT x.version FROM log.stream x WHERE x.topic = p_topic AND x.stream = d.stream
                           ORDER BY x.version DESC LIMIT 1) v),
  c AS MATERIALIZED (
    SELECT i.cmd, bool_or(i.e_content IS NOT NULL) AS seen, bool_and(i.e_content IS NOT NULL) AS all_seen,
           bool_or(i.e_content <> i.content) AS differs, min(i.expected) AS expected,
           max(coalesce(s.version, 0)) AS version, bool_or(i.stream IS NOT NULL) AS decision
      FROM i LEFT JOIN s ON s.stream = i.stream GROUP BY i.cmd),
  o AS MATERIALIZED (
    SELECT i.*, c.version, CASE
        -- identity is asked before the version: a retry of what was stored is a duplicate, however far the stream moved
        WHEN i.e_content = i.content AND (NOT c.decision OR (c.all_seen AND NOT c.differs)) THEN 'd'
        WHEN i.e_content IS NOT NULL OR (c.decision AND c.seen) THEN 'c'
        WHEN c.decision AND c.expected IS DISTINCT FROM c.version THEN 'v'
        ELSE 's' END AS outcome
      FROM i JOIN c ON c.cmd = i.cmd),
  n AS MATERIALIZED (
    SELECT o.*, h.position + row_number() OVER (PARTITION BY o.partition ORDER BY o.ord) AS position,
           CASE WHEN o.stream IS NOT NULL THEN o.version + row_number() OVER (PARTITION BY o.stream ORDER BY o.ord) END AS new_version
      FROM o JOIN log.head h ON h.topic = p_topic AND h.partition = o.partition WHERE o.outcome = 's'),
  w1 AS (INSERT INTO log.record
    SELECT p_topic, n.partition, n.position, n.tenant, v_stamp, overlay(n.body PLACING v_bytes FROM n.off FOR 27)
      FROM n ORDER BY n.partition, n.position),
  w2 AS (INSERT INTO log.identity SELECT p_topic, n.id, n.content, n.partition, n.position FROM n ORDER BY n.id),
  w3 AS (INSERT INTO log.stream
    SELECT p_topic, n.stream, n.new_version, n.partition, n.position FROM n WHERE n.stream IS NOT NULL),
  w4 AS (UPDATE log.head h SET position = m.p
    FROM (SELECT n.partition, max(n.position) AS p FROM n GROUP BY 1) m WHERE h.topic = p_topic AND h.partition = m.partition),
  w5 AS (UPDATE log.topic t SET recorded_at = v_stamp WHERE t.topic = p_topic AND EXISTS (SELECT 1 FROM n))
  SELECT o.ord, o.outcome::"char", coalesce(n.partition, o.e_partition), coalesce(n.position, o.e_position),
         CASE WHEN o.outcome = 's' THEN v_stamp END
    FROM o LEFT JOIN n ON n.ord = o.ord;
END $$;

-- Take or renew the lease of a topic's relay. Renewing keeps the token, taking over an expired lease raises it.
-- Returns the token, or NULL while another owner holds it.
CREATE FUNCTION log.lease_take(p_topic text, p_owner text, p_for interval) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = log, pg_temp AS $$
DECLARE v_token bigint;
BEGIN
  PERFORM log.must_write(p_topic);
  UPDATE log.lease l
     SET owner = p_owner, until = clock_timestamp() + p_for,
         token = CASE WHEN l.owner = p_owner THEN l.token ELSE l.token + 1 END
   WHERE l.topic = p_topic AND (l.owner = p_owner OR l.until <= clock_timestamp())
  RETURNING l.token INTO v_token;
  RETURN v_token;
END $$;

-- Give the lease back at once, so that the next process need not wait for its end.
CREATE FUNCTION log.lease_release(p_topic text, p_owner text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = log, pg_temp AS $$
BEGIN
  UPDATE log.lease l SET owner = '', until = '-infinity' WHERE l.topic = p_topic AND l.owner = p_owner;
END $$;

-- Move relay marks from p_old to p_new, partition by partition, while p_token is the lease's. Returns how many moved:
-- fewer than asked means that the lease is another's; drop it and start over.
CREATE FUNCTION log.relay_move(p_topic text, p_token bigint, p_partition smallint[], p_old bigint[], p_new bigint[]) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = log, pg_temp AS $$
DECLARE v_moved int;
BEGIN
  PERFORM log.must_write(p_topic);
  UPDATE log.relay r SET position = m.new
    FROM unnest(p_partition, p_old, p_new) AS m(partition, old, new)
   WHERE r.topic = p_topic AND r.partition = m.partition AND r.position = m.old AND m.new > m.old
     AND EXISTS (SELECT 1 FROM log.lease l WHERE l.topic = p_topic AND l.token = p_token);
  GET DIAGNOSTICS v_moved = ROW_COUNT;
  RETURN v_moved;
END $$;

CREATE FUNCTION log.must_write(p_topic text) RETURNS void LANGUAGE plpgsql SET search_path = log, pg_temp AS $$
DECLARE v_writer name;
BEGIN
  SELECT t.writer INTO STRICT v_writer FROM log.topic t WHERE t.topic = p_topic;
  IF NOT pg_has_role(session_user, v_writer, 'MEMBER') THEN
    RAISE insufficient_privilege USING MESSAGE = format('%s does not write topic %s; only %s does', session_user, p_topic, v_writer);
  END IF;
END $$;

-- The same table as shared/events/catalogue.WRITERS; a test compares the two.
SELECT log.add_topic(t.topic, t.writer) FROM (VALUES
  ('catalog', 'plumbline_ingestion'),
  ('usage', 'plumbline_ingestion'),
  ('contracts', 'plumbline_ingestion'),
  ('invoices', 'plumbline_ingestion'),
  ('vendor-bills', 'plumbline_ingestion'),
  ('time-entries', 'plumbline_ingestion'),
  ('mappings', 'plumbline_ingestion'),
  ('feeds', 'plumbline_ingestion'),
  ('settings', 'plumbline_ingestion'),
  ('discrepancies', 'plumbline_matching'),
  ('notifications', 'plumbline_notification')) AS t(topic, writer);
SELECT log.ensure_room();

-- Tenants apart, for every role without BYPASSRLS. The subselect makes the setting one InitPlan instead of a call per row.
-- identity and stream have no tenant of their own: a row is visible exactly if its record is.
ALTER TABLE log.record ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE log.identity ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE log.stream ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON log.record FOR SELECT
  USING (tenant = (SELECT NULLIF(current_setting('plumbline.tenant', true), '')));
CREATE POLICY tenant ON log.identity FOR SELECT USING (EXISTS (
  SELECT 1 FROM log.record r WHERE r.topic = identity.topic AND r.partition = identity.partition AND r.position = identity.position));
CREATE POLICY tenant ON log.stream FOR SELECT USING (EXISTS (
  SELECT 1 FROM log.record r WHERE r.topic = stream.topic AND r.partition = stream.partition AND r.position = stream.position));

GRANT USAGE ON SCHEMA log TO plumbline_ingestion, plumbline_matching, plumbline_notification;
-- Parents only: never on all tables of the schema.
GRANT SELECT ON log.meta, log.topic, log.head, log.relay, log.lease, log.record, log.identity, log.stream
  TO plumbline_ingestion, plumbline_matching, plumbline_notification;
GRANT EXECUTE ON FUNCTION
  log.append(text, timestamptz, int[], smallint[], text[], uuid[], uuid[], bytea[], int[], uuid[], int[]),
  log.ensure_room(), log.lease_take(text, text, interval), log.lease_release(text, text),
  log.relay_move(text, bigint, smallint[], bigint[], bigint[])
  TO plumbline_ingestion, plumbline_matching, plumbline_notification;
RESET ROLE;
