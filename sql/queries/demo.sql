-- The year of the demo, as its summary shows it beside the simulated world's truth.

-- name: incidents_until
-- Incidents of endpoints in the meetings of a source that had ended by a moment.
-- $1 source name  $2 moment  $3 kinds
select count(*)
from conftrack.incidents i
join conftrack.meetings m on m.meeting_id = i.meeting_id
where m.source = $1 and m.ended_at <= $2 and i.kind = any($3::text[]) and i.endpoint is not null;

-- name: figures_until
-- The figures of all meetings of a source that had ended by a moment, from the public views.
-- $1 source name  $2 moment
with held as (
  select * from conftrack.meetings where source = $1 and ended_at <= $2
),
up as (
  select l.* from conftrack.legs l join held m on m.meeting_id = l.meeting_id where l.counted
),
step as (
  select joined_at as at, 1 as change from up
  union all
  select left_at, -1 from up
)
select
  (select count(*) from held) as meetings,
  (select count(distinct coalesce(endpoint, identity)) from up) as endpoints,
  (select sum(endpoint_count) from held)::bigint as endpoint_connections,
  (select count(*) from up) as legs,
  (select sum(attendees) from held)::bigint as attendees,
  (select sum(duration_seconds) from held) as meeting_seconds,
  (select sum(duration_seconds) from up) as leg_seconds,
  (select max(legs) from (select sum(change) over (order by at, change rows unbounded preceding) as legs from step) s)
    ::bigint as peak_legs,
  (
    select count(*)
    from conftrack.legs l
    left join held m on m.meeting_id = l.meeting_id
    where l.source = $1 and l.joined_at is null and l.excluded is null
      and l.end_class in ('no_answer', 'unreachable', 'negotiation', 'capacity')
      and (m.meeting_id is not null or l.meeting_id is null and l.left_at <= $2)
  ) as failed_connections;

-- name: figures_by_month
-- $1 source name  $2 first day of the month to stop before
select month, meetings, endpoints, endpoint_connections, legs, attendees, meeting_seconds, leg_seconds, peak_legs,
  failed_connections
from conftrack.usage_monthly
where source = $1 and org is null and month < $2
order by month;

-- name: keep_demo_invitation
-- Invitations that are not known yet.
-- $1 uids  $2 rooms  $3 titles  $4 starts  $5 ends  $6 source name
with added as (
  insert into conftrack.invitation (uid, source_id, room, title, starts_at, ends_at, origin, known_at)
  select i.uid, s.source_id, i.room, i.title, i.starts_at, i.ends_at, 'source', i.starts_at - interval '1 hour'
  from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[])
    i (uid, room, title, starts_at, ends_at)
  join conftrack.source s on s.name = $6
  on conflict on constraint invitation_once do nothing
  returning invitation_id
)
insert into conftrack.dirty_incident (invitation_id) select invitation_id from added;

-- name: keep_demo_expected
-- $1 uids  $2 codes of endpoints
insert into conftrack.expected (invitation_id, endpoint_id)
select i.invitation_id, e.endpoint_id
from unnest($1::text[], $2::text[]) x (uid, code)
join conftrack.invitation i on i.uid = x.uid
join conftrack.endpoint e on e.code = x.code
on conflict do nothing;

-- name: keep_demo_maintenance
-- Planned work that is not known yet.
-- $1 codes of endpoints  $2 codes of units  $3 starts  $4 ends  $5 authors  $6 reasons  $7 now
insert into conftrack.maintenance (
  endpoint_id, org_unit_id, starts_at, ends_at, expires_at, author, reason, created_at
)
select e.endpoint_id, u.org_unit_id, w.starts_at, w.ends_at, w.ends_at, w.author, w.reason, $7
from unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[])
  w (endpoint, org, starts_at, ends_at, author, reason)
left join conftrack.endpoint e on e.code = w.endpoint
left join conftrack.org_unit u on u.code = w.org
where not exists (
  select from conftrack.maintenance m
  where m.endpoint_id is not distinct from e.endpoint_id and m.org_unit_id is not distinct from u.org_unit_id
    and m.starts_at = w.starts_at
);
