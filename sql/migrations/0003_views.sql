-- What people and tools read. These views are public: their columns only ever grow, at the end.

create view conftrack.org_units as
select
  u.code,
  u.name,
  p.code as parent,
  u.level,
  nullif(u.valid_from, '-infinity') as valid_from,
  nullif(u.valid_to, 'infinity') as valid_to
from conftrack.org_unit u
left join conftrack.org_unit p on p.org_unit_id = u.parent_id;
comment on view conftrack.org_units is 'The organisation tree (đơn vị).';

create view conftrack.endpoints as
select
  e.code as endpoint,
  e.name,
  u.code as org,
  e.kind,
  e.seats,
  e.carrier,
  e.area,
  e.service_hours,
  array(select a.alias from conftrack.alias a where a.endpoint_id = e.endpoint_id order by a.alias) as aliases
from conftrack.endpoint e
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id;
comment on view conftrack.endpoints is 'The inventory of sites (điểm cầu), without contacts.';

create view conftrack.meetings as
select
  m.meeting_id,
  s.name as source,
  m.external_id,
  m.room,
  m.title,
  null::text as host_org,
  null::timestamptz as scheduled_start,
  null::timestamptz as scheduled_end,
  m.started_at,
  m.ended_at,
  extract(epoch from m.ended_at - m.started_at)::double precision as duration_seconds,
  m.endpoint_count,
  m.leg_count,
  m.attendees,
  m.day
from conftrack.meeting m
join conftrack.source s on s.source_id = m.source_id
where m.started_at is not null;
comment on view conftrack.meetings is 'Meetings (cuộc họp) that people came to; ended_at null: going on.';

create view conftrack.legs as
select
  l.leg_id,
  case when m.started_at is not null then m.meeting_id end as meeting_id,
  s.name as source,
  l.external_id,
  e.code as endpoint,
  u.code as org,
  k.identity,
  l.protocol,
  l.direction,
  l.joined_at,
  l.left_at,
  case
    when l.left_at < l.joined_at then 0
    else extract(epoch from l.left_at - l.joined_at)
  end::double precision as duration_seconds,
  l.end_class,
  l.end_reason,
  l.rx_bitrate,
  l.tx_bitrate,
  l.rx_loss,
  l.tx_loss,
  l.jitter_seconds,
  l.latency_seconds,
  l.excluded,
  l.copy,
  l.joined_at is not null and l.excluded is null and not l.copy as counted
from conftrack.leg l
join conftrack.source s on s.source_id = l.source_id
join conftrack.conference c on c.conference_id = l.conference_id
left join conftrack.meeting m on m.meeting_id = c.meeting_id
left join conftrack.caller k on k.caller_id = l.caller_id
left join conftrack.endpoint e on e.endpoint_id = k.endpoint_id
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id;
comment on view conftrack.legs is 'Every connection and attempt (lượt kết nối); counted: it is in the figures; excluded: why it is not people; copy: told already by another node.';

create view conftrack.endpoint_connections as
with leg as (
  select
    l.*,
    -- A new presence begins where everything before it ended more than 5 minutes ago.
    l.joined_at > max(coalesce(l.left_at, 'infinity')) over earlier + interval '5 minutes' as apart
  from conftrack.counted_leg l
  window earlier as (
    partition by l.meeting_id, l.endpoint_key order by l.joined_at, l.left_at, l.leg_id
    rows between unbounded preceding and 1 preceding
  )
),
numbered as (
  select leg.*, count(*) filter (where apart) over (
    partition by meeting_id, endpoint_key order by joined_at, left_at, leg_id
  ) as presence
  from leg
),
presence as (
  select
    meeting_id, endpoint_key, presence,
    min(source_id) as source_id, min(endpoint_id) as endpoint_id, min(identity) as identity,
    min(joined_at) as joined_at,
    case when bool_and(left_at is not null) then max(left_at) end as left_at,
    count(*) as legs
  from numbered
  group by meeting_id, endpoint_key, presence
),
connection as (
  select
    meeting_id, endpoint_key,
    min(source_id) as source_id, min(endpoint_id) as endpoint_id, min(identity) as identity,
    min(joined_at) as joined_at,
    case when bool_and(left_at is not null) then max(left_at) end as left_at,
    extract(epoch from sum(left_at - joined_at))::double precision as presence_seconds,
    sum(legs)::integer as legs
  from presence
  group by meeting_id, endpoint_key
)
select
  c.meeting_id,
  s.name as source,
  e.code as endpoint,
  u.code as org,
  c.identity,
  c.joined_at,
  c.left_at,
  case when c.left_at is not null then c.presence_seconds end as presence_seconds,
  c.legs,
  case when m.ended_at is not null then
    c.presence_seconds >= least(300, 0.1 * extract(epoch from m.ended_at - m.started_at))
  end as attended,
  case when m.ended_at is not null then
    c.presence_seconds >= 0.85 * extract(epoch from m.ended_at - m.started_at)
  end as full_attendance,
  coalesce(h.people, 1) as attendees,
  coalesce(h.provenance, 'connections') as provenance
