-- How meetings become usage: the one definition of every figure of days and months, always computed again for the whole
-- days that are dirty and their months. One transaction, one at a time; pages and meetings need not wait for it.
-- A meeting belongs to the local day it started on, with everything it has. source_id null: of all sources;
-- org_unit_id null: of everything, else of the unit and all below it.

-- name: create_usage_work
-- The tables it works in; empty after each transaction.
create temp table if not exists work_day (day date, month date, dirty boolean, swept boolean) on commit delete rows;
create temp table if not exists work_leg (
  day date,
  month date,
  dirty boolean,
  source_id smallint,
  org_unit_id integer,
  meeting_id bigint,
  endpoint_key bigint,
  joined_at timestamptz,
  left_at timestamptz
) on commit delete rows;
create temp table if not exists work_figure (
  period date,
  source_id smallint,
  org_unit_id integer,
  meetings bigint,
  endpoints bigint,
  endpoint_connections bigint,
  legs bigint,
  attendees bigint,
  meeting_seconds double precision,
  leg_seconds double precision,
  peak_legs bigint,
  failed_connections bigint
) on commit delete rows;

-- name: lock_usage
select
  pg_advisory_xact_lock(hashtext('conftrack usage')),
  set_config('work_mem', '128MB', true),  -- a bulk load is sorted and hashed in memory
  set_config('default_statistics_target', '10', true);  -- a rough idea of the work tables is enough

-- name: take_dirty_day
-- The dirty days, and the other days of their months; returns how many are dirty.
with taken as (
  delete from conftrack.dirty_day returning day
),
month as (
  select distinct date_trunc('month', day)::date as month from taken
),
listed as (
  insert into work_day (day, month, dirty, swept)
  select d::date, m.month, d::date in (select day from taken), false
  from month m
  cross join generate_series(m.month, m.month + interval '1 month - 1 day', interval '1 day') d
  returning dirty
)
select count(*) filter (where dirty) from listed;

-- name: find_overlap
-- The days whose last meetings reach into the first of another day: there the peak of a month may lie.
with span as (
  select d.month, d.day, min(m.started_at) as span_from, max(coalesce(m.ended_at, 'infinity')) as span_to
  from work_day d
  join conftrack.meeting m on m.day = d.day
  where m.started_at is not null
  group by d.month, d.day
)
update work_day d
set swept = true
from span a
where a.day = d.day
  and exists (
    select from span b
    where b.month = a.month and b.day <> a.day and b.span_from < a.span_to and b.span_to > a.span_from
  );

-- name: gather_leg
-- The counted legs of the days that are dirty or swept, once for every source whose figures they are in.
insert into work_leg (day, month, dirty, source_id, org_unit_id, meeting_id, endpoint_key, joined_at, left_at)
select d.day, d.month, d.dirty, s.scope, null, m.meeting_id, l.endpoint_key, l.joined_at, l.left_at
from work_day d
join conftrack.meeting m on m.day = d.day
join conftrack.counted_leg l on l.meeting_id = m.meeting_id
join conftrack.source_scope s on s.source_id = m.source_id
where d.dirty or d.swept;

-- name: gather_leg_of_unit
-- The same legs once more for every org unit above their endpoint (counted_leg numbers an endpoint by its negative id).
insert into work_leg (day, month, dirty, source_id, org_unit_id, meeting_id, endpoint_key, joined_at, left_at)
select l.day, l.month, l.dirty, l.source_id, a.ancestor_id, l.meeting_id, l.endpoint_key, l.joined_at, l.left_at
from work_leg l
join conftrack.endpoint e on e.endpoint_id = -l.endpoint_key
join conftrack.org_ancestor a on a.org_unit_id = e.org_unit_id;

