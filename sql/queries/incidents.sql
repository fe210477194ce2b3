-- How facts become incidents: take the meetings, invitations and endpoints that are marked, load what concerns them, and
-- store what the engine makes of it. One transaction, one at a time.

-- name: lock_incidents
select pg_advisory_xact_lock(hashtext('conftrack incidents'));

-- name: take_dirty_incident
-- The marks that are due, an id each once. A mark that waits for a moment is due when the source was seen at it; that of
-- an invitation to whichever system, when all were; that of an endpoint, when the lists of who is registered were read of
-- all systems that it was registered with.
-- $1 how many of each at most
with horizon as (
  select * from conftrack.seen_until
),
due as (
  select meeting_id, invitation_id, endpoint_id from conftrack.dirty_incident where due_at is null
  union all
  select d.meeting_id, d.invitation_id, d.endpoint_id
  from conftrack.dirty_incident d
  left join conftrack.meeting m on m.meeting_id = d.meeting_id
  left join conftrack.invitation i on i.invitation_id = d.invitation_id
  where d.due_at is not null and (
    (d.endpoint_id is null and d.due_at <= coalesce(
      (select h.seen_until from horizon h where h.source_id = coalesce(m.source_id, i.source_id)),
      case when coalesce(m.source_id, i.source_id) is null then (select min(h.seen_until) from horizon h) end
    ))
    or (d.endpoint_id is not null and d.due_at <= (
      select min(g.read_at)
      from conftrack.registrar g
      where exists (
        select from conftrack.endpoint_registration r where r.endpoint_id = d.endpoint_id and r.source_id = g.source_id
      )
    ))
    or (d.meeting_id is not null and m.meeting_id is null)
    or (d.invitation_id is not null and i.invitation_id is null)
  )
),
chosen as (
  (
    select distinct meeting_id, null::bigint as invitation_id, null::integer as endpoint_id
    from due where meeting_id is not null order by 1 limit $1
  )
  union all
  (select distinct null::bigint, invitation_id, null::integer from due where invitation_id is not null order by 2 limit $1)
  union all
  (select distinct null::bigint, null::bigint, endpoint_id from due where endpoint_id is not null order by 3 limit $1)
),
-- (Each by itself, so that it is a join of equals.)
taken_meeting as (
  delete from conftrack.dirty_incident d using chosen c where d.meeting_id = c.meeting_id
),
taken_invitation as (
  delete from conftrack.dirty_incident d using chosen c where d.invitation_id = c.invitation_id
),
taken_endpoint as (
  delete from conftrack.dirty_incident d using chosen c where d.endpoint_id = c.endpoint_id
)
select meeting_id, invitation_id, endpoint_id from chosen;

-- name: convoke
-- The invitation each meeting is held on (see held_on). Where sites typed head counts for the room, they find their
-- meetings anew.
-- $1 meeting_ids
with chosen as (
  select m.meeting_id, i.invitation_id
  from conftrack.meeting m
  left join lateral conftrack.held_on(m) i on true
  where m.meeting_id = any($1::bigint[])
),
changed as (
  update conftrack.meeting m
  set invitation_id = c.invitation_id
  from chosen c, conftrack.meeting before
  where m.meeting_id = c.meeting_id and before.meeting_id = m.meeting_id
    and m.invitation_id is distinct from c.invitation_id
  returning m.meeting_id, before.invitation_id, c.invitation_id as now_id
),
marked as (
  insert into conftrack.dirty_conference (conference_id)
  select c.conference_id
  from changed g
  join conftrack.conference c on c.meeting_id = g.meeting_id
  where exists (select from conftrack.headcount h where h.invitation_id in (g.invitation_id, g.now_id))
)
-- The dated invitations that these meetings are held on, or were: who is absent there may have changed.
select distinct i.invitation_id
from (
  select invitation_id from chosen
  union
  select invitation_id from changed
) x
join conftrack.invitation i on i.invitation_id = x.invitation_id
where i.starts_at is not null;

-- name: list_gathering
-- The meetings among these that people came to, with when they were seen; what has ended was seen to its end.
-- $1 meeting_ids
select m.meeting_id, m.source_id, m.started_at, m.ended_at, m.day,
  coalesce(h.seen_until, m.ended_at) as seen_until, h.told_later
