-- What dashboards ask for: the same views, reached by index where a year of facts made them slow, and two more.

create index meeting_of_start on conftrack.meeting (started_at);
create index incident_of_opening on conftrack.incident (opened_at);
create index invitation_of_start on conftrack.invitation (starts_at);

create view conftrack.time_zone as
select value as name from conftrack.setting where name = 'timezone';
comment on view conftrack.time_zone is 'The time zone that days and months are cut in: one row.';

create view conftrack.meeting_hours as
select
  m.meeting_id,
  s.name as source,
  m.day,
  h.at as hour_at,
  extract(isodow from h.at)::integer as weekday,
  extract(hour from h.at)::integer as hour,
  m.endpoint_count,
  m.attendees
from conftrack.meeting m
join conftrack.source s on s.source_id = m.source_id
cross join conftrack.time_zone z
cross join lateral generate_series(
  date_trunc('hour', m.started_at at time zone z.name),
  -- The hour that begins as the meeting ends is not one of its hours; of one that goes on the first is known.
  greatest(coalesce(m.ended_at, m.started_at) - interval '1 microsecond', m.started_at) at time zone z.name,
  interval '1 hour'
) h(at)
where m.started_at is not null;
comment on view conftrack.meeting_hours is 'Every local hour in which a meeting went on, a row each; weekday: Monday is 1.';

-- meeting_id is that of the joined row, not computed from it: so a condition on it, or on when the meeting started, finds
-- the legs by index.
create or replace view conftrack.legs as
select
  l.leg_id,
  m.meeting_id,
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
  l.joined_at is not null and l.excluded is null and not l.copy as counted,
  m.started_at as meeting_started_at
from conftrack.leg l
join conftrack.source s on s.source_id = l.source_id
join conftrack.conference c on c.conference_id = l.conference_id
left join conftrack.meeting m on m.meeting_id = c.meeting_id and m.started_at is not null
left join conftrack.caller k on k.caller_id = l.caller_id
left join conftrack.endpoint e on e.endpoint_id = k.endpoint_id
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id;

-- What they came to, as one word.
create or replace view conftrack.expected_endpoints as
select
  i.invitation_id,
  m.meeting_id,
  s.name as source,
  i.room,
  coalesce(m.title, i.title) as title,
  i.starts_at,
  i.ends_at,
  e.code as endpoint,
  u.code as org,
  p.joined_at,
  p.left_at,
  x.excused_at,
  x.excused_reason,
  case
    when p.joined_at > i.starts_at then 'late'
    when p.joined_at is not null then 'on_time'
    when x.excused_at is not null then 'excused'
    -- Not "exists": that may be answered by reading every absence that ever was.
    when (
      select true from conftrack.incident a
      where a.endpoint_id = x.endpoint_id and a.invitation_id = i.invitation_id and a.kind = 'absent'
        and a.withdrawn_at is null
      limit 1
    ) then 'absent'
  end as state
from conftrack.invitation i
join conftrack.expected x on x.invitation_id = i.invitation_id
join conftrack.endpoint e on e.endpoint_id = x.endpoint_id
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id
left join conftrack.meeting m on m.invitation_id = i.invitation_id and m.started_at is not null
left join conftrack.source s on s.source_id = coalesce(m.source_id, i.source_id)
left join lateral (
  -- By the endpoint's addresses: each has few legs at that time, the meeting may have thousands.
  select min(l.joined_at) as joined_at, case when not bool_or(l.left_at is null) then max(l.left_at) end as left_at
  from conftrack.caller k
  join conftrack.leg l on l.caller_id = k.caller_id and l.joined_at between m.span_from and m.span_to
  join conftrack.conference c on c.conference_id = l.conference_id and c.meeting_id = m.meeting_id
  where k.endpoint_id = x.endpoint_id and l.excluded is null and not l.copy
) p on true;
comment on view conftrack.expected_endpoints is 'Who was invited to which meeting (thành phần mời), when they were there first and last; meeting_id null: nobody has come yet. state: on_time, late, excused, absent; null: nothing is known, because it is still to come or nobody could see.';

-- Incidents are looked up only where they are asked for, by an index that nulls are in.
create index incident_day_of_scope
  on conftrack.incident_day (coalesce(org_unit_id, -1), coalesce(source_id, -1), period);

create or replace view conftrack.usage_daily as
select
  f.period as day,
  s.name as source,
  u.code as org,
  f.meetings, f.endpoints, f.endpoint_connections, f.legs, f.attendees, f.meeting_seconds, f.leg_seconds,
  f.peak_legs, f.failed_connections,
  coalesce((
    select i.incidents
    from conftrack.incident_day i
    where coalesce(i.org_unit_id, -1) = coalesce(f.org_unit_id, -1)
      and coalesce(i.source_id, -1) = coalesce(f.source_id, -1)
      and i.period = f.period
  ), 0) as incidents
from conftrack.usage_day f
left join conftrack.source s on s.source_id = f.source_id
left join conftrack.org_unit u on u.org_unit_id = f.org_unit_id;

create or replace view conftrack.usage_monthly as
select
  f.period as month,
  s.name as source,
  u.code as org,
  f.meetings, f.endpoints, f.endpoint_connections, f.legs, f.attendees, f.meeting_seconds, f.leg_seconds,
  f.peak_legs, f.failed_connections,
  coalesce((
    select sum(i.incidents)
    from conftrack.incident_day i
    where coalesce(i.org_unit_id, -1) = coalesce(f.org_unit_id, -1)
      and coalesce(i.source_id, -1) = coalesce(f.source_id, -1)
      and i.period >= f.period
      and i.period < (f.period + interval '1 month')::date
  ), 0)::bigint as incidents
from conftrack.usage_month f
left join conftrack.source s on s.source_id = f.source_id
left join conftrack.org_unit u on u.org_unit_id = f.org_unit_id;

create or replace procedure conftrack.grant_reader()
language plpgsql
as $$
begin
  revoke execute on all routines in schema conftrack from public;
  if exists (select from pg_roles where rolname = 'conftrack_reader') then
    grant usage on schema conftrack to conftrack_reader;
    grant select on
      conftrack.org_units, conftrack.endpoints, conftrack.meetings, conftrack.legs, conftrack.endpoint_connections,
      conftrack.attendance, conftrack.incidents, conftrack.usage_daily, conftrack.usage_monthly,
      conftrack.source_status, conftrack.expected_endpoints, conftrack.maintenance_windows, conftrack.time_zone,
      conftrack.meeting_hours
    to conftrack_reader;
  end if;
end
$$;
