-- The inventory: org units, endpoints and their aliases, and the callers that find their endpoints by them.

-- name: lock_inventory
-- No caller looks for its endpoint meanwhile (keep_inventory): it would miss what is put in now.
select pg_advisory_xact_lock(hashtext('conftrack inventory'));

-- name: list_unit
-- Every period of every unit.
select code, name, parent, level, valid_from, valid_to, successors from conftrack.org_units;

-- name: list_endpoint
select e.code, e.name, u.code as org, e.kind, e.seats, e.carrier, e.area, e.service_hours, e.contact_name,
  e.contact_phone, e.retired_on,
  array(select a.alias from conftrack.alias a where a.endpoint_id = e.endpoint_id) as aliases
from conftrack.endpoint e
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id;

-- name: put_org_unit
-- The newest form of each unit.
-- $1 codes  $2 names  $3 levels  $4 first days  $5 first days without it
insert into conftrack.org_unit as u (code, name, level, valid_from, valid_to)
select x.code, x.name, x.level, coalesce(x.valid_from, '-infinity'), coalesce(x.valid_to, 'infinity')
from unnest($1::text[], $2::text[], $3::smallint[], $4::date[], $5::date[]) x (code, name, level, valid_from, valid_to)
on conflict (code) do update
set name = excluded.name, level = excluded.level, valid_from = excluded.valid_from, valid_to = excluded.valid_to;

-- name: put_org_parent
-- Returns the units that changed their place.
-- $1 codes  $2 codes of their parents, null at the top
update conftrack.org_unit u
set parent_id = p.org_unit_id
from unnest($1::text[], $2::text[]) x (code, parent)
left join conftrack.org_unit p on p.code = x.parent
where u.code = x.code and u.parent_id is distinct from p.org_unit_id
returning u.code;

-- name: drop_org_past
-- $1 codes
with former as (
  delete from conftrack.org_former f
  using conftrack.org_unit u
  where f.org_unit_id = u.org_unit_id and u.code = any($1::text[])
)
delete from conftrack.org_successor s
using conftrack.org_unit u
where s.org_unit_id = u.org_unit_id and u.code = any($1::text[]);

-- name: put_org_former
-- $1 codes  $2 first days  $3 first days without it  $4 names  $5 codes of their parents  $6 levels
insert into conftrack.org_former (org_unit_id, valid_from, valid_to, name, parent_id, level)
select u.org_unit_id, coalesce(x.valid_from, '-infinity'), x.valid_to, x.name, p.org_unit_id, x.level
from unnest($1::text[], $2::date[], $3::date[], $4::text[], $5::text[], $6::smallint[])
  x (code, valid_from, valid_to, name, parent, level)
join conftrack.org_unit u on u.code = x.code
left join conftrack.org_unit p on p.code = x.parent;

-- name: put_org_successor
-- $1 codes  $2 days they ended  $3 codes of their successors
insert into conftrack.org_successor (org_unit_id, ended_on, successor_id)
select u.org_unit_id, x.ended_on, n.org_unit_id
from unnest($1::text[], $2::date[], $3::text[]) x (code, ended_on, successor)
join conftrack.org_unit u on u.code = x.code
join conftrack.org_unit n on n.code = x.successor;

-- name: mark_unit_moved
-- What the endpoints of these units and of all below were in is derived again: it counts for other units now.
-- $1 unit codes
insert into conftrack.dirty_conference (conference_id)
select distinct l.conference_id
from conftrack.org_unit u
join conftrack.org_ancestor a on a.ancestor_id = u.org_unit_id
join conftrack.endpoint e on e.org_unit_id = a.org_unit_id
join conftrack.caller k on k.endpoint_id = e.endpoint_id
join conftrack.leg l on l.caller_id = k.caller_id
where u.code = any($1::text[]);

-- name: put_endpoint
-- $1 codes  $2 names  $3 org codes  $4 kinds  $5 seats  $6 carriers  $7 areas  $8 service hours  $9 contact names
-- $10 contact phones  $11 days they were retired
insert into conftrack.endpoint as e (
  code, name, org_unit_id, kind, seats, carrier, area, service_hours, contact_name, contact_phone, retired_on
)
select x.code, x.name, u.org_unit_id, x.kind, x.seats, x.carrier, x.area, x.service_hours, x.contact_name,
  x.contact_phone, x.retired_on
