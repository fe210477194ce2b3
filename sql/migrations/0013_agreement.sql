-- Views that boards and reports must agree on, and certificates that later ones do not overwrite.

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
    when p.came_at > i.starts_at then 'late'
    when p.came_at is not null then 'on_time'
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
  select min(l.joined_at) as joined_at, case when not bool_or(l.left_at is null) then max(l.left_at) end as left_at,
    -- Who left before the start was in the test: that is neither coming on time nor coming at all.
    min(l.joined_at) filter (where i.starts_at is null or l.left_at is null or l.left_at > i.starts_at) as came_at
  from conftrack.caller k
  join conftrack.leg l on l.caller_id = k.caller_id and l.joined_at between m.span_from and m.span_to
  join conftrack.conference c on c.conference_id = l.conference_id and c.meeting_id = m.meeting_id
  where k.endpoint_id = x.endpoint_id and l.excluded is null and not l.copy
) p on true;

-- A window is kept under the hour it begins in, so that a wide one, of a year that is read at once, outlives those that
-- end in the same hour; a month finds the windows that have a part in it.
comment on table conftrack.completeness is 'The completeness certificate: the newest window beginning in each hour, with the number of records the source says it holds and the number stored here; how many windows there were, and how many came short.';
create index completeness_window on conftrack.completeness using gist (tstzrange(least(since, until), until));

-- Any incident may reach into a later month, not only one of a registration: of a meeting that nobody ends.
drop index conftrack.incident_of_registration_time;
create index incident_of_time on conftrack.incident using gist (tstzrange(opened_at, closed_at, '[]'))
where kind <> 'outage';