from connection c
join conftrack.meeting m on m.meeting_id = c.meeting_id
join conftrack.source s on s.source_id = c.source_id
left join conftrack.endpoint e on e.endpoint_id = c.endpoint_id
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id
left join conftrack.standing_headcount h on h.meeting_id = c.meeting_id and h.endpoint_key = c.endpoint_key;
comment on view conftrack.endpoint_connections is 'One endpoint in one meeting (lượt điểm cầu): the union of its legs, gaps up to 5 minutes bridged.';

create view conftrack.attendance as
select
  m.meeting_id,
  s.name as source,
  e.code as endpoint,
  u.code as org,
  k.identity,
  h.people,
  h.provenance,
  h.at,
  h.note,
  h.stands
from conftrack.headcount h
join conftrack.source s on s.source_id = h.source_id
join conftrack.caller k on k.caller_id = h.caller_id
left join conftrack.endpoint e on e.endpoint_id = k.endpoint_id
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id
left join conftrack.meeting m on m.meeting_id = h.meeting_id and m.started_at is not null;
comment on view conftrack.attendance is 'Every head count (đại biểu) as it came in; stands: it is the one that counts for its endpoint.';

create view conftrack.incidents as
select
  i.incident_id,
  s.name as source,
  e.code as endpoint,
  u.code as org,
  i.meeting_id,
  i.kind,
  i.end_class,
  i.end_reason,
  i.opened_at,
  i.closed_at,
  extract(epoch from i.closed_at - i.opened_at)::double precision as duration_seconds
from conftrack.incident i
left join conftrack.source s on s.source_id = i.source_id
left join conftrack.endpoint e on e.endpoint_id = i.endpoint_id
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id;
comment on view conftrack.incidents is 'Episodes of an endpoint failing (sự cố).';

create view conftrack.usage_daily as
select
  f.period as day,
  s.name as source,
  u.code as org,
  f.meetings, f.endpoints, f.endpoint_connections, f.legs, f.attendees, f.meeting_seconds, f.leg_seconds,
  f.peak_legs, f.failed_connections,
  null::bigint as incidents
from conftrack.usage_day f
left join conftrack.source s on s.source_id = f.source_id
left join conftrack.org_unit u on u.org_unit_id = f.org_unit_id;
comment on view conftrack.usage_daily is 'Usage by local day; source null: all; org null: all, else the unit and all below it.';

create view conftrack.usage_monthly as
select
  f.period as month,
  s.name as source,
  u.code as org,
  f.meetings, f.endpoints, f.endpoint_connections, f.legs, f.attendees, f.meeting_seconds, f.leg_seconds,
  f.peak_legs, f.failed_connections,
  null::bigint as incidents
from conftrack.usage_month f
left join conftrack.source s on s.source_id = f.source_id
left join conftrack.org_unit u on u.org_unit_id = f.org_unit_id;
comment on view conftrack.usage_monthly is 'Usage by local month (its first day); source null: all; org null: all, else the unit and all below it; incidents null: not tracked yet.';

create view conftrack.source_status as
select
  s.name as source,
  s.kind,
  c.stream,
  c.reached_at as cursor_at,
  c.last_success_at,
  c.last_failure_at,
  c.last_error,
  p.source_total,
  p.stored_total,
  p.until as complete_until,
  (select count(*) from conftrack.rejected r where r.source_id = s.source_id and r.stream = c.stream) as rejected
from conftrack.source s
left join conftrack.cursor c on c.source_id = s.source_id
left join lateral (
  select x.source_total, x.stored_total, x.until
  from conftrack.completeness x
  where x.source_id = s.source_id and x.stream = c.stream
  order by x.hour desc
  limit 1
) p on true;
comment on view conftrack.source_status is 'How each stream of each source stands: how far it was read, when last, and whether the source''s own total equals ours.';

-- The role that dashboards and BI tools use: it reads the views above and nothing else.
do $$
begin
  if not exists (select from pg_roles where rolname = 'conftrack_reader') then
    create role conftrack_reader nologin;
  end if;
exception
  when insufficient_privilege then
    raise warning 'role conftrack_reader is missing and % may not create it: create it, then run "conftrack db migrate" again', current_user;
  when duplicate_object or unique_violation then
    null;  -- another database of this server made it at the same moment
end
$$;

create procedure conftrack.grant_reader()
language plpgsql
as $$
begin
  revoke execute on all routines in schema conftrack from public;
  if exists (select from pg_roles where rolname = 'conftrack_reader') then
    grant usage on schema conftrack to conftrack_reader;
    grant select on
      conftrack.org_units, conftrack.endpoints, conftrack.meetings, conftrack.legs, conftrack.endpoint_connections,
      conftrack.attendance, conftrack.incidents, conftrack.usage_daily, conftrack.usage_monthly,
      conftrack.source_status
    to conftrack_reader;
  end if;
end
$$;
comment on procedure conftrack.grant_reader is 'Gives conftrack_reader the public views; run after every migration, so that a role made later gets them too. No routine is anybody else''s.';