from conftrack.meeting m
cross join lateral conftrack.sight(m.source_id, m.started_at, m.ended_at) h
where m.meeting_id = any($1::bigint[]) and m.started_at is not null
order by m.meeting_id;

-- name: list_blindness
-- $1 since
select source_id, since, until from conftrack.blindness where until > $1 order by source_id, since;

-- name: list_suspect_leg
-- All legs of the endpoints of which something in these meetings may be an incident: one dropped, failed to connect, came
-- back often, had bad quality, or is expected. here: the leg is in the meeting that it is listed for.
-- $1 meeting_ids
with unit as (
  select m.meeting_id, m.source_id, m.span_from, m.span_to, m.invitation_id
  from conftrack.meeting m
  where m.meeting_id = any($1::bigint[]) and m.started_at is not null
),
member as (
  select u.meeting_id, coalesce(-k.endpoint_id::bigint, l.caller_id::bigint) as key, l.source_id, l.external_id,
    l.joined_at, l.left_at, l.end_class, l.end_reason, l.direction
  from unit u
  join conftrack.conference c on c.meeting_id = u.meeting_id
  join conftrack.leg l on l.conference_id = c.conference_id
  join conftrack.caller k on k.caller_id = l.caller_id
  where l.excluded is null and not l.copy and (k.endpoint_id is not null or not k.personal)
),
suspect as (
  select meeting_id, key from member
  group by meeting_id, key
  having count(*) filter (where end_class = 'dropped' and joined_at is not null) > 0
    or count(*) filter (
      where joined_at is null and left_at is not null
        and end_class in ('no_answer', 'unreachable', 'negotiation', 'capacity')
    ) > 0
    or count(*) filter (where joined_at is not null) > 3
  union
  select m.meeting_id, m.key
  from member m
  join conftrack.quality_change q on q.source_id = m.source_id and q.external_id = m.external_id
  union
  select u.meeting_id, -x.endpoint_id::bigint
  from unit u
  join conftrack.invitation i on i.invitation_id = u.invitation_id and i.starts_at is null
  join conftrack.expected x on x.invitation_id = i.invitation_id
),
called as (
  select s.meeting_id, s.key, u.span_from, u.span_to, k.caller_id
  from suspect s
  join unit u on u.meeting_id = s.meeting_id
  join lateral (
    select caller_id from conftrack.caller where endpoint_id = -s.key
    union all
    select s.key::integer where s.key > 0
  ) k on true
),
found as (
  select a.meeting_id, a.key, coalesce(c.meeting_id = a.meeting_id, false) as here, l.source_id, l.external_id,
    l.joined_at, l.left_at, l.end_class, l.end_reason, l.direction
  from called a
  cross join lateral (
    select * from conftrack.leg
    where caller_id = a.caller_id
      and joined_at between a.span_from - interval '1 day' and a.span_to + interval '20 seconds'
      and (left_at is null or left_at >= a.span_from)
      and excluded is null and not copy
    offset 0  -- or all that a caller ever was in is read, to be remembered
  ) l
  join conftrack.conference c on c.conference_id = l.conference_id
  union all
  select m.meeting_id, m.key, true, m.source_id, m.external_id, m.joined_at, m.left_at, m.end_class, m.end_reason,
    m.direction
  from member m
  join suspect s on s.meeting_id = m.meeting_id and s.key = m.key
  where m.joined_at is null
)
select f.meeting_id, f.key, f.here, f.joined_at,
  case when f.left_at < f.joined_at then f.joined_at else f.left_at end as left_at, f.end_class, f.end_reason, f.direction,
  q.moments, q.levels
from found f
left join lateral (
  select array_agg(q.at order by q.at) as moments, array_agg(q.level order by q.at) as levels
  from conftrack.quality_change q
  where f.here and q.source_id = f.source_id and q.external_id = f.external_id
) q on true
order by f.meeting_id, f.key, f.joined_at, f.left_at, f.external_id;

-- name: list_standing_expected
-- Who is expected at every meeting of its room, for the meetings held on a standing invitation.
-- $1 meeting_ids
select m.meeting_id, -x.endpoint_id::bigint as key, m.started_at, x.excused_at
from conftrack.meeting m
join conftrack.invitation i on i.invitation_id = m.invitation_id and i.starts_at is null
join conftrack.expected x on x.invitation_id = i.invitation_id
where m.meeting_id = any($1::bigint[]) and m.started_at is not null;

