-- Planned work, in which nothing is an incident.

-- name: add_maintenance
-- Returns its number; none where the endpoint, unit or source is not there.
-- $1 endpoint code  $2 org code  $3 source name  $4 carrier  $5 area  $6 start  $7 end  $8 RRULE  $9 expiry  $10 author
-- $11 reason  $12 moment
insert into conftrack.maintenance (
  endpoint_id, org_unit_id, source_id, carrier, area, starts_at, ends_at, repeats, expires_at, author, reason, created_at
)
select e.endpoint_id, u.org_unit_id, s.source_id, $4::text, $5::text, $6::timestamptz, $7::timestamptz, $8::text,
  $9::timestamptz, $10::text, $11::text, $12::timestamptz
from (select $1::text as endpoint, $2::text as org, $3::text as source) x
left join conftrack.endpoint e on e.code = x.endpoint
left join conftrack.org_unit u on u.code = x.org
left join conftrack.source s on s.name = x.source
where num_nonnulls(x.endpoint, x.org, x.source) = num_nonnulls(e.endpoint_id, u.org_unit_id, s.source_id)
returning maintenance_id;

-- name: cancel_maintenance
-- Returns its number, unless it is not there or was cancelled before.
-- $1 maintenance_id  $2 moment  $3 who
update conftrack.maintenance set cancelled_at = $2, cancelled_by = $3
where maintenance_id = $1 and cancelled_at is null
returning maintenance_id;

-- name: list_maintenance
-- What may have a window in a period, with the endpoints that it covers by their number: of a unit those of all below it.
-- That of a source covers everything on it, and names no endpoints.
-- $1 since  $2 until
select w.maintenance_id, e.code as endpoint, u.code as org, s.name as source, w.carrier, w.area, w.starts_at, w.ends_at,
  w.repeats, w.expires_at, w.author, w.reason, w.cancelled_at, w.source_id, c.endpoint_ids, c.codes
from conftrack.maintenance w
left join conftrack.endpoint e on e.endpoint_id = w.endpoint_id
left join conftrack.org_unit u on u.org_unit_id = w.org_unit_id
left join conftrack.source s on s.source_id = w.source_id
cross join lateral (
  select coalesce(array_agg(c.endpoint_id order by c.endpoint_id), '{}') as endpoint_ids,
    coalesce(array_agg(c.code order by c.endpoint_id), '{}') as codes
  from conftrack.endpoint c
  where c.endpoint_id = w.endpoint_id or c.carrier = w.carrier or c.area = w.area
    or c.org_unit_id in (select a.org_unit_id from conftrack.org_ancestor a where a.ancestor_id = w.org_unit_id)
) c
where w.starts_at < $2 and least(w.expires_at, coalesce(w.cancelled_at, 'infinity')) > $1
order by w.maintenance_id;

-- name: mark_window
-- What went on in these windows, or was to, is judged again.
-- $1 starts  $2 ends
with planned as (
  select * from unnest($1::timestamptz[], $2::timestamptz[]) w (since, until)
)
insert into conftrack.dirty_incident (meeting_id, invitation_id, endpoint_id)
select m.meeting_id, null, null::integer
from conftrack.meeting m
where exists (select from planned w where m.span_from < w.until and m.span_to > w.since)
union all
select null, i.invitation_id, null
from conftrack.invitation i
where exists (
  select from planned w
  where i.starts_at < w.until and coalesce(i.ends_at, i.starts_at + interval '4 hours') > w.since
)
union all
select null, null, e.endpoint_id
from (select distinct endpoint_id from conftrack.endpoint_registration where until is not null) e
where exists (select from planned w where conftrack.missed_registration(e.endpoint_id, w.since, w.until));

-- name: list_scope_name
-- What maintenance can be of: of a scope all names that there are.
-- $1 scope
select x.name
from (
  select 'endpoint' as scope, code as name from conftrack.endpoint
  union all
  select 'org', code from conftrack.org_unit
  union all
  select 'source', name from conftrack.source
  union all
  select distinct 'carrier', carrier from conftrack.endpoint where carrier is not null
  union all
  select distinct 'area', area from conftrack.endpoint where area is not null
) x
where x.scope = $1;