from unnest(
  $1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::text[], $9::text[],
  $10::text[], $11::date[]
) x (code, name, org, kind, seats, carrier, area, service_hours, contact_name, contact_phone, retired_on)
left join conftrack.org_unit u on u.code = x.org
on conflict (code) do update
set name = excluded.name, org_unit_id = excluded.org_unit_id, kind = excluded.kind, seats = excluded.seats,
    carrier = excluded.carrier, area = excluded.area, service_hours = excluded.service_hours,
    contact_name = excluded.contact_name, contact_phone = excluded.contact_phone, retired_on = excluded.retired_on;

-- name: list_endpoint_former
-- Of each endpoint the oldest first.
select e.code as endpoint, f.valid_to, u.code as org
from conftrack.endpoint_former f
join conftrack.endpoint e on e.endpoint_id = f.endpoint_id
left join conftrack.org_unit u on u.org_unit_id = f.org_unit_id
order by f.endpoint_id, f.valid_to;

-- name: drop_endpoint_former
-- $1 endpoint codes
delete from conftrack.endpoint_former f
using conftrack.endpoint e
where f.endpoint_id = e.endpoint_id and e.code = any($1::text[]);

-- name: put_endpoint_former
-- $1 endpoint codes  $2 first days in another unit  $3 org codes
insert into conftrack.endpoint_former (endpoint_id, valid_to, org_unit_id)
select e.endpoint_id, x.valid_to, u.org_unit_id
from unnest($1::text[], $2::date[], $3::text[]) x (endpoint, valid_to, org)
join conftrack.endpoint e on e.code = x.endpoint
left join conftrack.org_unit u on u.code = x.org;

-- name: drop_alias
-- $1 aliases
delete from conftrack.alias where alias = any($1::text[]);

-- name: put_alias
-- $1 aliases  $2 endpoint codes
insert into conftrack.alias as a (alias, endpoint_id)
select x.alias, e.endpoint_id
from unnest($1::text[], $2::text[]) x (alias, code)
join conftrack.endpoint e on e.code = x.code
on conflict (alias) do update set endpoint_id = excluded.endpoint_id
where a.endpoint_id <> excluded.endpoint_id;

-- name: match_caller
-- Callers find the endpoint that their identity is an alias of; what they were in is derived again.
with matched as (
  update conftrack.caller k
  set endpoint_id = a.endpoint_id
  from conftrack.caller old
  left join conftrack.alias a on a.alias = old.identity
  where k.caller_id = old.caller_id and k.endpoint_id is distinct from a.endpoint_id
  returning k.caller_id, k.endpoint_id, old.endpoint_id as former_id
),
-- A sensor counts for its endpoint, whatever the address the endpoint calls from.
sensed as (
  select x.endpoint_id
  from matched m
  join conftrack.sensor s on s.caller_id = m.caller_id
  cross join lateral (values (m.endpoint_id), (m.former_id)) x (endpoint_id)
),
marked as (
  insert into conftrack.dirty_conference (conference_id)
  select l.conference_id from matched m join conftrack.leg l on l.caller_id = m.caller_id
  union
  select l.conference_id
  from sensed s
  join conftrack.caller k on k.endpoint_id = s.endpoint_id
  join conftrack.leg l on l.caller_id = k.caller_id
  union
  select c.conference_id
  from matched m
  join conftrack.headcount h on h.caller_id = m.caller_id
  join conftrack.conference c on c.meeting_id = h.meeting_id
)
select count(*) from matched;

-- name: mark_endpoint_moved
-- Endpoints that changed unit count elsewhere from now on: the days they were in meetings are computed again.
-- $1 endpoint codes
insert into conftrack.dirty_conference (conference_id)
select distinct l.conference_id
from conftrack.endpoint e
join conftrack.caller k on k.endpoint_id = e.endpoint_id
join conftrack.leg l on l.caller_id = k.caller_id
where e.code = any($1::text[]);

-- name: keep_audit
-- $1 at  $2 actor  $3 action  $4 detail
insert into conftrack.audit (at, actor, action, detail) values ($1, $2, $3, $4::jsonb);