-- name: list_member
-- For each unit, area and carrier, when each of its endpoints was first in a meeting and when it last was.
-- $1 meeting_ids
with above as materialized (
  -- The top of the tree is everybody: that is no outage of a unit.
  select o.org_unit_id, array_agg(a.code) as orgs
  from conftrack.org_ancestor o
  join conftrack.org_unit a on a.org_unit_id = o.ancestor_id
  where a.parent_id is not null
  group by o.org_unit_id
)
select c.meeting_id, -k.endpoint_id::bigint as key, u.code as org, e.area, e.carrier, coalesce(v.orgs, '{}') as orgs,
  min(coalesce(l.joined_at, l.left_at)) as since, case when bool_and(l.left_at is not null) then max(l.left_at) end as until
from conftrack.conference c
join conftrack.leg l on l.conference_id = c.conference_id
join conftrack.caller k on k.caller_id = l.caller_id
join conftrack.endpoint e on e.endpoint_id = k.endpoint_id
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id
left join above v on v.org_unit_id = e.org_unit_id
where c.meeting_id = any($1::bigint[]) and l.excluded is null
  and (l.joined_at is not null or l.left_at is not null)  -- who is still being called is not there yet
group by c.meeting_id, e.endpoint_id, k.endpoint_id, u.code, v.orgs;

-- name: list_dated_invitation
-- Invitations to one meeting, with when the last of the meetings held on it ended; null: it goes on, or nobody has come.
-- $1 invitation_ids  $2 time zone
select i.invitation_id, coalesce(i.source_id, min(m.source_id)) as source_id, i.starts_at, (i.starts_at at time zone $2)::date as day, min(m.meeting_id) as meeting_id,
  coalesce(i.ends_at, i.starts_at + interval '4 hours') as until,
  case when count(*) filter (where m.ended_at is null) = 0 then max(m.ended_at) end as ended_at,
  h.seen_until, h.told_later
from conftrack.invitation i
left join conftrack.meeting m on m.invitation_id = i.invitation_id and m.started_at is not null
cross join lateral conftrack.sight(i.source_id, i.starts_at, coalesce(i.ends_at, i.starts_at + interval '4 hours')) h
where i.invitation_id = any($1::bigint[]) and i.starts_at is not null
group by i.invitation_id, h.seen_until, h.told_later
order by i.invitation_id;

-- name: list_dated_expected
-- Those invited who were late, or have not come: with the first join of each.
-- $1 invitation_ids
select i.invitation_id, -x.endpoint_id::bigint as key, i.starts_at, x.excused_at, p.joined_at
from conftrack.invitation i
join conftrack.expected x on x.invitation_id = i.invitation_id
left join lateral (
  select min(l.joined_at) as joined_at
  from conftrack.meeting m
  join conftrack.caller k on k.endpoint_id = x.endpoint_id
  join conftrack.leg l on l.caller_id = k.caller_id and l.joined_at between m.span_from and m.span_to
  join conftrack.conference c on c.conference_id = l.conference_id and c.meeting_id = m.meeting_id
  where m.invitation_id = i.invitation_id and l.excluded is null and not l.copy
    and (l.left_at is null or l.left_at > i.starts_at)
) p on true
where i.invitation_id = any($1::bigint[]) and i.starts_at is not null
  and (p.joined_at is null or p.joined_at > i.starts_at + interval '5 minutes');

-- name: list_missed_member
-- The endpoints in these meetings that were not registered all through them, though they had been before: it matters for
-- them when they were in a meeting.
-- $1 meeting_ids
select m.endpoint_id
from (
  select distinct k.endpoint_id, m.span_from, m.span_to
  from conftrack.meeting m
  join conftrack.conference c on c.meeting_id = m.meeting_id
  join conftrack.leg l on l.conference_id = c.conference_id
  join conftrack.caller k on k.caller_id = l.caller_id
  where m.meeting_id = any($1::bigint[]) and k.endpoint_id is not null
    and exists (select from conftrack.registrar)
) m
where conftrack.missed_registration(m.endpoint_id, m.span_from, m.span_to);