-- name: sum_day
with meeting_in as materialized (
  select m.*
  from work_day d
  join conftrack.meeting m on m.day = d.day
  where d.dirty
),
-- Figures of everything add up what each meeting came to; those of a unit add up its endpoints' part in it.
connection as (
  select l.day, l.source_id, l.org_unit_id, l.meeting_id, l.endpoint_key, count(*) as legs,
    coalesce(sum(l.left_at - l.joined_at), '0') as leg_time
  from work_leg l
  where l.dirty and l.org_unit_id is not null
  group by l.day, l.source_id, l.org_unit_id, l.meeting_id, l.endpoint_key
),
unit_meeting as (
  select c.day, c.source_id, c.org_unit_id, c.meeting_id, count(*) as endpoint_connections, sum(c.legs) as legs,
    sum(c.leg_time) as leg_time, sum(coalesce(h.people, 1)) as attendees
  from connection c
  left join conftrack.standing_headcount h on h.meeting_id = c.meeting_id and h.endpoint_key = c.endpoint_key
  group by c.day, c.source_id, c.org_unit_id, c.meeting_id
),
scope_meeting as (
  select m.day, s.scope as source_id, null::integer as org_unit_id, m.ended_at - m.started_at as lasted,
    m.endpoint_count, m.leg_count, m.leg_time, m.attendees
  from meeting_in m
  join conftrack.source_scope s on s.source_id = m.source_id
  where m.started_at is not null
  union all
  select u.day, u.source_id, u.org_unit_id, m.ended_at - m.started_at, u.endpoint_connections, u.legs, u.leg_time,
    u.attendees
  from unit_meeting u
  join meeting_in m on m.meeting_id = u.meeting_id
),
held as (
  select day, source_id, org_unit_id, count(*) as meetings, sum(endpoint_count) as endpoint_connections,
    sum(leg_count) as legs, sum(attendees) as attendees, sum(lasted) as lasted, sum(leg_time) as leg_time
  from scope_meeting
  group by day, source_id, org_unit_id
),
present as (
  select day, source_id, org_unit_id, count(*) as endpoints
  from (select distinct day, source_id, org_unit_id, endpoint_key from work_leg where dirty) once
  group by day, source_id, org_unit_id
),
-- Sweep line: joins up, leaves down, and at the same instant leaves first. (Ordered by scope here, so that the sweep
-- has only the instants of one scope at a time to sort: that is faster.)
step as (
  select day, source_id, org_unit_id, joined_at as at, 1 as change from work_leg where dirty
  union all
  select day, source_id, org_unit_id, left_at, -1 from work_leg where dirty and left_at is not null
  order by day, source_id, org_unit_id
),
up as (
  select day, source_id, org_unit_id,
    sum(change) over (partition by day, source_id, org_unit_id order by at, change rows unbounded preceding) as legs
  from step
),
peak as (
  select day, source_id, org_unit_id, max(legs) as peak_legs from up group by day, source_id, org_unit_id
),
failed as (
  select f.day, s.scope as source_id, f.org_unit_id, sum(f.attempts) as failed_connections
  from (
    select day, source_id, null::integer as org_unit_id, failed_count as attempts from meeting_in where failed_count > 0
    union all
    select m.day, m.source_id, a.ancestor_id, 1
    from meeting_in m
    join conftrack.failed_leg l on l.meeting_id = m.meeting_id
    join conftrack.endpoint e on e.endpoint_id = l.endpoint_id
    join conftrack.org_ancestor a on a.org_unit_id = e.org_unit_id
    where m.failed_count > 0
  ) f
  join conftrack.source_scope s on s.source_id = f.source_id
  group by f.day, s.scope, f.org_unit_id
),
-- One row a scope from each part, added up: a part that has nothing for a scope has no row there.
part as (
  select day, source_id, org_unit_id, meetings, 0::bigint as endpoints, endpoint_connections, legs, attendees,
    coalesce(extract(epoch from lasted), 0)::double precision as meeting_seconds,
    coalesce(extract(epoch from leg_time), 0)::double precision as leg_seconds,
    0::bigint as peak_legs, 0::bigint as failed_connections
  from held
  union all
  select day, source_id, org_unit_id, 0, endpoints, 0, 0, 0, 0, 0, 0, 0 from present
  union all
  select day, source_id, org_unit_id, 0, 0, 0, 0, 0, 0, 0, peak_legs, 0 from peak
  union all
  select day, source_id, org_unit_id, 0, 0, 0, 0, 0, 0, 0, 0, failed_connections from failed
)
insert into work_figure
select day, source_id, org_unit_id, sum(meetings), sum(endpoints), sum(endpoint_connections), sum(legs), sum(attendees),
  sum(meeting_seconds), sum(leg_seconds), sum(peak_legs), sum(failed_connections)
from part
group by day, source_id, org_unit_id;

-- name: add_all_sources
-- With one source, "all sources" is that source.
insert into work_figure
select period, null, org_unit_id, meetings, endpoints, endpoint_connections, legs, attendees, meeting_seconds, leg_seconds,
  peak_legs, failed_connections
from work_figure
where (select count(*) from conftrack.source) = 1;