-- name: count_caller
-- How many callers have these identities, and how many legs of people they have.
-- $1 identities
select count(*) as callers, coalesce(sum(l.legs), 0)::bigint as legs
from conftrack.caller k
cross join lateral (
  select count(*) as legs from conftrack.leg l where l.caller_id = k.caller_id and l.excluded is null
) l
where k.identity = any($1::text[]);

-- name: list_unmatched
-- Callers without an endpoint that were in calls as people, that a head count names, or whose room a sensor counted, the
-- most seen first; `total` is how many there are in all.
-- $1 whether with persons  $2 at most, or null for all
with seen as (
  select k.caller_id, k.identity, k.personal, coalesce(l.legs, 0) as legs, coalesce(l.attempts, 0) as attempts,
    coalesce(h.headcounts, 0) as headcounts, coalesce(p.minutes, 0) as minutes,
    greatest(l.last_at, h.last_at, p.last_at) as last_seen_at
  from conftrack.caller k
  left join lateral (
    select count(*) filter (where joined_at is not null and not copy) as legs,
      count(*) filter (where joined_at is null) as attempts,
      max(coalesce(joined_at, left_at, observed_at)) as last_at
    from conftrack.leg
    where caller_id = k.caller_id and excluded is null
    having count(*) > 0
  ) l on true
  left join (
    select caller_id, count(*) as headcounts, max(at) as last_at
    from conftrack.headcount
    where not sensed
    group by caller_id
  ) h on h.caller_id = k.caller_id
  left join conftrack.sensor s on s.caller_id = k.caller_id
  left join lateral (
    select count(*) as minutes, max(minute) as last_at from conftrack.people_minute where caller_id = s.caller_id
  ) p on s.caller_id is not null
  where k.endpoint_id is null and ($1 or not k.personal)
    and (l.legs is not null or h.headcounts is not null or s.caller_id is not null)
)
select s.identity, s.personal, s.legs, s.attempts, s.headcounts, s.minutes, s.last_seen_at, m.title, m.room, m.at as met_at,
  count(*) over () as total
from seen s
left join lateral (
  -- A meeting that it was in; where it was in none, one that it tried to reach.
  select c.title, c.room, coalesce(l.joined_at, l.left_at, l.observed_at) as at
  from conftrack.leg l
  join conftrack.conference c on c.conference_id = l.conference_id
  where l.caller_id = s.caller_id and l.excluded is null
  order by l.joined_at desc nulls last, l.left_at desc nulls last, l.leg_id desc
  limit 1
) m on true
order by s.legs desc, s.attempts desc, s.headcounts desc, s.minutes desc, s.identity
limit $2;

-- name: sum_match
-- What endpoints and everything came to: the figures that a match changes.
-- $1 endpoint codes
with leg as (
  select l.meeting_id, l.endpoint_id
  from conftrack.counted_leg l
  join conftrack.endpoint e on e.endpoint_id = l.endpoint_id
  where e.code = any($1::text[])
),
meeting as (
  select count(*) as meetings, coalesce(sum(leg_count), 0)::bigint as legs,
    coalesce(sum(endpoint_count), 0)::bigint as connections, coalesce(sum(attendees), 0)::bigint as attendees
  from conftrack.meeting
  where started_at is not null
)
select
  (select count(*) from leg) as endpoint_legs,
  (select count(distinct meeting_id) from leg) as endpoint_meetings,
  (select count(*) from (select distinct meeting_id, endpoint_id from leg) once) as endpoint_connections,
  m.legs as all_legs, m.meetings as all_meetings, m.connections as all_connections, m.attendees as all_attendees
from meeting m;

-- name: list_usage_month
-- The months of all sources together: of everything, and of these units.
-- $1 org unit codes
select u.period as month, o.code as org, u.meetings, u.endpoints, u.endpoint_connections, u.legs, u.attendees,
  u.meeting_seconds, u.leg_seconds, u.peak_legs, u.failed_connections
from conftrack.usage_month u
left join conftrack.org_unit o on o.org_unit_id = u.org_unit_id
where u.source_id is null and (u.org_unit_id is null or o.code = any($1::text[]));