-- name: list_registered
-- These endpoints with when they were registered where, in order of time, as far as it matters for what is told anew, and
-- up to when all those lists were read. recent: from when on that is; of what began before, the last of each alias tells
-- all.
-- $1 endpoint_ids  $2 how long before all of these lists were read
with site as (
  select e.endpoint_id, e.service_hours, e.retired_on, s.seen_until, min(s.seen_until) over () - $2::interval as recent
  from conftrack.endpoint e
  cross join lateral (
    select min(g.read_at) as seen_until
    from conftrack.registrar g
    where exists (
      select from conftrack.endpoint_registration r where r.endpoint_id = e.endpoint_id and r.source_id = g.source_id
    )
  ) s
  where e.endpoint_id = any($1::integer[]) and s.seen_until is not null
)
select s.endpoint_id, s.service_hours, s.retired_on, s.seen_until, s.recent, r.sources, r.begins, r.ends
from site s
cross join lateral (
  select array_agg(r.source_id order by r.since, r.until) as sources,
    array_agg(r.since order by r.since, r.until) as begins, array_agg(r.until order by r.since, r.until) as ends
  from conftrack.alias a
  cross join conftrack.registrar g
  cross join lateral (
    (
      select * from conftrack.registration
      where source_id = g.source_id and alias = a.alias and since <= s.recent
      order by since desc
      limit 1
    )
    union all
    select * from conftrack.registration where source_id = g.source_id and alias = a.alias and since > s.recent
  ) r
  where a.endpoint_id = s.endpoint_id
) r
order by s.endpoint_id;

-- name: list_up
-- When these endpoints were in meetings.
-- $1 endpoint_ids  $2 since
select k.endpoint_id, l.joined_at, l.left_at
from conftrack.caller k
join conftrack.leg l on l.caller_id = k.caller_id
where k.endpoint_id = any($1::integer[]) and l.joined_at is not null and (l.left_at is null or l.left_at > $2)
  and l.excluded is null and not l.copy
order by k.endpoint_id, l.joined_at, l.left_at;

-- name: list_stored_incident
-- What stands of these meetings and invitations, and of the registrations of these endpoints as far as they are judged
-- again; withdrawn ones too.
-- $1 meeting_ids  $2 invitation_ids  $3 endpoint_ids  $4 since
select i.incident_id, i.meeting_id, i.invitation_id, i.kind,
  coalesce(-i.endpoint_id::bigint, -k.endpoint_id::bigint, i.caller_id::bigint) as key,
  i.source_id, i.endpoint_id, i.caller_id, i.parent_id, i.end_class, i.end_reason, i.opened_at, i.closed_at, i.day, i.withdrawn_at,
  i.org_unit_id, i.carrier, i.area,
  i.acknowledged_at is not null or i.owner is not null
    or exists (select from conftrack.incident_note n where n.incident_id = i.incident_id) as written_about
from conftrack.incident i
left join conftrack.caller k on k.caller_id = i.caller_id
where i.meeting_id = any($1::bigint[]) or i.invitation_id = any($2::bigint[])
  or (
    i.kind = 'unregistered' and i.endpoint_id = any($3::integer[])
    and (i.closed_at is null or i.closed_at > $4)
  )
order by i.incident_id;

-- name: number_org
-- $1 codes
select code, org_unit_id from conftrack.org_unit where code = any($1::text[]);

