-- Tenants and their API keys. Nobody reads or writes these tables but the functions below, which their owner runs.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'access_owner') THEN
    CREATE ROLE access_owner NOLOGIN BYPASSRLS;
  END IF;
END $$;

CREATE SCHEMA access;

CREATE TABLE access.tenant (
  tenant     text PRIMARY KEY CHECK (tenant ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 300),
  time_zone  text NOT NULL CHECK (length(time_zone) BETWEEN 1 AND 64),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A key's secret is never stored: mac = HMAC-SHA256(pepper, token), and the pepper is not in the database.
CREATE TABLE access.key (
  prefix     text PRIMARY KEY CHECK (prefix ~ '^[a-z0-9]{10}$'),
  tenant     text NOT NULL REFERENCES access.tenant,
  source     text CHECK (length(source) BETWEEN 1 AND 200),         -- NULL: an operator's key, for any source
  mac        bytea NOT NULL CHECK (octet_length(mac) = 32),
  ending     text NOT NULL CHECK (length(ending) = 4),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  revoked_at timestamptz
);
CREATE INDEX key_tenant ON access.key (tenant, created_at, prefix);

ALTER TABLE access.tenant ENABLE ROW LEVEL SECURITY;
ALTER TABLE access.tenant FORCE ROW LEVEL SECURITY;
ALTER TABLE access.key ENABLE ROW LEVEL SECURITY;
ALTER TABLE access.key FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON access.tenant USING (tenant = NULLIF(current_setting('plumbline.tenant', true), ''));
CREATE POLICY own ON access.key USING (tenant = NULLIF(current_setting('plumbline.tenant', true), ''));

-- The check of a request: one live key by its prefix.
CREATE FUNCTION access.find_key(p_prefix text) RETURNS TABLE (tenant text, source text, mac bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = access, pg_temp AS $$
  SELECT k.tenant, k.source, k.mac FROM access.key k WHERE k.prefix = p_prefix AND k.revoked_at IS NULL
$$;

CREATE FUNCTION access.find_tenant(p_tenant text) RETURNS TABLE (tenant text, name text, time_zone text, created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = access, pg_temp AS $$
  SELECT t.tenant, t.name, t.time_zone, t.created_at FROM access.tenant t WHERE t.tenant = p_tenant
$$;

-- Keyset page of all tenants, for the administrator and for the calendar.
CREATE FUNCTION access.tenants(p_after text, p_limit int)
RETURNS TABLE (tenant text, name text, time_zone text, created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = access, pg_temp AS $$
  SELECT t.tenant, t.name, t.time_zone, t.created_at FROM access.tenant t WHERE t.tenant > p_after ORDER BY t.tenant LIMIT p_limit
$$;

-- True: made now. False: there was one by this name, and nothing was changed.
CREATE FUNCTION access.add_tenant(p_tenant text, p_name text, p_time_zone text) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = access, pg_temp AS $$
  WITH made AS (
    INSERT INTO access.tenant (tenant, name, time_zone) VALUES (p_tenant, p_name, p_time_zone) ON CONFLICT DO NOTHING RETURNING 1
  )
  SELECT EXISTS (SELECT FROM made)
$$;

CREATE FUNCTION access.add_key(p_tenant text, p_source text, p_prefix text, p_mac bytea, p_ending text) RETURNS timestamptz
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = access, pg_temp AS $$
  INSERT INTO access.key (prefix, tenant, source, mac, ending) VALUES (p_prefix, p_tenant, p_source, p_mac, p_ending)
  RETURNING created_at
$$;

CREATE FUNCTION access.keys(p_tenant text)
RETURNS TABLE (prefix text, source text, ending text, created_at timestamptz, revoked_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = access, pg_temp AS $$
  SELECT k.prefix, k.source, k.ending, k.created_at, k.revoked_at FROM access.key k WHERE k.tenant = p_tenant
  ORDER BY k.created_at, k.prefix LIMIT 1000
$$;

-- When the key was revoked (the first time, if it was before); NULL if the tenant has no such key.
CREATE FUNCTION access.revoke_key(p_tenant text, p_prefix text) RETURNS timestamptz
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = access, pg_temp AS $$
  UPDATE access.key SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE tenant = p_tenant AND prefix = p_prefix
  RETURNING revoked_at
$$;

DO $$
DECLARE f regprocedure;
BEGIN
  ALTER SCHEMA access OWNER TO access_owner;
  ALTER TABLE access.tenant OWNER TO access_owner;
  ALTER TABLE access.key OWNER TO access_owner;
  FOR f IN SELECT p.oid::regprocedure FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'access'::regnamespace LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO access_owner', f);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO plumbline_ingestion', f);
  END LOOP;
END $$;
GRANT USAGE ON SCHEMA access TO plumbline_ingestion, plumbline_matching, plumbline_notification;
GRANT EXECUTE ON FUNCTION access.find_key(text), access.find_tenant(text) TO plumbline_matching, plumbline_notification;