-- name: store_day
with gone as (
  delete from conftrack.usage_day u
  where u.period in (select day from work_day where dirty)
    and not exists (
      select from work_figure f
      where (f.period, coalesce(f.source_id, 0), coalesce(f.org_unit_id, 0))
          = (u.period, coalesce(u.source_id, 0), coalesce(u.org_unit_id, 0))
    )
),
stored as (
  insert into conftrack.usage_day as u
  select * from work_figure
  on conflict (period, source_id, org_unit_id) do update
  set meetings = excluded.meetings, endpoints = excluded.endpoints,
      endpoint_connections = excluded.endpoint_connections, legs = excluded.legs, attendees = excluded.attendees,
      meeting_seconds = excluded.meeting_seconds, leg_seconds = excluded.leg_seconds,
      peak_legs = excluded.peak_legs, failed_connections = excluded.failed_connections
  where (u.*) is distinct from (excluded.*)
)
delete from work_figure;

-- name: sum_month
-- A month adds up its days, but for two figures: its distinct endpoints are counted over the month, and its peak may
-- lie where the last meetings of one day reach into the next, so days that overlap in time are swept together.
with total as (
  select d.month, u.source_id, u.org_unit_id, sum(u.meetings) as meetings,
    sum(u.endpoint_connections) as endpoint_connections, sum(u.legs) as legs, sum(u.attendees) as attendees,
    sum(u.meeting_seconds::numeric) as meeting_seconds, sum(u.leg_seconds::numeric) as leg_seconds,
    max(u.peak_legs) as peak_legs, sum(u.failed_connections) as failed_connections
  from work_day d
  join conftrack.usage_day u on u.period = d.day
  where u.source_id is not null or (select count(*) from conftrack.source) > 1
  group by d.month, u.source_id, u.org_unit_id
),
-- The days that are not dirty have only their endpoints to tell.
seen as materialized (
  select distinct d.month, m.source_id, l.endpoint_key, l.endpoint_id
  from work_day d
  join conftrack.meeting m on m.day = d.day
  join conftrack.counted_leg l on l.meeting_id = m.meeting_id
  where not d.dirty
),
present as (
  select month, source_id, org_unit_id, count(*) as endpoints
  from (
    select month, source_id, org_unit_id, endpoint_key from work_leg
    union
    select n.month, s.scope, null, n.endpoint_key
    from seen n
    join conftrack.source_scope s on s.source_id = n.source_id
    union
    select n.month, s.scope, a.ancestor_id, n.endpoint_key
    from seen n
    join conftrack.source_scope s on s.source_id = n.source_id
    join conftrack.endpoint e on e.endpoint_id = n.endpoint_id
    join conftrack.org_ancestor a on a.org_unit_id = e.org_unit_id
  ) once
  group by month, source_id, org_unit_id
),
swept as materialized (
  select l.* from work_day d join work_leg l on l.day = d.day where d.swept
),
step as (
  select month, source_id, org_unit_id, joined_at as at, 1 as change from swept
  union all
  select month, source_id, org_unit_id, left_at, -1 from swept where left_at is not null
),
up as (
  select month, source_id, org_unit_id,
    sum(change) over (partition by month, source_id, org_unit_id order by at, change rows unbounded preceding) as legs
  from step
),
peak as (
  select month, source_id, org_unit_id, max(legs) as peak_legs from up group by month, source_id, org_unit_id
)
insert into work_figure
select t.month, t.source_id, t.org_unit_id, t.meetings, coalesce(n.endpoints, 0), t.endpoint_connections, t.legs,
  t.attendees, t.meeting_seconds, t.leg_seconds, greatest(t.peak_legs, p.peak_legs), t.failed_connections
from total t
left join present n
  on n.month = t.month and coalesce(n.source_id, 0) = coalesce(t.source_id, 0)
 and coalesce(n.org_unit_id, 0) = coalesce(t.org_unit_id, 0)
left join peak p
  on p.month = t.month and coalesce(p.source_id, 0) = coalesce(t.source_id, 0)
 and coalesce(p.org_unit_id, 0) = coalesce(t.org_unit_id, 0);

-- name: store_month
with gone as (
  delete from conftrack.usage_month u
  where u.period in (select month from work_day)
    and not exists (
      select from work_figure f
      where (f.period, coalesce(f.source_id, 0), coalesce(f.org_unit_id, 0))
          = (u.period, coalesce(u.source_id, 0), coalesce(u.org_unit_id, 0))
    )
),
stored as (
  insert into conftrack.usage_month as u
  select * from work_figure
  on conflict (period, source_id, org_unit_id) do update
  set meetings = excluded.meetings, endpoints = excluded.endpoints,
      endpoint_connections = excluded.endpoint_connections, legs = excluded.legs, attendees = excluded.attendees,
      meeting_seconds = excluded.meeting_seconds, leg_seconds = excluded.leg_seconds,
      peak_legs = excluded.peak_legs, failed_connections = excluded.failed_connections
  where (u.*) is distinct from (excluded.*)
)
delete from work_figure;