-- name: add_incident
-- $1 source_id  $2 endpoint_id  $3 caller_id  $4 meeting_id  $5 invitation_id  $6 kind  $7 end_class  $8 end_reason
-- $9 opened_at  $10 closed_at  $11 day  $12 org_unit_id  $13 carrier  $14 area  $15 parent_id
insert into conftrack.incident (
  source_id, endpoint_id, caller_id, meeting_id, invitation_id, kind, end_class, end_reason, opened_at, closed_at, day,
  org_unit_id, carrier, area, parent_id
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
returning incident_id;

-- name: change_incident
-- $1 incident_id  $2 source_id  $3 endpoint_id  $4 caller_id  $5 meeting_id  $6 invitation_id  $7 kind  $8 end_class
-- $9 end_reason  $10 opened_at  $11 closed_at  $12 day  $13 org_unit_id  $14 carrier  $15 area  $16 parent_id
update conftrack.incident
set source_id = $2, endpoint_id = $3, caller_id = $4, meeting_id = $5, invitation_id = $6, kind = $7, end_class = $8,
  end_reason = $9, opened_at = $10, closed_at = $11, day = $12, org_unit_id = $13, carrier = $14, area = $15, parent_id = $16,
  withdrawn_at = null
where incident_id = $1;

-- name: drop_incident
-- Facts that came later showed that it never was. What somebody wrote about is kept, withdrawn.
-- $1 incident_ids  $2 those of them that were written about  $3 moment
with kept as (
  update conftrack.incident
  set withdrawn_at = $3, parent_id = null, closed_at = coalesce(closed_at, greatest($3, opened_at))
  where incident_id = any($2::bigint[]) and withdrawn_at is null
)
delete from conftrack.incident where incident_id = any($1::bigint[]) and not incident_id = any($2::bigint[]);

-- name: drop_wait
-- What these waited for before they were judged: whoever was judged without being due waits anew.
-- $1 invitation_ids  $2 endpoint_ids
delete from conftrack.dirty_incident
where due_at is not null and (invitation_id = any($1::bigint[]) or endpoint_id = any($2::integer[]));

-- name: wait_for
-- $1 meeting_ids  $2 invitation_ids  $3 endpoint_ids  $4 moments
insert into conftrack.dirty_incident (meeting_id, invitation_id, endpoint_id, due_at)
select * from unnest($1::bigint[], $2::bigint[], $3::integer[], $4::timestamptz[]);

-- name: count_incident_day
-- The incidents of these days, for each source and all, and each unit with all above it and all; only what is another
-- number than before is written.
-- $1 days
with each as (
  select i.day, i.source_id, e.org_unit_id
  from conftrack.incident i
  left join conftrack.caller k on k.caller_id = i.caller_id
  left join conftrack.endpoint e on e.endpoint_id = coalesce(i.endpoint_id, k.endpoint_id)
  where i.day = any($1::date[]) and i.kind <> 'outage' and i.withdrawn_at is null
),
up as materialized (
  select org_unit_id, ancestor_id from conftrack.org_ancestor
),
scoped as (
  select day, source_id, null::integer as org_unit_id from each
  union all
  select e.day, e.source_id, up.ancestor_id from each e join up on up.org_unit_id = e.org_unit_id
),
counted as (
  select e.day, s.scope as source_id, e.org_unit_id, count(*) as incidents
  from scoped e
  cross join lateral (select e.source_id union select null) s (scope)
  group by e.day, s.scope, e.org_unit_id
),
gone as (
  delete from conftrack.incident_day d
  where d.period = any($1::date[]) and not exists (
    select from counted c
    where (c.day, coalesce(c.source_id, 0), coalesce(c.org_unit_id, 0))
        = (d.period, coalesce(d.source_id, 0), coalesce(d.org_unit_id, 0))
  )
)
insert into conftrack.incident_day as d (period, source_id, org_unit_id, incidents)
select day, source_id, org_unit_id, incidents from counted
on conflict (period, source_id, org_unit_id) do update set incidents = excluded.incidents
where d.incidents <> excluded.incidents;

-- name: list_open_incident
select incident_id, kind, source, endpoint, identity, org, carrier, area, meeting_id, end_class, end_reason, opened_at,
  parent_id, acknowledged_at
from conftrack.incidents
where closed_at is null
order by incident_id;

-- name: next_due
-- When the source must be looked at next, for something that only time decides. Not for who is registered: that is
-- asked at its own pace.
-- $1 source name
select min(d.due_at)
from conftrack.dirty_incident d
left join conftrack.meeting m on m.meeting_id = d.meeting_id
left join conftrack.invitation i on i.invitation_id = d.invitation_id
left join conftrack.source s on s.source_id = coalesce(m.source_id, i.source_id)
where d.due_at is not null and d.endpoint_id is null and coalesce(s.name, $1) = $1;

-- name: count_incident
-- What the counter stands at.
select coalesce(org, '') as org, kind, coalesce(end_class, '') as end_class, count(*) as incidents
from conftrack.incidents
where kind <> 'outage'
group by 1, 2, 3;

-- name: count_unknown_cause
select s.name as source, count(*) filter (where l.end_class = 'unknown') as legs
from conftrack.source s
left join conftrack.leg l on l.source_id = s.source_id and l.end_class = 'unknown'
group by s.name;
